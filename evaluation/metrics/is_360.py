"""Is it a panorama at all? Whoever walks off one edge of a 360-degree picture comes back in at another.

Off the right edge one comes in at the left, one column on. Over the top one comes in at the top, half a turn away:
pixels that face each other across a pole in row r are 2 r + 1 rows apart. In a panorama these steps are steps like any
others of the same length beside them, whatever it shows; in any other picture they join places that have nothing to do
with each other. So each of the three ways out is compared with steps of the same length that stay inside, along the
same meridian or parallel. Sharpness, contrast and noise cancel, and no network or reference is needed.

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

_FLOOR = 0.1  # grey levels; below it a step is 8-bit rounding
# Grey levels that a block-wise codec adds to a step at the border of its blocks, where all edges of a picture lie.
_CODED = 0.5
# The most that one way out counts: a tripod that was painted out may cost a panorama one pole, not its name.
_MOST = 4.0
_CAP_DEG = 3.0  # rows around a pole that are compared across it
_SEAM_LAGS = 4  # columns off the edge
_LEAST_ROWS = 64  # rows that are read for the growth of differences along parallels


def lags_up_to(most: int) -> np.ndarray:
    """Distances in pixels at which inner differences are measured: about every half octave, 1 to ``most``."""
    return np.unique(np.round(2 ** np.arange(0, np.log2(most) + 0.01, 0.5)).astype(int))


def closing_steps(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Steps over the three ways out and inside, grey levels, one row per frame: (F, K) float64.

    0-1 over the seam and inside, 2-3 over the top and inside, 4-5 over the bottom and inside; 6 from the last column to
    the first, 7 the height; then inner differences at all ``lags_up_to(W / 2)`` along parallels; then for each pole
    those at ``lags_up_to(H / 2)`` along meridians, the mean step across the pole, and the mean distance that it spans.

    Args:
        frames: (F, H, W, 3) uint8.
        weights: (H,) float64, sum 1.
    """
    return np.stack([_frame_steps(frame.astype(np.int16), weights) for frame in frames])


