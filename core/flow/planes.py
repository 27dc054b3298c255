"""Directions as planes, (3, ...): x, y and z first, each a picture of its own.

The same vectors as in ``core.sphere``, which keeps the three numbers of a direction side by side. Arithmetic on whole
planes of a panorama, one pair of frames at a time, is several times as fast.
"""

import math

import torch
from torch import Tensor

from core.sphere import erp_lonlat


def unit_planes(lon: Tensor, lat: Tensor) -> Tensor:
    """Unit directions (3, ...) of longitudes and latitudes in radians, broadcast against each other."""
    flat = lat.cos()
    return torch.stack(torch.broadcast_tensors(flat * lon.sin(), lat.sin(), flat * lon.cos()))


def moved_planes(flow: Tensor, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """Directions of the pixels before and after the flow.

    Args:
        flow: (T, 2, H, W) floating, pixels.
        rows: those that are read.

    Returns:
        (3, h, W) and (3, T, h, W), unit, the dtype of ``flow``.
    """
    height, width = flow.shape[-2:]
    lat, lon = erp_lonlat(height, width, flow.device, flow.dtype)
    lat, unit = lat[rows, None], math.pi / height
    flow = flow[:, :, rows]
    return unit_planes(lon, lat), unit_planes(lon + flow[:, 0] * unit, lat - flow[:, 1] * unit)


def lengths(planes: Tensor) -> Tensor:
    """(3, ...) -> (...)."""
    x, y, z = planes
    return (x * x + y * y + z * z).sqrt()


def unit(planes: Tensor) -> Tensor:
    """Vectors (3, ...) at length 1; those of no length stay as they are."""
    return planes / lengths(planes).clamp_min(1e-12)


def angles(a: Tensor, b: Tensor) -> Tensor:
    """Great-circle angles in radians, [0, pi], between unit vectors (3, ...): ``core.sphere.angle_between``."""
    return 2 * torch.atan2(lengths(a - b), lengths(a + b))


def lonlat(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Longitude in [-pi, pi] and latitude in [-pi/2, pi/2] of vectors (3, ...) of any length but zero."""
    x, y, z = planes
    return torch.atan2(x, z), torch.atan2(y, (x * x + z * z).sqrt())
