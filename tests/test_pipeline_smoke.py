"""The whole pipeline at smoke size through real DVC and MLflow: order, laziness, resumption, determinism.

The tests of this file are one story and run in order, on one clone.
"""

import csv
import hashlib
import json
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from study_app.bundle import load_bundle
from study_app.store import Store
from tests.smoke import PROMPTS, Clone
from tests.study_app.raters import begin, rate_everything

EVERYTHING = [
    "fetch", "probe", "split", "caption", "flow", "encode", "check",
    "train@panorama_lora", "train@adapter360", "recipes",
    "generate@panorama_lora", "generate@360dvd", "score@panorama_lora", "score@360dvd",
    "compare", "study", "study_analysis", "track",
]  # fmt: skip
METHODS = ["panorama_lora", "360dvd"]  # all code of the four is in these two: LoRA, adapter, 360ET


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("smoke"))


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def manifest(clone: Clone, method: str) -> list[dict]:
    text = (clone.outputs / "videos" / method / "manifest.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def half_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


def test_killed_in_training_it_goes_on_where_it_stopped(clone: Clone) -> None:
    checkpoint = clone.outputs / "checkpoints/adapter360"
    start = time.monotonic()
    clone.repro_killed_when(lambda: any(checkpoint.glob("[!.]*")))
    assert not (clone.outputs / "models/adapter360").exists()
    ran = clone.repro()
    seconds = time.monotonic() - start
    # The two trainings may run in either order.
    assert set(ran) - {"train@panorama_lora"} == set(EVERYTHING[EVERYTHING.index("train@adapter360") :])
    history = rows(clone.outputs / "models/adapter360/history.csv")
    assert [int(row["step"]) for row in history] == list(range(1, clone.params["training"]["adapter360"]["steps"] + 1))
    assert not half_files(clone.outputs)
    print(f"the whole pipeline at smoke size: {seconds:.0f} s")


def test_everything_that_was_promised_is_there(clone: Clone) -> None:
    outputs = clone.outputs
    for method in METHODS:
        videos = manifest(clone, method)
        assert len(videos) == PROMPTS
        for video in videos:
            file = outputs / "videos" / method / video["path"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == video["sha256"]
        metrics = json.loads((outputs / "scores" / method / "metrics.json").read_text())
        # Two prompts are too few for a distance between sets of videos, which says so instead of giving a number.
        assert set(metrics["refused"]) == {"motion_distribution"}
        assert set(metrics["metrics"]) | set(metrics["refused"]) == set(clone.params["scoring"]["metrics"])
        assert all(entry["low"] <= entry["mean"] <= entry["high"] for entry in metrics["metrics"].values())
    report = (outputs / "report/index.html").read_text(encoding="utf-8")
    for method in METHODS:
        assert clone.params["methods"][method]["label"].split()[-1] in report
    assert json.loads((outputs / "study/study.json").read_text())
    assert json.loads((outputs / "study_analysis/analysis.json").read_text())["status"] == "no votes"
    assert "There are no votes yet" in (outputs / "study_analysis/index.html").read_text()
    with sqlite3.connect(clone.root / "mlflow.db") as database:
        names = [name for (name,) in database.execute("select name from runs where lifecycle_stage = 'active'")]
        assert len(names) == 1 + len(clone.params["run"]["models"]) + len(METHODS)
        (metrics_logged,) = database.execute("select count(*) from metrics").fetchone()
        assert metrics_logged >= len(METHODS) * len(clone.params["scoring"]["metrics"])


def test_a_second_time_nothing_runs(clone: Clone) -> None:
    assert clone.repro() == []


def test_votes_are_analysed_and_logged_and_nothing_else_runs(clone: Clone) -> None:
    bundle = load_bundle(clone.outputs / "study")
    store = Store(bundle, str(clone.root / "votes" / f"{bundle.study.study_id}.sqlite"))
    for _ in range(2):
        rate_everything(store, begin(store))
    store.close()
    assert clone.repro() == ["study_analysis", "track"]
    assert json.loads((clone.outputs / "study_analysis/analysis.json").read_text())["study"]["raters"] == 2
    with sqlite3.connect(clone.root / "mlflow.db") as database:
        query = "select count(*) from runs where name = 'user study' and lifecycle_stage = 'active'"
        assert database.execute(query).fetchone() == (1,)
    assert clone.repro() == []


def test_the_tree_stays_clean(clone: Clone) -> None:
    assert clone.run("git", "status", "--porcelain").stdout in ("", "?? dvc.lock\n", " M dvc.lock\n")


def test_a_metric_parameter_scores_again_and_generates_nothing(clone: Clone) -> None:
    clone.params["scoring"]["bootstrap"] = 101
    clone.save()
    ran = clone.repro()
    assert [stage for stage in ran if not stage.startswith("score@")] == ["compare", "track"]
    assert sorted(stage for stage in ran if stage.startswith("score@")) == sorted(f"score@{m}" for m in METHODS)


def test_one_methods_parameter_regenerates_that_method_also_after_a_kill(clone: Clone) -> None:
    clone.params["methods"]["360dvd"]["rotation"] = False
    clone.save()
    before = {method: manifest(clone, method) for method in METHODS}
    partial = clone.outputs / "partial/generate/360dvd"
    # A video is finished when its row of the manifest is there, too.
    clone.repro_killed_when(lambda: any(partial.glob("[!.]*.json")))
    first = next(partial.glob("[!.]*.json")).with_suffix(".mp4")
    finished, written = first.name, first.stat().st_mtime_ns
    ran = clone.repro()
    assert sorted(ran) == sorted(["generate@360dvd", "score@360dvd", "compare", "study", "study_analysis", "track"])
    assert (clone.outputs / "videos/360dvd" / finished).stat().st_mtime_ns == written, "a finished video was made again"
    assert not half_files(clone.outputs)
    after = {method: manifest(clone, method) for method in METHODS}
    assert [method for method in METHODS if after[method] != before[method]] == ["360dvd"]
    assert {v["sha256"] for v in after["360dvd"]}.isdisjoint(v["sha256"] for v in before["360dvd"])


def test_the_same_again_gives_the_same_videos_to_the_bit(clone: Clone) -> None:
    before = [video["sha256"] for video in manifest(clone, "360dvd")]
    assert clone.repro("--force", "--single-item", "generate@360dvd") == ["generate@360dvd"]
    assert [video["sha256"] for video in manifest(clone, "360dvd")] == before


def test_wrong_parameters_are_one_line_before_anything_runs(clone: Clone) -> None:
    clone.params["generation"]["stps"] = 3
    clone.save()
    done = clone.run("dvc", "repro")
    del clone.params["generation"]["stps"]
    clone.save()
    assert done.returncode != 0
    assert "panobench: error: params.yaml: unknown key 'generation.stps'; did you mean 'steps'?" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert clone.repro() == [], "what was there before the mistake is restored, not made again"


def test_a_missing_asset_is_named(clone: Clone) -> None:
    away = clone.root / "assets/nano/judge"
    away.rename(away.with_name("elsewhere"))
    done = clone.run("panobench", "params")
    away.with_name("elsewhere").rename(away)
    assert done.returncode == 1
    assert "'scoring.judge' is 'assets/nano/judge', but" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unreadable_video_is_named_and_the_rest_is_scored(clone: Clone, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    videos = sorted((clone.outputs / "videos/panorama_lora").glob("*.mp4"))
    (folder / "good.mp4").write_bytes(videos[0].read_bytes())
    (folder / "broken.mp4").write_bytes(videos[0].read_bytes()[:300])
    done = clone.run("panobench", "score", str(folder), "--metrics", "seam_ratio", "--out", str(tmp_path / "scores"))
    assert done.returncode == 1
    assert "broken.mp4" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "scores/metrics.json").is_file()


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(clone: Clone, small_disk: Path) -> None:
    params = clone.params | {"profile": "full", "dataset": clone.params["dataset"] | {"train_clips": 60}}
    (clone.root / "full.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (clone.root / "outputs/full").symlink_to(small_disk)
    done = clone.run("panobench", "data", "split", "--params", "full.yaml")
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("panobench: error: outputs/full/")
    assert error.endswith(": the disk is full; free some space and run the same command again")
    assert "Traceback" not in done.stderr
    assert not half_files(small_disk)
    assert not (small_disk / "dataset").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = clone.run("panobench", "data", "split", "--params", "full.yaml")
    assert done.returncode == 0, done.stderr
    assert len(list((small_disk / "dataset/train/videos").iterdir())) == 60
