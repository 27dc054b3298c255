"""Analytic pictures on the sphere: colour is a function of direction, so truth is known and no seam exists."""

import math
from pathlib import Path

import numpy as np
import torch

from core.sphere import erp_directions, rotation_matrix, view_directions
from core.video import write_video

HEIGHT, FRAMES, FPS = 64, 6, 8.0


def colour(directions: torch.Tensor, seed: int = 0, waves: int = 24, frequency: float = 9.0) -> np.ndarray:
    """uint8 (..., 3): a sum of plane waves through space, cut by the sphere."""
    rng = np.random.default_rng(seed)
    axes = torch.tensor(rng.normal(size=(waves, 3)) * frequency / math.sqrt(3))
    phases = torch.tensor(rng.uniform(0, 2 * math.pi, size=waves))
    mix = torch.tensor(rng.normal(size=(waves, 3)) / math.sqrt(waves))
    value = torch.sin(directions.double() @ axes.T + phases) @ mix
    return (127.5 + 110 * torch.tanh(value)).round().to(torch.uint8).numpy()


def turning(degrees_per_frame: float, axis: str = "yaw", frames: int = FRAMES, height: int = HEIGHT, seed: int = 0):
    """(F, H, 2H, 3) uint8: the viewer turns at a constant rate, exactly rendered."""
    rays = erp_directions(height, 2 * height, dtype=torch.float64)
    turns = [rotation_matrix(**{axis: math.radians(degrees_per_frame * t)}, dtype=torch.float64) for t in range(frames)]
    return np.stack([colour(rays @ turn.T, seed) for turn in turns])


def still(frames: int = FRAMES, height: int = HEIGHT, seed: int = 0) -> np.ndarray:
    return turning(0.0, frames=frames, height=height, seed=seed)


def stretched(frames: int = FRAMES, height: int = HEIGHT, seed: int = 0, fov_deg: float = 60.0) -> np.ndarray:
    """A perspective picture that fills a 2:1 frame: what a text-to-video model makes that knows no panoramas."""
    picture = colour(view_directions(height, 2 * height, math.radians(fov_deg), dtype=torch.float64), seed)
    return np.repeat(picture[None], frames, axis=0)


def broken_seam(video: np.ndarray, strength: float) -> np.ndarray:
    """Brightness falls from left to right by ``strength`` grey levels: a step at the seam, hardly any elsewhere."""
    ramp = strength * (0.5 - np.arange(video.shape[2]) / (video.shape[2] - 1))
    return np.clip(video + ramp[None, None, :, None], 0, 255).round().astype(np.uint8)


def write_set(folder: Path, names: list[str], height: int = 32, frames: int = 4, fps: float = FPS) -> None:
    for seed, name in enumerate(names):
        write_video(folder / f"{name}.mp4", turning(2.0, frames=frames, height=height, seed=seed), fps)
