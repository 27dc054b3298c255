"""What is wrong with a clip, and whether two clips are the same one, turned or not."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

ROWS, COLUMNS = 8, 64  # of the perceptual hash
BLACK = 12.0  # mean grey level below which a frame is black
STATIC = 0.35  # mean change in grey levels below which nothing moves
#: Largest difference of two hashes of the same picture: grey levels, and a share of what changes along its rows.
SAME_LEVELS, SAME_SHARE = 1.5, 0.2


def flags_of(change: Sequence[float], brightness: Sequence[float]) -> list[str]:
    """`static`: hardly anything moves from frame to frame; `frozen`: a part stands still; `black`: a part is dark.

    Of the differences between a clip's frames and of their mean brightness, both in grey levels.
    """
    moves, light = np.asarray(change), np.asarray(brightness)
    found = []
    if (light < BLACK).mean() > 0.1:
        found.append("black")
    if len(moves) and np.median(moves) < STATIC:
        found.append("static")
    elif len(moves) and (moves < 0.01).mean() > 0.3:
        found.append("frozen")
    return found


def perceptual_hash(frame: np.ndarray) -> str:
    """A thumbnail of 8 x 64 grey levels, softened along the rows, of an ERP, uint8 RGB `(H,W,3)`; hexadecimal."""
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    soft = sum(np.roll(small.astype(np.float32), shift, axis=1) for shift in (-1, 0, 1)) / 3
    return np.rint(soft).astype(np.uint8).tobytes().hex()


def signature(frame: np.ndarray) -> list[float]:
    """16 numbers that no turn changes, close for pictures that look the same: lengths of Fourier terms by latitude."""
    grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (32, 4), interpolation=cv2.INTER_AREA)
    return np.round(np.abs(np.fft.rfft(grey.astype(np.float64), axis=1))[:, :4].ravel() / 32, 3).tolist()


def same_picture(a: str, b: str) -> tuple[bool, float]:
    """Whether two hashes are of one picture, at the best turn of the second, and that turn in degrees."""
    first, second = _levels(a), _levels(b)
    fit = np.fft.irfft((np.fft.rfft(first, axis=1) * np.fft.rfft(second, axis=1).conj()).sum(axis=0), COLUMNS)
    turn = int(fit.argmax())
    difference = float(np.sqrt(np.square(first - np.roll(second, turn, axis=1)).mean()))
    change = float((first - first.mean(axis=1, keepdims=True)).std())
    return difference <= max(SAME_LEVELS, SAME_SHARE * change), 360.0 * turn / COLUMNS


def _levels(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(ROWS, COLUMNS).astype(np.float64)


def near_duplicates(
    hashes: Sequence[Sequence[str]],  # per clip of a few of its frames, as many for each
    signatures: Sequence[Sequence[float]],  # per clip, of one frame
) -> dict[int, tuple[int, float]]:
    """Clips that show what an earlier one shows: index -> (index of the earlier one, turn in degrees).

    Only clips with close signatures are compared, so that time grows with the number of clips, not with its square.
    """
    found: dict[int, tuple[int, float]] = {}
    if not hashes:
        return found
    tree = cKDTree(np.asarray(signatures, dtype=np.float64))
    for index in range(len(hashes)):
        for other in sorted(tree.query_ball_point(signatures[index], r=6.0)):
            if other >= index:
                break
            if other in found:
                continue
            pairs = [same_picture(a, b) for a, b in zip(hashes[index], hashes[other], strict=True)]
            if all(same for same, _ in pairs):
                found[index] = (other, pairs[0][1])
                break
    return found
