"""Optical flow on the sphere: estimation that knows no seam, warping, and storage as pictures.

A flow field is ``(T, 2, H, W)`` float32 in ERP pixels, from frame t to frame t + 1: u to the right (growing
longitude), v down (growing row). A vector may lead over the seam or over a pole; everything here follows it there.
Lengths in pixels say little near the poles: ``spherical_displacement`` gives degrees.
"""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import PanobenchError, did_you_mean
from core.sphere import (
    angle_between,
    check_erp,
    erp_directions,
    erp_lonlat,
    lonlat_to_directions,
    sample_erp,
)

BACKENDS = ("dis",)


# --- estimation ------------------------------------------------------------------------------------------------------


def estimate_flow(frames: np.ndarray, backend: str = "dis", cyclic: bool = True) -> np.ndarray:
    """Flow between consecutive frames.

    Cyclic flow estimation (PanoFlow, Shi et al. 2023, section III-C): estimate on the picture and on the picture with
    its halves swapped, turn the second result back, and keep the shorter vector at each pixel. The vector is kept as a
    whole: the released code takes the signed minimum of each component, which pulls noise towards the left and up.
    Both pictures are continued around the sphere before the estimation, so that a patch at an edge sees its
    neighbours. On the procedural world, 64 x 128 pixels with a mean motion of 1.25 degrees per frame, the mean error is
    0.27 degrees either way, and within six columns of the seam 0.20 degrees against 0.28 without the cycle.

    Args:
        frames: uint8 RGB ``(F, H, 2H, 3)``.
        backend: ``dis``, dense inverse search of OpenCV (Kroeger et al. 2016); no weights.
        cyclic: False estimates once on the plane, with an edge at the seam.

    Returns:
        float32 ``(F - 1, 2, H, 2H)``, pixels. The same on any number of cores.

    Raises:
        PanobenchError: unknown backend.
        ValueError: frames of another shape or type.
    """
    if backend not in BACKENDS:
        raise PanobenchError(
            f"flow.backend: unknown '{backend}'; known: {', '.join(BACKENDS)}{did_you_mean(backend, BACKENDS)}"
        )
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[2] != 2 * frames.shape[1]:
        raise ValueError(f"expected uint8 frames (F, H, 2H, 3), got {frames.dtype} {frames.shape}")
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]) if len(frames) else frames[..., 0]
    height, width = grey.shape[1:]
    flow = np.zeros((max(len(frames) - 1, 0), 2, height, width), np.float32)
    estimator = dis_estimator(height)
    for t in range(len(flow)):
        pair = grey[t], grey[t + 1]
        flow[t] = _cyclic(estimator, *pair) if cyclic else _planar(estimator, *pair)
    return flow


def dis_estimator(height: int) -> "cv2.DISOpticalFlow":
    """DIS tuned on the procedural world's exact flow: the presets stop at 1/2 or 1/4 of the resolution.

    Full resolution costs as many times more as it has pixels, so from 256 rows on the last level is left out.
    """
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0 if height < 256 else 1)
    estimator.setPatchSize(6)
    estimator.setPatchStride(3)
    estimator.setVariationalRefinementIterations(8)
    return estimator


