"""Flow fields as motion on the sphere: where vectors lead, how far, warping along them, and whether two agree."""

import math

import torch
from torch import Tensor

from core.flow.planes import angles, moved_planes, unit
from core.sphere import (
    angle_between,
    check_erp,
    directions_to_lonlat,
    erp_directions,
    erp_lonlat,
    fold_over_poles,
    lonlat_to_directions,
    sample_erp_pixels,
)


def _check_flow(flow: Tensor) -> tuple[int, int]:
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"a flow field is (T, 2, H, W); this one is {tuple(flow.shape)}")
    return check_erp(flow)


def flow_to_directions(flow: Tensor) -> Tensor:
    """Unit directions ``(T, H, W, 3)`` where the vectors of ``(T, 2, H, W)`` lead, in the dtype of the flow."""
    height, width = _check_flow(flow)
    lat, lon = erp_lonlat(height, width, flow.device, flow.dtype)
    lon_to = lon[None, None, :] + flow[:, 0] * (2 * math.pi / width)
    lat_to = lat[None, :, None] - flow[:, 1] * (math.pi / height)
    return lonlat_to_directions(lon_to, lat_to)


def directions_to_flow(directions: Tensor) -> Tensor:
    """The flow ``(T, 2, H, W)`` that leads every pixel of an ERP to its direction ``(T, H, W, 3)``.

    u is wrapped to at most half a turn: the shorter way around.
    """
    height, width = directions.shape[1:3]
    lat, lon = erp_lonlat(height, width, directions.device, directions.dtype)
    lon_to, lat_to = directions_to_lonlat(directions)
    turn = torch.remainder(lon_to - lon + math.pi, 2 * math.pi) - math.pi
    climb = lat_to - lat[:, None]
    return torch.stack((turn * (width / (2 * math.pi)), climb * (-height / math.pi)), dim=1)


def spherical_displacement(flow: Tensor) -> Tensor:
    """Great-circle length of each vector of ``(T, 2, H, W)``, degrees in [0, 180], ``(T, H, W)``.

    A yaw by d degrees moves a point at latitude b by 2 asin(cos b sin(d / 2)): d at the equator, nothing at a pole.
    """
    height, width = _check_flow(flow)
    start = erp_directions(height, width, flow.device, flow.dtype)
    return angle_between(start, flow_to_directions(flow)).rad2deg()


def warp_erp(image: Tensor, flow: Tensor) -> Tensor:
    """Fetch each pixel from where its vector leads: out(p) = image(p + flow(p)), across the seam and the poles.

    ``warp_erp(frame[t + 1], flow[t])`` looks like ``frame[t]`` wherever nothing was hidden or uncovered.

    Args:
        image: ``(T, C, H, 2H)`` floating.
        flow: ``(T, 2, H, 2H)`` pixels.
    """
    height, width = _check_flow(flow)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + 0.5
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype) + 0.5
    return sample_erp_pixels(image, *fold_over_poles(columns + flow[:, 0], rows + flow[:, 1], height))


def forward_backward_mask(forward: Tensor, backward: Tensor, share: float = 0.01, floor_px: float = 0.5) -> Tensor:
    """Where forward and backward flow agree, so that the point is seen in both frames: bool ``(T, H, W)``.

    A point goes out along ``forward`` (t to t + 1) and home along ``backward`` (t + 1 to t), on the sphere. It is
    kept if the squared miss is below ``share`` times the summed squared lengths plus ``floor_px``, all measured along
    great circles in pixels of the equator (Sundaram et al. 2010, eq. 5, with angles in place of plane vectors).
    """
    height, width = _check_flow(forward)
    pairs = [_returns(*pair, share, floor_px) for pair in zip(forward[:, None], backward[:, None], strict=True)]
    return torch.cat(pairs) if pairs else torch.zeros((0, height, width), dtype=torch.bool, device=forward.device)


def _returns(forward: Tensor, backward: Tensor, share: float, floor_px: float) -> Tensor:
    """``forward_backward_mask`` of one pair, ``(1, H, W)``: what it takes in memory fits a cache."""
    width = forward.shape[-1]
    start, away = moved_planes(forward)
    start = start[:, None]
    # Directions, unlike pixel vectors, can be interpolated at the seam and at the poles.
    home = unit(warp_erp(moved_planes(backward)[1].movedim(0, 1), forward).movedim(1, 0))
    squared_px = (width / (2 * math.pi)) ** 2
    lengths = angles(start, away).square() + angles(away, home).square()
    return angles(start, home).square() * squared_px < share * lengths * squared_px + floor_px
