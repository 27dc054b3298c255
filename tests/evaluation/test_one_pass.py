"""One pass: each network once per frame, nothing twice, and the same files whoever measured what."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.shards import Shard
from core.video import write_video
from evaluation import features
from evaluation.cache import FeatureCache
from evaluation.judge import Judge
from evaluation.metrics import METRICS, create_metrics
from evaluation.networks import Networks
from evaluation.perceptual import JudgeLpips, load_lpips
from evaluation.run import PARTS, Request, run
from evaluation.score import Scorer
from evaluation.views import ViewSet
from tests.evaluation.worlds import FPS, turning, write_set

PROMPTS = {"dunes": "a desert", "meadow": "a green meadow", "sea": "the sea"}
VIEWS = 12


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pass")
    write_set(root / "mine", list(PROMPTS))
    write_set(root / "reference", ["r0", "r1", "r2"])
    (root / "prompts.json").write_text(json.dumps(PROMPTS))
    return root


def request(videos: Path, judge_folder: Path, metrics: list[str], **changes) -> Request:
    made = Request(
        metrics=dict.fromkeys(metrics),
        prompts=videos / "prompts.json",
        reference=videos / "reference",
        judge=judge_folder,
        bootstrap=200,
        say=lambda line: None,
    )
    return replace(made, **changes)


@pytest.fixture
def looks(monkeypatch) -> list[int]:
    """How many pictures each call showed to the judge."""
    counted: list[int] = []
    look = Judge.encode_image
    monkeypatch.setattr(Judge, "encode_image", lambda self, views: counted.append(len(views)) or look(self, views))
    return counted


def test_another_metric_runs_no_network_again(videos, judge_folder, looks, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    first = run(videos / "mine", request(videos, judge_folder, ["clip_consistency"], cache=cache), tmp_path / "a")
    assert looks == [VIEWS] * 3 * 4  # each view of each frame of each video once, and no other
    both = ["clip_alignment", "clip_consistency"]
    second = run(videos / "mine", request(videos, judge_folder, both, cache=cache), tmp_path / "b")
    assert len(looks) == 12
    assert second.record["metrics"]["clip_consistency"] == first.record["metrics"]["clip_consistency"]
    fresh = run(videos / "mine", request(videos, judge_folder, both), tmp_path / "c")
    assert len(looks) == 24
    assert fresh.record == second.record
    assert (tmp_path / "b/scores.parquet").read_bytes() == (tmp_path / "c/scores.parquet").read_bytes()


def test_all_metrics_together_show_each_frame_to_each_network_once(videos, judge_folder, looks, tmp_path):
    run(videos / "mine", request(videos, judge_folder, METRICS.names()), tmp_path / "out")
    own = 3 * 4
    reference = 3 * 4
    # Seam metrics show the judge strips besides, in batches of their own.
    assert looks.count(VIEWS) == own + reference


def test_the_reference_is_described_once_for_all_methods(videos, judge_folder, tmp_path, monkeypatch):
    from evaluation import sphere_flow

    pairs: list[int] = []
    flow = sphere_flow.spherical_flow
    monkeypatch.setattr(sphere_flow, "spherical_flow", lambda frames: pairs.append(len(frames) - 1) or flow(frames))
    asked = request(videos, judge_folder, ["motion_distribution"], cache=FeatureCache(tmp_path / "cache"))
    first = run(videos / "mine", asked, tmp_path / "a", "one")
    assert pairs == [1] * 3 * 2 * (3 + 3)  # forward and backward, the reference and the videos
    second = run(videos / "mine", asked, tmp_path / "b", "two")
    assert len(pairs) == 36 + 18
    assert first.record["refused"] == second.record["refused"]  # three videos are too few for a distribution


def test_what_else_decides_the_features_is_in_the_key(videos, judge_folder, looks, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    asked = request(videos, judge_folder, ["clip_consistency"], cache=cache)
    run(videos / "mine", asked, tmp_path / "a")
    run(videos / "mine", replace(asked, views={"fov_deg": 80}), tmp_path / "b")
    assert len(looks) == 24
    for file in cache.folder.rglob("*.npy"):
        file.write_bytes(b"cut off")
    run(videos / "mine", asked, tmp_path / "c")
    assert len(looks) == 36


def test_a_full_cache_disk_stops_nothing(videos, judge_folder, small_disk, tmp_path):
    (small_disk / "filler").write_bytes(bytes(255 * 1024))
    said: list[str] = []
    asked = request(videos, judge_folder, ["clip_consistency"], cache=FeatureCache(small_disk / "c"), say=said.append)
    assert run(videos / "mine", asked, tmp_path / "a").count == 3
    assert any("nothing more is kept for another time" in line for line in said)


@pytest.mark.parametrize("new_frames", [1, 2, 3])
def test_where_a_clip_is_cut_changes_no_metric(videos, judge: Judge, tmp_path, monkeypatch, new_frames):
    names = [name for name in METRICS.names() if "reference" not in METRICS.get(name).needs]
    metrics = [
        m for m in create_metrics(dict.fromkeys(names)) if m.needs <= {"views", "flow", "prompt", "prompt_parts"}
    ]
    write_video(tmp_path / "long.mp4", turning(2.0, frames=8, height=32), FPS)
    scorer = Scorer(metrics, ViewSet("sphere12", 90, 32), Networks(judge), cache=FeatureCache(tmp_path / "cache"))
    whole = scorer.observe(tmp_path / "long.mp4", metrics, "a desert behind us")
    monkeypatch.setattr(features, "STRETCH_PIXELS", new_frames * 32 * 64)
    for cut in (scorer, replace(scorer, cache=FeatureCache())):  # from what was kept, and anew
        rows = cut.observe(tmp_path / "long.mp4", metrics, "a desert behind us")
        for metric in metrics:
            assert metric.compute(rows[metric.name]) == pytest.approx(
                metric.compute(whole[metric.name]), rel=1e-9, abs=1e-12
            ), metric.name


@pytest.mark.parametrize("stretch", [2, 100])
def test_the_number_of_threads_changes_no_number(judge: Judge, network_weights, tmp_path, monkeypatch, stretch):
    """To the bit, with everything that looks at frames; the judge's activations above all, which hooks collect."""
    names = [name for name in METRICS.names() if "reference" not in METRICS.get(name).needs]
    metrics = create_metrics(dict.fromkeys(names))
    for name, step in (("mine", 2.0), ("true", 3.0)):
        write_video(tmp_path / f"{name}.mp4", turning(step, frames=9, height=32), FPS)
    networks = Networks(judge, JudgeLpips(judge), load_lpips(network_weights["lpips"]))
    scorer = Scorer(metrics, ViewSet("sphere12", 90, 32), networks)
    monkeypatch.setattr(features, "STRETCH_PIXELS", stretch * 32 * 64)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        found.append(scorer.observe(tmp_path / "mine.mp4", metrics, "a desert behind us", tmp_path / "true.mp4"))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for name, rows in found[0].items():
        assert len(rows) or name == "directional_alignment"
        for others in found[1:]:
            np.testing.assert_array_equal(others[name], rows, err_msg=name)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".parquet")}