def _cyclic(estimator: "cv2.DISOpticalFlow", a: np.ndarray, b: np.ndarray) -> np.ndarray:
    half = a.shape[1] // 2
    direct = _planar(estimator, a, b, margin=a.shape[1] // 8)
    swapped = _planar(estimator, np.roll(a, half, 1), np.roll(b, half, 1), margin=a.shape[1] // 8)
    swapped = np.roll(swapped, -half, axis=2)
    shorter = np.square(direct).sum(0) <= np.square(swapped).sum(0)
    return np.where(shorter, direct, swapped)


def _planar(estimator: "cv2.DISOpticalFlow", a: np.ndarray, b: np.ndarray, margin: int = 0) -> np.ndarray:
    """``(2, H, W)`` of two grey pictures ``(H, W)``, continued by ``margin`` columns on either side."""
    width = a.shape[1]
    a, b = (np.pad(picture, ((0, 0), (margin, margin)), mode="wrap") for picture in (a, b))
    flow = estimator.calc(a, b, None)  # type: ignore[call-overload]  # None: no initial flow; the stubs forbid it
    return flow[:, margin : margin + width].transpose(2, 0, 1)


# --- flow on the sphere ----------------------------------------------------------------------------------------------


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
    _check_flow(flow)
    return sample_erp(image, flow_to_directions(flow))


def forward_backward_mask(forward: Tensor, backward: Tensor, share: float = 0.01, floor_px: float = 0.5) -> Tensor:
    """Where forward and backward flow agree, so that the point is seen in both frames: bool ``(T, H, W)``.

    A point goes out along ``forward`` (t to t + 1) and home along ``backward`` (t + 1 to t), on the sphere. It is
    kept if the squared miss is below ``share`` times the summed squared lengths plus ``floor_px``, all measured along
    great circles in pixels of the equator (Sundaram et al. 2010, eq. 5, with angles in place of plane vectors).
    """
    height, width = _check_flow(forward)
    start = erp_directions(height, width, forward.device, forward.dtype)
    away = flow_to_directions(forward)
    # Directions, unlike pixel vectors, can be interpolated at the seam and at the poles.
    back = sample_erp(flow_to_directions(backward).permute(0, 3, 1, 2), away).permute(0, 2, 3, 1)
    home = F.normalize(back, dim=-1)
    returning = angle_between(away, home)
    miss = angle_between(start, home)
    squared_px = (width / (2 * math.pi)) ** 2
    lengths = angle_between(start, away).square() + returning.square()
    return miss.square() * squared_px < share * lengths * squared_px + floor_px


# --- flow as pictures ------------------------------------------------------------------------------------------------


def encode_flow(flow: np.ndarray, range_px: float) -> np.ndarray:
    """Flow maps, one per frame: uint8 RGB ``(F, H, W, 3)`` of ``(F - 1, 2, H, W)``; the last map is repeated.

    R is u and G is v, 128 is exactly zero and 1..255 is -range..range; B is the length, 0..range. Longer vectors are
    shortened to fit and keep their direction. As a condition (``flow_condition``) a still pixel is (0, 0, -1), which
    is another input than the all-zero "no motion condition".
    """
    if flow.ndim != 4 or flow.shape[1] != 2 or not len(flow):
        raise ValueError(f"expected flow (F - 1, 2, H, W) of at least two frames, got {flow.shape}")
    if not range_px > 0:
        raise ValueError(f"flow.range_px must be positive, not {range_px}")
    scaled = flow.astype(np.float32) / np.float32(range_px)
    scaled /= np.maximum(np.abs(scaled).max(axis=1, keepdims=True), 1)
    length = np.minimum(np.hypot(scaled[:, 0], scaled[:, 1]), 1)
    red, green = np.rint(scaled * 127 + 128).transpose(1, 0, 2, 3)
    maps = np.stack((red, green, np.rint(length * 255)), axis=-1).astype(np.uint8)
    return np.concatenate((maps, maps[-1:]))


def decode_flow(maps: np.ndarray, range_px: float) -> np.ndarray:
    """Flow float32 ``(F, 2, H, W)`` in pixels of maps ``(F, H, W, 3)``, each component to within ``range_px / 254``."""
    signed = maps[..., :2].astype(np.float32) - 128
    return np.ascontiguousarray(signed.transpose(0, 3, 1, 2) * np.float32(range_px / 127))


def flow_condition(maps: Tensor) -> Tensor:
    """What the model sees: float32 in [-1, 1] ``(..., 3, H, W)`` of maps uint8 ``(..., 3, H, W)``, channels first.

    Exactly zero where u or v is zero, which plain ``x / 127.5 - 1`` is not.
    """
    maps = maps.float()
    direction = (maps[..., :2, :, :] - 128) / 127
    return torch.cat((direction, maps[..., 2:, :, :] / 127.5 - 1), dim=-3)
