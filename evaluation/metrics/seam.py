"""End continuity: how visible the meridian is at which the left and the right edge of the picture meet.

A meridian is the border between two neighbouring columns; its step is the latitude-weighted mean absolute difference
across it. The seam is one of the W meridians, and in a seamless panorama it is a meridian like any other. So it is
compared with the others of the same video, which takes texture, contrast and resolution out:

- with the median meridian (``seam_ratio``), about 1 where the seam is as calm as the rest;
- with the meridians next to it (``seam_ratio_local``), since photographers like to put the seam into a plain region,
  where a step shows although the ratio to the median is small;
- by rank (``seam_percentile``), which a few strong edges elsewhere cannot hide or exaggerate.

Ratios divide by the small steps of a smooth picture, so the step itself (``seam_step``) is reported beside them. It is
End Continuity of PanoWan (mean |left - right column|), here latitude-weighted; alone it has no baseline.
The same ratio on frame differences (``seam_ratio_temporal``) sees a seam that only flickers.

All of them look at the edge of the file: a video that is turned as a whole before it is saved hides a broken seam
inside the picture. The steps of all meridians turn with the video exactly; nothing else changes.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims


def meridian_steps(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Step across every meridian in each frame, 0 to 1; index 0 is the seam.

    s(t,j) = sum_i w(i) mean_c |x(t,i,j,c) - x(t,i,j-1,c)| / 255, column indices modulo W, sum w = 1.

    Args:
        frames: (F, H, W, C) uint8, or int16 differences of frames.
        weights: (H,) float64, sum 1.

    Returns:
        (F, W) float64. Turning the video turns the result to the bit.
    """
    x = frames.astype(np.int16)
    channels = np.moveaxis(np.abs(x - np.roll(x, 1, axis=2)), 3, 0)
    steps: np.ndarray = sum(channels)  # (F, H, W) int16, exact; an array's own sum takes ten times as long over three
    # Row by row, because a matrix product may sum in another order for another column.
    total = np.zeros((len(x), x.shape[2]))
    for row, weight in enumerate(weights):
        total += weight / (255 * x.shape[3]) * steps[:, row]
    return total


def seam_ratio(steps: np.ndarray, floor: float) -> float:
    """(s(seam) + floor) / (median over the other meridians + floor); 1 if nothing steps anywhere.

    Args:
        steps: (W,), mean over frames of meridian_steps.
        floor: step below which nobody sees anything; keeps the ratio finite in a flat picture.
    """
    return float((steps[0] + floor) / (np.median(steps[1:]) + floor))


def seam_ratio_local(steps: np.ndarray, floor: float, reach: int) -> float:
    """As seam_ratio, against the median of the ``reach`` meridians on each side of the seam."""
    around = np.concatenate([steps[1 : reach + 1], steps[-reach:]])
    return float((steps[0] + floor) / (np.median(around) + floor))


def seam_percentile(steps: np.ndarray) -> float:
    """Per cent of the other meridians that step less than the seam; ties count half."""
    others = steps[1:]
    return float(100 * ((others < steps[0]).mean() + 0.5 * (others == steps[0]).mean()))


def _steps_of(video: VideoFeatures) -> np.ndarray:
    return meridian_steps(video.new(video.frames), video.row_weights)


def _temporal_steps_of(video: VideoFeatures) -> np.ndarray:
    return meridian_steps(np.diff(video.frames.astype(np.int16), axis=0), video.row_weights)


class _Seam(Metric):
    criterion: ClassVar[Criterion] = "end_continuity"
    direction: ClassVar[Direction] = "lower"
    version: ClassVar[int] = 1

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See meridian_steps."""
        return video.once(_steps_of)


class SeamRatio(_Seam):
    """Seam step over the median meridian's step, a pure number, lower is better, about 1 for a seamless panorama.

    Below 1 the seam lies in a region calmer than most. Source: this project, after PanoWan's End Continuity.
    """

    name: ClassVar[str] = "seam_ratio"
    unit: ClassVar[str] = "1"
    summary: ClassVar[str] = "step across the seam / step across the median meridian; 1 = seamless"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen pan blur noise",
        floor=Floor("clean", 0.5, 1.7),
        yaw="edge",
    )
    floor_levels: float = Field(0.25, gt=0)  # grey levels of 255

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See seam_ratio."""
        return seam_ratio(rows.mean(axis=0), self.floor_levels / 255)


class SeamRatioLocal(_Seam):
    """Seam step over the step of the meridians next to it, a pure number, lower is better, about 1 if seamless.

    Source: this project.
    """

    name: ClassVar[str] = "seam_ratio_local"
    unit: ClassVar[str] = "1"
    summary: ClassVar[str] = "step across the seam / median step of the meridians within reach of it; 1 = seamless"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen pan blur noise",
        floor=Floor("clean", 0.7, 1.4),
        yaw="edge",
    )
    floor_levels: float = Field(0.25, gt=0)  # grey levels of 255
    reach_deg: float = Field(22.5, gt=0, le=90)  # on each side of the seam

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See seam_ratio_local."""
        reach = max(1, round(self.reach_deg / 360 * rows.shape[1]))
        return seam_ratio_local(rows.mean(axis=0), self.floor_levels / 255, reach)


class SeamPercentile(_Seam):
    """Share of meridians calmer than the seam, per cent, lower is better; 50 on average for a seamless panorama.

    Source: this project.
    """

    name: ClassVar[str] = "seam_percentile"
    unit: ClassVar[str] = "%"
    summary: ClassVar[str] = (
        "share of meridians with a smaller step than the seam; 50 = like any other, 100 = the worst"
    )
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen",
        floor=Floor("clean", 25, 75),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See seam_percentile."""
        return seam_percentile(rows.mean(axis=0))


class SeamStep(_Seam):
    """Mean absolute step across the seam, grey levels 0 to 255, lower is better.

    Source: End Continuity, PanoWan (arXiv 2505.22016), with latitude weights.
    """

    name: ClassVar[str] = "seam_step"
    unit: ClassVar[str] = "grey levels"
    summary: ClassVar[str] = "latitude-weighted mean |left - right column| (End Continuity), without a baseline"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam",
        level="flicker shuffled frozen pan",
        floor=Floor("clean", 0, 8),
        yaw="edge",
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See meridian_steps."""
        return float(255 * rows[:, 0].mean())


class SeamRatioTemporal(_Seam):
    """seam_ratio of the frame differences: a seam that flickers. A pure number, lower is better, about 1 if seamless.

    Source: this project.
    """

    name: ClassVar[str] = "seam_ratio_temporal"
    unit: ClassVar[str] = "1"
    summary: ClassVar[str] = "seam ratio of the frame differences: a seam that shows in motion; 1 = seamless or still"
    claims: ClassVar[Claims] = claims(
        rises="perspective",
        level="frozen",
        floor=Floor("clean", 0.5, 1.7),
        yaw="edge",
    )
    floor_levels: float = Field(0.25, gt=0)  # grey levels of 255

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See meridian_steps, of frame differences."""
        return video.once(_temporal_steps_of)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See seam_ratio."""
        return seam_ratio(rows.mean(axis=0), self.floor_levels / 255)
