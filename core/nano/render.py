"""Render a nano scene along any set of rays, and its exact optical flow.

Every pixel is a function of a viewpoint and a direction, so a perspective picture and an equirectangular panorama (ERP)
of one scene are two samplings of the same light: what `core.sphere` computes from the one must equal the other.
Pictures are supersampled `oversample` times per axis and averaged, so that ERP and views agree without aliasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from core.nano.scene import Color, Scene, Terrain, Thing, Time

CLOUD_HEIGHT = 30.0
HAZE_DISTANCE = 120.0
ROAD_HALF_WIDTH = 1.5
SOFT_HORIZON = 0.002  # sine of the elevation over which sky turns into ground

# Linear colours in [0, 1]. Horizon and zenith of the sky, the light on things, the colour of clouds.
_SKY: dict[Time, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "dawn": ((0.98, 0.76, 0.70), (0.45, 0.58, 0.86)),
    "noon": ((0.80, 0.90, 0.98), (0.22, 0.48, 0.90)),
    "sunset": ((1.00, 0.52, 0.20), (0.34, 0.18, 0.42)),
    "night": ((0.10, 0.14, 0.28), (0.02, 0.03, 0.10)),
}
_LIGHT: dict[Time, tuple[float, ...]] = {
    "dawn": (0.95, 0.84, 0.82),
    "noon": (1.0, 1.0, 1.0),
    "sunset": (0.95, 0.66, 0.48),
    "night": (0.30, 0.34, 0.50),
}
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
_GROUND: dict[Terrain, tuple[float, ...]] = {
    "desert": (0.88, 0.70, 0.44),
    "meadow": (0.36, 0.58, 0.22),
    "snow": (0.93, 0.95, 0.99),
    "water": (0.12, 0.32, 0.50),
}
PAINT: dict[Color, tuple[float, ...]] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.52, 0.08),
    "yellow": (0.96, 0.86, 0.12),
    "green": (0.10, 0.62, 0.22),
    "blue": (0.12, 0.28, 0.86),
    "purple": (0.56, 0.18, 0.72),
    "white": (0.95, 0.95, 0.95),
}

# What a ray met. Things count up from THING.
SKY, CLOUD, GROUND, THING = 0, 1, 2, 3


@dataclass(frozen=True)
class Hits:
    """What rays met: `kind` (h, w) int and `point` (h, w, 3), a world point, or a direction for the sky at infinity."""

    kind: np.ndarray
    point: np.ndarray


def render_frame(scene: Scene, directions: np.ndarray, t: float) -> np.ndarray:
    """Colours along rays at frame `t`.

    Args:
        scene: what to render.
        directions: (h, w, 3) unit vectors in the camera's frame (x right, y up, z forward).
        t: time in frames.

    Returns:
        (h, w, 3) float32 in [0, 1], not antialiased.
    """
    rays = _to_world(scene, directions, t)
    origin = scene.camera.position_at(t).astype(np.float32)
    image = np.zeros(rays.shape, np.float32)
    # Half of the work saved: rows of rays that all look down need no sky, rows that all look up no ground.
    up, down = (rays[..., 1] > -SOFT_HORIZON).any(axis=1), (rays[..., 1] < SOFT_HORIZON).any(axis=1)
    if up.any():
        image[up] = _shade_sky(scene, rays[up], origin, t)
    if down.any():
        ground, alpha = _shade_ground(scene, rays[down], origin, t)
        image[down] += (ground - image[down]) * alpha[..., None]
    nearest = np.full(rays.shape[:2], np.inf, np.float32)
    for thing in scene.things:
        distance, color = _shade_thing(scene, thing, rays, origin, t)
        closer = distance < nearest
        image[closer] = color[closer]
        nearest[closer] = distance[closer]
    return np.clip(image, 0.0, 1.0)


def render_clip(
    scene: Scene,
    directions: np.ndarray,
    times: Sequence[float],
    oversample: int = 2,
) -> np.ndarray:
    """Antialiased frames.

    Args:
        scene: what to render.
        directions: (h * oversample, w * oversample, 3) unit vectors in the camera's frame.
        times: frames to render.
        oversample: rays per pixel and axis.

    Returns:
        (frames, h, w, 3) uint8 RGB.
    """
    h, w = directions.shape[0] // oversample, directions.shape[1] // oversample
    frames = np.empty((len(times), h, w, 3), np.uint8)
    for i, t in enumerate(times):
        image = render_frame(scene, directions, t)
        image = image.reshape(h, oversample, w, oversample, 3).mean(axis=(1, 3))
        frames[i] = np.round(image * 255.0).astype(np.uint8)
    return frames


def trace(scene: Scene, directions: np.ndarray, t: float) -> Hits:
    """The surface points that the rays meet at frame `t`; clouds count where they hide more than half of the sky."""
    rays = _to_world(scene, directions, t)
    origin = scene.camera.position_at(t).astype(np.float32)
    kind = np.full(rays.shape[:2], SKY, np.int32)
    point = rays.astype(np.float64).copy()
    if scene.clouds > 0:
        density, at = _cloud_density(scene, rays, origin, t)
        hidden = (density > 0.5) & ~_mountain_mask(scene, rays)
        kind[hidden], point[hidden] = CLOUD, at[hidden]
    down = rays[..., 1] < -1e-6
    kind[down] = GROUND
    point[down] = (origin + rays * (-origin[1] / np.where(down, rays[..., 1], -1.0))[..., None])[down]
    nearest = np.full(rays.shape[:2], np.inf, np.float32)
    for number, thing in enumerate(scene.things):
        distance, _, _ = _hit_thing(thing, rays, origin, t)
        closer = distance < nearest
        kind[closer] = THING + number
        nearest[closer] = distance[closer]
        point[closer] = (origin + rays * np.where(closer, distance, 0.0)[..., None])[closer]
    return Hits(kind, point)


def carry(scene: Scene, hits: Hits, t: float, dt: float = 1.0) -> np.ndarray:
    """Where the points of frame `t` are seen `dt` frames later: unit directions in the camera's frame, (h, w, 3)."""
    moved = hits.point.copy()
    moved[hits.kind == CLOUD] += dt * np.array([scene.wind[0], 0.0, scene.wind[1]])
    for number, thing in enumerate(scene.things):
        moved[hits.kind == THING + number] += dt * np.asarray(thing.velocity)
    finite = hits.kind != SKY
    moved[finite] -= scene.camera.position_at(t + dt)
    moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
    return moved @ _yaw_matrix(scene.camera.yaw_at(t + dt))


