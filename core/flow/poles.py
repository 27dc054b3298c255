"""Flow towards the poles, as seen in a perspective view of each: there no planar estimator follows a panorama.

Everything is in float32, and only of the rows where a pole's view has a say: two thirds of a panorama.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from core.flow.planes import lonlat, unit, unit_planes
from core.sphere import erp_lonlat, rotation_matrix, view_directions

if TYPE_CHECKING:
    from core.flow.estimate import Estimator

_FOV = math.radians(120)
# Degrees of latitude between which the view of the pole takes over from the panorama.
_TAKES_OVER = (33.0, 48.0)


@dataclass(frozen=True)
class _Cap:
    """The rows around one pole and the perspective view of it, about as fine as the panorama.

    Attributes:
        rows: of the panorama, those where the view has a say.
        wide: the same and some more, so that means over surroundings are complete in ``rows``.
        inner: ``rows`` among ``wide``.
        share: (h, 1) float32: how much of a say.
        lon: (W,) float32, radians.
        lat: (h', 1) float32, radians, of ``wide``.
        view_x: (n, n) float32: column of each of the view's pixels, in a panorama continued by one pixel.
        view_y: the same for the row.
        place: two of (h', W) float32: column and row in the view of each pixel of ``wide``.
        rotation: (3, 3) float32, from the view's axes to the world's.
        size: n.
        focal: focal length in pixels.
    """

    rows: slice
    wide: slice
    inner: slice
    share: Tensor
    lon: Tensor
    lat: Tensor
    view_x: np.ndarray
    view_y: np.ndarray
    place: tuple[Tensor, Tensor]
    rotation: Tensor
    size: int
    focal: float


@lru_cache(maxsize=4)
def _cap(height: int, up: bool) -> _Cap:
    lat, lon = erp_lonlat(height, 2 * height, dtype=torch.float64)
    low, high = _TAKES_OVER
    share = ((lat.abs().rad2deg() - low) / (high - low)).clamp(0, 1)
    share = share * share * (3 - 2 * share)  # smooth at both ends
    count = int((share > 0).sum()) // 2
    more = min(count + _reach(height) // 2 + 1, height)
    rows, wide = (slice(0, count), slice(0, more)) if up else (slice(-count, None), slice(-more, None))
    inner = slice(0, count) if up else slice(more - count, None)

    pitch = math.pi / 2 if up else -math.pi / 2
    size = round(2 * math.tan(_FOV / 2) * height / math.pi)
    focal = size / 2 / math.tan(_FOV / 2)
    rotation = rotation_matrix(pitch=pitch, dtype=torch.float64)
    rays = view_directions(size, size, _FOV, pitch=pitch, dtype=torch.float64).movedim(-1, 0)
    x, y = _pixel_of(rays, height)
    lat = lat[wide, None]
    local = torch.tensordot(rotation.T, unit_planes(lon, lat), dims=1)
    depth = local[2].clamp_min(1e-3)
    place = (focal * local[0] / depth + (size - 1) / 2, -focal * local[1] / depth + (size - 1) / 2)
    return _Cap(
        rows, wide, inner, share[rows, None].float(), lon.float(), lat.float(), x.float().numpy(), y.float().numpy(),
        (place[0].float(), place[1].float()), rotation.float(), size, focal,
    )  # fmt: skip


def with_poles(estimator: Estimator, a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The flow ``(2, H, W)`` of two prepared panoramas, with that of their views of the poles blended in.

    Towards a pole its view is followed where it explains the second picture better: in a plain sky nothing tells the
    motion, and the panorama has at least the horizon to take it from.
    """
    height = a.shape[0]
    result = flow.copy()
    around = over_poles(a), over_poles(b)
    for up in (True, False):
        cap = _cap(height, up)
        own = torch.from_numpy(np.ascontiguousarray(flow[:, cap.wide]))
        planar = unit_planes(cap.lon + own[0] * (math.pi / height), cap.lat - own[1] * (math.pi / height))
        seen = _seen(estimator, *around, cap)
        before, after = (misfit(a[cap.wide], around[1], ends)[cap.inner] for ends in (planar, seen))
        weight = cap.share * torch.from_numpy(gain(before, after))
        ends = (1 - weight) * planar[:, cap.inner] + weight * seen[:, cap.inner]
        lon, lat = lonlat(ends)
        turn = torch.remainder(lon - cap.lon + math.pi, 2 * math.pi) - math.pi
        climb = lat - cap.lat[cap.inner]
        blended = torch.stack((turn * (height / math.pi), climb * (-height / math.pi))).numpy()
        result[:, cap.rows] = np.where(weight.numpy() > 0, blended, flow[:, cap.rows])
    return result


def _seen(estimator: Estimator, a: np.ndarray, b: np.ndarray, cap: _Cap) -> Tensor:
    """Where the pixels of ``cap.wide`` go as seen in the view of the pole, (3, h', W), any length.

    Args:
        estimator: of flow.
        a: prepared panorama, continued by one pixel.
        b: as a.
        cap: which pole.
    """
    views = [cv2.remap(picture, cap.view_x, cap.view_y, cv2.INTER_CUBIC) for picture in (a, b)]
    flow = np.ascontiguousarray(estimator.flow(*views).transpose(1, 2, 0))
    x, y = cap.place
    moved = cv2.remap(flow, x.numpy(), y.numpy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    u, v = torch.from_numpy(moved).unbind(-1)
    middle = (cap.size - 1) / 2
    rays = torch.stack(((x + u - middle) / cap.focal, (middle - y - v) / cap.focal, torch.ones_like(x)))
    return torch.tensordot(cap.rotation, unit(rays), dims=1)


def misfit(a: np.ndarray, b: np.ndarray, ends: Tensor) -> np.ndarray:
    """Mean absolute difference, in grey levels, of each pixel's surroundings and where they go, float32 (h, W).

    Args:
        a: rows of a prepared panorama.
        b: the other one, continued by one pixel.
        ends: (3, h, W), where the pixels of ``a`` go.
    """
    height = b.shape[0] - 2
    x, y = _pixel_of(ends, height)
    moved = cv2.remap(b, x.numpy(), y.numpy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(moved.astype(np.float32) - a)
    difference = difference if difference.ndim == 2 else difference.mean(axis=2)
    side = _reach(height)
    return cv2.blur(np.pad(difference, ((0, 0), (side, side)), mode="wrap"), (side, side))[:, side:-side]


def _reach(height: int) -> int:
    """Side of a pixel's surroundings."""
    return 2 * (height // 32) + 1


def gain(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From 0, where the second misfit is no smaller, to 1, where it is smaller by more than noise makes it."""
    return ((before - after) / (0.05 * before + 0.1)).clip(0, 1)


def over_poles(picture: np.ndarray) -> np.ndarray:
    """A panorama ``(H, W, ...)`` continued by one pixel around the sphere and over the poles."""
    half = picture.shape[1] // 2
    tall = np.concatenate((np.roll(picture[:1], half, 1), picture, np.roll(picture[-1:], half, 1)))
    return np.concatenate((tall[:, -1:], tall, tall[:, :1]), axis=1)


def _pixel_of(planes: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Column and row of directions in a panorama continued by one pixel."""
    lon, lat = lonlat(planes)
    return (lon / math.pi + 1) * height + 0.5, (0.5 - lat / math.pi) * height + 0.5
