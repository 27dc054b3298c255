"""`panobench data prepare`: the raw data set in WEB360's layout, a train and a reference split.

With `dataset.source: nano` the procedural world is filmed; a folder that already holds `train/` and
`reference/` in the same layout is taken as it is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from core.data.partial import partial_folder
from core.errors import PanobenchError
from core.files import atomic_path
from core.nano.captions import caption, shown_everywhere, shown_in
from core.nano.render import render_clip
from core.nano.scene import Scene, Split, face, sample_scene
from core.params_schema import Params
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


def prepare_stage(params: Params) -> None:
    """Write `dataset/train` and `dataset/reference`; a killed run goes on with the clip it stopped at."""
    video, dataset = params.video, params.dataset
    spec = ClipSpec(video.height, video.width, dataset.frames, video.fps)
    splits: dict[Split, int] = {"train": dataset.train_clips, "reference": dataset.reference_clips}
    inputs = {"seed": params.seed, "video": video.model_dump(), "dataset": dataset.model_dump()}
    with partial_folder(params.outputs / "partial/prepare", params.outputs / "dataset", inputs) as folder:
        for split, count in splits.items():
            if dataset.source == "nano":
                film_nano(folder / split, split, count, spec, params.seed)
            else:
                take_folder(Path(dataset.source), folder / split, split)


def film_nano(folder: Path, split: Split, count: int, spec: ClipSpec, seed: int) -> None:
    """Film `count` scenes of a split as ERP clips with view-wise captions.

    Writes `clips.csv` and `videos/{videoid}.mp4` into `folder`. Clips that are already there are kept, so a killed run
    continues; the CSV comes last.

    Args:
        folder: of this split.
        split: of the nano world, disjoint from the others.
        count: number of clips.
        spec: size of the clips.
        seed: of the world.
    """
    videos = folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    directions = erp_directions(spec.height * OVERSAMPLE, spec.width * OVERSAMPLE).numpy()
    rows = []
    for index in tqdm(range(count), desc=f"film {split}", unit="clip"):
        scene = ahead(sample_scene(seed, split, index))
        path = videos / f"{scene.scene_id}.mp4"
        if not path.exists():
            frames = render_clip(scene, directions, [float(t) for t in range(spec.frames)], OVERSAMPLE)
            write_video(path, frames, spec.fps)
        rows.append(_describe(scene, index, spec, seed))
    with atomic_path(folder / "clips.csv") as temporary:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(temporary, index=False)


def take_folder(source: Path, folder: Path, split: str) -> None:
    """Copy one split of an existing set in WEB360's layout: `{split}/clips.csv` and `{split}/videos/*.mp4`."""
    table = source / split / "clips.csv"
    if not table.is_file():
        raise PanobenchError(f"{table} is missing: dataset.source must be 'nano' or a folder with {split}/clips.csv")
    names = pd.read_csv(table, dtype={"videoid": str})["videoid"]
    missing = [name for name in names if not (source / split / "videos" / f"{name}.mp4").is_file()]
    if missing:
        raise PanobenchError(f"{table} lists {len(missing)} clips without a video, the first is {missing[0]}.mp4")
    shutil.copytree(source / split, folder, dirs_exist_ok=True)


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
