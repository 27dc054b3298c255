"""Flow between consecutive panoramas: any planar estimator, made cyclic, with its own views of the poles."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from core.errors import PanobenchError, did_you_mean
from core.flow.planes import moved_planes
from core.flow.poles import gain, misfit, over_poles, with_poles

BACKENDS = ("dis", "raft", "panoflow")


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
    neighbours. Towards the poles a panorama is drawn out along its rows, and with it every motion, so that of two
    noisy estimates the shorter one is too short: there the mean of two looks at half the columns, or with `tangent` a
    look at views of the poles, is followed where it explains the next frame better. How much better all that is, by
    latitude: `benchmarks/flow_accuracy.py`.

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
            flow[t] = with_poles(estimator, *pair, flow[t])
        elif cyclic:
            flow[t] = _with_narrow(estimator, *pair, flow[t])
    return flow


def _cyclic(estimator: Estimator, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    direct, swapped = _two_looks(estimator, a, b)
    shorter = np.square(direct).sum(0) <= np.square(swapped).sum(0)
    return np.where(shorter, direct, swapped)


def _with_narrow(estimator: Estimator, a: np.ndarray, b: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The flow ``(2, H, W)`` of two prepared panoramas, with that at half the columns where it fits better."""
    direct, swapped = _two_looks(estimator, a, b, narrow=2)
    mean, around = direct + _within_half_a_turn(swapped - direct) / 2, over_poles(b)
    before, after = (misfit(a, around, moved_planes(torch.from_numpy(part)[None])[1][:, 0]) for part in (flow, mean))
    return _within_half_a_turn(flow + gain(before, after) * _within_half_a_turn(mean - flow))


def _within_half_a_turn(flow: np.ndarray) -> np.ndarray:
    """The same vectors ``(2, H, W)`` with u the shorter way around."""
    width = flow.shape[2]
    return np.stack((flow[0] - width * np.rint(flow[0] / width), flow[1]))


def _two_looks(estimator: Estimator, a: np.ndarray, b: np.ndarray, narrow: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Flow ``(2, H, W)`` of two pictures, and of the same with their halves swapped, turned back."""
    half = a.shape[1] // 2
    direct = _continued(estimator, a, b, narrow)
    swapped = _continued(estimator, np.roll(a, half, 1), np.roll(b, half, 1), narrow)
    return direct, np.roll(swapped, -half, axis=2)


def _continued(estimator: Estimator, a: np.ndarray, b: np.ndarray, narrow: int) -> np.ndarray:
    """Flow ``(2, H, W)`` of two pictures, continued around the sphere by an eighth on either side.

    The estimator sees `narrow` times fewer columns.
    """
    height, width = a.shape[:2]
    margin = width // 8
    around = ((0, 0), (margin, margin)) + ((0, 0),) * (a.ndim - 2)
    pair = [np.pad(picture, around, mode="wrap") for picture in (a, b)]
    wide = width + 2 * margin
    if narrow > 1:
        pair = [cv2.resize(picture, (wide // narrow, height), interpolation=cv2.INTER_AREA) for picture in pair]
    flow = estimator.flow(*pair)
    if narrow > 1:
        u, v = (cv2.resize(part, (wide, height), interpolation=cv2.INTER_LINEAR) for part in flow)
        flow = np.stack((u * (wide / (wide // narrow)), v)).astype(np.float32)
    return flow[:, :, margin : margin + width]
