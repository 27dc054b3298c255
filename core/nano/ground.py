"""The ground plane of the nano world: four terrains, the road, shadows, the haze of the distance."""

from __future__ import annotations

import numpy as np

from core.nano.light import LIGHT, SKY_COLORS
from core.nano.scene import Scene, Terrain
from core.nano.sky import sky_color
from core.nano.textures import noise, smoothstep

HAZE_DISTANCE = 120.0
ROAD_HALF_WIDTH = 1.5
SOFT_HORIZON = 0.002  # sine of the elevation over which sky turns into ground

_GROUND: dict[Terrain, tuple[float, ...]] = {
    "desert": (0.88, 0.70, 0.44),
    "meadow": (0.36, 0.58, 0.22),
    "snow": (0.93, 0.95, 0.99),
    "water": (0.12, 0.32, 0.50),
}


def shade_ground(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour of the ground plane and its coverage; the haze of the distance melts it into the horizon."""
    # Rays above the horizon still need a point to be shaded, hence the floor of the distance.
    alpha = smoothstep(-SOFT_HORIZON, SOFT_HORIZON, -rays[..., 1])
    distance = origin[1] / np.maximum(-rays[..., 1], 2e-3)
    point = origin + rays * distance[..., None]
    x, z = point[..., 0], point[..., 2]
    offset = np.random.default_rng(scene.texture_seed + 1).random(2)
    near, far = np.exp(-distance / 7.0), np.exp(-distance / 28.0)
    fine = (noise(1, x / 14 + offset[0], z / 14 + offset[1]) - 0.5) * near
    coarse = (noise(2, x / 60 + offset[1], z / 60 + offset[0]) - 0.5) * far
    light = np.asarray(LIGHT[scene.time], np.float32)
    base = np.asarray(_GROUND[scene.terrain], np.float32)
    haze = np.clip(1.0 - np.exp(-distance / HAZE_DISTANCE), 0.0, 0.85)
    horizon = np.asarray(SKY_COLORS[scene.time][0], np.float32)
    if scene.terrain == "water":
        tilt = 0.6 * fine + 0.35 * coarse
        mirrored = rays.copy()
        mirrored[..., 1] = np.clip(np.abs(rays[..., 1]) + tilt * 0.5, 0.0, 1.0)
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        fresnel = 0.25 + 0.65 * (1.0 - np.abs(rays[..., 1])) ** 4
        deep = base * light * (1.0 + 0.8 * fine + 0.6 * coarse)[..., None]
        color = deep + (sky_color(scene, mirrored) - deep) * fresnel[..., None]
    else:
        if scene.terrain == "desert":
            # Dunes: ridges bent by the coarse noise, lit on one side.
            bend = noise(0, x / 90 + offset[0], z / 90 + offset[1])
            phase = 2 * np.pi * ((0.8 * x + 0.6 * z) / 11.0 + 2.0 * bend)
            relief = 0.20 * np.sin(phase) * np.exp(-distance / 22.0) + 0.16 * coarse + 0.10 * fine
        elif scene.terrain == "meadow":
            relief = 0.85 * coarse + 0.55 * fine
        else:
            relief = 0.16 * coarse + 0.09 * fine
        color = base * (1.0 + relief)[..., None]
        if scene.terrain == "meadow":
            flowers = smoothstep(0.90, 0.96, noise(0, x / 9 + offset[1], z / 9 + offset[0])) * near
            color = color + (np.asarray([0.95, 0.85, 0.35], np.float32) - color) * flowers[..., None]
        if scene.road:
            color = _paint_road(scene, x, z, distance, color)
        color = color * light
    for thing in scene.things:
        cx, _, cz = thing.center_at(t)
        spread = np.sqrt((x - cx) ** 2 + (z - cz) ** 2) / (1.25 * thing.radius)
        shadow = (0.45 if thing.shape != "balloon" else 0.25) * (1.0 - smoothstep(0.5, 1.1, spread))
        color = color * (1.0 - shadow)[..., None]
    return (color + (horizon - color) * haze[..., None]).astype(np.float32), alpha


def _paint_road(scene: Scene, x: np.ndarray, z: np.ndarray, distance: np.ndarray, color: np.ndarray) -> np.ndarray:
    c, s = np.cos(scene.road_heading), np.sin(scene.road_heading)
    across = np.abs(c * x - s * z - scene.road_offset)
    along = s * x + c * z
    soft = 0.05 + 0.02 * distance
    cover = 1.0 - np.clip((across - ROAD_HALF_WIDTH) / soft + 0.5, 0.0, 1.0)
    color = color + (np.asarray([0.30, 0.30, 0.32], np.float32) - color) * cover[..., None]
    dash = np.clip(0.5 + 2.5 * np.cos(2 * np.pi * along / 3.2), 0.0, 1.0)
    line = dash * np.clip((0.14 - across) / soft + 0.5, 0.0, 1.0) * np.exp(-distance / 14.0)
    return color + (np.asarray([0.95, 0.92, 0.80], np.float32) - color) * line[..., None]
