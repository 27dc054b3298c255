"""The 360-Adapter: features of a motion condition, added to the U-Net's down blocks (360DVD, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import PanobenchError


class AdapterBlock(nn.Module):
    """One scale: pool, match channels, Conv3d(1,3,3) -> ReLU -> Conv3d(3,1,1), plus identity; (B,C,F,h,w) float."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        down: bool,  # average-pool height and width by 2 first
        pseudo_3d: bool,  # False: the temporal kernel shrinks from 3 to 1, so that no frame sees another
    ) -> None:
        super().__init__()
        self.down = down
        if in_channels != out_channels:
            self.in_conv = nn.Conv2d(in_channels, out_channels, 1)
        kernel = 3 if pseudo_3d else 1
        self.block1 = nn.Conv3d(out_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))
        self.block2 = nn.Conv3d(out_channels, out_channels, (kernel, 1, 1), padding=(kernel // 2, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,C,F,h,w) to (B,C',F,h',w'), h' = h/2 where the block pools."""
        batch, _, frames = x.shape[:3]
        if self.down or hasattr(self, "in_conv"):
            flat = x.transpose(1, 2).flatten(0, 1)
            if self.down:
                flat = F.avg_pool2d(flat, 2)
            if hasattr(self, "in_conv"):
                flat = self.in_conv(flat)
            x = flat.unflatten(0, (batch, frames)).transpose(1, 2)
        return x + self.block2(F.relu(self.block1(x)))


class Adapter360(ModelMixin, ConfigMixin):
    """360-Adapter in the released layout; the defaults are the released full-size model, 47,051,840 parameters.

    The features have the sizes of what the U-Net's down blocks return: (unshuffle * pools before) pixels per cell. With
    a VAE factor of f and the condition at the video's size, `unshuffle` = f.

    Options beyond the paper, all off by default:
    - `pseudo_3d=False` is the ablation without the temporal layer: its kernel is 1 instead of 3, the rest is the same.
    - `latitude_channels` appends sin and cos of the latitude after the unshuffle: without a motion condition the
      adapter otherwise knows where a pixel is only through its zero padding.
    - `zero_output` puts a zero-initialised 1x1 convolution behind each scale (as ControlNet does), so that training
      starts at the base's own output. The released adapter starts from random features and needs 100,000 steps; a
      training of a few hundred cannot afford to unlearn them first.
    """

    @register_to_config
    def __init__(
        self,
        condition_channels: int = 3,
        unshuffle: int = 8,  # pixels of the condition per cell of the first convolution, each way
        channels: Sequence[int] = (320, 640, 1280, 1280),  # as the U-Net's block_out_channels
        down: Sequence[bool] = (True, True, True, False),  # blocks that pool by 2 first, as the U-Net downsamples
        pseudo_3d: bool = True,
        latitude_channels: bool = False,
        zero_output: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(down):
            raise PanobenchError(f"adapter: {len(channels)} channels but {len(down)} entries in down; one each")
        inputs = condition_channels * unshuffle**2 + (2 if latitude_channels else 0)
        self.conv_in = nn.Conv2d(inputs, channels[0], 3, padding=1)
        sizes = [channels[0], *channels]
        self.body = nn.ModuleList(
            AdapterBlock(sizes[i], sizes[i + 1], down[i], pseudo_3d) for i in range(len(channels))
        )
        if zero_output:
            self.zero_convs = nn.ModuleList(nn.Conv2d(c, c, 1) for c in channels)
            for parameter in self.zero_convs.parameters():
                nn.init.zeros_(parameter)

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Features per scale, each (B*F, C, h, w), frames of one clip adjacent, as the U-Net lays them out.

        Args:
            condition: (B, F, condition_channels, H, W) float in [-1, 1], ERP; constant 0 means "no motion condition".
        """
        config = self.config
        if condition.ndim != 5 or condition.shape[2] != config.condition_channels:
            raise PanobenchError(
                f"adapter: condition must be (B, F, {config.condition_channels}, H, W), got {tuple(condition.shape)}"
            )
        multiple = config.unshuffle * 2 ** sum(config.down)
        if condition.shape[-2] % multiple or condition.shape[-1] % multiple:
            raise PanobenchError(
                f"adapter: height and width of the condition must be multiples of {multiple}, "
                f"got {condition.shape[-2]} x {condition.shape[-1]}"
            )
        batch, frames = condition.shape[:2]
        x = F.pixel_unshuffle(condition.flatten(0, 1), config.unshuffle)
        if config.latitude_channels:
            x = torch.cat([x, _latitude_channels(x)], 1)
        x = self.conv_in(x).unflatten(0, (batch, frames)).transpose(1, 2)
        features = []
        for block in self.body:
            x = block(x)
            features.append(x.transpose(1, 2).flatten(0, 1))
        if config.zero_output:
            features = [conv(feature) for conv, feature in zip(self.zero_convs, features, strict=True)]
        return features


def _latitude_channels(x: Tensor) -> Tensor:
    """Sine and cosine of the latitude of each row, (N,2,h,w) in [-1,1], top row nearest +pi/2."""
    height = x.shape[-2]
    rows = torch.arange(height, device=x.device, dtype=torch.float32)
    latitude = torch.pi / 2 - (rows + 0.5) * (torch.pi / height)
    channels = torch.stack([latitude.sin(), latitude.cos()]).to(x.dtype)
    return channels[None, :, :, None].expand(x.shape[0], 2, height, x.shape[-1])


@contextmanager
def inject_features(unet: nn.Module, features: Sequence[Tensor] | None) -> Iterator[None]:
    """Add one feature to the output of each of `unet.down_blocks` while the context is open (360DVD, Figure 3).

    The feature is added after the block's downsampler, to the hidden state and to the block's last skip, which are the
    same tensor. Under classifier-free guidance one feature set serves both halves: it is repeated. The hooks are
    removed at the end, also after an exception. `features=None` adds nothing.

    Args:
        unet: UNetMotionModel, or any U-Net whose down blocks return (hidden, skips).
        features: one (B*F, C, h, w) tensor per down block, as `Adapter360` returns.
    """
    if features is None:
        yield
        return
    blocks: list[nn.Module] = list(unet.down_blocks)  # type: ignore[arg-type]
    if len(features) != len(blocks):
        raise PanobenchError(f"adapter: {len(features)} features for {len(blocks)} down blocks")

    def make_hook(feature: Tensor):
        def hook(_module: nn.Module, _inputs: object, output: tuple[Tensor, tuple[Tensor, ...]]):
            hidden, skips = output
            repeats, rest = divmod(hidden.shape[0], feature.shape[0])
            if rest or hidden.shape[1:] != feature.shape[1:]:
                raise PanobenchError(
                    f"adapter: feature {tuple(feature.shape)} does not fit the down block's {tuple(hidden.shape)}; "
                    "the adapter belongs to another U-Net or the condition has another size than the video"
                )
            hidden = hidden + (feature.repeat(repeats, 1, 1, 1) if repeats > 1 else feature)
            return hidden, (*skips[:-1], hidden)

        return hook

    handles = []
    try:
        for block, feature in zip(blocks, features, strict=True):
            handles.append(block.register_forward_hook(make_hook(feature)))
        yield
    finally:
        for handle in handles:
            handle.remove()
