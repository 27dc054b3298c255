"""Optical flow for measuring motion: around the seam, through views at the poles, and the same whatever the yaw.

In an ERP a point beside a pole runs along its whole row for a small step of the camera, which no planar estimator
follows. So above 60 degrees of latitude the flow comes from two tangent views that look straight up and down. On the
procedural world (tests/evaluation/test_sphere_flow.py) the mean error above 60 degrees falls to between a fifth and a
third on the ground, where a moving camera makes things move, and by a fifth over the whole sphere.

The estimator works on a grid of patches, so where the file happens to be cut would change a little of its result. Each
pair of frames is therefore turned so that its brightest column comes first: a yaw of the whole video by whole pixels
turns the flow, to the bit.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from core.flow import dis_estimator, estimate_flow
from core.sphere import (
    directions_to_lonlat,
    erp_directions,
    erp_lonlat,
    erp_to_view,
    rotation_matrix,
)

# Latitude above which the views are believed, their field of view, and their side over the height of the ERP.
_FROM_DEG, _FOV_DEG, _SIDE = 60.0, 100.0, 0.8


def spherical_flow(frames: np.ndarray) -> np.ndarray:
    """Flow between consecutive frames, as ``core.flow`` holds it: pixels, u right, v down, around the sphere.

    Args:
        frames: (F, H, 2H, 3) uint8.

    Returns:
        (F - 1, 2, H, 2H) float32.
    """
    return np.stack([_pair_flow(frames[t : t + 2]) for t in range(len(frames) - 1)])


def _pair_flow(pair: np.ndarray) -> np.ndarray:
    first = int(pair[0].sum(axis=(0, 2), dtype=np.int64).argmax())
    turned = np.roll(pair, -first, axis=2)
    flow = estimate_flow(turned)[0]
    for pitch in (math.pi / 2, -math.pi / 2):
        rows = _cap_rows(pair.shape[1], pitch)
        flow[:, rows] = _cap_flow(turned, pitch, rows)
    return np.roll(flow, first, axis=2)


def _cap_rows(height: int, pitch: float) -> slice:
    """The rows around the pole that a view with this pitch looks at."""
    count = round(height * (90 - _FROM_DEG) / 180)
    return slice(0, count) if pitch > 0 else slice(height - count, height)


def _cap_flow(pair: np.ndarray, pitch: float, rows: slice) -> np.ndarray:
    """Flow (2, h, W) of the rows around a pole, from the tangent view of the pole."""
    height, width = pair.shape[1:3]
    side, fov = max(16, round(_SIDE * height)), math.radians(_FOV_DEG)
    views = erp_to_view(torch.from_numpy(pair).permute(0, 3, 1, 2).float(), side, side, fov, 0.0, pitch)
    pictures = views.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    planar = torch.from_numpy(dis_estimator(side).calc(grey[0], grey[1], None))  # type: ignore[call-overload]

    to_world = rotation_matrix(pitch=pitch, dtype=torch.float64)
    rays = erp_directions(height, width, dtype=torch.float64)[rows] @ to_world  # in the view's own axes
    half = math.tan(fov / 2)
    x, y = rays[..., 0] / rays[..., 2] / half, -rays[..., 1] / rays[..., 2] / half  # -1 to 1 over the view
    grid = torch.stack((x, y), dim=-1)[None].float()
    step = F.grid_sample(planar.permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False)[0].double()
    x, y = x + step[0] * 2 / side, y + step[1] * 2 / side
    lon, lat = directions_to_lonlat(torch.stack((x * half, -y * half, torch.ones_like(x)), dim=-1) @ to_world.T)

    lat0, lon0 = erp_lonlat(height, width, dtype=torch.float64)
    across = (lon - lon0 + math.pi) % (2 * math.pi) - math.pi
    down = lat0[rows, None] - lat
    return torch.stack((across * width / (2 * math.pi), down * height / math.pi)).float().numpy()
