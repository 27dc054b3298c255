"""What happens where one walks off a picture's edges, measured beside what happens inside: the facts for is_360.

Off the right edge of a 360-degree picture one comes in at the left, one column on. Over the top one comes in at the
top, half a turn away: pixels that face each other across a pole in row r are 2 r + 1 rows apart. In a panorama these
steps are steps like any others of the same length beside them, whatever it shows; in any other picture they join places
that have nothing to do with each other. Sharpness, contrast and noise cancel. So does what is done to panoramas:

- lenses and shots of different exposure: a step is measured as it is and after one side is brought to the brightness of
  the other, within 15 %, and the smaller one counts;
- a block-wise codec, which leaves a step at the borders of its blocks, where all edges of a picture lie: what it leaves
  at the borders inside is added to the steps inside.

Two more facts tell what steps cannot. Around a pole lies one point, so a polar row has hardly any change along it,
while gravel or stars step as much over an edge as anywhere. And a picture that was mirrored to make its ends meet is
folded there: pixels that face each other across the fold are as good as equal, which no world is.
"""

from typing import NamedTuple

import numpy as np

CAP_DEG = 3.0  # rows around a pole that are compared across it
_SEAM_LAGS = 2  # columns off the edge
_LEAST_ROWS = 64  # rows that are read for the growth of differences along parallels
_MOST_GAIN = 1.15  # of one side of an edge against the other: a fifth of a stop
_BLOCK = 8  # pixels; the borders of blocks of 16 are among them
_ARCS = 32  # along a row; shorter changes are noise and texture


class Ends(NamedTuple):
    """The facts about one frame, or means over frames; grey levels but for the last two.

    Attributes:
        seam: step over the seam.
        beside_seam: median step of the same length near it.
        facing: difference of pixels that face each other across the seam, farther apart.
        as_far: median difference of pixels as far apart near it.
        top: step over the top pole.
        below_top: step of the same length along the meridians there.
        bottom: step over the bottom pole.
        above_bottom: step of the same length along the meridians there.
        around_top: standard deviation along the rows around the top pole.
        around_bottom: the same of the bottom pole.
        around: median of the same over the rows of the middle half.
        column_blocks: excess of the steps at borders of blocks over other steps along parallels; may be negative.
        row_blocks: the same along meridians.
        last_to_first: step from the last column to the first, nothing taken out.
        across_top: mean step over the top pole, over all rows of the cap, nothing taken out.
        across_bottom: the same of the bottom pole.
        cap_rows: rows that a step over a pole spans in the mean.
        height: rows of the picture.
    """

    seam: float
    beside_seam: float
    facing: float
    as_far: float
    top: float
    below_top: float
    bottom: float
    above_bottom: float
    around_top: float
    around_bottom: float
    around: float
    column_blocks: float
    row_blocks: float
    last_to_first: float
    across_top: float
    across_bottom: float
    cap_rows: float
    height: float


class Growth(NamedTuple):
    """Differences of inner pixels by distance, grey levels.

    Attributes:
        along: at all ``lags_up_to(W / 2)`` along parallels.
        top: at all ``lags_up_to(H / 2)`` along meridians from the top rows on.
        bottom: the same from the bottom rows on.
    """

    along: np.ndarray
    top: np.ndarray
    bottom: np.ndarray


def lags_up_to(most: int) -> np.ndarray:
    """Distances in pixels at which inner differences are measured: about every half octave, 1 to ``most``."""
    return np.unique(np.round(2 ** np.arange(0, np.log2(most) + 0.01, 0.5)).astype(int))


