"""360 enhancement techniques (360DVD, section 3.3): latent rotation, circular padding, latitude-aware loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers.models.downsampling import Downsample2D
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import PanobenchError


def rotation_columns(theta: float, width: int) -> int:
    """Whole columns that a rotation by `theta` radians about the vertical axis moves a picture `width` columns wide.

    Raises:
        PanobenchError: the rotation does not fall on whole columns; nothing is rounded quietly.
    """
    columns = theta / (2 * math.pi) * width
    if abs(columns - round(columns)) > 1e-6:
        raise PanobenchError(
            f"rotation by {math.degrees(theta):g} degrees is {columns:g} of {width} latent columns; "
            "choose an angle that falls on whole columns"
        )
    return round(columns)


def roll_columns(x: Tensor, columns: int) -> Tensor:
    """Turn an ERP tensor (..., H, W) about the vertical axis: content moves right by `columns`, modulo W."""
    columns %= x.shape[-1]
    return x if columns == 0 else torch.roll(x, columns, dims=-1)


@contextmanager
def circular_padding(*modules: nn.Module | None) -> Iterator[None]:
    """Pad every convolution inside `modules` circularly along longitude (the last axis) while the context is open.

    Latitude and time keep their zero padding. Covers Conv2d, Conv3d (so U-Net, VAE and adapter) and the asymmetric
    padding of one column that the VAE's downsampler applies by hand, which a patch of convolutions alone would miss.
    Only instance attributes are set and removed again, so that the modules are left exactly as found, also after an
    exception. Contexts nest.
    """
    with ExitStack() as stack:
        for module in modules:
            for child in module.modules() if module is not None else ():
                if isinstance(child, nn.Conv2d | nn.Conv3d) and _longitude_padding(child):
                    stack.enter_context(override(child, "_conv_forward", _circular_conv_forward(child)))
                elif isinstance(child, Downsample2D) and child.use_conv and child.padding == 0:
                    stack.enter_context(override(child, "forward", _circular_downsample_forward(child)))
        yield


def _longitude_padding(conv: nn.Conv2d | nn.Conv3d) -> int:
    """Columns of padding on each side; raises for padding that has no circular counterpart here."""
    if isinstance(conv.padding, str):
        if conv.padding == "valid":
            return 0
        raise PanobenchError(f"circular padding: a convolution with padding={conv.padding!r} is not supported")
    if conv.padding[-1] and conv.padding_mode != "zeros":
        raise PanobenchError(f"circular padding: a convolution of padding_mode={conv.padding_mode!r} is not supported")
    return int(conv.padding[-1])


def wrap_columns(x: Tensor, left: int, right: int) -> Tensor:
    """Append the picture's own opposite columns: (..., W) -> (..., left + W + right)."""
    parts = [x[..., x.shape[-1] - left :], x, x[..., :right]]
    return torch.cat([part for part in parts if part.shape[-1]], -1)


def _circular_conv_forward(conv: nn.Conv2d | nn.Conv3d):
    """A `_conv_forward` for this convolution that wraps along the last axis and zero-pads along the others."""
    columns = _longitude_padding(conv)
    padding = (*conv.padding[:-1], 0)
    convolve: Any = F.conv2d if isinstance(conv, nn.Conv2d) else F.conv3d

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = wrap_columns(x, columns, columns)
        return convolve(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)

    return forward


def _circular_downsample_forward(down: Downsample2D):
    """A `forward` for a downsampler that pads by hand: one row of zeros below, one wrapped column at the right."""

    def forward(x: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        if down.norm is not None:
            x = down.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return down.conv(wrap_columns(F.pad(x, (0, 0, 0, 1)), 0, 1))

    return forward


@contextmanager
def override(instance: object, name: str, value: object) -> Iterator[None]:
    """Set an instance attribute that shadows the class's, and put things back as they were."""
    missing = object()
    before = instance.__dict__.get(name, missing)
    instance.__dict__[name] = value
    try:
        yield
    finally:
        if before is missing:
            del instance.__dict__[name]
        else:
            instance.__dict__[name] = before


def latitude_weights(height: int) -> Tensor:
    """W of 360DVD Eq. 10, (height,) float32: cos((2i - h + 1) / (2h) * pi), the cosine of each row's latitude."""
    rows = torch.arange(height, dtype=torch.float64)
    return torch.cos((2 * rows - height + 1) / (2 * height) * math.pi).float()


LATITUDE_LOSSES = ("paper", "released", "none")


def diffusion_loss(prediction: Tensor, target: Tensor, latitude_loss: str = "paper") -> Tensor:
    """Mean squared error over ERP latents (..., h, w), lower is better, weighted by latitude.

    `paper` is Eq. 9, mean of (W * err)^2, so W counts twice; `released` is the authors' code, mean of W * err^2;
    `none` is the plain mean. W is not renormalised in either: both are smaller than the plain mean.
    """
    if latitude_loss not in LATITUDE_LOSSES:
        raise PanobenchError(f"latitude_loss must be one of {', '.join(LATITUDE_LOSSES)}; got {latitude_loss!r}")
    squared = (prediction.float() - target.float()).square()
    if latitude_loss == "none":
        return squared.mean()
    weights = latitude_weights(squared.shape[-2]).to(squared.device)[:, None]
    return ((weights.square() if latitude_loss == "paper" else weights) * squared).mean()
