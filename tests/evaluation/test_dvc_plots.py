"""`dvc plots diff` lays two reproductions over each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from evaluation.comparison import load_scored
from evaluation.page import Making
from evaluation.report import build_report
from tests.evaluation.reproduction import LABELS, write_reproduction

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_plots_show_the_losses_and_every_video_of_both_revisions(tmp_path: Path):
    outputs = write_reproduction(tmp_path)
    methods = [load_scored(outputs / "scores" / m, label, outputs / "videos" / m) for m, label in LABELS.items()]
    build_report(methods, outputs / "report", Making("panobench compare"))
    for name in ("panorama_lora", "adapter360"):
        shutil.copytree(outputs / "models" / "small_lora", outputs / "models" / name)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    table = pd.read_csv(outputs / "report" / "per_video.csv")
    asked = [next(iter(entry)) for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]]
    for name in ("warping_error", "seam_ratio_local", "content_distribution", "coherent_motion"):
        table[name] = table["seam_ratio"]

    def commit() -> None:
        table.to_csv(outputs / "report" / "per_video.csv", index=False)
        author = ["-c", "user.name=t", "-c", "user.email=t@t"]
        for command in (["add", "-f", "-A"], [*author, "commit", "-qm", "t"]):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    commit()
    table["seam_ratio_local"] += 1
    commit()
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = ["dvc", "plots", "diff", "HEAD~1", "HEAD", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert not shown.get("errors")
    assert list(shown["data"]) == asked
    values = shown["data"]["End continuity, a dot per video"][0]["content"]["data"]["values"]
    assert len(values) == 2 * 18
    by_revision = {(v["rev"], v["video"]): float(v["seam_ratio_local"]) for v in values}
    for video in table["video"]:
        assert by_revision["HEAD", video] == pytest.approx(by_revision["HEAD~1", video] + 1)
    losses = shown["data"]["Training loss"][0]["content"]["data"]["values"]
    assert len(losses) == 2 * 2 * 30
