"""`panobench train NAME`: from parameters and cache to a folder with weights, history and what made them."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.data.partial import identity_hash
from core.errors import PanobenchError, did_you_mean
from core.files import publish_directory, write_json
from core.model.base import default_device, folder_hash, load_base
from core.params_schema import LoraTraining, Params
from core.train.adapter import adapter_loss, build_adapter
from core.train.cache import Cache
from core.train.loop import LoopSettings, fit, write_history
from core.train.lora import add_lora_layers, lora_loss, save_lora


def train_model(params: Params, name: str) -> Path:
    """Train one entry of `training` and return its folder under `outputs/<profile>/models`.

    The folder holds the weights, `history.csv` and `training.json`, and appears when training has ended. Checkpoints
    live beside it in `checkpoints/<name>`, are used only for the same parameters and inputs, and go at the end.
    """
    if name not in params.training:
        raise PanobenchError(f"training does not define '{name}'{did_you_mean(name, list(params.training))}")
    settings, outputs, device = params.training[name], params.outputs, default_device()
    cache = Cache(outputs / "cache")
    base = load_base(params.base.model, params.base.motion_adapter, device=device)
    inputs = {
        "model": name,
        "training": settings.model_dump(),
        "frames": params.video.frames,
        "seed": params.seed,
        "cache": cache.hash,
        "base": folder_hash(params.base.model, params.base.motion_adapter),
    }
    checkpoint = outputs / "checkpoints" / name / "last.pt"
    start = time.perf_counter()
    with ExitStack() as stack:
        model: nn.Module
        if isinstance(settings, LoraTraining):
            model = add_lora_layers(base, settings, params.seed)
            loss = lora_loss(base, cache, settings, params.seed, stack)
        else:
            model = adapter = build_adapter(base, settings, params.seed).to(device)
            loss = adapter_loss(base, adapter, cache, settings, params.video.frames, params.seed, stack)
        history = fit(
            model,
            loss,
            LoopSettings(
                steps=settings.steps,
                learning_rate=settings.learning_rate,
                schedule=settings.schedule,
                weight_decay=settings.weight_decay,
                clip_norm=settings.clip_norm,
                checkpoint_every=settings.checkpoint_every,
                precision=settings.precision,
            ),
            checkpoint,
            identity_hash(inputs),
            description=f"train {name}",
        )
    partial, final = outputs / "partial" / "train" / name, outputs / "models" / name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if isinstance(settings, LoraTraining):
        save_lora(model, partial)
    else:
        model.eval().save_pretrained(partial)  # type: ignore[operator]
    write_history(partial / "history.csv", history)
    write_json(partial / "training.json", _record(inputs, model, history[-1].seconds, device, start))
    publish_directory(partial, final)
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return final


def _record(
    inputs: dict[str, Any], model: nn.Module, seconds: float, device: torch.device, start: float
) -> dict[str, Any]:
    return {
        **inputs,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "training_seconds": round(seconds, 1),
        "wall_seconds": round(time.perf_counter() - start, 1),  # of the last run, with loading
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
