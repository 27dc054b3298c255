"""Balls, balloons and towers: where rays meet them, and how they look there."""

from __future__ import annotations

import numpy as np

from core.nano.light import LIGHT, sun_direction
from core.nano.scene import Color, Scene, Thing
from core.nano.textures import smoothstep

PAINT: dict[Color, tuple[float, ...]] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.52, 0.08),
    "yellow": (0.96, 0.86, 0.12),
    "green": (0.10, 0.62, 0.22),
    "blue": (0.12, 0.28, 0.86),
    "purple": (0.56, 0.18, 0.72),
    "white": (0.95, 0.95, 0.95),
}


def shade_thing(
    scene: Scene, thing: Thing, rays: np.ndarray, origin: np.ndarray, t: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance along each ray, infinite where it misses, and the colour there."""
    distance, normal, part = hit_thing(thing, rays, origin, t)
    paint = np.asarray(PAINT[thing.color], np.float32)
    albedo = np.broadcast_to(paint, rays.shape).copy()
    if thing.shape == "balloon":
        gore = np.cos(6.0 * np.arctan2(normal[..., 0], normal[..., 2]))
        albedo *= (1.0 - 0.18 * smoothstep(-0.2, 0.2, gore))[..., None]
    elif thing.shape == "ball":
        belt = 1.0 - smoothstep(0.10, 0.16, np.abs(normal[..., 1]))
        albedo += (0.35 * (1.0 - albedo)) * belt[..., None]
    albedo[part == 1] = (0.34, 0.22, 0.14)  # basket of a balloon, roof of a tower
    light = np.asarray(LIGHT[scene.time], np.float32)
    facing = np.clip((normal @ sun_direction(scene)), 0.0, 1.0)
    sky = 0.5 + 0.5 * normal[..., 1]
    if scene.time == "night":
        light = light + 0.25  # lanterns: a thing's colour stays readable in the dark
    color = albedo * light * (0.42 + 0.18 * sky + 0.45 * facing)[..., None]
    return distance, color.astype(np.float32)


def hit_thing(
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
