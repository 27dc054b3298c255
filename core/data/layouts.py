"""What else fills a frame: bars, circles of a fisheye lens, faces of a cube map, two pictures of a stereo pair.

Pictures are grey, float32 of 0 to 255, `(n,H,W)`: frames of one file, whatever their aspect squeezed to 2:1.
"""

from __future__ import annotations

import cv2
import numpy as np

_BLACK = 24  # of 255; bars of compressed video are not quite 16


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures `(n,h,w)` in their detail, best of small horizontal shifts, median of the frames.

    Broad gradients and the mean of each row are taken out: sky over ground is what most halves have in common.
    """

    def detail(frames: np.ndarray) -> np.ndarray:
        bands = np.stack([cv2.GaussianBlur(f, (0, 0), 1.0) - cv2.GaussianBlur(f, (0, 0), 8.0) for f in frames])
        return bands - bands.mean(axis=2, keepdims=True)

    first, second = detail(a), detail(b)
    first, second = (part[:, 4:-4, 4:-4] for part in (first, second))
    best = []
    for x, y in zip(first, second, strict=True):
        shifted = (np.roll(y, shift, axis=1) for shift in range(-4, 5))
        best.append(max(float((x * s).sum() / np.sqrt((x * x).sum() * (s * s).sum() + 1e-6)) for s in shifted))
    plain = min(float(np.abs(first).mean()), float(np.abs(second).mean())) < 0.5
    return 0.0 if plain else float(np.median(best))


def letterbox(grey: np.ndarray) -> tuple[str, str] | None:
    """Black bars on two opposite sides, the same in every frame, or a wide one below or above; reason and hint."""
    height, width = grey.shape[1:]
    brightest = np.percentile(grey.max(axis=0), 98, axis=1), np.percentile(grey.max(axis=0), 98, axis=0)
    if max(brightest[0].max(), brightest[1].max()) < 2 * _BLACK:
        return None  # all dark: no bars in the night
    top, bottom = _edges(brightest[0] < _BLACK)
    left, right = _edges(brightest[1] < _BLACK)
    crop = "cut the bars off first, as with ffmpeg's cropdetect and crop"
    if min(left, right) >= 2 and max(left, right) < 2.5 * min(left, right):
        return f"letterboxed: black bars at the left and right, {left / width:.0%} and {right / width:.0%}", crop
    even = max(top, bottom) < 1.5 * min(top, bottom) + 2
    if min(top, bottom) >= 2 and even and _sharp(grey, top, bottom):
        return f"letterboxed: black bars at the top and bottom, {top / height:.0%} and {bottom / height:.0%}", crop
    if max(top, bottom) > 0.15 * height and _sharp(grey, top, bottom):
        side, share = ("top", top) if top > bottom else ("bottom", bottom)
        return f"covers only part of the sphere: the {side} {share / height:.0%} of the picture are black", ""
    return None


def _edges(dark: np.ndarray) -> tuple[int, int]:
    """Length of the dark runs at either end."""
    lit = np.flatnonzero(~dark)
    return int(lit[0]), int(len(dark) - 1 - lit[-1])


def _sharp(grey: np.ndarray, top: int, bottom: int) -> bool:
    """Whether the picture begins at once where the bars end: night skies fade."""
    mean = np.median(grey, axis=(0, 2))
    jumps = []
    if top:
        jumps.append(mean[min(top + 2, len(mean) - 1)] - mean[top - 1])
    if bottom:
        jumps.append(mean[max(len(mean) - bottom - 3, 0)] - mean[len(mean) - bottom])
    return bool(jumps) and min(jumps) > 8


def fisheye(grey: np.ndarray, aspect: float) -> str | None:
    """One or two circles with black round them."""
    count = {1: 1, 2: 2}.get(round(aspect)) if abs(aspect - round(aspect)) < 0.05 else 1 if aspect < 2 else None
    if count is None:
        return None
    height, width = grey.shape[1:]
    lens_width = width // count if abs(aspect - count) < 0.05 else round(width / aspect)
    row, column = np.mgrid[:height, :width]
    across = (column % lens_width if count == 2 else column - (width - lens_width) // 2) + 0.5
    radius = np.hypot(across / lens_width - 0.5, (row + 0.5) / height - 0.5)
    brightest = grey.max(axis=0)
    outside, inside = brightest[radius > 0.56], grey.mean(axis=0)[radius < 0.4]
    if (outside < _BLACK).mean() > 0.95 and (inside > 1.5 * _BLACK).mean() > 0.4:
        return f"fisheye: {'two circles' if count == 2 else 'a circle'} on black"
    return None


def cubemap(grey: np.ndarray, aspect: float) -> str | None:
    """Faces side by side: hard steps along the face borders of the layout that has this aspect, or of 3 x 2."""
    layouts = {(3, 2): 1.5, (2, 3): 2 / 3, (6, 1): 6.0, (1, 6): 1 / 6, (4, 3): 4 / 3}
    near = [shape for shape, ratio in layouts.items() if abs(aspect / ratio - 1) < 0.03]
    for across, down in near or [(3, 2)]:
        if (across, down) == (4, 3):
            mean, third = grey.max(axis=0), grey.shape[1] / 3
            blocks = [mean[int(y * third) + 4 : int((y + 1) * third) - 4, 72:] for y in (0, 2)]
            if all((block[:, 64:] < _BLACK).mean() > 0.9 for block in blocks):
                return "cubemap: six faces as a cross"
            continue
        steps = _borders(grey, across, down)
        if (np.array(steps) > 2.5).mean() >= (0.4 if near else 0.7):
            return f"cubemap: six faces, {across} x {down}"
    return None


def _borders(grey: np.ndarray, across: int, down: int) -> list[float]:
    """Steps across every border between two faces."""
    height, width = grey.shape[1] // down, grey.shape[2] // across
    steps = []
    for row in range(down):
        strip = grey[:, row * height + 3 : (row + 1) * height - 3]
        steps += [_border(strip, round(k * grey.shape[2] / across), 2) for k in range(1, across)]
    for column in range(across):
        strip = grey[:, :, column * width + 3 : (column + 1) * width - 3]
        steps += [_border(strip, round(k * grey.shape[1] / down), 1) for k in range(1, down)]
    return steps


def _border(grey: np.ndarray, place: int, axis: int) -> float:
    """Step across a line against the usual step between its neighbours, median of the frames."""
    steps = np.abs(np.diff(grey, axis=axis)).mean(axis=3 - axis)  # (n, lines - 1)
    around = np.delete(steps[:, place - 9 : place + 8], slice(6, 11), axis=1)
    return float(np.median(steps[:, place - 3 : place + 2].max(axis=1) / (np.median(around, axis=1) + 0.5)))
