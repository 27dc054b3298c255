"""Pictures and clips of the training split for pretraining, rendered by several processes, kept as .npy files.

As Stable Diffusion and AnimateDiff did, the base sees perspective pictures and clips. Fields of view run from 50 to 120
degrees, and `erp_share` of the stills are whole panoramas, as web data holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from core.files import atomic_path, read_json, write_json
from core.nano.captions import caption, shown_everywhere, shown_in
from core.nano.render import render_clip
from core.nano.scene import Scene, Split, face, sample_scene
from core.sphere import erp_directions, view_directions

Kind = Literal["stills", "clips", "views", "panoramas"]
OVERSAMPLE = 2

# Each kind draws scenes from a range of its own, so that views for the judge and stills for the U-Net differ.
_FIRST_SCENE: dict[str, int] = {"stills": 100_000, "clips": 300_000, "views": 500_000, "panoramas": 700_000}


@dataclass(frozen=True)
class Pictures:
    """`images` uint8 (N, F, H, W, 3), memory-mapped, and a caption for each."""

    images: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def pictures(
    folder: Path,
    kind: Kind,
    split: Split,
    count: int,
    size: tuple[int, int],
    seed: int,
    frames: int = 1,
    erp_share: float = 0.0,
    workers: int = 2,
) -> Pictures:
    """Render `count` pictures or clips, or read them if `folder` holds them already."""
    stem = f"{split}_{kind}_{count}_{size[0]}x{size[1]}x{frames}_{seed}_{erp_share:g}"
    array, words = folder / f"{stem}.npy", folder / f"{stem}.json"
    if not (array.exists() and words.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        draw = partial(_draw, kind, split, size, seed, frames, erp_share)
        images = np.empty((count, frames, *size, 3), np.uint8)
        captions: list[str] = []
        with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_single_thread) as pool:
            results = pool.map(draw, range(count), chunksize=16)
            for i, (clip, text) in enumerate(tqdm(results, total=count, desc=f"render {split} {kind}")):
                images[i] = clip
                captions.append(text)
        with atomic_path(array) as temporary, temporary.open("wb") as file:
            np.save(file, images)
        write_json(words, captions)
    return Pictures(np.load(array, mmap_mode="r"), read_json(words))


def _single_thread() -> None:
    """Many small arrays: threads inside the processes would only wait for each other."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threadpool_limits(1)


def _draw(
    kind: Kind, split: Split, size: tuple[int, int], seed: int, frames: int, erp_share: float, index: int
) -> tuple[np.ndarray, str]:
    number = _FIRST_SCENE[kind] + index
    scene = sample_scene(seed, split, number)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 9, number]))
    h, w = size
    choose: Callable[..., tuple[float, float, float]] = _judge_view if kind == "views" else _photograph
    fov, yaw, pitch = choose(rng, scene)
    if kind == "panoramas" or rng.random() < erp_share:
        directions = erp_directions(h * OVERSAMPLE, w * OVERSAMPLE).numpy()
        shown = shown_everywhere(scene)
    else:
        scene = face(scene, yaw)
        directions = view_directions(h * OVERSAMPLE, w * OVERSAMPLE, fov, 0.0, pitch, 0.0).numpy()
        shown = shown_in(scene, directions[::OVERSAMPLE, ::OVERSAMPLE], 0.5 * (frames - 1))
    times = [float(t) for t in range(frames)]
    return render_clip(scene, directions, times, OVERSAMPLE), caption(scene, shown, rng, motion=frames > 1)


def _photograph(rng: np.random.Generator, scene: Scene) -> tuple[float, float, float]:
    """Field of view, heading and pitch of somebody who mostly points the camera at a thing, near the horizon."""
    fov = float(np.deg2rad(rng.uniform(50.0, 120.0)))
    pitch = float(np.deg2rad(np.clip(rng.normal(3.0, 7.0), -20.0, 20.0)))
    if not scene.things or rng.random() > 0.85:
        return fov, float(rng.uniform(-np.pi, np.pi)), pitch
    x, _, z = scene.things[rng.integers(len(scene.things))].center
    return fov, float(np.arctan2(x, z) + rng.uniform(-0.3, 0.3) * fov), pitch


def _judge_view(rng: np.random.Generator, scene: Scene) -> tuple[float, float, float]:
    """Like a photograph, but views that look up and down occur too: the judge scores views of the whole sphere."""
    fov, yaw, pitch = _photograph(rng, scene)
    fov = float(np.clip(fov, np.deg2rad(60.0), np.deg2rad(105.0)))
    if rng.random() < 0.35:
        pitch = float(rng.uniform(-0.5 * np.pi, 0.5 * np.pi))
    return fov, yaw, pitch
