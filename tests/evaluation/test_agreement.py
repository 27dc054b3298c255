"""Metrics against simulated people of whom it is known what they look at."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

from core.errors import PanobenchError
from evaluation.agreement import Ballot, agreed, agreement, fit, kendall, majority_hits, oriented, two_way_draws
from evaluation.votes import DUELS, read_votes
from panobench import cli
from study_app.export import COLUMNS, as_csv, as_json

METHODS = ("a", "b", "c", "d")
CRITERIA = ("graphics", "consistency", "continuity", "content", "motion")


def world(prompts: int = 8, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Scores, and the quality (M, P) that people see: `true` measures it, `noise` does not."""
    rng = np.random.default_rng(seed)
    quality = np.arange(4)[:, None] * 0.8 + rng.normal(0, 0.7, (4, prompts))
    half = 0.5 * quality + rng.normal(0, 0.8, (4, prompts))
    columns = {
        "true": (-quality, "lower"),
        "half": (half, "higher"),
        "noise": (rng.normal(size=(4, prompts)), "higher"),
    }
    columns["speed"] = (quality, "none")
    rows = [
        {
            "video_id": f"p{p}-0", "method": method, "prompt_id": f"p{p}", "seed": 0, "metric": name,
            "value": table[m, p], "unit": "1", "direction": direction, "criterion": "end_continuity",
            "metric_version": 1,
        }
        for name, (table, direction) in columns.items() for m, method in enumerate(METHODS) for p in range(prompts)
    ]  # fmt: skip
    return pd.DataFrame(rows), quality


def vote(rng, quality, rater, p, i, j, criterion="continuity", ties=0.15) -> dict[str, str]:
    """An answer as the study exports it; sides are drawn, and a near draw may end in a tie."""
    gap = 2.5 * (quality[i, p] - quality[j, p])
    first = rng.uniform() < 1 / (1 + np.exp(-gap))
    left, right = (i, j) if rng.uniform() < 0.5 else (j, i)
    preferred = "tie" if rng.uniform() < ties else METHODS[i if first else j]
    choice = "tie" if preferred == "tie" else "left" if preferred == METHODS[left] else "right"
    known = {
        "rater": f"r{rater}", "prompt_id": f"p{p}", "criterion": criterion, "choice": choice, "preferred": preferred,
        "method_left": METHODS[left], "method_right": METHODS[right], "kind": "scored",
        "methods": f"{METHODS[left]}|{METHODS[right]}",
    }  # fmt: skip
    return {name: known.get(name, "") for name in COLUMNS}


def ballots(quality, raters=12, seed=1, **options) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    return [
        vote(rng, quality, rater, p, i, j, **options)
        for rater in range(raters) for p in range(quality.shape[1]) for i, j in pairs
    ]  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    scores, quality = world()
    file = tmp_path_factory.mktemp("votes") / "votes.csv"
    file.write_text(as_csv(ballots(quality)), encoding="utf-8")
    return agreement(read_votes(file), scores, resamples=400)


def test_the_planted_metric_is_found_and_the_others_are_not_mistaken_for_it(found):
    entry = found["end_continuity"]
    assert (entry["votes"], entry["raters"], entry["prompts"]) == (576, 12, 8)
    rows = entry["metrics"]
    assert set(rows) == {"true", "half", "noise"}  # one without a direction prefers nothing
    assert rows["true"]["accuracy"]["low"] > 0.75 > rows["half"]["accuracy"]["value"] > 0.5
    assert rows["noise"]["accuracy"]["low"] < 0.5 < rows["noise"]["accuracy"]["high"]
    assert rows["true"]["tau"]["low"] > 0.6
    assert abs(rows["noise"]["tau"]["value"]) < 0.5
    assert entry["best"]["metric"] == "true"
    assert entry["best"]["chosen"] == {"true": 16}
    weights = entry["combination"]["weights"]
    assert next(iter(weights)) == "true"
    assert all(weight > 0 for weight in weights.values())
    for held_out in (entry["best"]["held_out"], entry["combination"]["held_out"]):
        assert held_out["low"] <= held_out["value"] <= held_out["high"]
        assert held_out["value"] == pytest.approx(rows["true"]["accuracy"]["value"], abs=0.05)
    assert entry["people"]["value"] == pytest.approx(rows["true"]["accuracy"]["value"], abs=0.06)