def closing_steps(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ends and Growth of every frame, one after the other in a row: (F, K) float64; see ``unpacked``.

    Args:
        frames: (F, H, W, 3) uint8.
        weights: (H,) float64, sum 1.
    """
    return np.stack([_frame_steps(frame.astype(np.float32), weights.astype(np.float32)) for frame in frames])


def unpacked(steps: np.ndarray) -> tuple[Ends, Growth]:
    """Rows of closing_steps, averaged over frames, by name.

    Args:
        steps: (K,).
    """
    ends = Ends(*steps[: len(Ends._fields)].tolist())
    meridian = len(lags_up_to(int(ends.height) // 2))
    along = len(steps) - len(Ends._fields) - 2 * meridian
    return ends, Growth(*np.split(steps[len(Ends._fields) :], [along, along + meridian]))


def _frame_steps(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One row of closing_steps, of (H, W, 3) float32."""
    height, width = x.shape[:2]
    half = np.roll(x, width // 2, axis=1)
    top, bottom = _over_pole(x, half), _over_pole(x[::-1], half[::-1])
    cap = cap_rows(height)
    spread = _spread_along(x)
    columns, rows = weights @ _apart(x[:, 1:], x[:, :-1]), _apart(x[1:], x[:-1]).mean(axis=1)
    ends = Ends(
        *_over_seam(x, weights),
        *_facing(x, weights),
        *top[:2],
        *bottom[:2],
        float(spread[:cap].mean()),
        float(spread[-cap:].mean()),
        float(np.median(spread[height // 4 : height - height // 4])),
        _excess_at_borders(columns),
        _excess_at_borders(rows),
        float(_apart(x[:, 0], x[:, -1]) @ weights),
        top[2],
        bottom[2],
        cap,
        height,
    )
    row_step = max(1, height // _LEAST_ROWS)
    some, share = x[row_step // 2 :: row_step], weights[row_step // 2 :: row_step]
    growth = _growth_along(some, share / share.sum()), _growth_down(x), _growth_down(x[::-1])
    return np.concatenate([ends, *growth]).astype(np.float64)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean absolute difference over channels, (..., 3) -> (...)."""
    red, green, blue = np.moveaxis(np.abs(a - b), -1, 0)
    return (red + green + blue) / 3


def cap_rows(height: int) -> int:
    """Rows around a pole that are compared across it."""
    return max(1, round(height * CAP_DEG / 180))


def _brought_to(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The gain per channel, (3,), that brings b to a in least squares, within bounds; both (N, 3), weights (N,)."""
    gain = weights @ (a * b) / np.maximum(weights @ (b * b), 1e-6)
    return np.clip(gain, 1 / _MOST_GAIN, _MOST_GAIN)


def _around_seam(x: np.ndarray, reach: int) -> np.ndarray:
    """The strip (H, 2 reach, 3) in whose middle the seam is, before column ``reach``."""
    return np.concatenate([x[:, -reach:], x[:, :reach]], axis=1)


def _over_seam(x: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Mean over short lags of the steps across the seam, and of the median step of the same lag near it.

    Of a meridian the mean of roots counts, squared: a wall's corner that happens to stand at the seam steps far in some
    rows, the ends of a flat picture in nearly all of them.
    """
    reach = max(_SEAM_LAGS + 1, x.shape[1] // 16)
    strip = _around_seam(x, reach)
    even = strip.copy()
    even[:, :reach] *= _brought_to(x[:, :_SEAM_LAGS].mean(axis=1), x[:, -_SEAM_LAGS:].mean(axis=1), weights)
    over, evened, inside = [], [], []
    for lag in range(1, _SEAM_LAGS + 1):
        crossing = slice(reach - lag, reach)
        steps, levelled = (np.square(weights @ np.sqrt(_apart(s[:, lag:], s[:, :-lag]))) for s in (strip, even))
        over.append(steps[crossing].mean())
        evened.append(levelled[crossing].mean())
        inside.append(np.median(np.delete(steps, crossing)))
    return float(min(np.mean(over), np.mean(evened))), float(np.mean(inside))


def _facing(x: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Difference of columns that face each other across the seam, W / 64 to W / 16 apart, and of others that far."""
    reach = max(4, x.shape[1] // 16)
    strip = _around_seam(x, reach)
    across, apart = [], []
    for offset in sorted({max(1, reach // 8), max(1, reach // 4), max(1, reach // 2)}):
        lag = 2 * offset + 1
        steps = weights @ _apart(strip[:, lag:], strip[:, :-lag])
        across.append(steps[reach - offset - 1])
        apart.append(np.median(np.delete(steps, reach - offset - 1)))
    return float(np.mean(across)), float(np.mean(apart))


def _over_pole(x: np.ndarray, opposite: np.ndarray) -> tuple[float, float, float]:
    """Step across the pole, of the same length along meridians, and mean over rows of what is across as it is."""
    rows, half = cap_rows(len(x)), x.shape[1] // 2
    lags = 2 * np.arange(rows) + 1
    share = 1 / np.sqrt(lags)
    share /= share.sum()
    here, there = x[:rows, :half], opposite[:rows, :half]  # each pair once
    gain = _brought_to(here.reshape(-1, 3), there.reshape(-1, 3), np.ones(here.shape[0] * half, np.float32))
    across, evened = (np.abs(here - other).mean(axis=(1, 2)) for other in (there, there * gain))
    along = np.array([np.abs(x[row] - x[row + lag]).mean() for row, lag in enumerate(lags)])
    return float(min(across @ share, evened @ share)), float(along @ share), float(across.mean())


def _spread_along(x: np.ndarray) -> np.ndarray:
    """Standard deviation along each row, (H,), of means over arcs of 1/32 of it; mean over channels."""
    starts = np.linspace(0, x.shape[1], min(_ARCS, x.shape[1]), endpoint=False).astype(int)
    arcs = np.add.reduceat(x, starts, axis=1) / np.diff(starts, append=x.shape[1])[:, None]
    return arcs.std(axis=1).mean(axis=1)


def _excess_at_borders(steps: np.ndarray) -> float:
    """Mean step at the borders of blocks less that elsewhere; ``steps[i]`` is from line i to line i + 1."""
    at_border = np.arange(1, len(steps) + 1) % _BLOCK == 0
    return float(steps[at_border].mean() - steps[~at_border].mean())


def _growth_along(x: np.ndarray, weights: np.ndarray) -> list[float]:
    """Median difference of columns that are a lag apart, for every lag."""
    return [float(np.median(weights @ _apart(x[:, lag:], x[:, :-lag]))) for lag in lags_up_to(x.shape[1] // 2)]


def _growth_down(x: np.ndarray) -> list[float]:
    """Mean difference of the rows around the pole from those a lag below, for every lag."""
    rows = cap_rows(len(x))
    return [float(np.abs(x[:rows] - x[lag : rows + lag]).mean()) for lag in lags_up_to(len(x) // 2)]
