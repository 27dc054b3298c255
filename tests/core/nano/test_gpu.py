"""The training of the nano base on a GPU, going on from what is shipped, against the same on the CPU."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from core.nano.pretrain.loop import Plan
from core.nano.pretrain.run import GOING_ON, Pretraining
from core.nano.pretrain.settings import Settings

pytestmark = pytest.mark.gpu

ASSETS = Path(__file__).parents[3] / "assets/nano"
TRAINED = ("decoder", "unet", "motion", "polish")


def settings() -> Settings:
    """The smoke settings, with three steps each."""
    read = Settings.read(ASSETS / "smoke.yaml")
    plans = {name: Plan(**{**vars(getattr(read, name)), "steps": 3}) for name in TRAINED}
    return Settings(**{**vars(read), **plans})


def test_going_on_trains_as_on_the_cpu_and_ships(tmp_path, device):
    """Every step's loss; then a folder of half-precision weights on which a CPU goes on."""
    curves, runs = {}, {"here": "cpu", "there": device.type}
    for run, where in runs.items():
        trained, assets = tmp_path / run / "trained", tmp_path / run / "assets"
        shutil.copytree(ASSETS, assets)
        if run == "there":  # the pictures are the same, and take the longest
            shutil.copytree(tmp_path / "here/trained/data", trained / "data")
        pretraining = Pretraining(settings(), trained, workers=2, device=where)
        pretraining.go_on_from(assets)
        pretraining.run([phase for phase in GOING_ON if phase != "export" or run == "there"], assets)
        curves[run] = {name: pd.read_csv(trained / f"{name}.csv").loss.tolist() for name in TRAINED}
    for name in TRAINED:
        assert len(curves["here"][name]) == 3
        # Latents are kept in half precision, where rounding on either side shows; other rows differ by a multiple.
        assert curves["there"][name] == pytest.approx(curves["here"][name], rel=2e-2), name
    shipped = tmp_path / "there/assets"
    record = json.loads((shipped / "training.json").read_text())
    assert all(record[name][-1]["device"] == device.type for name in TRAINED)
    for moved in ("base/unet", "motion_adapter", "base/vae"):
        name = f"{moved}/diffusion_pytorch_model.safetensors"
        before, after = load_file(ASSETS / name), load_file(shipped / name)
        assert before.keys() == after.keys()
        assert {tensor.dtype for tensor in after.values()} == {torch.float16}
        change = max(float((after[key].float() - before[key].float()).abs().max()) for key in before)
        assert 0 < change < 0.1, moved
