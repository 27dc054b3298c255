"""Flow between consecutive panoramas: any planar estimator, made cyclic, with its own views of the poles."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from core.errors import PanobenchError, did_you_mean
from core.flow.sphere import directions_to_flow, flow_to_directions
from core.sphere import directions_to_lonlat, erp_directions, erp_lonlat, rotation_matrix, view_directions

BACKENDS = ("dis", "raft", "panoflow")

_POLE_FOV = math.radians(120)
# Degrees of latitude between which the view of the pole takes over from the panorama.
_TAKES_OVER = (33.0, 48.0)


class Estimator(Protocol):
    """A planar estimator of optical flow."""

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """What it compares, of a frame uint8 RGB ``(H, W, 3)``; may be rolled, padded and resampled like a picture."""

    def flow(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Flow from one prepared picture to another, float32 ``(2, H, W)``, pixels."""


class Dis:
    """Dense inverse search of OpenCV (Kroeger et al. 2016), no weights."""

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Grey levels, uint8 ``(H, W)``."""
        return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)

    def flow(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `Estimator`. The same on any number of cores."""
        # None: no initial flow; the stubs forbid it.
        found = dis_estimator(a.shape[0]).calc(a, b, None)  # type: ignore[call-overload]
        return found.transpose(2, 0, 1)


def dis_estimator(height: int) -> cv2.DISOpticalFlow:
    """DIS tuned on the procedural world's exact flow: the presets stop at 1/2 or 1/4 of the resolution.

    Full resolution costs as many times more as it has pixels, so from 256 rows on the last level is left out.
    """
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0 if height < 256 else 1)
    estimator.setPatchSize(6)
    estimator.setPatchStride(3)
    estimator.setVariationalRefinementIterations(8)
    return estimator


def make_estimator(
    backend: str = "dis",
    weights: str | Path | None = None,  # of raft and panoflow
    device: torch.device | str = "cpu",
) -> Estimator:
    """The estimator of a name.

    Raises:
        PanobenchError: unknown, or its weights are missing or of another network.
    """
    if backend not in BACKENDS:
        raise PanobenchError(
            f"flow.backend: unknown '{backend}'; known: {', '.join(BACKENDS)}{did_you_mean(backend, BACKENDS)}"
        )
    if backend == "dis":
        return Dis()
    from core.flow.raft import Raft

    return Raft(backend, weights, device)


def estimate_flow(
    frames: np.ndarray,
    backend: str | Estimator = "dis",
    cyclic: bool = True,
    tangent: bool = False,
) -> np.ndarray:
    """Flow between consecutive frames.

    Cyclic flow estimation (PanoFlow, Shi et al. 2023, section III-C): estimate on the picture and on the picture with
    its halves swapped, turn the second result back, and keep the shorter vector at each pixel. The vector is kept as a
    whole: the released code takes the signed minimum of each component, which pulls noise towards the left and up.
    Both pictures are continued around the sphere before the estimation, so that a patch at an edge sees its
    neighbours. How much better that is, by latitude: `benchmarks/flow_accuracy.py`.

    Args:
        frames: uint8 RGB ``(F, H, 2H, 3)``.
        backend: a name without weights, or what `make_estimator` made.
        cyclic: False estimates once on the plane, with an edge at the seam.
        tangent: estimate on a perspective view of each pole too, and take that towards the poles, where a panorama
            moves in ways that no planar estimator expects.

    Returns:
        float32 ``(F - 1, 2, H, 2H)``, pixels. The same on any number of cores.

    Raises:
        PanobenchError: unknown backend.
        ValueError: frames of another shape or type.
    """
    estimator = make_estimator(backend) if isinstance(backend, str) else backend
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[2] != 2 * frames.shape[1]:
        raise ValueError(f"expected uint8 frames (F, H, 2H, 3), got {frames.dtype} {frames.shape}")
    height, width = frames.shape[1:3]
    flow = np.zeros((max(len(frames) - 1, 0), 2, height, width), np.float32)
    pictures = [estimator.prepare(frame) for frame in frames]
    for t in range(len(flow)):
        pair = pictures[t], pictures[t + 1]
        flow[t] = _cyclic(estimator, *pair) if cyclic else estimator.flow(*pair)
        if tangent:
            flow[t] = _with_poles(estimator, *pair, flow[t])
    return flow


