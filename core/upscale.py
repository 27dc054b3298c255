"""Larger videos: bicubic enlargement that knows the sphere (360DVD leaves super-resolution to later work)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from core.sphere import pad_sphere

_MARGIN = 4  # pixels of continuation; the bicubic kernel reaches 2


def upscale_erp(frames: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge an equirectangular video by a whole factor: uint8 RGB ``(F, H, W, 3)`` -> ``(F, factor H, factor W, 3)``.

    The kernel sees the picture continued around the seam and over the poles, so that it commutes with a yaw by whole
    pixels and leaves neither a line at the seam nor a smear at the poles. It adds no detail.

    Raises:
        ValueError: not panoramas, which are twice as wide as high, or the factor is not positive.
    """
    if factor < 1:
        raise ValueError(f"the factor must be 1 or more, not {factor}")
    if factor == 1:
        return frames
    pictures = []
    for frame in torch.from_numpy(np.ascontiguousarray(frames)):
        padded = pad_sphere(frame.permute(2, 0, 1)[None].float(), _MARGIN, min(_MARGIN, frame.shape[0]))
        large = F.interpolate(padded, scale_factor=factor, mode="bicubic", align_corners=False)
        top, left = factor * min(_MARGIN, frame.shape[0]), factor * _MARGIN
        picture = large[0, :, top:-top, left:-left].round().clamp(0, 255).to(torch.uint8)
        pictures.append(picture.permute(1, 2, 0).numpy())
    return np.stack(pictures)
