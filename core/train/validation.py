"""Videos of a model while it trains: the prompts of `training.NAME.validation`, the same start noise every time."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import UNetMotionModel
from torch import nn

from core.model.adapter import Adapter360
from core.model.base import Base, with_trigger
from core.model.pipeline import Pipeline360
from core.params_schema import LoraTraining, Params
from core.spherical import write_panorama
from core.train.lora import save_lora
from core.train.processes import Processes


def validation_videos(
    params: Params,
    name: str,  # of the training
    base: Base,
    unet: UNetMotionModel,  # of the base, without LoRA
    model: nn.Module,  # in training: the adapter, or the 2D U-Net with LoRA layers
    folder: Path,
    processes: Processes,
) -> Callable[[int], None]:
    """What makes `folder/step-NNNNNN/prompt-N.mp4` when called with the number of steps done.

    Every process makes its share of the prompts. The pipeline is the one of generation, without a motion condition;
    generators of its own leave the training's random numbers alone.
    """
    training, video = params.training[name], params.video
    settings = training.validation
    assert settings is not None
    trigger = training.trigger if isinstance(training, LoraTraining) else ""

    def make(step: int) -> None:
        pipe = _pipeline(base, unet, model)
        for number in range(processes.rank, len(settings.prompts), processes.world):
            with torch.autocast(processes.device.type, enabled=False):
                frames = pipe(
                    with_trigger(trigger, settings.prompts[number]),
                    seeds=[params.seed + number],
                    frames=video.frames,
                    height=video.height,
                    width=video.width,
                    steps=settings.steps,
                    guidance_scale=settings.guidance_scale,
                    rotation=settings.enhanced,
                    circular_padding=settings.enhanced,
                ).frames[0]
            write_panorama(folder / f"step-{step:06d}" / f"prompt-{number}.mp4", frames, video.fps)

    return make


def _pipeline(base: Base, unet: UNetMotionModel, model: nn.Module) -> Pipeline360:
    """The pipeline around the model in training; a LoRA goes into a copy of the video U-Net, by way of its own file."""
    adapter = model if isinstance(model, Adapter360) else None
    unet = unet if adapter is not None else copy.deepcopy(unet)
    scheduler = type(base.scheduler).from_config(base.scheduler.config)
    text_encoder = base.text_encoder if adapter is not None else copy.deepcopy(base.text_encoder)
    pipe = Pipeline360(base.vae, text_encoder, base.tokenizer, unet, scheduler, adapter, base.released_groupnorm)
    pipe.set_progress_bar_config(disable=True)
    if adapter is None:
        with tempfile.TemporaryDirectory() as folder:
            save_lora(model, Path(folder))
            pipe.add_lora(folder)
    return pipe
