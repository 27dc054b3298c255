"""Training on a GPU against training on the CPU: the same rows, noise and start weights, so the same losses."""

import csv
import gc
from contextlib import ExitStack

import numpy as np
import pytest
import torch

import core.train.loop as loop
from baselines.generate import build_pipeline
from baselines.recipes import resolve
from benchmarks.random_base import RandomClips, Size, random_adapter, random_base
from core.files import read_json
from core.params_schema import AdapterTraining
from core.train.adapter import adapter_loss
from core.train.diffusion import Rows
from core.train.loop import LoopSettings, fit
from core.train.run import train_model
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_params, write_tiny_cache

pytestmark = pytest.mark.gpu

KINDS = {"adapter": {"kind": "adapter", "circular_padding": True}, "lora": {"kind": "lora", "rank": 2}}
COMMON = {"steps": 8, "batch": 2, "learning_rate": 1e-2, "checkpoint_every": 2}
# Of losses of about 1. Adam turns the sign of a gradient that is nearly zero into a whole step, so that rounding moves
# weights, though such as hardly change the loss. The training itself changes it by 1e-2 and more, a resumed run without
# the optimiser's state by 1e-3 and more.
NEAR, NEAR_RESUMED = 2e-4, 5e-4


@pytest.fixture
def params(tiny_base, tmp_path, monkeypatch, device):
    """Parameters of a tiny profile with its cache, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    params = tiny_params(tiny_base)
    write_tiny_cache(params)
    return params


def train(params, name: str, where: torch.device | str, monkeypatch, **options) -> list[float]:
    """Losses of a training of this kind on a device."""
    monkeypatch.setenv("PANOBENCH_DEVICE", str(where))
    content = params.model_dump(mode="json") | {"training": {name: KINDS[name] | COMMON | options}}
    folder = train_model(type(params).model_validate(content), name)
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", KINDS)
def test_losses_are_the_cpus_and_the_model_serves_the_pipeline(params, device, monkeypatch, name):
    """Also with accumulation, averaged weights and checkpointing; then a method samples with what was trained."""
    options = {"gradient_checkpointing": True, "gradient_accumulation": 2, "batch": 1, "ema": 0.5}
    here = train(params, name, "cpu", monkeypatch)
    there = train(params, name, device, monkeypatch, **options)
    assert there == pytest.approx(here, abs=NEAR)
    assert max(here) - min(here) > 50 * NEAR
    record = read_json(params.outputs / "models" / name / "training.json")
    if device.type == "cuda":
        assert record["device"] == torch.cuda.get_device_name(device)
        assert record["peak_memory_gib"] > 0
    method = {"adapter": "d", "lora": "b"}[name]
    recipe, frames = resolve(params, method), {}
    for where in ("cpu", device):
        pipe = build_pipeline(recipe, torch.device(where))
        frames[str(where)] = pipe(
            "a meadow", seeds=[1], frames=FRAMES, height=HEIGHT, width=WIDTH, steps=2, output_type="np"
        ).frames
    assert np.abs(frames["cpu"] - frames[str(device)]).max() < 1e-3


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("precision", "near"), [("bf16", 4e-3), ("fp16", 1e-3)])
def test_mixed_precision_stays_near(params, device, monkeypatch, name, precision, near):
    """bf16 has 8 bits, and its errors average out over a loss; the scaled loss of fp16 is scaled back."""
    plain = train(params, name, device, monkeypatch)
    assert train(params, name, device, monkeypatch, precision=precision, ema=0.5) == pytest.approx(plain, rel=near)


@pytest.mark.parametrize(("name", "precision"), [("adapter", "fp32"), ("adapter", "fp16"), ("lora", "bf16")])
def test_an_interrupted_training_goes_on_to_the_same_losses(params, device, monkeypatch, name, precision):
    """From the checkpoint of the fourth step: weights, average, optimiser, and the loss scale of fp16."""
    options = {"precision": precision, "ema": 0.5, "schedule": "cosine"}
    whole = train(params, name, device, monkeypatch, **options)
    rate, steps = loop.learning_rate, []

    def interrupt(settings: LoopSettings, step: int) -> float:
        steps.append(step)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return rate(settings, step)

    monkeypatch.setattr(loop, "learning_rate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(params, name, device, monkeypatch, **options)
    assert train(params, name, device, monkeypatch, **options) == pytest.approx(whole, abs=NEAR_RESUMED)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7]


def test_a_checkpoint_of_the_gpu_goes_on_on_the_cpu(params, device, monkeypatch):
    whole = train(params, "adapter", "cpu", monkeypatch)
    rate = loop.learning_rate

    def interrupt(settings: LoopSettings, step: int) -> float:
        if step == 4:
            raise KeyboardInterrupt
        return rate(settings, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(params, "adapter", device, patch)
    assert train(params, "adapter", "cpu", monkeypatch) == pytest.approx(whole, abs=NEAR)


def test_gradient_checkpointing_takes_less_memory_for_the_same_losses(device, tmp_path):
    """Activations of 16 frames outweigh the weights here, as they do at full size."""
    size = Size(96, 16, (32, 32, 64, 64), (8, 16, 16), 1, 2, 16, 8, 4)
    settings = AdapterTraining(kind="adapter", steps=2, batch=1, learning_rate=1e-3)
    losses, peaks = {}, {}
    for checkpointing in (False, True):
        base, adapter = random_base(size, torch.float32, "cpu"), random_adapter(size, torch.float32, "cpu").to(device)
        for part in (base.unet, base.vae, base.text_encoder, base.motion_adapter):
            part.to(device)
        unet = base.motion_unet()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        with ExitStack() as stack:
            loss = adapter_loss(base, unet, adapter, RandomClips(size), settings, size.frames, 0, stack)
            if device.type == "cuda":
                gc.collect()
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
            path = tmp_path / f"{checkpointing}.pt"
            losses[checkpointing] = [row.loss for row in fit(adapter, loss, LoopSettings(2, 1e-3), path, "x").rows]
            if device.type == "cuda":
                peaks[checkpointing] = torch.cuda.max_memory_allocated(device) - before
        del base, adapter, unet, loss
    assert losses[True] == pytest.approx(losses[False], abs=NEAR)
    # Of what the backward pass needs, 440 MiB, about half need not be kept; workspaces of cuDNN are in both.
    assert device.type != "cuda" or peaks[True] < 0.9 * peaks[False], peaks


def test_rows_are_on_the_gpu_and_drawn_ahead(params, tiny_base, device):
    """The next batch is read by a thread while the GPU computes; which changes nothing of it."""
    size = Size(32, FRAMES, (16, 16, 32, 32), (8, 16, 16), 1, 2, 16, 8, 4)
    base = random_base(size, torch.float32, device)
    adapter = random_adapter(size, torch.float32, device)
    settings = AdapterTraining(kind="adapter", steps=2, batch=2, learning_rate=1e-3)
    first, second = Rows(0, range(2), 2), Rows(1, range(2), 2)
    with ExitStack() as stack:
        loss = adapter_loss(base, base.motion_unet(), adapter, RandomClips(size), settings, FRAMES, 0, stack)
        ahead = [loss(first, second), loss(second, None)]
        alone = [loss(first, None), loss(second, None)]
    for one, two in zip(ahead, alone, strict=True):
        assert one.mean.device.type == one.timesteps.device.type == device.type
        assert torch.equal(one.timesteps, two.timesteps)
        assert one.mean.item() == pytest.approx(two.mean.item(), rel=1e-5)