def test_a_criterion_without_votes_says_so(found):
    assert "0 votes that are no tie (at least 100)" in found["motion_pattern"]["too_few"]
    assert "metrics" not in found["motion_pattern"]


def test_choosing_among_many_useless_metrics_gains_nothing_out_of_sample():
    """The best of forty random metrics fits the votes it was chosen by; held out, it is a coin again."""
    rng = np.random.default_rng(3)
    _, quality = world(seed=5)
    scores = pd.concat(
        [
            pd.DataFrame(
                {
                    "method": np.repeat(METHODS, 8), "prompt_id": [f"p{p}" for p in range(8)] * 4,
                    "metric": f"m{k}", "value": rng.normal(size=32), "direction": "higher",
                }
            )
            for k in range(40)
        ]
    )  # fmt: skip
    votes = pd.DataFrame(
        [("end_continuity", v["rater"], v["prompt_id"], *sorted(v["methods"].split("|")),
          0.5 if v["preferred"] == "tie" else float(v["preferred"] == min(v["methods"].split("|"))))
         for v in ballots(quality)],
        columns=list(DUELS),
    )  # fmt: skip
    entry = agreement(votes, scores, resamples=200)["end_continuity"]
    fitted = max(row["accuracy"]["value"] for row in entry["metrics"].values())
    assert fitted > 0.6
    assert entry["best"]["held_out"]["value"] < fitted - 0.05
    assert entry["combination"]["held_out"]["value"] < 0.65


def test_accuracy_and_tau_by_hand_and_by_scipy():
    y = np.array([1.0, 0, 0.5, 1])
    np.testing.assert_array_equal(agreed(np.array([[2.0], [2], [2], [0]]), y), [[1], [0], [np.nan], [0.5]])
    scores, quality = world(prompts=6)
    duels = pd.DataFrame(
        [("end_continuity", f"r{r}", f"p{p}", METHODS[i], METHODS[j], float(quality[i, p] > quality[j, p]))
         for r in range(2) for p in range(6) for i in range(4) for j in range(i + 1, 4)],
        columns=list(DUELS),
    )  # fmt: skip
    ballot = Ballot.of(duels)
    values, metrics = oriented(scores)
    half = values["half"].unstack().to_numpy()
    expected = np.mean([stats.kendalltau(half[:, p], quality[:, p]).statistic for p in range(6)])
    found = kendall(half, ballot, two_way_draws(ballot, 100, 0), 0.95)
    assert found["value"] == pytest.approx(expected, abs=1e-4)
    assert metrics == ["true", "half", "noise"]
    assert (majority_hits(ballot) == 1).all()  # two raters who see the same


def test_the_interval_is_wider_than_that_of_independent_votes(found):
    interval = found["end_continuity"]["metrics"]["half"]["accuracy"]
    votes = found["end_continuity"]["votes"] - found["end_continuity"]["ties"]
    alone = 2 * 1.96 * np.sqrt(interval["value"] * (1 - interval["value"]) / votes)
    assert interval["high"] - interval["low"] > 1.5 * alone


def test_the_fit_is_the_logistic_maximum_and_never_negative():
    rng = np.random.default_rng(0)
    lead = rng.normal(size=(4000, 3))
    y = (rng.uniform(size=4000) < 1 / (1 + np.exp(-(lead @ [1.0, 0.5, -1.0])))).astype(float)
    weights = fit(lead, y)
    assert weights[0] > weights[1] > 0.2
    assert weights[2] == 0


# --- the export ------------------------------------------------------------------------------------------------------


