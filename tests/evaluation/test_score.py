import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from core.video import write_video
from evaluation.manifest import read_videos
from evaluation.metrics import METRICS, create_metrics
from evaluation.metrics.base import SetMetric
from evaluation.metrics.proven import PROVEN
from evaluation.records import COLUMNS, table, write_scores
from evaluation.score import Scorer, score_videos
from panobench import cli
from tests.evaluation.test_manifest import row_of, write_manifest
from tests.evaluation.worlds import FPS, stretched, turning, write_set

CHEAP = "seam_ratio,seam_percentile,flicker"
PROMPTS = "video,prompt\n" + "".join(f"{name},a {name} behind us\n" for name in ("dunes", "meadow", "sea"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("score")
    write_set(root / "mine", ["dunes", "meadow", "sea"])
    write_set(root / "reference", ["r0", "r1", "r2"])
    (root / "prompts.csv").write_text(PROMPTS)
    return root


def run(*arguments: object):
    return CliRunner().invoke(cli, ["score", *map(str, arguments)], catch_exceptions=False)


def test_all_metrics_from_the_command_line(
    shared: Path, judge_folder: Path, network_weights: dict[str, Path], tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # no params.yaml: somebody else's videos
    weights = [argument for role, path in network_weights.items() for argument in ("--weights", f"{role}={path}")]
    arguments = (
        shared / "mine", "--prompts", shared / "prompts.csv", "--reference", shared / "reference",
        "--paired", shared / "mine", "--judge", judge_folder, *weights, "--device", "cpu", "--metrics", "all",
    )  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    of_sets = [name for name in METRICS.names() if issubclass(METRICS.get(name), SetMetric)]
    of_videos = [name for name in METRICS.names() if name not in of_sets]
    scores = pd.read_parquet("scores/mine/scores.parquet")
    assert tuple(scores.columns) == COLUMNS
    assert len(scores) == 3 * len(of_videos)
    assert np.isfinite(scores["value"]).all()
    summary = json.loads(Path("scores/mine/metrics.json").read_text())
    assert (summary["schema"], summary["method"]) == (1, "mine")
    assert list(summary["metrics"]) == of_videos
    assert sorted(summary["refused"]) == sorted(of_sets)  # three videos are too few
    for name, entry in summary["metrics"].items():
        rows = scores[scores["metric"] == name]
        assert entry["mean"] == pytest.approx(rows["value"].mean())
        assert entry["low"] <= entry["mean"] <= entry["high"]
        assert (entry["n"], entry["direction"]) == (3, METRICS.get(name).direction)
    for name in of_sets:
        assert f"{name}: no number: 3 videos against 3 reference videos" in result.output
    settings = json.loads(Path("scores/mine/settings.json").read_text())
    assert len(settings["judge"]["sha256"]) == 64
    assert settings["networks"].keys() == network_weights.keys()
    assert settings["views"] == {"set": "sphere12", "fov_deg": 90.0, "size": 20}  # 64 / pi
    assert settings["reference_videos"] == 3
    first = {path.name: path.read_bytes() for path in Path("scores/mine").iterdir()}
    run(*arguments, "--out", "again")
    assert {path.name: path.read_bytes() for path in Path("again").iterdir()} == first


def test_without_prompts_judge_and_reference_the_rest_is_measured(shared: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # an empty cache
    result = run(shared / "mine", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "left out: clip_alignment needs prompts (--prompts) and a judge (--judge" in result.output
    assert "left out: content_distribution needs reference videos" in result.output
    measured = set(json.loads(Path("out/metrics.json").read_text())["metrics"])
    needless = {name for name in METRICS.names() if not METRICS.get(name).needs - {"flow"}}
    assert needless & set(PROVEN) == needless & measured  # what failed its proof is asked for by name, or with all
    everything = run(shared / "mine", "--metrics", "all", "--out", "all")
    assert "left out: view_lpips needs true videos (--paired) and weights: the AlexNet under LPIPS" in everything.output
    assert set(json.loads(Path("all/metrics.json").read_text())["metrics"]) >= needless
    assert not measured & {"clip_alignment", "clip_consistency", "content_distribution", "clip_mmd", "view_lpips"}


def test_true_videos_are_found_by_name_and_must_fit(shared: Path, tmp_path: Path):
    truth = tmp_path / "truth"
    write_set(truth, ["dunes"])
    write_set(truth, ["meadow"], frames=5)
    result = run(shared / "mine", "--paired", truth, "--metrics", "ws_psnr", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"not scored: meadow.mp4: its true video {truth / 'meadow.mp4'} is 64x32, 5 frames, 8 fps" in result.output
    assert f"not scored: sea.mp4: no true video of this name in {truth}" in result.output
    scores = pd.read_parquet(tmp_path / "out/scores.parquet")
    assert scores["video_id"].tolist() == ["dunes"]
    assert scores["value"].tolist() == [100.0]  # the same clip


def test_a_metric_of_the_whole_set_has_a_value_an_interval_and_a_floor(judge_folder: Path, tmp_path: Path):
    """Clips of the reference's kind are not told from it; dark ones are, although the judge is random."""
    names = [f"v{number:02}" for number in range(10)]
    for index, name in enumerate(names):
        for kind, frames in {
            "real": turning(2.0, frames=2, height=32, seed=index),
            "same": turning(2.0, frames=2, height=32, seed=100 + index),
            "dark": turning(2.0, frames=2, height=32, seed=200 + index) // 4,
        }.items():
            write_video(tmp_path / kind / f"{name}.mp4", frames, FPS)
    found = {}
    for kind in ("same", "dark"):
        options = ["--reference", tmp_path / "real", "--judge", judge_folder, "--metrics", "clip_mmd,seam_ratio"]
        result = run(tmp_path / kind, *options, "--out", tmp_path / f"scores-{kind}")
        assert result.exit_code == 0, result.output
        assert "(real against real" in result.output
        found[kind] = json.loads((tmp_path / f"scores-{kind}/metrics.json").read_text())["metrics"]["clip_mmd"]
        draws = pd.read_parquet(tmp_path / f"scores-{kind}/sets.parquet")
        assert len(draws) == 200
    same, dark = found["same"], found["dark"]
    assert (same["n"], same["prompts"], same["reference"], same["of"]) == (10, 10, 10, "set")
    assert same["low"] < 0 < same["high"]
    assert dark["low"] > 0
    assert dark["low"] > same["floor"]["high"]


def test_one_process_equals_three(shared: Path, tmp_path: Path):
    metrics = create_metrics(dict.fromkeys(CHEAP.split(",")))
    items = read_videos(shared / "mine").items
    together = score_videos(items, Scorer(metrics)).rows
    shards = [score_videos(items[rank::3], Scorer(metrics)).rows for rank in (2, 0, 1)]
    apart = [row for shard in shards for row in shard]
    for name, rows in (("one", together), ("three", apart)):
        write_scores(tmp_path / name, "mine", table(rows, metrics), {})
    for file in ("scores.parquet", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "three" / file).read_bytes()


def test_broken_videos_are_named_and_the_rest_is_scored(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "v", ["good", "fine"])
    (tmp_path / "v/zero.mp4").touch()
    (tmp_path / "v/noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = (tmp_path / "v/good.mp4").read_bytes()
    (tmp_path / "v/cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    write_video(tmp_path / "v/wide.mp4", np.zeros((4, 36, 64, 3), np.uint8), FPS)
    write_video(tmp_path / "v/single.mp4", turning(0, frames=1, height=32), FPS)
    write_sound(tmp_path / "v/sound.mp4")
    result = run("v", "--metrics", CHEAP, "--out", "out")
    assert result.exit_code == 1
    for name, reason in {
        "zero.mp4": "empty", "noise.mp4": "not a readable video", "cut.mp4": "truncated",
        "wide.mp4": "64x36 is not 2:1", "single.mp4": r"1 frame(s)", "sound.mp4": "no video stream",
    }.items():  # fmt: skip
        lines = [line for line in result.output.splitlines() if line.startswith(f"not scored: {name}: ")]
        assert len(lines) == 1, result.output
        assert reason in lines[0]
    assert "panobench: error: 6 of 8 not scored (listed above); the rest is in out" in result.output
    assert "Traceback" not in result.output
    assert set(pd.read_parquet("out/scores.parquet")["video_id"]) == {"good", "fine"}


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("height", "frames", "fps"), [(64, 4, FPS), (32, 5, FPS), (32, 4, 2 * FPS)], ids=["size", "frames", "fps"]
)
def test_a_mixed_set_is_refused(tmp_path: Path, height: int, frames: int, fps: float):
    write_set(tmp_path / "v", ["a", "b"])
    write_set(tmp_path / "v", ["odd"], height, frames, fps)
    result = run(tmp_path / "v", "--metrics", CHEAP, "--out", tmp_path / "out")
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert "the videos of v differ: 64x32, 4 frames, 8 fps (2, e.g. a.mp4); " in last
    assert "odd.mp4" in last
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": 9}, "frames is 4, but the manifest says 9"),
        ({"fps": 30.0}, "fps is 8, but the manifest says 30"),
        ({"sha256": "1" * 64}, "the file is not the one that the manifest lists"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_named(tmp_path: Path, changes: dict, reason: str):
    write_set(tmp_path / "v", ["a", "b"])
    write_manifest(tmp_path / "v", [row_of(tmp_path / "v/a.mp4"), row_of(tmp_path / "v/b.mp4", **changes)])
    result = run(tmp_path / "v", "--metrics", CHEAP, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"not scored: b.mp4: {reason}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none: no such file or folder"),
        (["mine", "--metrics", "seam_rato"], "unknown metric 'seam_rato'; did you mean 'seam_ratio'?"),
        (["mine", "--metrics", "clip_alignment"], "clip_alignment needs prompts (--prompts) and a judge (--judge"),
        (["mine", "--metrics", "ws_psnr"], "ws_psnr needs true videos (--paired)"),
        (["mine", "--metrics", "ws_psnr", "--paired", "none"], "none: no videos there; --paired takes a folder"),
        (["mine", "--weights", "lpip=a.pth"], "--weights: unknown role 'lpip'; did you mean 'lpips'?"),
        (["mine", "--weights", "lpips"], "--weights: expected ROLE=PATH, got 'lpips'"),
        (
            ["mine", "--paired", "mine", "--metrics", "view_lpips", "--weights", "lpips=a.pth"],
            "view_lpips needs weights: a.pth: no such file; scoring.weights.lpips names the AlexNet under LPIPS",
        ),
        (["mine", "--metrics", "content_distribution"], "content_distribution needs reference videos"),
        (["mine", "--metrics", ","], "--metrics: no name given"),
        (["mine", "--reference", "none"], "none: no such folder"),
        (["mine", "--judge", "none", "--prompts", "prompts.csv"], "none: no judge there"),
        (["mine", "--prompts", "none.csv"], "none.csv: no such file"),
        (["mine", "--metrics", "flicker", "--device", "gpu"], "--device: 'gpu' is no device; expected cpu, cuda"),
        (["mine", "--metrics", "flicker", "--device", "cuda:99"], "--device: 'cuda:99' cannot be used: "),
        (["mine", "--reference", "large", "--metrics", "content_distribution"], "the reference is 128x64"),
        (["broken"], "broken: none of the 1 videos can be scored"),
    ],
)
def test_bad_arguments_are_one_clear_line(shared: Path, monkeypatch, arguments: list[str], message: str):
    monkeypatch.chdir(shared)
    if not Path("large").exists():
        write_set(Path("large"), ["a", "b"], height=64)
        Path("broken").mkdir()
        Path("broken/a.mp4").touch()
    result = run(*arguments, "--out", "out")
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("panobench: error: ")
    assert message in last


def test_parameters_of_metrics_are_checked_by_name():
    from core.errors import PanobenchError

    assert create_metrics({"seam_ratio": {"floor_levels": 1.5}})[0].floor_levels == 1.5
    for options, message in (
        ({"floor_level": 1}, r"scoring.metrics.seam_ratio.floor_level: unknown parameter; did you mean 'floor_levels'"),
        ({"floor_levels": 0}, r"scoring.metrics.seam_ratio.floor_levels: Input should be greater than 0"),
        ({"floor_levels": "much"}, r"floor_levels: .*found 'much'"),
    ):
        with pytest.raises(PanobenchError, match=message):
            create_metrics({"seam_ratio": options})


def test_a_parameter_of_a_metric_changes_its_value(tmp_path: Path):
    write_video(tmp_path / "v/a.mp4", stretched(frames=2, height=32), FPS)
    item = read_videos(tmp_path / "v").items
    values = [
        score_videos(item, Scorer(create_metrics({"seam_ratio": {"floor_levels": floor}}))).rows[0]["value"]
        for floor in (0.25, 25.0)
    ]
    assert values[0] > 2 * values[1]


def test_the_list_names_every_metric_with_unit_and_criterion():
    result = CliRunner().invoke(cli, ["metrics"], catch_exceptions=False)
    assert result.exit_code == 0
    for name in METRICS.names():
        metric = METRICS.get(name)
        line = next(line for line in result.output.splitlines() if line.startswith(f"{name} "))
        assert metric.unit in line
        assert metric.criterion.replace("_", " ") in line
        assert metric.name == name
        assert metric.version >= 1
    long = CliRunner().invoke(cli, ["metrics", "--long"], catch_exceptions=False)
    assert "Source:" in long.output