def erp_flow(scene: Scene, directions: np.ndarray, t: float) -> np.ndarray:
    """Exact optical flow of an ERP frame from `t` to `t + 1`.

    Args:
        scene: what moves.
        directions: (h, w, 3), `core.sphere.erp_directions(h, w)`.
        t: time in frames.

    Returns:
        (2, h, w) float32 in pixels: u to the right, wrapped to at most half a turn, v downwards.
    """
    h, w = directions.shape[:2]
    seen = carry(scene, trace(scene, directions, t), t)
    longitude = np.arctan2(directions[..., 0], directions[..., 2])
    latitude = np.arcsin(np.clip(directions[..., 1], -1, 1))
    turn = np.arctan2(seen[..., 0], seen[..., 2]) - longitude
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    climb = np.arcsin(np.clip(seen[..., 1], -1, 1)) - latitude
    return np.stack([turn * w / (2 * np.pi), -climb * h / np.pi]).astype(np.float32)


def view_flow(scene: Scene, directions: np.ndarray, t: float, rotation: np.ndarray, fov_x: float) -> np.ndarray:
    """Exact optical flow of a perspective view from `t` to `t + 1`; NaN where the point leaves to behind the camera.

    Args:
        scene: what moves.
        directions: (h, w, 3) of the view, in the camera's frame.
        t: time in frames.
        rotation: (3, 3), turns directions of the view's own frame into the camera's frame.
        fov_x: horizontal field of view in radians.

    Returns:
        (2, h, w) float32 in pixels: u to the right, v downwards.
    """
    h, w = directions.shape[:2]
    focal = 0.5 * w / np.tan(0.5 * fov_x)
    local = carry(scene, trace(scene, directions, t), t) @ rotation
    depth = np.where(local[..., 2] > 1e-6, local[..., 2], np.nan)
    x = focal * local[..., 0] / depth + 0.5 * w
    y = -focal * local[..., 1] / depth + 0.5 * h
    columns, rows = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    return np.stack([x - columns, y - rows]).astype(np.float32)


