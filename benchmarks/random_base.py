"""Stable Diffusion 1.5 and AnimateDiff v15 by their sizes, with random weights: what time and memory depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from core.model.adapter import Adapter360
from core.model.base import Base, frozen
from core.train.cache import Window


@dataclass(frozen=True)
class Size:
    """A video's size and that of the networks."""

    height: int  # pixels; the width is twice that
    frames: int
    channels: tuple[int, ...]  # of the U-Net, per level
    vae_channels: tuple[int, ...]
    layers: int  # per block
    heads: int
    text_width: int
    tokens: int
    groups: int  # of group normalisation

    @property
    def factor(self) -> int:
        """Pixels per latent cell, each way."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def latents(self) -> tuple[int, ...]:
        """Shape of one video's latents, (4,F,h,w)."""
        return (4, self.frames, self.height // self.factor, 2 * self.height // self.factor)


SIZES = {
    "paper": Size(512, 16, (320, 640, 1280, 1280), (128, 256, 512, 512), 2, 8, 768, 77, 32),
    "tiny": Size(32, 4, (16, 16, 32, 32), (8, 16, 16), 1, 2, 16, 8, 4),
}


def random_base(size: Size, dtype: torch.dtype, device: torch.device | str) -> Base:
    """The base of this size, frozen, without a tokenizer: texts come as random embeddings. On "meta" it has no data."""
    depth = len(size.channels) - 2
    parts: dict[str, Any] = {}
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts["vae"] = AutoencoderKL(
            block_out_channels=size.vae_channels,
            down_block_types=("DownEncoderBlock2D",) * len(size.vae_channels),
            up_block_types=("UpDecoderBlock2D",) * len(size.vae_channels),
            layers_per_block=size.layers,
            latent_channels=4,
            norm_num_groups=size.groups,
            scaling_factor=0.18215,
        )
        parts["unet"] = UNet2DConditionModel(
            sample_size=size.latents[2],
            block_out_channels=size.channels,
            down_block_types=("CrossAttnDownBlock2D",) * (depth + 1) + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (depth + 1),
            layers_per_block=size.layers,
            cross_attention_dim=size.text_width,
            attention_head_dim=size.heads,
            norm_num_groups=size.groups,
        )
        parts["motion_adapter"] = MotionAdapter(
            block_out_channels=size.channels,
            motion_layers_per_block=size.layers,
            motion_num_attention_heads=size.heads,
            motion_norm_num_groups=size.groups,
            motion_max_seq_length=32,
            use_motion_mid_block=False,
        )
        parts["text_encoder"] = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=size.text_width,
                intermediate_size=4 * size.text_width,
                num_hidden_layers=12 if size.text_width > 100 else 1,
                num_attention_heads=12 if size.text_width > 100 else 2,
                max_position_embeddings=size.tokens,
            )
        )
    modules = {name: frozen(module.to(dtype)) for name, module in parts.items()}
    # As Stable Diffusion 1.5 is sampled by AnimateDiff.
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    return Base(tokenizer=None, scheduler=scheduler, **modules)


def random_adapter(size: Size, dtype: torch.dtype, device: torch.device | str) -> Adapter360:
    """The 360-Adapter that fits."""
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Adapter360(unshuffle=size.factor, channels=size.channels).to(dtype)


class RandomClips:
    """A training set of one clip of noise, with the shapes of the real one."""

    folder, hash, mirrored, threaded, encoding = Path("random clips"), "random", True, True, "panobench"

    def __init__(self, size: Size) -> None:
        self.size = size
        self.clips = [{"videoid": "noise", "frames": size.frames, "caption": "", "whole": ""}]
        generator = torch.Generator().manual_seed(0)
        _, frames, height, width = size.latents
        self._mean = torch.randn(frames, 4, height, width, generator=generator)
        self._condition = torch.rand(frames, 3, size.height, 2 * size.height, generator=generator) * 2 - 1
        self._text = torch.randn(size.tokens, size.text_width, generator=generator)

    def __len__(self) -> int:
        return 1

    def text(self, text: str) -> Tensor:
        """The same embedding for every caption."""
        return self._text

    def window(
        self, clip: int, start: int, frames: int, stride: int, mirrored: bool, turn: float, motion: bool
    ) -> Window:
        """The clip."""
        return Window(self._mean, torch.ones_like(self._mean), self._condition if motion else None)
