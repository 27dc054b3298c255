"""`panobench compare A B C` on folders of videos: scored alike, then compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from core.video import write_video
from panobench import cli
from tests.evaluation.worlds import FPS, broken_seam, turning, write_set

NAMES = [f"p{n}" for n in range(5)]


def compare(*arguments: object):
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "whole", NAMES)
    for seed, name in enumerate(NAMES):
        write_video(tmp_path / f"broken/{name}.mp4", broken_seam(turning(2.0, frames=4, height=32, seed=seed), 60), FPS)
    (tmp_path / "prompts.json").write_text(json.dumps({name: f"prompt {name}" for name in NAMES}))
    return tmp_path


def test_folders_of_videos_are_scored_alike_and_compared(here: Path):
    done = compare("whole", "broken", "--prompts", "prompts.json", "--metrics", "seam_ratio,flicker", "--out", "page")
    assert done.exit_code == 0, done.output
    comparison = json.loads((here / "page/comparison.json").read_text())
    assert [method["name"] for method in comparison["methods"]] == ["whole", "broken"]
    means = comparison["metrics"]["seam_ratio"]["methods"]
    assert means["broken"]["mean"] > 2 * means["whole"]["mean"]
    assert [prompt["prompt"] for prompt in comparison["prompts"]] == [f"prompt {name}" for name in NAMES]
    assert (here / "page/index.html").stat().st_size > 10_000
    # A scored folder beside one of videos.
    again = compare("page/scores/whole", "broken", "--prompts", "prompts.json", "--metrics", "seam_ratio,flicker")
    assert again.exit_code == 0, again.output
    found = json.loads((here / "report/comparison.json").read_text())["metrics"]["seam_ratio"]
    assert found["methods"] == comparison["metrics"]["seam_ratio"]["methods"]


def test_methods_that_do_not_compare_are_refused_before_anything_is_scored(here: Path):
    write_set(here / "large", NAMES, height=64, frames=6)
    refused = compare("whole", "large", "--metrics", "flicker", "--out", "page")
    assert refused.exit_code == 1
    assert "the methods differ: whole 64x32, 4 frames, 8 fps; large 128x64, 6 frames, 8 fps" in refused.output
    assert not (here / "page").exists()
    resampled = compare("whole", "large", "--metrics", "flicker", "--resample", "64x32@8x4", "--out", "page")
    assert resampled.exit_code == 0, resampled.output
    assert "resampled" in (here / "page/index.html").read_text()


def test_folders_of_one_name_are_told_apart_and_a_broken_video_is_named(here: Path):
    for name in ("a", "b"):
        write_set(here / name / "videos", NAMES)
    (here / "b/videos/p9.mp4").touch()
    done = compare("a/videos", "b/videos", "--metrics", "flicker", "--out", "page")
    assert done.exit_code == 1
    assert "not scored: p9.mp4: the file is empty" in done.output
    assert "1 videos were not scored" in done.output
    methods = json.loads((here / "page/comparison.json").read_text())["methods"]
    assert [method["name"] for method in methods] == ["a_videos", "b_videos"]


def test_a_params_file_of_another_project_is_not_read(here: Path):
    (here / "params.yaml").write_text("learning_rate: 0.1\n")
    done = CliRunner().invoke(cli, ["score", "whole", "--metrics", "flicker"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "no params.yaml of panobench here" in done.output
    nothing = compare()
    assert nothing.exit_code == 1
    assert "give the folders to compare" in nothing.output


def test_paths_of_a_parameter_file_are_found_beside_it(here: Path, judge_folder: Path):
    root = Path(__file__).parents[2]
    text = (root / "params.yaml").read_text().replace("judge: assets/nano/judge", "judge: weights/tiny")
    (here / "elsewhere/weights").mkdir(parents=True)
    (here / "elsewhere/weights/tiny").symlink_to(judge_folder)
    (here / "elsewhere/params.yaml").write_text(text)
    arguments = ["score", "whole", "--params", "elsewhere/params.yaml", "--metrics", "clip_consistency"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert np.isfinite(
        json.loads((here / "scores/whole/metrics.json").read_text())["metrics"]["clip_consistency"]["mean"]
    )
