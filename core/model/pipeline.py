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
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError
from core.model.adapter import Adapter360, inject_features
from core.model.base import Base, decode_latents, encode_text
from core.model.enhance import circular_padding, roll_columns, rotation_columns
from core.model.groupnorm import released_groupnorm
from core.model.presets import Preset, get_preset

_DECODE_FRAMES = 8  # fixed, so that a batch of videos decodes exactly as one video does
_OUTPUT_TYPES = ("uint8", "pt", "latent")


@dataclass
class Output360:
    """`frames`: (B,F,H,W,3) uint8 array, (B,F,3,H,W) float tensor in [0,1], or latents (B,4,F,h,w), ERP."""

    frames: Any


class Pipeline360(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """The four methods as configurations of one pipeline.

    A AnimateDiff: nothing else. B: a panorama LoRA (`add_lora`). C: B with `rotation` and `circular_padding`.
    D 360DVD: an `adapter`, with both.

    Start noise is drawn per sample on the CPU from the sample's own seed, so that neither batch nor device changes it.
    """

    model_cpu_offload_seq = "text_encoder->adapter->unet->vae"
    _optional_components = ["adapter"]  # noqa: RUF012 - read by diffusers, as its own pipelines declare it

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNetMotionModel,
        scheduler: Any,  # any diffusers scheduler that predicts noise
        adapter: Adapter360 | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, adapter=adapter
        )
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def from_base(cls, base: Base, adapter: Adapter360 | None = None) -> Pipeline360:
        """The pipeline over a loaded base."""
        return cls(base.vae, base.text_encoder, base.tokenizer, base.motion_unet(), base.scheduler, adapter)

    def add_lora(self, path: str | Path, scale: float = 1.0) -> None:
        """Load a LoRA in diffusers' format and merge it into the weights with this scale.

        Args:
            path: the .safetensors file, or a folder that holds `pytorch_lora_weights.safetensors`.
            scale: of the update; 0 leaves the base as it is.
        """
        path = Path(path)
        file = path / "pytorch_lora_weights.safetensors" if path.is_dir() else path
        if not file.is_file():
            raise PanobenchError(f"{file}: no such LoRA; train it first")
        try:
            self.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True, adapter_name="lora")
        except Exception as error:  # the loader raises many types for a file that is no LoRA of this U-Net
            raise PanobenchError(f"{file}: not a LoRA for this base ({' '.join(str(error).split())[:300]})") from error
        parts = [part for part, names in self.get_list_adapters().items() if "lora" in names]
        held, used = lora_layers(file), sum(_count_lora_layers(getattr(self, part)) for part in parts)
        if held == 0 or used != held:
            raise PanobenchError(f"{file}: {used} of its {held} LoRA layers fit this base")
        self.fuse_lora(components=parts, lora_scale=scale, adapter_names=["lora"], safe_fusing=True)
        self.unload_lora_weights()

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
    ) -> None:
        """Raise PanobenchError for anything that cannot be done exactly as asked."""
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
        output_type: str = "uint8",
        callback: Callable[[int, Tensor], None] | None = None,  # called after each step with its index and the latents
    ) -> Output360:
        """Sample one video per prompt.

        Raises:
            PanobenchError: an input that does not fit; nothing is rounded, resized or dropped.
        """
        # 1. Check inputs
        prompt = [prompt] if isinstance(prompt, str) else list(prompt)
        preset = get_preset(preset) if isinstance(preset, str) else preset
        self.check_inputs(prompt, negative_prompt, seeds, frames, height, width, steps, condition, latents, output_type)
        batch, device, dtype = len(prompt), self._execution_device, self.unet.dtype
        guided = guidance_scale > 1
        columns = rotation_columns(math.radians(preset.theta_deg), width // self.vae_scale_factor) if rotation else 0

        # 2. Encode the prompts, unconditional half first
        if prompt_embeddings is None:
            prompt_embeddings = encode_text(self.tokenizer, self.text_encoder, prompt)
        text = prompt_embeddings
        if guided:
            if negative_embeddings is None:
                negatives = [negative_prompt] * batch if isinstance(negative_prompt, str) else list(negative_prompt)
                negative_embeddings = encode_text(self.tokenizer, self.text_encoder, negatives)
            text = torch.cat([negative_embeddings, text])
        text = text.to(device, dtype).repeat_interleave(frames, 0)

        # 3. Prepare timesteps
        self.scheduler.set_timesteps(steps, device=device)
        timesteps = self.scheduler.timesteps

        # 4. Draw the start noise, per sample
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        if latents is None:
            one = self._latent_size(1, frames, height, width)[1:]
            latents = torch.stack([torch.randn(one, generator=generator) for generator in generators])
        latents = latents.to(device, dtype) * self.scheduler.init_noise_sigma
        extra = self._scheduler_arguments(generators)

        # 5. Prepare the condition: constant 0 is "no motion"
        if self.adapter is not None and condition is None:
            condition = torch.zeros(1, frames, 3, height, width)
        features = _Features(self, condition, adapter_scale, batch, device, dtype)

        # 6. Denoise
        first_circular = preset.first_circular_step(len(timesteps)) if circular_padding else len(timesteps)
        turned = 0  # columns that the latents have turned so far
        with ExitStack() as stack, self.progress_bar(total=len(timesteps)) as bar:
            if preset.released_groupnorm:
                stack.enter_context(released_groupnorm(self.unet))
            for i, t in enumerate(timesteps):
                if i == first_circular:
                    stack.enter_context(_pad(self.unet, self.adapter if preset.pad_adapter else None))
                active = None
                if preset.adapter_acts(i, len(timesteps)):
                    padded = i >= first_circular and preset.pad_adapter
                    active = features.at(turned if preset.rotate_condition else 0, padded)
                sample = torch.cat([latents, latents]) if guided else latents
                sample = self.scheduler.scale_model_input(sample, t)
                with inject_features(self.unet, active):
                    noise = self.unet(sample, t, encoder_hidden_states=text, return_dict=False)[0]
                if guided:
                    unconditional, conditional = noise.chunk(2)
                    noise = unconditional + guidance_scale * (conditional - unconditional)
                latents = self.scheduler.step(noise, t, latents, **extra, return_dict=False)[0]
                latents, turned = roll_columns(latents, columns), turned + columns
                if callback is not None:
                    callback(i, latents)
                bar.update()

        # 7. Undo the rotation
        if preset.undo_rotation:
            latents = roll_columns(latents, -turned)
        if output_type == "latent":
            return Output360(latents)

        # 8. Decode, with circular padding where the method has it
        with ExitStack() as stack:
            if circular_padding:
                stack.enter_context(_pad(self.vae))
            video = self.decode(latents)
        return Output360(video if output_type == "pt" else to_uint8(video))

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

    def _scheduler_arguments(self, generators: list[torch.Generator]) -> dict[str, Any]:
        """What this scheduler's `step` takes of eta and generator: schedulers differ."""
        from inspect import signature

        known = signature(self.scheduler.step).parameters
        return {name: value for name, value in {"eta": 0.0, "generator": generators}.items() if name in known}


_pad = circular_padding  # `Pipeline360.__call__` has an argument of that name


def lora_layers(file: Path) -> int:
    """Layers that a LoRA file adapts, in diffusers' or kohya's names: loaders drop silently what they do not know."""
    with safe_open(str(file), framework="pt") as tensors:
        return sum(name.endswith(("lora_A.weight", "lora.down.weight", "lora_down.weight")) for name in tensors.keys())  # noqa: SIM118 - not iterable itself


def _count_lora_layers(module: torch.nn.Module) -> int:
    """Layers of a module into which the LoRA has been put."""
    return sum("lora" in getattr(child, "lora_A", ()) for child in module.modules())


class _Features:
    """The adapter's features of one condition, kept per rotation: four angles serve 25 steps."""

    def __init__(
        self,
        pipeline: Pipeline360,
        condition: Tensor | None,
        scale: float,
        batch: int,
        device: Any,
        dtype: torch.dtype,
    ) -> None:
        self.adapter, self.factor = pipeline.adapter, pipeline.vae_scale_factor
        self.condition = None if condition is None else condition.to(device, dtype)
        self.scale, self.batch = scale, batch
        self.kept: dict[tuple[int, bool], list[Tensor]] = {}

    def at(self, columns: int, padded: bool) -> list[Tensor] | None:
        """Features of the condition turned by `columns` latent columns; None without adapter.

        `padded` says whether the caller has the adapter's padding circular just now; it only keeps the two apart.
        """
        if self.adapter is None or self.condition is None:
            return None
        pixels = columns * self.factor % self.condition.shape[-1]
        if (pixels, padded) not in self.kept:
            features = [self.scale * feature for feature in self.adapter(roll_columns(self.condition, pixels))]
            if self.condition.shape[0] != self.batch:
                features = [feature.repeat(self.batch, 1, 1, 1) for feature in features]
            self.kept[pixels, padded] = features
        return self.kept[pixels, padded]


def to_uint8(video: Tensor) -> np.ndarray:
    """(B,F,3,H,W) float in [0,1] to (B,F,H,W,3) uint8, rounded to the nearest level."""
    return (video * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
