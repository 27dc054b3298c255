"""`panobench train NAME`: from parameters and training set to a folder with weights, history and what made them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import UNetMotionModel
from torch import nn

from core.data.work import identity_hash
from core.errors import PanobenchError, did_you_mean
from core.files import publish_directory, write_json
from core.model.base import Base, load_base, weights_hash
from core.params_schema import AnyTraining, LoraTraining, Params
from core.train.adapter import adapter_loss, build_adapter
from core.train.cache import Cache, Clips
from core.train.loop import History, LoopSettings, fit
from core.train.lora import add_lora_layers, lora_loss, save_lora
from core.train.processes import Processes, start_processes
from core.train.raw import RawClips

# Change nothing of what a step computes but rounding: with others of these a checkpoint still serves.
_NOT_IDENTITY = {"batch", "gradient_accumulation", "gradient_checkpointing", "checkpoint_every", "validation"}


class MakeValidation(Protocol):
    """Prepares validation videos: `core.train.validation.validation_videos`."""

    def __call__(
        self,
        params: Params,
        name: str,  # of the training
        base: Base,
        unet: UNetMotionModel,  # of the base, without LoRA
        model: nn.Module,  # in training
        folder: Path,  # for the videos
        processes: Processes,
    ) -> Callable[[int], None]:
        """What makes the videos; called with the number of steps done."""


def train_model(params: Params, name: str, make_validation: MakeValidation | None = None) -> Path:
    """Train one entry of `training` and return its folder under `outputs/<profile>/models`.

    The folder holds the weights, `history.csv`, `loss_by_timestep.csv`, `training.json` and validation videos where
    they are asked for, and appears when training has ended. Checkpoints live beside it in `checkpoints/<name>`, are
    used only for the same parameters and inputs, and go at the end.

    Under `accelerate launch` or torchrun all processes call this; the first of them writes.
    """
    if name not in params.training:
        raise PanobenchError(f"training does not define '{name}'{did_you_mean(name, list(params.training))}")
    settings, outputs = params.training[name], params.outputs
    processes = start_processes(settings.precision)
    base = load_base(
        params.base.model,
        params.base.motion_adapter,
        device=processes.device,
        configs=params.base.configs,
        released_groupnorm=params.base.groupnorm == "released",
    )
    clips: Clips = Cache(outputs / "cache") if settings.cached else RawClips(params, base)
    inputs = {
        "model": name,
        "training": settings.model_dump(),
        "step_batch": settings.batch * settings.gradient_accumulation * processes.world,
        "frames": params.video.frames,
        "seed": params.seed,
        "cache": clips.hash,
        "base": weights_hash(params.base.model, params.base.motion_adapter),
        "groupnorm": params.base.groupnorm,
        "flow_encoding": clips.encoding,
    }
    lasting = {key: value for key, value in settings.model_dump().items() if key not in _NOT_IDENTITY}
    identity = identity_hash(inputs | {"training": lasting})
    checkpoints = outputs / "checkpoints" / name
    videos = checkpoints / f"validation-{identity[:12]}"
    start = time.perf_counter()
    with ExitStack() as stack:
        wants_videos = settings.validation is not None and make_validation is not None
        unet = None
        if wants_videos or not isinstance(settings, LoraTraining):
            unet = base.motion_unet()  # a copy, before LoRA layers are put into the base's own
        model: nn.Module
        if isinstance(settings, LoraTraining):
            model = trained_unet = add_lora_layers(base, settings, params.seed)
            losses = lora_loss(base, clips, settings, params.seed, stack)
        else:
            assert unet is not None
            model = adapter = build_adapter(base, settings, params.seed).to(processes.device)
            trained_unet = unet
            losses = adapter_loss(base, unet, adapter, clips, settings, params.video.frames, params.seed, stack)
        if settings.gradient_checkpointing:
            trained_unet.enable_gradient_checkpointing()  # type: ignore[operator]
        validate = None
        if wants_videos:
            assert unet is not None
            assert make_validation is not None
            validate = make_validation(params, name, base, unet, model, videos, processes)
        history = fit(
            model,
            losses,
            _loop_settings(settings, base),
            checkpoints / "last.pt",
            identity,
            f"train {name}",
            processes,
            validate,
        )
    final = outputs / "models" / name
    processes.wait()  # all validation videos are there
    if processes.main:
        record = _record(inputs, model, history, processes, start)
        _publish(model, settings, history, record, videos, outputs / "partial" / "train" / name, final)
        shutil.rmtree(checkpoints, ignore_errors=True)
    processes.wait()
    return final


def _loop_settings(settings: AnyTraining, base: Base) -> LoopSettings:
    return LoopSettings(
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        batch=settings.batch,
        gradient_accumulation=settings.gradient_accumulation,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        checkpoint_every=settings.checkpoint_every,
        validation_every=settings.validation.every if settings.validation else None,
        precision=settings.precision,
        ema=settings.ema,
        timesteps=base.scheduler.config.num_train_timesteps,
    )


def _publish(
    model: Any,
    settings: AnyTraining,
    history: History,
    record: dict[str, Any],
    videos: Path,  # of validation; may be absent
    partial: Path,
    final: Path,
) -> None:
    """Write the model's folder and move it into place."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if isinstance(settings, LoraTraining):
        save_lora(model, partial)
    else:
        model.eval().save_pretrained(partial)
    history.write(partial)
    write_json(partial / "training.json", record)
    if settings.validation is not None and videos.is_dir():
        shutil.copytree(videos, partial / "validation")
    publish_directory(partial, final)


def _record(
    inputs: dict[str, Any], model: nn.Module, history: History, processes: Processes, start: float
) -> dict[str, Any]:
    cuda = processes.device.type == "cuda"
    return {
        **inputs,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "training_seconds": round(history.rows[-1].seconds, 1),
        "wall_seconds": round(time.perf_counter() - start, 1),  # of the last run, with loading
        "processes": processes.world,
        "device": torch.cuda.get_device_name(processes.device) if cuda else "cpu",
        "peak_memory_gib": round(torch.cuda.max_memory_allocated(processes.device) / 2**30, 2) if cuda else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
