"""Everything above the horizon of the nano world: gradient, sun or moon, stars, clouds, mountains."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from core.nano.light import LIGHT, SKY_COLORS, sun_direction
from core.nano.scene import Scene, Time
from core.nano.textures import noise, smoothstep

CLOUD_HEIGHT = 30.0

# Linear colours in [0, 1].
_CLOUD: dict[Time, tuple[float, ...]] = {
    "dawn": (1.0, 0.90, 0.88),
    "noon": (1.0, 1.0, 1.0),
    "sunset": (1.0, 0.66, 0.50),
    "night": (0.20, 0.23, 0.34),
}
_SUN: dict[Time, tuple[tuple[float, ...], float, float]] = {  # colour, radius in degrees, strength of the glow
    "dawn": ((1.0, 0.95, 0.80), 4.0, 0.35),
    "noon": ((1.0, 1.0, 0.92), 4.0, 0.30),
    "sunset": ((1.0, 0.88, 0.45), 5.5, 0.55),
    "night": ((0.95, 0.95, 0.88), 3.5, 0.18),
}


@lru_cache(maxsize=64)
def _mountain_profile(seed: int) -> np.ndarray:
    """Elevation of the mountain range over azimuth in radians, (720,) float32, periodic."""
    rng = np.random.default_rng(seed)
    orders = np.arange(2, 40)
    spectrum = np.zeros(361, complex)
    spectrum[orders] = rng.standard_normal(38) * np.exp(2j * np.pi * rng.random(38)) / orders**1.1
    wave = np.fft.irfft(spectrum, 720)
    wave = (wave - wave.min()) / np.ptp(wave)
    return (0.05 + 0.30 * wave).astype(np.float32)


@lru_cache(maxsize=64)
def _star_directions(seed: int) -> np.ndarray:
    """Stars of the upper hemisphere, (3, 160) float32 unit columns."""
    rng = np.random.default_rng(seed)
    stars = rng.standard_normal((3, 160))
    stars[1] = np.abs(stars[1])
    return (stars / np.linalg.norm(stars, axis=0)).astype(np.float32)


def sky_color(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """Gradient, sun or moon and its glow, without clouds, stars or mountains; also what water mirrors."""
    horizon, zenith = (np.asarray(c, np.float32) for c in SKY_COLORS[scene.time])
    height = np.clip(rays[..., 1], 0.0, 1.0) ** 0.6
    sky = horizon + (zenith - horizon) * height[..., None]
    color, radius, glow = _SUN[scene.time]
    cosine = rays @ sun_direction(scene)
    angle = np.arccos(np.clip(cosine, -1, 1))
    halo = glow * np.exp(-((angle / 0.35) ** 2))
    sky += (np.asarray(color, np.float32) - sky) * halo[..., None]
    disc = 1.0 - smoothstep(np.deg2rad(radius) * 0.85, np.deg2rad(radius) * 1.15, angle)
    sky += (np.asarray(color, np.float32) - sky) * disc[..., None]
    return sky.astype(np.float32)


def shade_sky(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> np.ndarray:
    """Colours (h, w, 3) float32 of rays (h, w, 3) that look up, at frame `t`."""
    sky = sky_color(scene, rays)
    if scene.time == "night":
        cosine = (rays.reshape(-1, 3) @ _star_directions(scene.texture_seed)).max(axis=1).reshape(rays.shape[:2])
        angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
        sky += (0.8 * (1.0 - smoothstep(0.3, 1.0, angle)))[..., None]
    if scene.clouds > 0:
        density, _ = cloud_density(scene, rays, origin, t)
        sky += (np.asarray(_CLOUD[scene.time], np.float32) - sky) * (0.92 * density)[..., None]
    if scene.mountains:
        edge = _mountain_edge(scene, rays)
        # About a third of a degree of softness keeps the ridge from aliasing.
        cover = smoothstep(-0.006, 0.006, edge)
        rock = np.asarray([0.36, 0.36, 0.42], np.float32) * np.asarray(LIGHT[scene.time], np.float32)
        snow = np.asarray([0.92, 0.94, 1.0], np.float32) * np.asarray(LIGHT[scene.time], np.float32)
        white = smoothstep(0.18, 0.24, np.arcsin(np.clip(rays[..., 1], -1, 1)))
        color = rock + (snow - rock) * white[..., None]
        haze = 0.55 * np.exp(-np.clip(rays[..., 1], 0, 1) / 0.08)
        color += (np.asarray(SKY_COLORS[scene.time][0], np.float32) - color) * haze[..., None]
        sky += (color - sky) * cover[..., None]
    return sky


def _mountain_edge(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """How far below the ridge a ray passes, radians, positive inside the mountain."""
    profile = _mountain_profile(scene.texture_seed)
    azimuth = np.arctan2(rays[..., 0], rays[..., 2])
    ridge = np.interp(azimuth, np.linspace(-np.pi, np.pi, 721), np.append(profile, profile[0]))
    return ridge.astype(np.float32) - np.arcsin(np.clip(rays[..., 1], -1, 1))


def mountain_mask(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """Which rays end at a mountain, (h, w) bool."""
    if not scene.mountains:
        return np.zeros(rays.shape[:2], bool)
    return _mountain_edge(scene, rays) > 0


def cloud_density(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Opacity in [0, 1] and the point on the cloud plane."""
    up = np.maximum(rays[..., 1], 1e-3)
    point = origin + rays * ((CLOUD_HEIGHT - origin[1]) / up)[..., None]
    offset = np.random.default_rng(scene.texture_seed).random(2)
    x = (point[..., 0] - t * scene.wind[0]) / 170.0 + offset[0]
    z = (point[..., 2] - t * scene.wind[1]) / 170.0 + offset[1]
    puff = 0.75 * noise(0, x, z) + 0.25 * noise(1, 3.0 * x, 3.0 * z)
    threshold = 1.0 - scene.clouds
    density = smoothstep(threshold - 0.1, threshold + 0.1, puff)
    return density * smoothstep(0.02, 0.16, rays[..., 1]), point
