"""Text to 360-degree video: AnimateDiff's sampling with 360ET and the 360-Adapter, a sibling of diffusers' pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNetMotionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError
from core.model.adapter import Adapter360, inject_features
from core.model.base import Base, decode_latents, encode_text
from core.model.enhance import circular_padding, roll_columns, rotation_columns
from core.model.groupnorm import released_groupnorm
from core.model.presets import Preset, get_preset
from core.weights.lora import merge_lora

_DECODE_FRAMES = 8  # fixed, so that a batch of videos decodes exactly as one video does
_OUTPUT_TYPES = ("uint8", "np", "pil", "pt", "latent")


@dataclass
class Output360:
    """What was sampled, ERP.

    `frames` by `output_type`: `uint8` and `np` are arrays (B,F,H,W,3), of levels or of floats in [0,1]; `pil` a list of
    pictures per video; `pt` a float tensor (B,F,3,H,W) in [0,1]; `latent` the latents (B,4,F,h,w).
    """

    frames: Any


class Pipeline360(DiffusionPipeline):
    """The four methods as configurations of one pipeline.

    A AnimateDiff: nothing else. B: a panorama LoRA (`add_lora`). C: B with `rotation` and `circular_padding`.
    D 360DVD: an `adapter`, with both.

    A batch gives exactly what its samples give one at a time: start noise is drawn per sample on the CPU from the
    sample's own seed, and (with `batch_size` 1) every network sees one sample at a time. At 16 x 512 x 1024 one sample
    fills a GPU anyway.
    """

    model_cpu_offload_seq = "text_encoder->adapter->unet->vae"
    _optional_components = ["adapter"]  # noqa: RUF012 - read by diffusers, as its own pipelines declare it

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNetMotionModel,
        scheduler: Any,  # any diffusers scheduler of a model that predicts noise
        adapter: Adapter360 | None = None,
        released_groupnorm: bool = False,  # as AnimateDiff's v14 and v15 modules expect, with either preset
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, adapter=adapter
        )
        self.register_to_config(released_groupnorm=released_groupnorm)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def from_base(cls, base: Base, adapter: Adapter360 | None = None) -> Pipeline360:
        """The pipeline over a loaded base."""
        unet = base.motion_unet()
        return cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler, adapter, base.released_groupnorm)

    def add_lora(self, path: str | Path, scale: float = 1.0) -> None:
        """Merge a LoRA, in kohya's or diffusers' format, into U-Net and text encoder; see `core.weights.lora`."""
        merge_lora(path, scale, self.unet, self.text_encoder)

    def check_inputs(
        self,
        prompt: Sequence[str],
        negative_prompt: str | Sequence[str],
        seeds: Sequence[int],
        frames: int,
        height: int,
        width: int,
        steps: int,
        condition: Tensor | None,
        latents: Tensor | None,
        output_type: str,
        batch_size: int = 1,
    ) -> None:
        """Raise PanobenchError for anything that cannot be done exactly as asked."""
        if not hasattr(self.scheduler, "init_noise_sigma") or not hasattr(self.scheduler, "scale_model_input"):
            raise PanobenchError(f"{type(self.scheduler).__name__} is not a scheduler of a model that predicts noise")
        if batch_size < 1:
            raise PanobenchError(f"batch_size must be 1 or more, got {batch_size}")
        multiple = self.vae_scale_factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        longest = self.unet.config.motion_max_seq_length
        if not prompt or not all(isinstance(text, str) for text in prompt):
            raise PanobenchError(f"prompt must be one or more strings, got {prompt!r}")
        if not isinstance(negative_prompt, str) and len(negative_prompt) != len(prompt):
            raise PanobenchError(f"{len(negative_prompt)} negative prompts for {len(prompt)} prompts")
        if len(seeds) != len(prompt):
            raise PanobenchError(f"{len(seeds)} seeds for {len(prompt)} prompts; give one per sample")
        if width != 2 * height or height % multiple or width % multiple or height <= 0:
            raise PanobenchError(
                f"height x width must be multiples of {multiple} with width = 2 x height, got {height} x {width}"
            )
        if not 1 <= frames <= longest:
            raise PanobenchError(f"frames must be 1 to {longest} (the motion module's limit), got {frames}")
        if steps < 1:
            raise PanobenchError(f"steps must be 1 or more, got {steps}")
        if condition is not None:
            if self.adapter is None:
                raise PanobenchError("a motion condition needs an adapter; this method has none")
            sizes = [(count, frames, 3, height, width) for count in (1, len(prompt))]
            if tuple(condition.shape) not in sizes:
                raise PanobenchError(f"condition must be {sizes[-1]}, got {tuple(condition.shape)}")
            if condition.abs().max() > 1 + 1e-4:
                raise PanobenchError("condition must lie in [-1, 1]")
        size = self._latent_size(len(prompt), frames, height, width)
        if latents is not None and tuple(latents.shape) != size:
            raise PanobenchError(f"latents must be {size}, got {tuple(latents.shape)}")
        if output_type not in _OUTPUT_TYPES:
            raise PanobenchError(f"output_type must be one of {', '.join(_OUTPUT_TYPES)}; got {output_type!r}")

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        seeds: Sequence[int],
        frames: int = 16,
        height: int = 512,
        width: int = 1024,
        steps: int = 25,
        guidance_scale: float = 7.5,  # 1 or less: no guidance
        negative_prompt: str | Sequence[str] = "",
        condition: Tensor | None = None,  # (B or 1, F, 3, H, W) float in [-1,1]; None with an adapter: no motion
        adapter_scale: float = 1.0,  # of the features
        rotation: bool = False,
        circular_padding: bool = False,
        preset: str | Preset = "paper",
        latents: Tensor | None = None,  # start noise (B, 4, F, h, w), instead of that of the seeds
        prompt_embeddings: Tensor | None = None,  # (B, tokens, C); with negative_embeddings, instead of texts
        negative_embeddings: Tensor | None = None,
        eta: float = 0.0,  # of schedulers that have it
        batch_size: int = 1,  # samples per pass of the U-Net; more round differently than alone
        output_type: str = "uint8",
        callback: Callable[[int, Tensor], None] | None = None,  # called after each step with its index and the latents
    ) -> Output360:
        """Sample one video per prompt.

        With `rotation` the U-Net sees the latents turned by theta more at every step, and what it predicts is turned
        back: the same as turning the latents after every step, and right also for schedulers that keep past
        predictions. `callback` gets the latents as they are seen without rotation.

        Raises:
            PanobenchError: an input that does not fit; nothing is rounded, resized or dropped.
        """
        # 1. Check inputs
        prompt = [prompt] if isinstance(prompt, str) else list(prompt)
        preset = get_preset(preset) if isinstance(preset, str) else preset
        self.check_inputs(
            prompt, negative_prompt, seeds, frames, height, width, steps, condition, latents, output_type, batch_size
        )
        batch, device, dtype = len(prompt), self._execution_device, self.unet.dtype
        columns = rotation_columns(math.radians(preset.theta_deg), width // self.vae_scale_factor) if rotation else 0

        # 2. Encode the prompts, (B,tokens,C), and unless unguided the negative ones
        texts = [self._encode(prompt, prompt_embeddings)]
        if guidance_scale > 1:
            negatives = [negative_prompt] * batch if isinstance(negative_prompt, str) else list(negative_prompt)
            texts.insert(0, self._encode(negatives, negative_embeddings))

        # 3. Prepare timesteps
        self.scheduler.set_timesteps(steps, device=device)
        timesteps = self.scheduler.timesteps

        # 4. Draw the start noise, per sample
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        if latents is None:
            one = self._latent_size(1, frames, height, width)[1:]
            latents = torch.stack([torch.randn(one, generator=generator) for generator in generators])
        latents = latents.to(device, dtype) * self.scheduler.init_noise_sigma
        extra = self._scheduler_arguments(generators, eta)

        # 5. Prepare the condition: constant 0 is "no motion"
        if self.adapter is not None and condition is None:
            condition = torch.zeros(1, frames, 3, height, width)
        features = _Features(self, condition, adapter_scale, device, dtype)

        # 6. Denoise
        first_circular = preset.first_circular_step(len(timesteps)) if circular_padding else len(timesteps)
        parts = torch.arange(batch).split(batch_size)
        turned = 0  # columns to the right that the U-Net sees the latents turned by
        with ExitStack() as stack, self.progress_bar(total=len(timesteps)) as bar:
            if preset.released_groupnorm or self.config.released_groupnorm:
                stack.enter_context(released_groupnorm(self.unet))
            for i, t in enumerate(timesteps):
                if i == first_circular:
                    stack.enter_context(_pad(self.unet, self.adapter if preset.pad_adapter else None))
                padded, acts = i >= first_circular and preset.pad_adapter, preset.adapter_acts(i, len(timesteps))
                sample = roll_columns(self.scheduler.scale_model_input(latents, t), turned)
                predicted = []
                for part in parts:
                    active = features.of(part, turned if preset.rotate_condition else 0, padded) if acts else None
                    with inject_features(self.unet, active):
                        predicted.append(self._predict(sample[part], t, [text[part] for text in texts], guidance_scale))
                noise = roll_columns(torch.cat(predicted), -turned)
                latents = self.scheduler.step(noise, t, latents, **extra, return_dict=False)[0]
                turned += columns
                if callback is not None:
                    callback(i, latents)
                bar.update()

        # 7. Leave the rotation in, where the preset does not undo it
        if not preset.undo_rotation:
            latents = roll_columns(latents, turned)
        if output_type == "latent":
            self.maybe_free_model_hooks()
            return Output360(latents)

        # 8. Decode, with circular padding where the method has it
        with ExitStack() as stack:
            if circular_padding:
                stack.enter_context(_pad(self.vae))
            video = self.decode(latents)

        # 9. Move what `enable_model_cpu_offload` left on the GPU away
        self.maybe_free_model_hooks()
        return Output360(_as_type(video, output_type))

    def _encode(self, texts: Sequence[str], embeddings: Tensor | None) -> Tensor:
        """Embeddings (B,tokens,C) of the texts, one at a time, unless they are given."""
        if embeddings is None:
            embeddings = torch.cat([encode_text(self.tokenizer, self.text_encoder, [text]) for text in texts])
        return embeddings.to(self._execution_device, self.unet.dtype)

    def _predict(self, sample: Tensor, t: Tensor, texts: list[Tensor], guidance_scale: float) -> Tensor:
        """The noise in the sample (B,4,F,h,w) for texts (B,tokens,C): conditional, or unconditional and conditional."""
        text = torch.cat(texts).repeat_interleave(sample.shape[2], 0)
        sample = torch.cat([sample] * len(texts))
        noise = self.unet(sample, t, encoder_hidden_states=text, return_dict=False)[0]
        if len(texts) == 1:
            return noise
        unconditional, conditional = noise.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B,4,F,h,w) to video (B,F,3,H,W) float in [0,1], a few frames at a time."""
        batch, _, frames = latents.shape[:3]
        pictures = [
            decode_latents(self.vae, chunk)
            for video in latents.transpose(1, 2).to(self.vae.dtype)
            for chunk in video.split(_DECODE_FRAMES)
        ]
        return (torch.cat(pictures).float() / 2 + 0.5).clamp(0, 1).unflatten(0, (batch, frames))

    def _latent_size(self, batch: int, frames: int, height: int, width: int) -> tuple[int, ...]:
        factor = self.vae_scale_factor
        return (batch, self.vae.config.latent_channels, frames, height // factor, width // factor)

    def _scheduler_arguments(self, generators: list[torch.Generator], eta: float) -> dict[str, Any]:
        """What this scheduler's `step` takes of eta and generator: schedulers differ."""
        from inspect import signature

        known = signature(self.scheduler.step).parameters
        return {name: value for name, value in {"eta": eta, "generator": generators}.items() if name in known}


_pad = circular_padding  # `Pipeline360.__call__` has an argument of that name


class _Features:
    """The adapter's features of the conditions, kept per sample and rotation: four angles serve 25 steps."""

    def __init__(
        self,
        pipeline: Pipeline360,
        condition: Tensor | None,  # (B or 1, F, 3, H, W)
        scale: float,
        device: Any,
        dtype: torch.dtype,
    ) -> None:
        self.adapter, self.factor = pipeline.adapter, pipeline.vae_scale_factor
        self.condition = None if condition is None else condition.to(device, dtype)
        self.scale = scale
        self.kept: dict[tuple[int, int, bool], list[Tensor]] = {}

    def of(self, samples: Tensor, columns: int, padded: bool) -> list[Tensor] | None:
        """Features of these samples, their conditions turned by `columns` latent columns; None without adapter.

        `padded` says whether the caller has the adapter's padding circular just now; it only keeps the two apart.
        """
        if self.adapter is None or self.condition is None:
            return None
        shared = self.condition.shape[0] == 1
        each = [self._one(0 if shared else sample, columns, padded) for sample in samples.tolist()]
        return each[0] if len(each) == 1 else [torch.cat(level) for level in zip(*each, strict=True)]

    def _one(self, sample: int, columns: int, padded: bool) -> list[Tensor]:
        assert self.adapter is not None
        assert self.condition is not None
        pixels = columns * self.factor % self.condition.shape[-1]
        key = sample, pixels, padded
        if key not in self.kept:
            condition = roll_columns(self.condition[sample : sample + 1], pixels)
            self.kept[key] = [self.scale * feature for feature in self.adapter(condition)]
        return self.kept[key]


def _as_type(video: Tensor, output_type: str) -> Any:
    """(B,F,3,H,W) float in [0,1] as the caller wants it."""
    if output_type == "pt":
        return video
    if output_type == "np":
        return video.permute(0, 1, 3, 4, 2).cpu().numpy()
    levels = to_uint8(video)
    return levels if output_type == "uint8" else [[Image.fromarray(frame) for frame in clip] for clip in levels]


def to_uint8(video: Tensor) -> np.ndarray:
    """(B,F,3,H,W) float in [0,1] to (B,F,H,W,3) uint8, rounded to the nearest level."""
    return (video * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