def test_one_process_equals_three_exactly(videos, judge_folder, tmp_path):
    asked = request(videos, judge_folder, METRICS.names())
    run(videos / "mine", asked, tmp_path / "one")
    assert run(videos / "mine", asked, tmp_path / "three", shard=Shard(2, 3)) is None
    assert run(videos / "mine", asked, tmp_path / "three", shard=Shard(0, 3)) is None
    assert not (tmp_path / "three/scores.parquet").exists()
    assert run(videos / "mine", asked, tmp_path / "three", shard=Shard(1, 3)) is not None
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")
    assert not (tmp_path / "three" / PARTS).exists()


@pytest.mark.slow
def test_three_real_processes_at_once_write_what_one_writes(videos, judge_folder, tmp_path):
    command = [sys.executable, "-m", "panobench", "score", str(videos / "mine"), "--judge", str(judge_folder)]
    command += ["--prompts", str(videos / "prompts.json"), "--reference", str(videos / "reference"), "--device", "cpu"]
    command += ["--metrics", "seam_ratio,clip_alignment,content_distribution,warping_error"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([*command, "--out", "one"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    started = [
        subprocess.Popen(
            [*command, "--out", "three", "--no-cache"],
            cwd=tmp_path,
            env=environment | {"RANK": str(rank), "WORLD_SIZE": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(3)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0, 0]
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, judge_folder):
    write_set(tmp_path / "many", [f"v{n:02d}" for n in range(30)], frames=6)
    command = [sys.executable, "-m", "panobench", "score", "many", "--out", "out", "--no-cache", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    parts = tmp_path / "out" / PARTS
    deadline = time.monotonic() + 120
    while len(list(parts.glob("*.json"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in parts.glob("*.json")}
    assert 5 <= len(done) < 30
    assert not (tmp_path / "out/scores.parquet").exists()
    subprocess.run([*command, "--rank", "29", "--world", "30"], cwd=tmp_path, env=environment, check=True)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # none was measured again
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    subprocess.run([*command[:-4], "again", *command[-3:]], cwd=tmp_path, env=environment, check=True)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "again")


def test_a_part_of_other_settings_or_another_video_is_not_taken(videos, judge_folder, looks, tmp_path):
    asked = request(videos, judge_folder, ["clip_consistency"])
    run(videos / "mine", asked, tmp_path / "out", shard=Shard(0, 2))
    assert len(looks) == 8
    run(videos / "mine", asked, tmp_path / "out", shard=Shard(0, 2))
    assert len(looks) == 8
    run(videos / "mine", replace(asked, views={"fov_deg": 80}), tmp_path / "out", shard=Shard(0, 2))
    assert len(looks) == 16


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path, monkeypatch):
    """Frames held at a time, whatever the length: counted where stretches are cut."""
    held: list[int] = []
    real = features.extract_features
    monkeypatch.setattr(
        "evaluation.score.extract_features", lambda frames, *a, **k: held.append(frames.size) or real(frames, *a, **k)
    )
    monkeypatch.setattr(features, "STRETCH_PIXELS", 4 * 32 * 64)
    metrics = create_metrics(dict.fromkeys(["seam_ratio", "flicker"]))
    for count in (10, 80):
        write_video(
            tmp_path / f"{count}.mp4", np.concatenate([turning(1.0, frames=10, height=32)] * (count // 10)), FPS
        )
        Scorer(metrics).observe(tmp_path / f"{count}.mp4", metrics)
    assert max(held) == 5 * 32 * 64 * 3
