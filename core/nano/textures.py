"""Noise and soft steps that the sky and the ground of the nano world are painted with."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np


@lru_cache(maxsize=1)
def _noise_tiles(size: int = 256, count: int = 3) -> np.ndarray:
    """Tileable 1/f noise, (count, size, size) float32, with a uniform distribution over [0, 1]."""
    rng = np.random.default_rng(360)
    frequency = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.rfftfreq(size)[None] ** 2
    falloff = 1.0 / np.maximum(frequency, 1e-9) ** 0.75
    falloff[frequency > 0.15**2] = 0.0
    falloff[0, 0] = 0.0
    tiles = []
    for _ in range(count):
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * falloff, (size, size))
        rank = noise.ravel().argsort().argsort().reshape(size, size)
        tiles.append((rank / (size * size - 1)).astype(np.float32))
    return np.stack(tiles)


def noise(tile: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Noise tile at texture coordinates (one tile is one unit), (h, w) float32 in [0, 1]."""
    image = _noise_tiles()[tile]
    size = image.shape[0]
    x = ((u % 1.0) * size).astype(np.float32)
    y = ((v % 1.0) * size).astype(np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Rises from 0 at `low` to 1 at `high` with level ends (Hermite's cubic)."""
    s = np.clip((x - low) / (high - low), 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)
