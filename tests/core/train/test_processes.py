"""Training in two real processes, started by accelerate, against one process with as many rows per step."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from core.train.run import train_model
from core.train.validation import validation_videos
from tests.tiny import encode_tiny, tiny_params

ROOT = Path(__file__).parents[3]
STEPS = 4
LAUNCH = (
    "accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port 0 --module panobench train adapter"
)


def history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = {"kind": "adapter", "steps": STEPS, "learning_rate": 1e-2, "checkpoint_every": 2, "ema": 0.5}
    section["validation"] = {"every": 4, "prompts": ["a meadow", "a moon", "a lake"], "steps": 1}
    run = {"models": ["adapter"], "methods": ["a"]}
    one = tiny_params(tiny_base, profile="one", training={"adapter": section | {"batch": 2}}, run=run)
    two = tiny_params(tiny_base, profile="two", training={"adapter": section | {"batch": 1}}, run=run)
    encode_tiny(one)
    shutil.copytree(one.outputs / "cache", two.outputs / "cache")
    Path("params.yaml").write_text(yaml.safe_dump(two.model_dump(mode="json")), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *LAUNCH.split()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("panobench: wrote outputs/two/models/adapter") == 1
    folders = [train_model(one, "adapter", validation_videos), two.outputs / "models/adapter"]
    alone, together = map(history, folders)
    assert len(alone) == len(together) == STEPS
    for a, b in zip(alone, together, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), abs=1e-5)
        assert float(a["grad_norm"]) == pytest.approx(float(b["grad_norm"]), rel=1e-4)
    weights = [load_file(next(folder.glob("*.safetensors"))) for folder in folders]
    for key in weights[0]:  # Adam makes steps of the learning rate out of rounding where a gradient is nearly zero
        assert (weights[0][key] - weights[1][key]).abs().max() < 1e-4, key
    videos = [sorted(path.name for path in (folder / "validation/step-000004").iterdir()) for folder in folders]
    assert videos[0] == videos[1] == ["prompt-0.mp4", "prompt-1.mp4", "prompt-2.mp4"]
    curves = [(folder / "loss_by_timestep.csv").read_text().splitlines() for folder in folders]
    assert len(curves[0]) == len(curves[1]) > 2
    assert not (two.outputs / "checkpoints/adapter").exists()