def test_controls_ties_formulas_and_best_of_four(tmp_path: Path):
    _, quality = world()
    rows = [dict(row) for row in ballots(quality, raters=1)[:3]]
    rows[0] |= {"methods": "=cmd|b", "preferred": "=cmd"}
    rows[1] |= {"kind": "gold"}
    rows[2] |= {"methods": "d|a|c|b", "preferred": "c", "flags": "one_side"}
    for name, text in (("v.csv", as_csv(rows)), ("v.json", as_json(rows))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        duels = read_votes(tmp_path / name)
        assert [tuple(row)[3:] for row in duels.itertuples(index=False)] == [
            ("=cmd", "b", 1.0), ("a", "c", 0.0), ("b", "c", 0.0), ("c", "d", 1.0),
        ]  # fmt: skip
        assert set(duels["criterion"]) == {"end_continuity"}
        assert len(read_votes(tmp_path / name, drop_flagged=True)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rater,prompt_id\n", "no column 'criterion'; give the table that `panobench study export"),
        ("rater,prompt_id,criterion,kind,preferred,methods\nr,p,continuity,gold,,a|b\n", "no scored votes in it"),
        ("rater,prompt_id,criterion,kind,preferred,methods\nr,p,smell,scored,a,a|b\n", "votes on smell, but metrics"),
        ("rater,prompt_id,criterion,kind,preferred,methods\nr,p,motion,scored,x,a|b\n", "'x' is preferred among a, b"),
        ("", "not a readable CSV file"),
    ],
)
def test_tables_that_are_no_votes_are_one_line(tmp_path: Path, content: str, message: str):
    (tmp_path / "v.csv").write_text(content, encoding="utf-8")
    with pytest.raises(PanobenchError, match=message):
        read_votes(tmp_path / "v.csv")
    with pytest.raises(PanobenchError, match="no such file"):
        read_votes(tmp_path / "absent.csv")


def write_scores(folder: Path, scores: pd.DataFrame) -> list[Path]:
    """Score folders of the methods, as far as the command reads them."""
    settings = {
        "videos": {"count": 8, "frames": 4, "fps": 8.0, "height": 32, "width": 64}, "views": None, "judge": None,
        "bootstrap": {"resamples": 100, "level": 0.95, "seed": 0}, "metrics": {},
    }  # fmt: skip
    for method, rows in scores.groupby("method"):
        (folder / str(method)).mkdir(parents=True)
        rows.to_parquet(folder / str(method) / "scores.parquet")
        (folder / str(method) / "settings.json").write_text(json.dumps(settings))
        summary = {"schema": 1, "method": method, "metrics": {}}
        (folder / str(method) / "metrics.json").write_text(json.dumps(summary))
    return [folder / method for method in METHODS]


def test_the_command_prints_writes_and_says_when_votes_are_too_few(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores, quality = world()
    folders = [str(folder) for folder in write_scores(tmp_path / "scores", scores)]
    rows = ballots(quality, raters=8) + ballots(quality, raters=1, criterion="motion")
    (tmp_path / "votes.csv").write_text(as_csv(rows), encoding="utf-8")
    result = CliRunner().invoke(cli, ["agreement", "votes.csv", *folders, "--resamples", "200"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "best metric: true; chosen anew without the votes it is judged on: " in result.output
    assert "Motion pattern: 48 duels" in result.output
    assert "1 raters (at least 5); nothing is computed" in result.output
    written = json.loads(Path("agreement.json").read_text(encoding="utf-8"))
    assert written["flagged"] == "kept"
    assert written["criteria"]["end_continuity"]["best"]["metric"] == "true"
    assert next(csv.DictReader(io.StringIO(as_csv(rows))))["kind"] == "scored"


def test_scores_of_other_methods_are_refused():
    scores, _ = world()
    duels = pd.DataFrame([("end_continuity", "r", "p0", "x", "y", 1.0)], columns=list(DUELS))
    with pytest.raises(PanobenchError, match="votes are on x, y, scores of a, b, c, d: no two of them share a prompt"):
        agreement(duels, scores)
