"""Scored methods side by side: what is said of them must follow from the files."""

import json
import re
import shutil

import pandas as pd
import pytest

from core.errors import PanobenchError
from evaluation.comparison import check_comparable, compare, decimals, load_scored, results_markdown
from evaluation.findings import findings
from tests.evaluation.reproduction import LABELS, write_scored, write_videos


def test_means_are_those_of_the_scores_and_differences_are_paired(outputs, comparison):
    for method in LABELS:
        scored = json.loads((outputs / "scores" / method / "metrics.json").read_text(encoding="utf-8"))["metrics"]
        for name, metric in comparison["metrics"].items():
            for key in ("mean", "low", "high", "n"):
                assert metric["methods"][method][key] == scored[name][key]
    merged = pd.read_parquet(outputs / "report" / "scores.parquet")
    wide = merged.pivot(index="prompt_id", columns=["metric", "method"], values="value")
    for name, metric in comparison["metrics"].items():
        assert len(metric["differences"]) == 3
        for row in metric["differences"]:
            true = wide[name, row["a"]] - wide[name, row["b"]]
            assert row["mean"] == pytest.approx(true.mean())
            assert (row["n"], row["prompts"]) == (6, 6)
            assert row["low"] <= row["mean"] <= row["high"]
            assert true.min() - 1e-9 <= row["low"] <= row["high"] <= true.max() + 1e-9


def test_what_it_says_of_these_methods(comparison):
    """Known by construction: the flat one has a seam and no flicker, the round and the shaky one have no seam."""
    seam, flicker = comparison["metrics"]["seam_ratio"], comparison["metrics"]["flicker"]
    assert seam["best"] is None
    assert {seam["leader"], *seam["tied"]} == {"round", "shaky"}
    assert flicker["best"] == "flat"
    assert comparison["metrics"]["motion_speed"]["leader"] is None
    found = {f["criterion"]: f["outcomes"] for f in findings(comparison)}
    assert {"leader": "A: Flat picture", "tied": "", "metrics": ["flicker"]} in found["Frame consistency"]
    assert "Motion pattern" not in found


def test_one_method_alone_and_missing_metrics(outputs, tmp_path):
    write_scored(outputs / "videos" / "flat", tmp_path / "flat", ("seam_ratio",))
    alone = compare([load_scored(tmp_path / "flat")], 100, 0, 0.95)
    assert alone["metrics"]["seam_ratio"]["differences"] == []
    both = compare([load_scored(tmp_path / "flat"), load_scored(outputs / "scores" / "round")], 100, 0, 0.95)
    assert list(both["metrics"]["flicker"]["methods"]) == ["round"]
    assert "| – |" in results_markdown(both)


def test_different_prompts_give_no_pairs(outputs, tmp_path):
    write_videos(tmp_path / "flat", "flat", {"q0": "x", "q1": "y"})
    write_scored(tmp_path / "flat", tmp_path / "scores")
    found = compare([load_scored(tmp_path / "scores"), load_scored(outputs / "scores" / "round")], 100, 0, 0.95)
    assert found["metrics"]["seam_ratio"]["differences"][0]["n"] == 0
    assert found["metrics"]["seam_ratio"]["best"] is None


def test_markdown_table_shows_the_numbers(outputs, comparison):
    lines = (outputs / "report" / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("| metric | A")
    row = next(line for line in lines if line.startswith("| flicker"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    entry = comparison["metrics"]["flicker"]["methods"]
    assert cells[0] == "flicker (grey levels) ↓"
    for cell, method in zip(cells[1:], LABELS, strict=True):
        shown = [float(number) for number in re.findall(r"-?\d+\.?\d*", cell)]
        assert shown == pytest.approx([entry[method][k] for k in ("mean", "low", "high")], abs=0.06)
    assert cells[1].startswith("**")


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        ([{"mean": 123.4, "low": 100.0, "high": 150.0}], 0),
        ([{"mean": 1.234, "low": 1.1, "high": 1.5}], 2),
        ([{"mean": 0.9991, "low": 0.9966, "high": 1.0}], 4),
        ([{"mean": 0.0, "low": 0.0, "high": 0.0}], 2),
        ([{"mean": 2.0, "low": None, "high": None}], 2),
    ],
)
def test_decimals_fit_the_uncertainty(rows, places):
    assert decimals(rows) == places


def test_scores_of_other_sizes_or_settings_do_not_compare(outputs, tmp_path):
    write_videos(tmp_path / "flat", "flat", height_factor=2)
    write_scored(tmp_path / "flat", tmp_path / "large")
    methods = [load_scored(outputs / "scores" / "round"), load_scored(tmp_path / "large")]
    with pytest.raises(PanobenchError, match=r"round and flat do not compare: the videos' height is 32 for one and 64"):
        check_comparable(methods)
    shutil.copytree(outputs / "scores" / "flat", tmp_path / "newer")
    settings = json.loads((tmp_path / "newer" / "settings.json").read_text(encoding="utf-8"))
    settings["metrics"]["flicker"]["version"] += 1
    (tmp_path / "newer" / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"flicker's version is 1 for one and 2"):
        check_comparable([methods[0], load_scored(tmp_path / "newer")])
    with pytest.raises(PanobenchError, match=r"two score folders are of the method 'round'.*--method"):
        check_comparable([methods[0], methods[0]])


def test_broken_score_folders_are_named(outputs, tmp_path):
    with pytest.raises(PanobenchError, match=r"nowhere: no such folder; `panobench score"):
        load_scored(tmp_path / "nowhere")
    folder = tmp_path / "broken"
    shutil.copytree(outputs / "scores" / "flat", folder)
    (folder / "scores.parquet").write_bytes(b"not parquet")
    with pytest.raises(PanobenchError, match=r"scores\.parquet: not a readable table"):
        load_scored(folder)
    shutil.copy(outputs / "scores" / "flat" / "scores.parquet", folder)
    (folder / "metrics.json").write_text('{"schema": 9}', encoding="utf-8")
    with pytest.raises(PanobenchError, match=r"metrics\.json: not of schema 1"):
        load_scored(folder)
    videos = tmp_path / "videos"
    shutil.copytree(outputs / "videos" / "flat", videos)
    (videos / "p2-0.mp4").unlink()
    with pytest.raises(PanobenchError, match=r"the scored video 'p2-0' of flat is not there"):
        load_scored(outputs / "scores" / "flat", videos=videos)
