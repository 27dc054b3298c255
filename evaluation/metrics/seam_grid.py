"""End continuity against meridians that are built like the seam: the multiples of W / 16.

A decoder that draws blocks of 4 or 8 pixels leaves a step at the border of each block, and the seam lies on such a
border; against the median of *all* meridians it then looks broken where nothing is (the nano decoder's borders step 2.6
to 2.9 times the median meridian). The block size need not be known: blocks are powers of two, so the multiples of
W / 16 lie on the borders of every grid of up to W / 16 pixels that the seam lies on. On real pictures, which have no
grid, they are meridians like any other.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from evaluation.features import VideoFeatures, row_weights
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.seam import seam_ratio
from evaluation.strips import meridians


def row_steps(frames: np.ndarray) -> np.ndarray:
    """Step of every row across each of the 16 meridians, (F, H, 16) float64, 0 to 1; the seam's first.

    Args:
        frames: (F, H, W, C) uint8.
    """
    right = meridians(frames.shape[2])
    step = np.abs(frames[:, :, right].astype(np.int16) - frames[:, :, [column - 1 for column in right]])
    return step.mean(axis=3) / 255


def row_percentile(steps: np.ndarray, weights: np.ndarray) -> float:
    """Per cent of the other meridians that step less than the seam in the same row; ties count half; by area.

    Args:
        steps: (H, 16), averaged over frames; the seam's first.
        weights: (H,), sum 1.
    """
    seam, others = steps[:, :1], steps[:, 1:]
    share = (others < seam).mean(axis=1) + 0.5 * (others == seam).mean(axis=1)
    return float(100 * share @ weights)


def _row_steps_of(video: VideoFeatures) -> np.ndarray:
    return row_steps(video.new(video.frames))


class _SeamGrid(Metric):
    criterion: ClassVar[Criterion] = "end_continuity"
    direction: ClassVar[Direction] = "lower"
    version: ClassVar[int] = 1

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See row_steps."""
        return video.once(_row_steps_of)


class SeamRatioGrid(_SeamGrid):
    """Seam step over the median step of the 15 other multiples of W / 16, lower is better, about 1 if seamless.

    The seam ratio for videos from a decoder that draws blocks. Source: this project.
    """

    name: ClassVar[str] = "seam_ratio_grid"
    unit: ClassVar[str] = "1"
    summary: ClassVar[str] = "step across the seam / median step of meridians on the same block grid; 1 = seamless"
    floor_levels: float = Field(0.25, gt=0)  # grey levels of 255
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen pan blur noise",
        floor=Floor("clean", 0.5, 1.7),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See seam_ratio."""
        return seam_ratio(row_weights(rows.shape[1]) @ rows.mean(axis=0), self.floor_levels / 255)


class SeamRowPercentile(_SeamGrid):
    """Share of meridians calmer than the seam, row by row, per cent, lower is better; about 45 if seamless.

    A strong edge that happens to stand at the seam of a real picture (a mast, a wall) fills a few rows, and the ends of
    a flat picture differ in nearly all of them: so this tells best whether the ends meet. On real panoramas of the
    procedural world it read 35 to 60, on its perspective pictures stretched to 2:1 from 60 up. In a picture of a few
    large smooth shapes all rows agree, and it moves as widely as seam_percentile. Source: this project.
    """

    name: ClassVar[str] = "seam_row_percentile"
    unit: ClassVar[str] = "%"
    summary: ClassVar[str] = "share of meridians that step less than the seam, row by row; 50 = like any other"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen pan",
        floor=Floor("clean", 30, 62),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See row_percentile."""
        return row_percentile(rows.mean(axis=0), row_weights(rows.shape[1]))