def _frame_steps(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    height, width = x.shape[:2]
    half = np.roll(x, width // 2, axis=1)
    poles = [_pole_steps(y, opposite) for y, opposite in ((x, half), (x[::-1], half[::-1]))]
    row_step = max(1, height // _LEAST_ROWS)
    some, share = x[row_step // 2 :: row_step], weights[row_step // 2 :: row_step]
    return np.array(
        [
            *_seam_steps(x, weights),
            *poles[0][0],
            *poles[1][0],
            np.abs(x[:, 0] - x[:, -1]).mean(axis=1) @ weights,
            height,
            *_growth_along(some, share / share.sum()),
            *poles[0][1],
            *poles[1][1],
        ]
    )


def _seam_steps(x: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Mean over short lags of the steps across the seam, and of the median step of the same lag near it."""
    reach = max(_SEAM_LAGS + 1, x.shape[1] // 16)
    strip = np.concatenate([x[:, -reach:], x[:, :reach]], axis=1)  # the seam is before column ``reach``
    over, inside = [], []
    for lag in range(1, min(_SEAM_LAGS, x.shape[1] // 16) + 1):
        steps = np.abs(strip[:, lag:] - strip[:, :-lag]).mean(axis=2).T @ weights  # from column j to j + lag
        crossing = slice(reach - lag, reach)
        over.append(steps[crossing].mean())
        inside.append(np.median(np.delete(steps, crossing)))
    return float(np.mean(over)), float(np.mean(inside))


def _pole_steps(x: np.ndarray, opposite: np.ndarray) -> tuple[tuple[float, float], list[float]]:
    """Steps across the pole and inside; and growth along meridians, the step to look up in it, and what that spans."""
    height = len(x)
    rows = max(1, round(height * _CAP_DEG / 180))
    lags = 2 * np.arange(rows) + 1
    across = np.array([np.abs(x[row] - opposite[row]).mean() for row in range(rows)])
    along = np.array([np.abs(x[row] - x[row + lag]).mean() for row, lag in enumerate(lags)])
    share = 1 / np.sqrt(lags)
    closing = (float(across @ share / share.sum()), float(along @ share / share.sum()))
    growth = [
        float(np.mean([np.abs(x[r] - x[r + lag]).mean() for r in range(rows)])) for lag in lags_up_to(height // 2)
    ]
    return closing, [*growth, float(across.mean()), float(rows)]


def _growth_along(x: np.ndarray, weights: np.ndarray) -> list[float]:
    """Median difference of columns that are a lag apart, for every lag."""
    return [
        float(np.median(np.abs(x[:, lag:] - x[:, :-lag]).mean(axis=2).T @ weights))
        for lag in lags_up_to(x.shape[1] // 2)
    ]


def closing_ratio(steps: np.ndarray) -> float:
    """Geometric mean over the three ways out of the step there over the step inside, each between 1 and 4.

    Args:
        steps: (K,) mean over frames of closing_steps.
    """
    over, inside = steps[0:6:2], steps[1:6:2]
    return float(np.exp(np.log(np.clip((over + _CODED) / (inside + _CODED), 1, _MOST)).mean()))


def field_of_view(steps: np.ndarray) -> float:
    """The horizontal field of view, degrees, that would leave the gaps that the edges leave: at most 360.

    The smaller of two estimates: 360 W / (W + gap) from the columns that are missing between right and left, and
    360 H / (H + gaps) from the rows that are missing over the poles.

    Args:
        steps: (K,) mean over frames of closing_steps.
    """
    seam, height = steps[6], int(steps[7])
    along, meridian = lags_up_to(height), lags_up_to(height // 2)
    start = 8 + len(along)
    columns = _distance(steps[8:start], along, seam) - 1
    rows = 0.0
    for _ in range(2):
        end = start + len(meridian)
        rows += max(_distance(steps[start:end], meridian, steps[end]) - steps[end + 1], 0)
        start = end + 2
    return float(min(360 * 2 * height / (2 * height + columns), 360 * height / (height + rows)))


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
    """The gate: 1 if the video closes at the seam and over both poles as a panorama does, else 0; higher is better.

    A mean over videos is the share of panoramas. One way out that is open, and only one, need not fail it, because
    photographers paint out their tripod. Of 870 perspective pictures stretched to 2:1 (crops of photographs, and the
    procedural world at fields of view of 50 to 120 degrees, clean, noisy and as JPEG) 12 pass: plain ground or sky
    under noise of 2 grey levels, which is all that steps there. Of 120 panoramas of the procedural world, clean, noisy
    and as JPEG, five of quality 60 fail. Source: this project.
    """

    name: ClassVar[str] = "is_360"
    unit: ClassVar[str] = "1"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "gate: does it close at the seam and over both poles? the mean is the share that does"
    claims: ClassVar[Claims] = claims(
        falls="perspective", level="flicker shuffled frozen", floor=Floor("clean", 1, 1), yaw="edge"
    )
    most_ratio: float = Field(1.7, gt=1)  # of steps over the three edges to steps inside, geometric mean

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See closing_ratio."""
        return float(closing_ratio(rows.mean(axis=0)) <= self.most_ratio)


class FieldOfView(_Closing):
    """Estimated horizontal field of view, degrees, higher is better, 360 if it closes; an upper bound below that.

    Source: this project.
    """

    name: ClassVar[str] = "field_of_view"
    unit: ClassVar[str] = "degrees"
    summary: ClassVar[str] = "estimate by how far the edges are from closing: 360 for a panorama, else at most this"
    claims: ClassVar[Claims] = claims(
        falls="perspective", level="flicker shuffled frozen", floor=Floor("clean", 300, 360), yaw="edge"
    )

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See field_of_view."""
        return field_of_view(rows.mean(axis=0))