def _cyclic(estimator: Estimator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    half = a.shape[1] // 2
    direct = _continued(estimator, a, b)
    swapped = np.roll(_continued(estimator, np.roll(a, half, 1), np.roll(b, half, 1)), -half, axis=2)
    shorter = np.square(direct).sum(0) <= np.square(swapped).sum(0)
    return np.where(shorter, direct, swapped)


def _continued(estimator: Estimator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Flow ``(2, H, W)`` of two pictures, continued around the sphere by an eighth on either side."""
    width = a.shape[1]
    margin = width // 8
    around = ((0, 0), (margin, margin)) + ((0, 0),) * (a.ndim - 2)
    flow = estimator.flow(np.pad(a, around, mode="wrap"), np.pad(b, around, mode="wrap"))
    return flow[:, :, margin : margin + width]


# --- the poles -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _pole_view(height: int, up: bool) -> tuple[np.ndarray, np.ndarray, Tensor, Tensor, int]:
    """A perspective view of a pole, about as fine as the panorama.

    Returns:
        Where its pixels lie in a panorama continued by one pixel around and half a turn over the poles, x and y,
        ``(n, n)`` float32 each; where the panorama's pixels lie in it, ``(H, 2H, 2)``; the rotation that turns its
        axes into the world's; its size n.
    """
    pitch = math.pi / 2 if up else -math.pi / 2
    size = round(2 * math.tan(_POLE_FOV / 2) * height / math.pi)
    rays = view_directions(size, size, _POLE_FOV, pitch=pitch, dtype=torch.float64)
    lon = torch.atan2(rays[..., 0], rays[..., 2])
    lat = torch.asin(rays[..., 1].clamp(-1, 1))
    x = (lon / (2 * math.pi) + 0.5) * 2 * height - 0.5 + 1
    y = (0.5 - lat / math.pi) * height - 0.5 + 1
    rotation = rotation_matrix(pitch=pitch, dtype=torch.float64)
    local = erp_directions(height, 2 * height, dtype=torch.float64) @ rotation
    focal = size / 2 / math.tan(_POLE_FOV / 2)
    depth = local[..., 2].clamp_min(1e-3)
    place = torch.stack((focal * local[..., 0] / depth, -focal * local[..., 1] / depth), dim=-1) + (size - 1) / 2
    return x.float().numpy(), y.float().numpy(), place, rotation, size


def _with_poles(estimator: Estimator, a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The flow ``(2, H, W)`` of two prepared panoramas, with that of their views of the poles blended in.

    Towards a pole its view is followed where it explains the second picture better: in a plain sky nothing tells the
    motion, and the panorama has at least the horizon to take it from.
    """
    height = a.shape[0]
    latitude = erp_lonlat(height, 1, dtype=torch.float64)[0].rad2deg()[:, None]
    low, high = _TAKES_OVER
    share = ((latitude.abs() - low) / (high - low)).clamp(0, 1)
    share = share * share * (3 - 2 * share)  # smooth at both ends
    planar = flow_to_directions(torch.from_numpy(flow)[None].double())[0]
    seen = torch.where(
        latitude[..., None] > 0, _seen_at_pole(estimator, a, b, up=True), _seen_at_pole(estimator, a, b, up=False)
    )
    trust = torch.from_numpy(_gain(_misfit(a, b, planar), _misfit(a, b, seen))).double()
    weight = (share * trust)[..., None]
    ends = torch.nn.functional.normalize((1 - weight) * planar + weight * seen, dim=-1)
    blended = directions_to_flow(ends[None])[0].float().numpy()
    return np.where((weight > 0).numpy()[None, ..., 0], blended, flow)


def _misfit(a: np.ndarray, b: np.ndarray, ends: Tensor) -> np.ndarray:
    """Mean absolute difference, in grey levels, of each pixel's surroundings and where they go, float32 ``(H, W)``."""
    height, width = a.shape[:2]
    lon, lat = directions_to_lonlat(ends)
    x = ((lon / (2 * math.pi) + 0.5) * width + 0.5).float().numpy()
    y = ((0.5 - lat / math.pi) * height + 0.5).float().numpy()
    moved = cv2.remap(_over_poles(b), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = np.abs(moved.astype(np.float32) - a)
    difference = difference if difference.ndim == 2 else difference.mean(axis=2)
    side = 2 * (height // 32) + 1
    return cv2.blur(np.pad(difference, ((0, 0), (side, side)), mode="wrap"), (side, side))[:, side:-side]


def _gain(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From 0, where the second misfit is no smaller, to 1, where it is smaller by more than noise makes it."""
    return ((before - after) / (0.05 * before + 0.1)).clip(0, 1)


def _seen_at_pole(estimator: Estimator, a: np.ndarray, b: np.ndarray, up: bool) -> Tensor:
    """Where the pixels of a panorama go as seen in the view of a pole, directions ``(H, W, 3)``.

    Only what the view shows means anything.
    """
    x, y, place, rotation, size = _pole_view(a.shape[0], up)
    views = [cv2.remap(_over_poles(picture), x, y, cv2.INTER_CUBIC) for picture in (a, b)]
    at = place.float().numpy()
    moved = [
        cv2.remap(part, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in estimator.flow(*views)
    ]
    end = place + torch.from_numpy(np.stack(moved, axis=-1)).double() - (size - 1) / 2
    focal = size / 2 / math.tan(_POLE_FOV / 2)
    rays = torch.stack((end[..., 0] / focal, -end[..., 1] / focal, torch.ones_like(end[..., 0])), dim=-1)
    return torch.nn.functional.normalize(rays, dim=-1) @ rotation.T


def _over_poles(picture: np.ndarray) -> np.ndarray:
    """A panorama ``(H, W, ...)`` continued by one pixel around the sphere and over the poles."""
    half = picture.shape[1] // 2
    tall = np.concatenate((np.roll(picture[:1], half, 1), picture, np.roll(picture[-1:], half, 1)))
    return np.concatenate((tall[:, -1:], tall, tall[:, :1]), axis=1)
