"""The hour of the nano world: colours of sky and light, and where the sun or the moon stands."""

from __future__ import annotations

import numpy as np

from core.nano.scene import Scene, Time

# Linear colours in [0, 1]: of the sky at the horizon and in the zenith, of the light on things.
SKY_COLORS: dict[Time, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "dawn": ((0.98, 0.76, 0.70), (0.45, 0.58, 0.86)),
    "noon": ((0.80, 0.90, 0.98), (0.22, 0.48, 0.90)),
    "sunset": ((1.00, 0.52, 0.20), (0.34, 0.18, 0.42)),
    "night": ((0.10, 0.14, 0.28), (0.02, 0.03, 0.10)),
}
LIGHT: dict[Time, tuple[float, ...]] = {
    "dawn": (0.95, 0.84, 0.82),
    "noon": (1.0, 1.0, 1.0),
    "sunset": (0.95, 0.66, 0.48),
    "night": (0.30, 0.34, 0.50),
}


def sun_direction(scene: Scene) -> np.ndarray:
    """Unit vector to the sun or moon, (3,) float32, in the world's frame."""
    c = np.cos(scene.sun_elevation)
    return np.array(
        [c * np.sin(scene.sun_azimuth), np.sin(scene.sun_elevation), c * np.cos(scene.sun_azimuth)], np.float32
    )
