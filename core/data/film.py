"""The procedural world as raw material: scenes filmed as ERP clips with the captions of their four views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.data.work import ALL, Step
from core.files import atomic_path
from core.nano.captions import caption, shown_everywhere, shown_in
from core.nano.render import render_clip
from core.nano.scene import Scene, Split, face, sample_scene
from core.params_schema import Params
from core.shards import Shard
from core.sphere import erp_directions, view_directions
from core.video import write_video

OVERSAMPLE = 2
# 360 Text Fusion looks at four views of 90 degrees.
VIEW_YAWS_DEG = (0, 90, 180, -90)
COLUMNS = ["videoid", "name", *(f"yaw_{yaw % 360}" for yaw in VIEW_YAWS_DEG), "whole", "source", "fps", "frames"]


@dataclass(frozen=True)
class ClipSpec:
    """Size of the clips: ERP pixels, frames, frames per second."""

    height: int
    width: int
    frames: int
    fps: float


def film_stage(params: Params, output: Path, partial: Path, shard: Shard = ALL) -> bool:
    """Film `train/` and `reference/`, each `clips.csv` and `videos/`; whether all clips are there."""
    video, dataset = params.video, params.dataset
    spec = ClipSpec(video.height, video.width, dataset.frames, video.fps)
    counts: dict[Split, int] = {"train": dataset.train_clips, "reference": dataset.reference_clips}
    directions = erp_directions(spec.height * OVERSAMPLE, spec.width * OVERSAMPLE).numpy()

    def path(folder: Path, item: tuple[Split, int]) -> Path:
        return folder / item[0] / "videos" / f"{sample_scene(params.seed, *item).scene_id}.mp4"

    def make(folder: Path, item: tuple[Split, int]) -> None:
        scene = ahead(sample_scene(params.seed, *item))
        frames = render_clip(scene, directions, [float(t) for t in range(spec.frames)], OVERSAMPLE)
        write_video(path(folder, item), frames, spec.fps)

    def finish(folder: Path) -> None:
        for split, count in counts.items():
            rows = [_describe(ahead(sample_scene(params.seed, split, i)), i, spec, params.seed) for i in range(count)]
            with atomic_path(folder / split / "clips.csv") as temporary:
                pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)

    return Step(
        name="film",
        unit="clip",
        partial=partial,
        final=output,
        inputs={"seed": params.seed, "video": video.model_dump(), "dataset": dataset.model_dump()},
        items=[(split, index) for split, count in counts.items() for index in range(count)],
        path=path,
        make=make,
        finish=finish,
    ).run(shard)


def ahead(scene: Scene) -> Scene:
    """The scene filmed so that the picture's centre looks where the camera goes, as people mount 360 cameras."""
    return face(scene, scene.camera.yaw)


def _describe(scene: Scene, index: int, spec: ClipSpec, seed: int) -> dict[str, object]:
    """A row of the CSV: per-view captions, and one of the whole panorama as the ablation without 360TF uses it."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 7, index]))
    middle = 0.5 * (spec.frames - 1)
    views = {}
    for yaw in VIEW_YAWS_DEG:
        rays = view_directions(64, 64, 0.5 * np.pi, float(np.deg2rad(yaw)), 0.0, 0.0).numpy()
        views[f"yaw_{yaw % 360}"] = caption(scene, shown_in(scene, rays, middle), rng, motion=False)
    whole = caption(scene, shown_everywhere(scene), rng)
    return {
        "videoid": scene.scene_id,
        "name": whole,
        **views,
        "whole": whole,
        "source": "nano",
        "fps": spec.fps,
        "frames": spec.frames,
    }
