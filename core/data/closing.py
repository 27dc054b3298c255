"""Whether a picture closes as a sphere does: at the seam, round the poles, and without having been folded to do so.

Pictures are grey, float32 of 0 to 255, `(n,H,W)`: frames of one file, squeezed to 2:1.
"""

from __future__ import annotations

import cv2
import numpy as np

#: Difference of distant columns, less that of neighbours, below which a picture's columns are all alike.
STRUCTURE = 0.3

_PART = 8  # rows and columns of the parts that are compared with their mirror images
_NOISE = 1.0  # grey levels that noise and coding put between a part and its mirror image
_CONTRAST = 0.7  # grey levels, standard deviation of what is detail and no noise


# --- seam ------------------------------------------------------------------------------------------------------------


def seam_gap(grey: np.ndarray) -> tuple[float, float]:
    """How foreign the right edge is to the left one: 0 as neighbouring columns are, 1 as distant ones; `(n,H,W)`.

    On a logarithmic scale, with a constant and a linear difference along the columns taken out first: lenses of one
    camera expose differently. Median over the frames. 0 where the picture is too plain to say; the second number is
    how much further apart distant columns are than neighbours.
    """
    gaps, structure = [], []
    height, width = grey.shape[1:]
    inner = np.arange(4, width - 6, 3)
    distant = (inner + width // 3 + 7 * np.arange(len(inner))) % width
    beside = np.r_[2:9, width - 10 : width - 3]
    # Beside the edge itself the columns next to it: one spoilt column of a bad stitch is no end of the picture.
    left, right = np.array([0, 1, 1, 0]), np.array([-1, -2, -1, -2])
    for frame in 60 * np.log(grey[:, height // 10 : -height // 10] + 16):  # the poles continue everywhere
        columns = cv2.GaussianBlur(frame, (0, 0), sigmaX=0.01, sigmaY=1.0).T
        # What is usual in the picture, or close to the seam, where that is more: detail is not spread evenly.
        usual = np.median(_differences(columns[inner], columns[inner + 1]))
        near = max(usual, np.quantile(_differences(columns[beside], columns[beside + 1]), 0.75))
        far = np.median(_differences(columns[inner], columns[distant]))
        seam = _differences(columns[right], columns[left]).min()
        structure.append(far - near)
        gaps.append((seam - near) / (far - near) if far - near > STRUCTURE else 0.0)
    return float(np.clip(np.median(gaps), 0, 1.5)), float(np.median(structure))


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Difference of each pair of columns, 0.65 quantile along them, `(k,h)` -> `(k,)`.

    One may be shifted by up to two rows, and the best constant and linear change along them is taken out.
    """
    height = a.shape[1] - 4
    difference = np.stack([a[:, shift : shift + height] for shift in range(5)]) - b[:, 2:-2]
    place = np.linspace(-1, 1, height)
    difference -= difference.mean(axis=2, keepdims=True)
    slope = difference @ place / (place @ place)
    return np.quantile(np.abs(difference - slope[..., None] * place), 0.65, axis=2).min(axis=0)


# --- poles -----------------------------------------------------------------------------------------------------------


def pole_change(grey: np.ndarray) -> tuple[float, float]:
    """Change along the top and along the bottom row against that of all rows: 0 for a point, about 1 for any row.

    Rows are smoothed along the longitude first, so that noise and the texture round a pole do not count, and what all
    rows share may be taken out: lenses of one camera expose differently.
    """
    logs = 60 * np.log(grey.reshape(*grey.shape[:2], 32, -1).mean(-1) + 16)
    logs -= logs.mean(axis=2, keepdims=True)
    shares = []
    for smooth in (logs, logs - np.median(logs, axis=1, keepdims=True)):  # with and without what all rows share
        change = np.median(smooth.std(axis=2), axis=0)
        usual = float(np.mean(change[len(change) // 4 : -len(change) // 4])) + 0.5
        shares.append((float(change[:2].mean() / usual), float(change[-2:].mean() / usual)))
    return min(share[0] for share in shares), min(share[1] for share in shares)


def pole_grain(grey: np.ndarray) -> tuple[float, float]:
    """Change along the rows against change across them, next to the top and to the bottom; NaN where it is too plain.

    Next to a pole a panorama is drawn out along its rows, 1 / cos(latitude) times: about .1; a perspective picture has
    no such grain: about 1.
    """
    found = []
    for rows in (grey[:, :5], grey[:, :-6:-1]):
        smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in rows])
        along, across = np.abs(np.diff(smooth, axis=2)).mean((1, 2)), np.abs(np.diff(smooth, axis=1)).mean((1, 2))
        found.append(float(np.median(along / (across + 1e-6))) if np.median(along + across) > 0.4 else float("nan"))
    return found[0], found[1]


def pole_step(grey: np.ndarray) -> tuple[float, float]:
    """Steps over the top and over the bottom against steps as long along the meridians there: about 1 for a pole.

    Over a pole one comes in again half a turn on, so rows r of both sides are 2 r + 1 rows apart.
    """
    lags = 2 * np.arange(3) + 1
    reach = 8
    found = []
    for rows in (grey[:, :8], grey[:, :-9:-1]):
        wide = np.pad(rows, ((0, 0), (0, 0), (reach, reach)), mode="wrap")
        smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), sigmaX=1.5, sigmaY=0.01) for frame in wide])
        smooth = smooth[:, :, reach:-reach]
        near = smooth[:, : len(lags)]
        over = np.abs(near - np.roll(near, grey.shape[2] // 2, axis=2)).mean(axis=(0, 2))
        along = np.abs(near - smooth[:, np.arange(len(lags)) + lags]).mean(axis=(0, 2))
        found.append(float(np.mean((over + 0.5) / (along + 0.5))))
    return found[0], found[1]


# --- fold ------------------------------------------------------------------------------------------------------------


def mirror_gap(grey: np.ndarray) -> tuple[float, float]:
    """How far the picture is from being its own mirror image: 0 if it is that all over, about 1 or more if it is not.

    Difference of the parts that face each other across an axis, against that across other axes, where it is largest
    but for a twentieth of the parts: a mirrored picture may bear a logo. The axis is, in each frame, the one across
    which they differ least. On a circle it has two ends: what is folded at the seam is folded in the middle too, and
    what was turned since is folded elsewhere, half a turn apart. Real avenues and halls are symmetric at large, not in
    every part. 1 if the picture is noise. The second number is the share of parts with any detail: if few have, nature
    may have done it, for a clear sky is symmetric about the sun.
    """
    detailed = float((_means(_detail(grey) ** 2, _PART) > _CONTRAST**2).mean())
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in grey])
    columns = np.arange(grey.shape[2])
    spectrum = np.fft.rfft(smooth - smooth.mean(axis=2, keepdims=True), axis=2)
    axes = np.fft.irfft((spectrum**2).sum(axis=1), n=len(columns)).argmax(axis=1)  # columns x and axis - x are alike

    def facing(turn: int) -> np.ndarray:
        """Difference of each part from its mirror image, `(H / _PART, W / _PART)`, about axes so far from the best."""
        mirrored = [frame[:, (axis + turn - columns) % len(columns)] for frame, axis in zip(smooth, axes, strict=True)]
        return _means(np.abs(smooth - np.stack(mirrored)), _PART)

    usual = np.median([facing(3 + k * len(columns) // 8) for k in range(1, 8)], axis=0)
    if np.quantile(usual, 0.95) < 2 * _NOISE:
        return 1.0, detailed
    return float(np.quantile(facing(0) / (usual + _NOISE), 0.95)), detailed


def _detail(grey: np.ndarray) -> np.ndarray:
    """Without noise and broad gradients, and without the mean of each row: sky over ground is its own mirror image."""
    reach = 16
    wide = np.pad(grey, ((0, 0), (0, 0), (reach, reach)), mode="wrap")
    bands = np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) - cv2.GaussianBlur(f, (0, 0), 5.0) for f in wide])
    bands = bands[:, :, reach:-reach]
    return bands - bands.mean(axis=2, keepdims=True)


def _means(values: np.ndarray, side: int) -> np.ndarray:
    """Means over the frames of parts of so many rows and columns, `(n,H,W)` -> `(H / side, W / side)`."""
    height, width = values.shape[1:]
    return values.reshape(-1, height // side, side, width // side, side).mean(axis=(0, 2, 4))
