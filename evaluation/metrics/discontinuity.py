"""The Discontinuity Score of ECCV 2024, and what it reads on meridians where there is no seam.

The score depends on the scale of the grey levels and on texture: seamless pictures read anything from .1 to .9, so it
says little without the same score on interior meridians, which the paper does not give.
"""

from typing import ClassVar

import numpy as np

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.pixels import REC_601
from evaluation.strips import meridians

_C = 0.1
_LEAST_INTERIOR = 0.01  # scores below are those of flat pictures


def discontinuity_scores(frames: np.ndarray) -> np.ndarray:
    """DS of each frame at each of the 16 meridians, (F, 16) float64, 0 and up; the seam's, which is the score, first.

    The last three and the first three columns of the picture in grey (0 to 1) are put side by side and convolved with
    the horizontal Scharr filter (3, 10, 3), which gives four columns a1 .. a4 of absolute gradients; the score is the
    mean over rows of 1/2 [a2 / (a1 + c) + a3 / (a4 + c)], c = 0.1. Around another meridian it is the same.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    width = frames.shape[2]
    around = (np.array(meridians(width))[:, None] + np.arange(-3, 3)) % width  # the six columns about each meridian
    grey = frames[:, :, around] @ np.array(REC_601) / 255  # (F, H, 16, 6)
    # Rows without one above and below have no gradient.
    slope = grey[..., 2:] - grey[..., :-2]
    gradient = np.abs(3 * slope[:, :-2] + 10 * slope[:, 1:-1] + 3 * slope[:, 2:])
    a1, a2, a3, a4 = np.moveaxis(gradient, -1, 0)
    return 0.5 * (a2 / (a1 + _C) + a3 / (a4 + _C)).mean(axis=1)


def _scores_of(video: VideoFeatures) -> np.ndarray:
    return discontinuity_scores(video.new(video.frames))


class _Discontinuity(Metric):
    criterion: ClassVar[Criterion] = "end_continuity"
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = "1"
    version: ClassVar[int] = 1

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See discontinuity_scores."""
        return video.once(_scores_of)


class DiscontinuityScore(_Discontinuity):
    """Discontinuity Score as published, a pure number, lower is better; seamless pictures read anything below 1.

    Read discontinuity_ratio beside it. Source: Christensen et al., ECCV 2024, "Geometry Fidelity for Spherical Images".
    """

    name: ClassVar[str] = "discontinuity_score"
    summary: ClassVar[str] = "Discontinuity Score (ECCV 2024): Scharr gradients at the seam over those beside it"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen",
        floor=Floor("clean", 0, 1),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over frames at the seam."""
        return float(rows[:, 0].mean())


class DiscontinuityRatio(_Discontinuity):
    """Discontinuity Score over its median at 15 interior meridians, lower is better, about 1 if seamless.

    Source: the score of Christensen et al., ECCV 2024; the baseline is this project's.
    """

    name: ClassVar[str] = "discontinuity_ratio"
    summary: ClassVar[str] = "Discontinuity Score at the seam / at interior meridians; 1 = seamless"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen pan blur",
        floor=Floor("clean", 0.5, 1.5),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Scores averaged over frames, then the seam's over the median of the others."""
        scores = rows.mean(axis=0) + _LEAST_INTERIOR
        return float(scores[0] / np.median(scores[1:]))