def _yaw_matrix(yaw: float) -> np.ndarray:
    """Turns camera directions into world directions."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _to_world(scene: Scene, directions: np.ndarray, t: float) -> np.ndarray:
    return (directions @ _yaw_matrix(scene.camera.yaw_at(t)).T).astype(np.float32)


# --- textures -------------------------------------------------------------------------------------------------------


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


def _noise(tile: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Noise tile at texture coordinates (one tile is one unit), (h, w) float32 in [0, 1]."""
    image = _noise_tiles()[tile]
    size = image.shape[0]
    x = ((u % 1.0) * size).astype(np.float32)
    y = ((v % 1.0) * size).astype(np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


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


def _smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    s = np.clip((x - low) / (high - low), 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s)


# --- sky ------------------------------------------------------------------------------------------------------------


def _sun_direction(scene: Scene) -> np.ndarray:
    c = np.cos(scene.sun_elevation)
    return np.array(
        [c * np.sin(scene.sun_azimuth), np.sin(scene.sun_elevation), c * np.cos(scene.sun_azimuth)], np.float32
    )


def _sky_color(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """Gradient, sun or moon and its glow, without clouds, stars or mountains; also what water mirrors."""
    horizon, zenith = (np.asarray(c, np.float32) for c in _SKY[scene.time])
    height = np.clip(rays[..., 1], 0.0, 1.0) ** 0.6
    sky = horizon + (zenith - horizon) * height[..., None]
    color, radius, glow = _SUN[scene.time]
    cosine = rays @ _sun_direction(scene)
    angle = np.arccos(np.clip(cosine, -1, 1))
    halo = glow * np.exp(-((angle / 0.35) ** 2))
    sky += (np.asarray(color, np.float32) - sky) * halo[..., None]
    disc = 1.0 - _smoothstep(np.deg2rad(radius) * 0.85, np.deg2rad(radius) * 1.15, angle)
    sky += (np.asarray(color, np.float32) - sky) * disc[..., None]
    return sky.astype(np.float32)


def _shade_sky(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> np.ndarray:
    sky = _sky_color(scene, rays)
    if scene.time == "night":
        cosine = (rays.reshape(-1, 3) @ _star_directions(scene.texture_seed)).max(axis=1).reshape(rays.shape[:2])
        angle = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
        sky += (0.8 * (1.0 - _smoothstep(0.3, 1.0, angle)))[..., None]
    if scene.clouds > 0:
        density, _ = _cloud_density(scene, rays, origin, t)
        sky += (np.asarray(_CLOUD[scene.time], np.float32) - sky) * (0.92 * density)[..., None]
    if scene.mountains:
        edge = _mountain_edge(scene, rays)
        # About a third of a degree of softness keeps the ridge from aliasing.
        cover = _smoothstep(-0.006, 0.006, edge)
        rock = np.asarray([0.36, 0.36, 0.42], np.float32) * np.asarray(_LIGHT[scene.time], np.float32)
        snow = np.asarray([0.92, 0.94, 1.0], np.float32) * np.asarray(_LIGHT[scene.time], np.float32)
        white = _smoothstep(0.18, 0.24, np.arcsin(np.clip(rays[..., 1], -1, 1)))
        color = rock + (snow - rock) * white[..., None]
        haze = 0.55 * np.exp(-np.clip(rays[..., 1], 0, 1) / 0.08)
        color += (np.asarray(_SKY[scene.time][0], np.float32) - color) * haze[..., None]
        sky += (color - sky) * cover[..., None]
    return sky


def _mountain_edge(scene: Scene, rays: np.ndarray) -> np.ndarray:
    """How far below the ridge a ray passes, radians, positive inside the mountain."""
    profile = _mountain_profile(scene.texture_seed)
    azimuth = np.arctan2(rays[..., 0], rays[..., 2])
    ridge = np.interp(azimuth, np.linspace(-np.pi, np.pi, 721), np.append(profile, profile[0]))
    return ridge.astype(np.float32) - np.arcsin(np.clip(rays[..., 1], -1, 1))


def _mountain_mask(scene: Scene, rays: np.ndarray) -> np.ndarray:
    if not scene.mountains:
        return np.zeros(rays.shape[:2], bool)
    return _mountain_edge(scene, rays) > 0


def _cloud_density(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Opacity in [0, 1] and the point on the cloud plane."""
    up = np.maximum(rays[..., 1], 1e-3)
    point = origin + rays * ((CLOUD_HEIGHT - origin[1]) / up)[..., None]
    offset = np.random.default_rng(scene.texture_seed).random(2)
    x = (point[..., 0] - t * scene.wind[0]) / 170.0 + offset[0]
    z = (point[..., 2] - t * scene.wind[1]) / 170.0 + offset[1]
    puff = 0.75 * _noise(0, x, z) + 0.25 * _noise(1, 3.0 * x, 3.0 * z)
    threshold = 1.0 - scene.clouds
    density = _smoothstep(threshold - 0.1, threshold + 0.1, puff)
    return density * _smoothstep(0.02, 0.16, rays[..., 1]), point


# --- ground ---------------------------------------------------------------------------------------------------------


def _shade_ground(scene: Scene, rays: np.ndarray, origin: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour of the ground plane and its coverage; the haze of the distance melts it into the horizon."""
    # Rays above the horizon still need a point to be shaded, hence the floor of the distance.
    alpha = _smoothstep(-SOFT_HORIZON, SOFT_HORIZON, -rays[..., 1])
    distance = origin[1] / np.maximum(-rays[..., 1], 2e-3)
    point = origin + rays * distance[..., None]
    x, z = point[..., 0], point[..., 2]
    offset = np.random.default_rng(scene.texture_seed + 1).random(2)
    near, far = np.exp(-distance / 7.0), np.exp(-distance / 28.0)
    fine = (_noise(1, x / 14 + offset[0], z / 14 + offset[1]) - 0.5) * near
    coarse = (_noise(2, x / 60 + offset[1], z / 60 + offset[0]) - 0.5) * far
    light = np.asarray(_LIGHT[scene.time], np.float32)
    base = np.asarray(_GROUND[scene.terrain], np.float32)
    haze = np.clip(1.0 - np.exp(-distance / HAZE_DISTANCE), 0.0, 0.85)
    horizon = np.asarray(_SKY[scene.time][0], np.float32)
    if scene.terrain == "water":
        tilt = 0.6 * fine + 0.35 * coarse
        mirrored = rays.copy()
        mirrored[..., 1] = np.clip(np.abs(rays[..., 1]) + tilt * 0.5, 0.0, 1.0)
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        fresnel = 0.25 + 0.65 * (1.0 - np.abs(rays[..., 1])) ** 4
        deep = base * light * (1.0 + 0.8 * fine + 0.6 * coarse)[..., None]
        color = deep + (_sky_color(scene, mirrored) - deep) * fresnel[..., None]
    else:
        if scene.terrain == "desert":
            # Dunes: ridges bent by the coarse noise, lit on one side.
            bend = _noise(0, x / 90 + offset[0], z / 90 + offset[1])
            phase = 2 * np.pi * ((0.8 * x + 0.6 * z) / 11.0 + 2.0 * bend)
            relief = 0.20 * np.sin(phase) * np.exp(-distance / 22.0) + 0.16 * coarse + 0.10 * fine
        elif scene.terrain == "meadow":
            relief = 0.85 * coarse + 0.55 * fine
        else:
            relief = 0.16 * coarse + 0.09 * fine
        color = base * (1.0 + relief)[..., None]
        if scene.terrain == "meadow":
            flowers = _smoothstep(0.90, 0.96, _noise(0, x / 9 + offset[1], z / 9 + offset[0])) * near
            color = color + (np.asarray([0.95, 0.85, 0.35], np.float32) - color) * flowers[..., None]
        if scene.road:
            color = _paint_road(scene, x, z, distance, color)
        color = color * light
    for thing in scene.things:
        cx, _, cz = thing.center_at(t)
        spread = np.sqrt((x - cx) ** 2 + (z - cz) ** 2) / (1.25 * thing.radius)
        shadow = (0.45 if thing.shape != "balloon" else 0.25) * (1.0 - _smoothstep(0.5, 1.1, spread))
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


# --- things ---------------------------------------------------------------------------------------------------------


def _shade_thing(
    scene: Scene, thing: Thing, rays: np.ndarray, origin: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance along each ray, infinite where it misses, and the colour there."""
    distance, normal, part = _hit_thing(thing, rays, origin, t)
    paint = np.asarray(PAINT[thing.color], np.float32)
    albedo = np.broadcast_to(paint, rays.shape).copy()
    if thing.shape == "balloon":
        gore = np.cos(6.0 * np.arctan2(normal[..., 0], normal[..., 2]))
        albedo *= (1.0 - 0.18 * _smoothstep(-0.2, 0.2, gore))[..., None]
    elif thing.shape == "ball":
        belt = 1.0 - _smoothstep(0.10, 0.16, np.abs(normal[..., 1]))
        albedo += (0.35 * (1.0 - albedo)) * belt[..., None]
    albedo[part == 1] = (0.34, 0.22, 0.14)  # basket of a balloon, roof of a tower
    light = np.asarray(_LIGHT[scene.time], np.float32)
    facing = np.clip((normal @ _sun_direction(scene)), 0.0, 1.0)
    sky = 0.5 + 0.5 * normal[..., 1]
    if scene.time == "night":
        light = light + 0.25  # lanterns: a thing's colour stays readable in the dark
    color = albedo * light * (0.42 + 0.18 * sky + 0.45 * facing)[..., None]
    return distance, color.astype(np.float32)


def _hit_thing(
    thing: Thing, rays: np.ndarray, origin: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance (h, w), unit normal (h, w, 3) and part (h, w): 0 the painted body, 1 the basket or the roof."""
    center = thing.center_at(t).astype(np.float32)
    if thing.shape == "tower":
        body = _hit_cylinder(rays, origin, center, thing.radius, thing.height)
        extra = _hit_cone(rays, origin, center, 1.3 * thing.radius, thing.height, 1.4 * thing.radius)
    else:
        body = _hit_sphere(rays, origin, center, thing.radius)
        if thing.shape == "ball":
            return (*body, np.zeros(rays.shape[:2], np.int32))
        basket = center - np.array([0.0, 1.45 * thing.radius, 0.0], np.float32)
        extra = _hit_sphere(rays, origin, basket, 0.28 * thing.radius)
    front = extra[0] < body[0]
    normal = np.where(front[..., None], extra[1], body[1])
    return np.where(front, extra[0], body[0]), normal, front.astype(np.int32)


def _nearest_root(a: np.ndarray, b: np.ndarray, c: np.ndarray | np.floating) -> np.ndarray:
    """Smallest positive root of a s^2 + 2 b s + c for rays that start outside, infinite where there is none."""
    discriminant = b * b - a * c
    with np.errstate(invalid="ignore", divide="ignore"):
        root = (-b - np.sqrt(discriminant)) / a
    return np.where((discriminant > 0) & (root > 0), root, np.inf).astype(np.float32)


def _hit_sphere(
    rays: np.ndarray, origin: np.ndarray, center: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    offset = origin - center
    distance = _nearest_root(np.ones(rays.shape[:2]), rays @ offset, np.float32(offset @ offset - radius**2))
    finite = np.where(np.isfinite(distance), distance, 0.0)
    return distance, (offset + rays * finite[..., None]) / np.float32(radius)


def _hit_cylinder(
    rays: np.ndarray, origin: np.ndarray, base: np.ndarray, radius: float, height: float
) -> tuple[np.ndarray, np.ndarray]:
    offset = (origin - base)[[0, 2]]
    flat = rays[..., [0, 2]]
    a = np.maximum((flat * flat).sum(-1), 1e-9)
    distance = _nearest_root(a, flat @ offset, np.float32(offset @ offset - radius**2))
    finite = np.where(np.isfinite(distance), distance, 0.0)
    y = origin[1] + rays[..., 1] * finite
    distance = np.where((y >= 0) & (y <= height), distance, np.inf)
    around = (offset + flat * finite[..., None]) / np.float32(radius)
    return distance, np.stack([around[..., 0], np.zeros_like(y), around[..., 1]], axis=-1)


def _hit_cone(
    rays: np.ndarray, origin: np.ndarray, base: np.ndarray, radius: float, floor: float, height: float
) -> tuple[np.ndarray, np.ndarray]:
    """An upright cone standing at height `floor`; its underside is open, towers are seen from below its apex."""
    slope = np.float32(radius / height)
    offset = (origin - base)[[0, 2]]
    flat = rays[..., [0, 2]]
    drop = np.float32(floor + height - origin[1])  # apex above the viewpoint
    a = (flat * flat).sum(-1) - (slope * rays[..., 1]) ** 2
    b = flat @ offset + slope**2 * drop * rays[..., 1]
    c = np.float32(offset @ offset - (slope * drop) ** 2)
    discriminant = b * b - a * c
    with np.errstate(invalid="ignore", divide="ignore"):
        roots = np.stack([(-b - np.sqrt(discriminant)) / a, (-b + np.sqrt(discriminant)) / a])
    y = origin[1] + rays[..., 1] * roots
    inside = (discriminant > 0) & (roots > 0) & (y >= floor) & (y <= floor + height)
    distance = np.where(inside, roots, np.inf).min(axis=0).astype(np.float32)
    finite = np.where(np.isfinite(distance), distance, 0.0)
    around = offset + flat * finite[..., None]
    around /= np.maximum(np.linalg.norm(around, axis=-1, keepdims=True), 1e-6)
    tilt = np.float32(1.0 / np.hypot(1.0, slope))
    return distance, np.stack([around[..., 0] * tilt, np.full_like(y[0], slope * tilt), around[..., 1] * tilt], axis=-1)
