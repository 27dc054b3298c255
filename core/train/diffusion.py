"""What both trainings share of diffusion: sampled latents, timesteps, noise and captions of one step, and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from core.errors import PanobenchError
from core.model.base import Base, normalise_latents
from core.model.enhance import diffusion_loss
from core.params_schema import Training
from core.train.cache import Clips, draw_clips, seeded


@dataclass(frozen=True)
class Rows:
    """What a process computes at a time: some rows of a step."""

    step: int  # from 0
    chosen: range
    total: int  # rows of the step, over all micro-batches and processes


@dataclass
class Batch:
    """The training material of some rows of a step."""

    latents: Tensor  # (B,4,F,h,w) float, or (B,4,h,w) of one frame, as the U-Net sees them
    condition: Tensor | None  # (B,F,3,H,W) float in [-1,1]
    captions: list[str]  # "" where dropped
    noise: Tensor  # like latents
    timesteps: Tensor  # (B,) int64 in [0, T)

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        condition = None if self.condition is None else self.condition.to(device)
        moved = (x.to(device) for x in (self.noise, self.timesteps))
        return Batch(self.latents.to(device), condition, self.captions, *moved)

    def frame(self, index: int) -> Batch:
        """One frame of the latents and their noise, (B,4,h,w), for the 2D U-Net; without condition."""
        return Batch(self.latents[:, :, index], None, self.captions, self.noise[:, :, index], self.timesteps)

    def noisy(self, scheduler: DDIMScheduler) -> Tensor:
        """The latents at their timesteps, like latents."""
        return scheduler.add_noise(self.latents, self.noise, self.timesteps)


@dataclass
class Losses:
    """The loss of some rows, lower is better."""

    mean: Tensor  # scalar, with its graph
    each: Tensor  # (B,) per row, without
    timesteps: Tensor  # (B,) int64, where each was measured

    @classmethod
    def of(cls, prediction: Tensor, batch: Batch, latitude_loss: str) -> Losses:
        """Of the predicted noise (B,4,F,h,w); for `latitude_loss` see `diffusion_loss`."""
        with torch.no_grad():
            pairs = zip(prediction, batch.noise, strict=True)
            each = torch.stack([diffusion_loss(predicted, noise, latitude_loss) for predicted, noise in pairs])
        return cls(diffusion_loss(prediction, batch.noise, latitude_loss), each, batch.timesteps)


class LossOfRows(Protocol):
    """What the loop minimises."""

    def __call__(self, rows: Rows, following: Rows | None) -> Losses:
        """The loss of rows of a step; it must draw from nothing but what the rows say.

        Args:
            rows: of one step.
            following: the next ones that will be asked for, which may be prepared meanwhile; None after the last.
        """


@dataclass(frozen=True)
class Drawing:
    """How a training draws its samples.

    What a row of a step is depends on seed, step and the number of rows in the step alone: not on what ran before, nor
    on how the rows are divided among micro-batches and processes.
    """

    clips: Clips
    base: Base
    captions: Sequence[str]  # per clip
    settings: Training
    seed: int
    frames: int
    stride: int = 1  # source frames from one to the next
    motion_dropout: float | None = None  # None: no condition at all

    def __call__(self, rows: Rows) -> Batch:
        """Draw rows of a step."""
        if self.settings.random_flip and not self.clips.mirrored:
            raise PanobenchError(
                f"{self.clips.folder}: random_flip needs mirrored latents; set encode.mirror and encode again"
            )
        positions = (rows.step * rows.total + row for row in rows.chosen)
        latents, conditions, captions, noise = zip(*map(self._row, positions), strict=True)
        # Stratified: one timestep per equal part of the schedule, each still uniform over all of it, so that the loss
        # of a small batch varies less.
        start = torch.rand((), generator=seeded(self.seed, "step", rows.step))
        spread = (start + torch.tensor(list(rows.chosen)) / rows.total) % 1
        return Batch(
            normalise_latents(self.base.vae, torch.stack(latents)),
            None if self.motion_dropout is None else torch.stack(conditions),
            list(captions),
            torch.stack(noise),
            (spread * self.base.scheduler.config.num_train_timesteps).long(),
        )

    def _row(self, position: int) -> tuple[Tensor, Tensor | None, str, Tensor]:
        """Latents (4,F,h,w) not yet scaled, condition (F,3,H,W), caption and noise of one position in the training."""
        [clip] = draw_clips(len(self.clips), [position], self.seed)
        generator = seeded(self.seed, "sample", position)
        # All are drawn in any case, so that a switch changes nothing but what it names.
        place, side, turn, motion, caption = torch.rand(5, generator=generator).tolist()
        start = int(place * (self._spare_frames(clip) + 1))
        window = self.clips.window(
            clip,
            start,
            self.frames,
            self.stride,
            mirrored=self.settings.random_flip and side < 0.5,
            turn=turn if self.settings.random_roll else 0.0,
            motion=self.motion_dropout is not None,
        )
        latents = window.mean + window.std * torch.randn(window.mean.shape, generator=generator)
        condition = window.condition
        if condition is not None and motion < (self.motion_dropout or 0.0):
            condition = torch.zeros_like(condition)
        text = "" if caption < self.settings.caption_dropout else self.captions[clip]
        noise = torch.randn(latents.transpose(0, 1).shape, generator=generator)
        return latents.transpose(0, 1), condition, text, noise

    def _spare_frames(self, clip: int) -> int:
        """How many later frames a window of this clip may start at."""
        row, span = self.clips.clips[clip], (self.frames - 1) * self.stride + 1
        if row["frames"] < span:
            raise PanobenchError(
                f"{self.clips.folder}: clip {row['videoid']} has {row['frames']} frames, training needs {span}"
            )
        return row["frames"] - span


class DrawingAhead:
    """A drawing whose next batch is read by a thread while the GPU computes with this one; the batches are the same."""

    def __init__(self, draw: Drawing, device: torch.device) -> None:
        self._draw = draw
        # On a CPU the thread would take from the training what it gives.
        self.enabled = device.type == "cuda" and draw.clips.threaded
        self._thread = ThreadPoolExecutor(1)
        self._next: tuple[Rows, Future[Batch]] | None = None

    def __call__(self, rows: Rows, following: Rows | None) -> Batch:
        """These rows; afterwards the following are drawn in the background."""
        drawn = self._next
        batch = drawn[1].result() if drawn is not None and drawn[0] == rows else self._draw(rows)
        self._next = (
            None if following is None or not self.enabled else (following, self._thread.submit(self._draw, following))
        )
        return batch

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)
