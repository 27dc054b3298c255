"""Is it a panorama at all? Whoever walks off one edge of a 360-degree picture comes back in at another.

What is measured at the edges, and beside them, is in evaluation/metrics/closing.py. Here it becomes a verdict: the
geometric mean of what is open at the seam and of what is open at the poles. No network or reference is needed.

A picture that does not close could be closed by more picture. How much more, the steps tell too: differences grow with
distance, so the distance at which inner pixels differ as much as the two edges do is how far the edges are apart. It is
an upper bound of the field of view, since what is far enough apart differs no more.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.closing import Ends, closing_steps, lags_up_to, unpacked

_FLOOR = 0.1  # grey levels; below it a step is 8-bit rounding
_CODED = 0.5  # grey levels that coding adds to a step and that are not seen at the borders of blocks inside
_MOST = 4.0  # that one pole counts: a tripod that was painted out may cost a panorama one pole, not its name
_FOLDED = 3.0  # times more alike than others as far apart are pixels that face each other across a fold
_POINT = 0.25  # of the usual change along a row, the most along a row around a pole
_LEAST_CHANGE = 0.25  # grey levels


def closing_ratio(steps: np.ndarray) -> float:
    """Geometric mean of what is open at the seam and at the poles, 1 and up; about 1 for a panorama.

    Args:
        steps: (K,) mean over frames of closing_steps.
    """
    ends, _ = unpacked(steps)
    return float(np.sqrt(seam_opening(ends) * pole_opening(ends)))


def seam_opening(ends: Ends) -> float:
    """Step over the seam over the step beside it, at least 1; a fold counts as far as it is one."""
    step = (ends.seam + _CODED) / (ends.beside_seam + max(ends.column_blocks, 0) + _CODED)
    fold = (ends.as_far + _CODED) / (ends.facing + _CODED) / _FOLDED
    return max(1.0, step, fold)


def pole_opening(ends: Ends) -> float:
    """Step over the poles over the step along meridians, geometric mean, each between 1 and 4; at least 1.

    If neither pole is a point, the change along the row of the one that is most like one, over what a point may have.
    """
    blocks = max(ends.row_blocks, 0) + _CODED
    over, along = np.array([ends.top, ends.bottom]), np.array([ends.below_top, ends.above_bottom])
    steps = np.clip((over + _CODED) / (along + blocks), 1, _MOST)
    change = min(ends.around_top, ends.around_bottom) / (ends.around + _LEAST_CHANGE)
    return float(max(np.sqrt(steps.prod()), change / _POINT))


def field_of_view(steps: np.ndarray) -> float:
    """The horizontal field of view, degrees, that would leave the gaps that the edges leave: at most 360.

    The smaller of two estimates: 360 W / (W + gap) from the columns that are missing between right and left, and
    360 H / (H + 2 gap) from the rows that are missing over a pole, the one that misses less: what is painted over a
    tripod joins nothing.

    Args:
        steps: (K,) mean over frames of closing_steps.
    """
    ends, growth = unpacked(steps)
    height = int(ends.height)
    columns = _distance(growth.along, lags_up_to(height), ends.last_to_first) - 1
    meridian = lags_up_to(height // 2)
    rows = min(_distance(growth.top, meridian, ends.across_top), _distance(growth.bottom, meridian, ends.across_bottom))
    missing = 2 * max(rows - ends.cap_rows, 0)
    return float(min(360 * 2 * height / (2 * height + columns), 360 * height / (height + missing)))


def _distance(growth: np.ndarray, lags: np.ndarray, difference: float) -> float:
    """The lag at which inner pixels differ as much; twice the largest if none does."""
    rising = np.maximum.accumulate(growth + _FLOOR)
    difference = difference + _FLOOR
    if difference <= rising[0]:
        return float(lags[0])
    if difference > rising[-1]:
        return 2.0 * float(lags[-1])
    i = int(np.searchsorted(rising, difference))
    share = (difference - rising[i - 1]) / (rising[i] - rising[i - 1])
    return float(lags[i - 1] * (lags[i] / lags[i - 1]) ** share)


def _steps_of(video: VideoFeatures) -> np.ndarray:
    return closing_steps(video.new(video.frames), video.row_weights)


class _Closing(Metric):
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "content_distribution"
    version: ClassVar[int] = 1

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See closing_steps."""
        return video.once(_steps_of)


class Is360(_Closing):
    """The gate: 1 if the video closes at the seam and over the poles as a panorama does, else 0; higher is better.

    A mean over videos is the share of panoramas. One pole that is open, and only one, need not fail it, because
    photographers paint out their tripod; neither do exposures that differ, nor JPEG. Of 275 clips of 25 real panoramas
    (turned, as H.264, as JPEG) 268 pass, of 1,278 photographs and perspective crops of panoramas stretched to 2:1
    (fields of view of 50 to 120 degrees) 15: stars, a black surround, a bare wall (docs/real-panoramas.md). Of 60
    panoramas of the procedural world one fails, and two as JPEG of quality 75; of 300 perspective pictures of it 7
    pass, 11 as JPEG and 26 under noise of 2 grey levels: plain ground or sky, in which little else steps.
    Source: this project.
    """

    name: ClassVar[str] = "is_360"
    unit: ClassVar[str] = "1"
    version: ClassVar[int] = 3
    summary: ClassVar[str] = "gate: does it close at the seam and over the poles? the mean is the share that does"
    claims: ClassVar[Claims] = claims(
        falls="perspective", level="flicker shuffled frozen", floor=Floor("clean", 1, 1), yaw="edge"
    )
    most_ratio: float = Field(1.7, gt=1)  # geometric mean of what is open at the seam and at the poles

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See closing_ratio."""
        return float(closing_ratio(rows.mean(axis=0)) <= self.most_ratio)


class FieldOfView(_Closing):
    """Estimated horizontal field of view, degrees, higher is better, 360 if it closes; an upper bound below that.

    Source: this project.
    """

    name: ClassVar[str] = "field_of_view"
    unit: ClassVar[str] = "degrees"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "estimate by how far the edges are from closing: 360 for a panorama, else at most this"
    claims: ClassVar[Claims] = claims(
        falls="perspective", level="flicker shuffled frozen", floor=Floor("clean", 300, 360), yaw="edge"
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See field_of_view."""
        return field_of_view(rows.mean(axis=0))
