"""Exact optical flow of the nano world, in panoramas and in perspective views."""

from __future__ import annotations

import numpy as np

from core.nano.render import CLOUD, SKY, THING, Hits, trace, yaw_matrix
from core.nano.scene import Scene


def carry(scene: Scene, hits: Hits, t: float, dt: float = 1.0) -> np.ndarray:
    """Where the points of frame `t` are seen `dt` frames later: unit directions in the camera's frame, (h, w, 3)."""
    moved = hits.point.copy()
    moved[hits.kind == CLOUD] += dt * np.array([scene.wind[0], 0.0, scene.wind[1]])
    for number, thing in enumerate(scene.things):
        moved[hits.kind == THING + number] += dt * np.asarray(thing.velocity)
    finite = hits.kind != SKY
    moved[finite] -= scene.camera.position_at(t + dt)
    moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
    return moved @ yaw_matrix(scene.camera.yaw_at(t + dt))


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
