"""One number for the question whether the picture closes around the sphere: at the seam and over the poles together.

Each alone is fooled now and then, the seam by a mast that stands there or by a plain wall, a pole by a plain sky; what
fools one hardly ever fools the other.
"""

from typing import ClassVar

import numpy as np

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.discontinuity import DiscontinuityRatio
from evaluation.metrics.edges import PoleRatio
from evaluation.strips import MERIDIANS

_SEAM, _POLES = DiscontinuityRatio(), PoleRatio(floor_levels=0.25)


class OpenEnds(Metric):
    """Geometric mean of discontinuity_ratio and pole_ratio, lower is better, about 1 if the picture closes.

    Above 2.5 it does not: of 80 panoramas of the procedural world 76 read less, of 80 perspective clips stretched to
    2:1 (fields of view of 50 to 120 degrees) none does. Source: this project.
    """

    name: ClassVar[str] = "open_ends"
    unit: ClassVar[str] = "1"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "end_continuity"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "seam and poles together: about 1 = closes around the sphere, above 2.5 = does not"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen",
        floor=Floor("clean", 0.5, 1.8),
        yaw="edge",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """Rows of both, side by side: (N, 16 + 2 (1 + k))."""
        poles = _POLES.update(video)
        return np.concatenate([_SEAM.update(video), poles.reshape(len(poles), -1)], axis=1)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See discontinuity_ratio and pole_ratio."""
        seam, poles = rows[:, :MERIDIANS], rows[:, MERIDIANS:].reshape(len(rows), 2, -1)
        return float(np.sqrt(_SEAM.compute(seam) * _POLES.compute(poles)))
