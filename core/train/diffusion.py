"""What both trainings share of diffusion: sampled latents, timesteps, noise and captions of one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from core.errors import PanobenchError
from core.model.base import normalise_latents
from core.model.enhance import roll_columns
from core.train.cache import Cache, draw_clips, seeded


@dataclass
class Batch:
    """The training material of one step."""

    latents: Tensor  # (B,4,F,h,w) float, as the U-Net sees them
    condition: Tensor | None  # (B,F,3,H,W) float in [-1,1]
    captions: list[str]  # "" where dropped
    noise: Tensor  # like latents
    timesteps: Tensor  # (B,) int64 in [0, T)


def draw_batch(
    cache: Cache,
    vae: AutoencoderKL,
    captions: Sequence[str],  # per clip of the cache
    batch: int,
    frames: int,
    stride: int,  # source frames from one to the next
    seed: int,
    step: int,
    timesteps: int,  # of the noise schedule
    caption_dropout: float,
    random_roll: bool,  # random yaw in whole latent columns, latents and condition alike
    random_flip: bool,
    motion_dropout: float | None = None,  # None: no condition at all
) -> Batch:
    """Draw one step's batch; the same for the same (seed, step), whatever ran before."""
    generator = seeded(seed, "step", step)

    def uniform() -> float:
        return torch.rand((), generator=generator).item()

    if random_flip and not cache.index["mirrored"]:
        raise PanobenchError(f"{cache.folder}: random_flip needs mirrored latents; set encode.mirror and encode again")
    rows, conditions, texts = [], [], []
    for clip in draw_clips(len(cache), batch, seed, step):
        span = (frames - 1) * stride + 1
        spare = cache.clips[clip]["frames"] - span
        if spare < 0:
            raise PanobenchError(
                f"{cache.folder}: clip {cache.clips[clip]['videoid']} has {cache.clips[clip]['frames']} frames, "
                f"training needs {span}"
            )
        start = int(uniform() * (spare + 1))
        mirrored = uniform() < 0.5 and random_flip
        turn = uniform()  # drawn in any case, so that the switch changes nothing else
        drop_motion, drop_caption = uniform(), uniform()
        mean, std = cache.latents(clip, start, frames, stride, mirrored)
        latents = mean + std * torch.randn(mean.shape, generator=generator)
        columns = int(turn * latents.shape[-1]) if random_roll else 0
        rows.append(roll_columns(latents, columns))
        texts.append("" if drop_caption < caption_dropout else captions[clip])
        if motion_dropout is not None:
            condition = cache.condition(clip, start, frames, stride, mirrored)
            condition = roll_columns(condition, columns * condition.shape[-1] // latents.shape[-1])
            conditions.append(torch.zeros_like(condition) if drop_motion < motion_dropout else condition)
    latents = normalise_latents(vae, torch.stack(rows)).transpose(1, 2)
    noise = torch.randn(latents.shape, generator=generator)
    # Stratified: one timestep per equal part of the schedule, each still uniform over all of it, so that the loss
    # of a small batch varies less.
    spread = (uniform() + torch.arange(batch) / batch) % 1
    return Batch(latents, torch.stack(conditions) if conditions else None, texts, noise, (spread * timesteps).long())
