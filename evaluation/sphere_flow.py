"""Optical flow for measuring motion: around the seam, through views at the poles, and the same whatever the yaw.

The estimator works on a grid of patches, so where the file happens to be cut would change a little of its result. Each
pair of frames is therefore turned so that its brightest column comes first: a yaw of the whole video by whole pixels
turns the flow, to the bit.

In an ERP a point beside a pole runs along its whole row for a small step of the camera, which no planar estimator
follows; so towards the poles the flow is that of tangent views (``core.flow``). On clips of the procedural world
(`python -m benchmarks.flow_accuracy`, the table is in docs/data.md) the error below -60 degrees falls from .59 to .34
degrees by it, and over the whole sphere from .21 to .19.

Frames of more than 256 rows are averaged down to that before: motion is smooth, the time it takes is not, and so videos
of different sizes are followed equally well. There a yaw by an odd number of pixels changes a trace.
"""

import cv2
import numpy as np

from core.flow import estimate_flow

_ROWS = 256


def flow_frames(frames: np.ndarray) -> np.ndarray:
    """The frames between which flow is estimated: (F, h, 2h, 3) uint8 of (F, H, 2H, 3), h at most 256."""
    height = frames.shape[1]
    if height <= _ROWS:
        return frames
    size = (2 * _ROWS, _ROWS)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def spherical_flow(frames: np.ndarray) -> np.ndarray:
    """Flow between consecutive frames, as ``core.flow`` holds it: pixels, u right, v down, around the sphere.

    Args:
        frames: (F, H, 2H, 3) uint8.

    Returns:
        (F - 1, 2, H, 2H) float32.
    """
    return np.stack([_pair_flow(frames[t : t + 2]) for t in range(len(frames) - 1)])


def _pair_flow(pair: np.ndarray) -> np.ndarray:
    first = int(pair[0].sum(axis=0, dtype=np.int64).sum(axis=1).argmax())
    return np.roll(estimate_flow(np.roll(pair, -first, axis=2), tangent=True)[0], first, axis=2)
