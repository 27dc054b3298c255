"""Where footage cuts: PySceneDetect on panoramas that are turned to meet the frame before, all latitudes alike.

Two frames of one shot differ because the camera turns; on a sphere that is a roll of the columns. So each small frame
is first rolled by the yaw that fits its predecessor best, and its rows are chosen evenly in the sine of the latitude,
that is in area. What is left is what a detector for flat films expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from scenedetect.detectors import AdaptiveDetector

HEIGHT, WIDTH = 64, 128  # of the frames that are looked at
# PySceneDetect's defaults are for HSV differences of unaligned films; aligned panoramas of one shot differ less.
_RATIO, _LEAST = 3.0, 8.0
_SLOW = 0.5  # seconds between the frames in which dissolves are sought


@dataclass(frozen=True)
class Shot:
    """Frames `start` to `stop`, without the last."""

    start: int
    stop: int


@dataclass
class Look:
    """What one pass over a file's small frames leaves."""

    frames: int = 0
    cuts: list[int] = field(default_factory=list)  # first frames of new shots
    blurred: list[tuple[int, int]] = field(default_factory=list)  # dissolves: within these frames
    change: list[float] = field(default_factory=list)  # mean absolute difference to the frame before, grey levels
    brightness: list[float] = field(default_factory=list)  # mean, grey levels


def equal_area(frame: np.ndarray) -> np.ndarray:
    """Rows of an ERP `(H,W,...)` chosen so that each stands for the same area of the sphere."""
    height = frame.shape[0]
    latitudes = np.arcsin(1 - 2 * (np.arange(height) + 0.5) / height)
    return frame[np.clip(((0.5 - latitudes / np.pi) * height).astype(int), 0, height - 1)]


def best_turn(a: np.ndarray, b: np.ndarray) -> int:
    """Columns by which `b` has to be rolled to lie best on `a`; grey floats `(H,W)`, exact around the seam."""
    first, second = (np.fft.rfft(part - part.mean(), axis=1) for part in (a, b))
    fit = np.fft.irfft((first * second.conj()).sum(axis=0), a.shape[1])
    shift = int(fit.argmax())
    # A turn has to be worth it: plain pictures fit anyhow.
    return shift if fit[shift] > 1.02 * fit[0] else 0


def look_through(frames: Iterable[np.ndarray], fps: float) -> Look:
    """Detect cuts, dissolves, stillness and darkness in one pass over small frames, uint8 RGB `(64,128,3)`."""
    look = Look()
    quick = AdaptiveDetector(_RATIO, min_scene_len=2, window_width=2, min_content_val=_LEAST)
    slow = AdaptiveDetector(_RATIO, min_scene_len=1, window_width=2, min_content_val=_LEAST)
    stride = max(round(_SLOW * fps), 1)
    turn, before = 0, None
    for number, frame in enumerate(frames):
        even = equal_area(frame)
        grey = cv2.cvtColor(even, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if before is not None:
            turn = (turn + best_turn(before, grey)) % WIDTH if number else 0
        look.change.append(0.0 if before is None else float(np.abs(grey - before).mean()))
        look.brightness.append(float(grey.mean()))
        before = grey
        picture = np.ascontiguousarray(np.roll(even[..., ::-1], turn, axis=1))
        look.cuts += quick.process_frame(number, picture)
        if stride > 2 and number % stride == 0:
            look.blurred += [_between(cut, stride) for cut in slow.process_frame(number // stride, picture)]
        look.frames = number + 1
    look.cuts += _late_cuts(look)
    # A hard cut is seen by the slow detector too; only what the quick one missed is a dissolve.
    look.blurred = [(a, b) for a, b in look.blurred if not any(a <= cut <= b for cut in look.cuts)]
    return look


def _between(step: int, stride: int) -> tuple[int, int]:
    return (step - 1) * stride, step * stride


def _late_cuts(look: Look) -> list[int]:
    """Cuts in the first and last two frames, which the detector's window does not reach."""
    change = look.change
    places = [*range(1, min(3, look.frames)), *range(max(look.frames - 2, 3), look.frames)]
    usual = float(np.median(change[1:])) if look.frames > 1 else 0.0
    return [p for p in places if p not in look.cuts and change[p] > max(_RATIO * 2 * usual, 2 * _LEAST)]


def shots_of(look: Look) -> list[Shot]:
    """The stretches without a cut or dissolve in them, in order."""
    borders = sorted({(cut, cut) for cut in look.cuts} | set(look.blurred))
    shots, start = [], 0
    for first, last in borders:
        if first > start:
            shots.append(Shot(start, first))
        start = max(start, last)
    return [*shots, Shot(start, look.frames)] if look.frames > start else shots
