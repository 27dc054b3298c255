"""The power simulation against exact calculations, and its command."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import binom, binomtest

from panobench import cli
from study_app.analysis.power import World, from_win_rate, simulate, smallest


def exact_power(votes: int, rate: float, level: float) -> float:
    """Of the two-sided sign test of `votes` independent answers, in the right direction."""
    significant = [k for k in range(votes // 2, votes + 1) if binomtest(k, votes).pvalue < level]
    return float(binom.pmf(significant, votes, rate).sum())


@pytest.mark.parametrize(("raters", "rate"), [(40, 0.65), (40, 0.8)])
def test_two_methods_and_one_answer_per_rater_are_the_sign_test(raters: int, rate: float):
    """One prompt and two methods in full mode: every rater has one vote, so all of them are independent."""
    world = World(from_win_rate(rate, 2), tie_rate=0, rater_sd=0, prompt_sd=0, criteria=1)
    found = simulate(world, raters, 1, "full", simulations=3000, seed=1)
    assert found["power"] == pytest.approx(exact_power(raters, rate, 0.05), abs=4 * found["power_error"])
    assert found["power"] == found["all"]
    assert found["power_error"] == pytest.approx(np.sqrt(found["power"] * (1 - found["power"]) / 3000), rel=0.02)


def test_without_a_difference_hardly_anything_is_found():
    """Holm keeps the chance of any false finding at 5 %; half of those would favour the proposed method."""
    world = World((1, 1, 1, 1), criteria=2, prompt_sd=0)
    assert simulate(world, 16, 4, "half", simulations=400)["power"] < 0.02


def test_more_raters_more_power_and_disagreement_costs_it():
    world = World(from_win_rate(0.65, 4), criteria=1)
    few, many = (simulate(world, raters, 8, "half", simulations=200)["power"] for raters in (12, 40))
    assert many > few + 0.2
    split = World(from_win_rate(0.65, 4), criteria=1, rater_sd=1.5)
    assert simulate(split, 40, 8, "half", simulations=200)["power"] < many - 0.1


def test_the_half_width_is_the_spread_of_the_share():
    """Best of all by independent raters: a binomial share."""
    world = World((1, 1, 2), rater_sd=0, prompt_sd=0, criteria=1)
    found = simulate(world, 20, 5, "best-of-four", simulations=2000)
    assert found["half_width"] == pytest.approx(1.96 * np.sqrt(0.25 / 100), abs=5 * found["half_width_error"])


def test_the_smallest_design_is_sure_of_its_power():
    rows = [
        {"raters": 40, "trials": 24, "power": 0.9, "power_error": 0.01},
        {"raters": 30, "trials": 24, "power": 0.81, "power_error": 0.01},
        {"raters": 35, "trials": 24, "power": 0.85, "power_error": 0.01},
    ]
    assert smallest(rows, 0.8) == rows[2]
    assert smallest(rows, 0.95) is None


def test_the_command(tmp_path: Path):
    options = ["--raters", "8,16", "--prompts", "4", "--simulations", "40", "--win-rate", "0.9", "--criteria", "1"]
    done = CliRunner().invoke(cli, ["study", "power", *options, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "the smallest of these with a power of 0.8: " in done.output
    record = json.loads((tmp_path / "power.json").read_text())
    assert [(row["raters"], row["prompts"]) for row in record["designs"]] == [(8, 4), (16, 4)]
    assert record["settings"]["simulations"] == 40
    for row in record["designs"]:
        assert f"{row['power']:.3f} ± {row['power_error']:.3f}" in done.output
    assert (tmp_path / "power.svg").read_text().startswith("<?xml")
    assert (tmp_path / "power.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("options", [["--raters", "8,x"], ["--raters", "1"], ["--shares", "5"]])
def test_what_makes_no_study_is_refused(options: list[str], tmp_path: Path):
    done = CliRunner().invoke(cli, ["study", "power", *options, "--out", str(tmp_path)])
    assert done.exit_code != 0
    assert options[0] in done.output
    assert not list(tmp_path.iterdir())
