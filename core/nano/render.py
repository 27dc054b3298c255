"""Render a nano scene along any set of rays.

Every pixel is a function of a viewpoint and a direction, so a perspective picture and an equirectangular panorama (ERP)
of one scene are two samplings of the same light: what `core.sphere` computes from the one must equal the other.
Pictures are supersampled `oversample` times per axis and averaged, so that ERP and views agree without aliasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.nano.ground import SOFT_HORIZON, shade_ground
from core.nano.scene import Scene
from core.nano.sky import cloud_density, mountain_mask, shade_sky
from core.nano.things import hit_thing, shade_thing

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
        image[up] = shade_sky(scene, rays[up], origin, t)
    if down.any():
        ground, alpha = shade_ground(scene, rays[down], origin, t)
        image[down] += (ground - image[down]) * alpha[..., None]
    nearest = np.full(rays.shape[:2], np.inf, np.float32)
    for thing in scene.things:
        distance, color = shade_thing(scene, thing, rays, origin, t)
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
        density, at = cloud_density(scene, rays, origin, t)
        hidden = (density > 0.5) & ~mountain_mask(scene, rays)
        kind[hidden], point[hidden] = CLOUD, at[hidden]
    down = rays[..., 1] < -1e-6
    kind[down] = GROUND
    point[down] = (origin + rays * (-origin[1] / np.where(down, rays[..., 1], -1.0))[..., None])[down]
    nearest = np.full(rays.shape[:2], np.inf, np.float32)
    for number, thing in enumerate(scene.things):
        distance, _, _ = hit_thing(thing, rays, origin, t)
        closer = distance < nearest
        kind[closer] = THING + number
        nearest[closer] = distance[closer]
        point[closer] = (origin + rays * np.where(closer, distance, 0.0)[..., None])[closer]
    return Hits(kind, point)


def yaw_matrix(yaw: float) -> np.ndarray:
    """Turns camera directions into world directions."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _to_world(scene: Scene, directions: np.ndarray, t: float) -> np.ndarray:
    return (directions @ yaw_matrix(scene.camera.yaw_at(t)).T).astype(np.float32)
