"""Do the rows at the poles close to a point, as they do on a sphere?"""

from typing import ClassVar

import numpy as np

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims


def row_spread(frames: np.ndarray) -> np.ndarray:
    """Standard deviation along each of the two polar rows of each frame, grey levels, (F, 2) float64: top, bottom.

    The first and the last row are circles around the poles whose radius is half a row: nearly one point of the world,
    so nearly one colour. Mean over channels.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    polar = frames[:, [0, -1]].astype(np.float64)  # (F, 2, W, 3)
    return polar.std(axis=2).mean(axis=2)


class PoleSpread(Metric):
    """Colour spread along the top and bottom rows, grey levels, lower is better; 0 if each pole is one point.

    A perspective picture stretched to 2:1 has whole edges there. A plain sky hides the fault at the top, so the larger
    of the two counts; a blank video scores 0. Source: this project.
    """

    name: ClassVar[str] = "pole_spread"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "end_continuity"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "colour spread along the polar rows (the worse of the two), which a sphere closes to points"
    )
    claims: ClassVar[Claims] = claims(rises="perspective", level="flicker shuffled frozen", floor=Floor("clean", 0, 12))

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See row_spread."""
        return row_spread(video.new(video.frames))

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """The worse pole of the mean over frames."""
        return float(rows.mean(axis=0).max())
