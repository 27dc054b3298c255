"""Brightness that changes from frame to frame, whatever the reason."""

from typing import ClassVar

import numpy as np

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims


def frame_difference(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Latitude-weighted mean |x(t+1) - x(t)| of each pair of frames, (F-1,) float64, grey levels 0 to 255.

    Args:
        frames: (F, H, W, 3) uint8, F >= 2.
        weights: (H,) float64, sum 1.
    """
    difference = np.abs(np.diff(frames.astype(np.int16), axis=0))
    return difference.sum(axis=(2, 3), dtype=np.int64) / (frames.shape[2] * frames.shape[3]) @ weights


class Flicker(Metric):
    """Mean absolute frame difference, grey levels, lower is better; motion counts too, so read it beside motion_speed.

    warping_error is the same with the motion taken out. Source: temporal flickering of VBench (Huang et al. 2024),
    with latitude weights.
    """

    name: ClassVar[str] = "flicker"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "frame_consistency"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "latitude-weighted mean frame difference; motion counts, a frozen video scores 0"
    claims: ClassVar[Claims] = claims(
        rises="flicker shuffled noise",
        falls="frozen",
        level="broken_seam misaligned_seam",
        floor=Floor("frozen", 0, 0),
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See frame_difference."""
        return frame_difference(video.frames, video.row_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over pairs of frames."""
        return float(rows.mean())
