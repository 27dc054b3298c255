"""Damaged copies of a clip, for the trials that measure the rater: gold, practice, and the examples of each criterion.

Every kind damages one thing that one criterion asks for, so a rater who looks prefers the original there.
"""

from collections.abc import Callable

import numpy as np

#: Kind -> the criterion on which the original is better.
KINDS = {
    "broken_seam": "continuity",
    "shuffled": "consistency",
    "blur": "graphics",
    "perspective": "content",
    "frozen": "motion",
}
#: A damage whose mean absolute difference is less (grey levels) cannot be seen: a still clip does not freeze.
VISIBLE = 1.5


def damaged(kind: str, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of ERP ``frames``, uint8 RGB (F, H, 2H, 3), with one damage; the same shape and type."""
    return _DAMAGES[kind](frames, rng)


def visibility(kind: str, frames: np.ndarray, copy: np.ndarray) -> float:
    """How plainly the damage shows, in grey levels; the clip with the largest value is the one to use.

    The mean absolute difference, and for the seam what the step across it gains: a clip whose own seam is open shows
    a broken one badly.
    """
    if kind == "broken_seam":
        return _step(copy) - _step(frames)
    return float(np.abs(copy.astype(np.int16) - frames).mean())


def _step(frames: np.ndarray) -> float:
    return float(np.abs(frames[:, :, 0].astype(float) - frames[:, :, -1]).mean())


def _broken_seam(frames: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Tilt the picture by 8 % of its height from end to end, and brighten it likewise: only the ends do not meet."""
    height, width = frames.shape[1:3]
    ramp = np.linspace(-1, 1, width)
    rows = np.clip(np.arange(height)[:, None] + 0.08 * height * ramp, 0, height - 1).round().astype(int)
    tilted = frames[:, rows, np.arange(width)[None, :]]
    return np.clip(tilted * (1 + 0.18 * ramp[:, None]), 0, 255).round().astype(np.uint8)


def _shuffled(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frames in another order, each with a colour cast of its own: things jump and flicker."""
    order = rng.permutation(len(frames))
    if len(frames) > 1:
        while np.array_equal(order, np.arange(len(frames))):
            order = rng.permutation(len(frames))
    cast = rng.uniform(0.75, 1.15, (len(frames), 1, 1, 3))
    return np.clip(frames[order] * cast, 0, 255).round().astype(np.uint8)


def _blur(frames: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """A box of a sixteenth of the height, twice, around the sphere, so that the seam stays closed."""
    import cv2

    size = max(3, frames.shape[1] // 16 | 1)
    pad = 2 * size
    result = []
    for frame in frames:
        wide = np.pad(frame, ((0, 0), (pad, pad), (0, 0)), mode="wrap")
        result.append(cv2.blur(cv2.blur(wide, (size, size)), (size, size))[:, pad:-pad])
    return np.stack(result)


def _perspective(frames: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """An ordinary 90 degree view of the front, stretched to 2:1 as if it were the whole sphere."""
    import cv2

    height, width = frames.shape[1:3]
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    longitude, latitude = np.arctan(x), np.arctan2(-y, np.hypot(1, x))
    columns = ((longitude / (2 * np.pi) + 0.5) * width - 0.5).astype(np.float32)
    rows = ((0.5 - latitude / np.pi) * height - 0.5).astype(np.float32)
    return np.stack([cv2.remap(frame, columns, rows, cv2.INTER_LINEAR) for frame in frames])


def _frozen(frames: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The first frame throughout."""
    return np.repeat(frames[:1], len(frames), axis=0)


_DAMAGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "broken_seam": _broken_seam,
    "shuffled": _shuffled,
    "blur": _blur,
    "perspective": _perspective,
    "frozen": _frozen,
}
