"""`panobench data flow`: the motion condition of every clip, as lossless RGB pictures of its optical flow."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.data.clips import Clip, read_clips, video_path
from core.data.work import ALL, Step, stamp
from core.device import default_device
from core.errors import PanobenchError
from core.files import atomic_path, read_json, write_json
from core.flow import Estimator, encode_flow, estimate_flow, forward_backward_mask, make_estimator
from core.params_schema import Flow
from core.shards import Shard
from core.sphere import latitude_weights
from core.video import read_video, write_video

#: Says how the pictures in a folder of flow are encoded; a folder without it is WEB360's, `released`.
RECORD = "flow.json"


@dataclass(frozen=True)
class Quality:
    """How sure the flow of a clip is."""

    videoid: str
    consistent: float  # share of the sphere where forward and backward flow agree; 1 is best
    longest_px: float


def flow_stage(
    clips_csv: Path,  # `videos/` beside it, and `flows/` where the set came with them
    output: Path,  # folder of {videoid}.mp4, flow.json and quality.csv
    partial: Path,
    settings: Flow,
    shard: Shard = ALL,
    together: bool = False,  # `output` is that very `flows/`: there is none that came with the set
) -> bool:
    """Write `{videoid}.mp4` per clip, as many pictures as frames, the last repeated; whether all are there.

    Flow that the set came with is taken over as it is.

    Raises:
        PanobenchError: a clip is missing, or weights of the backend.
    """
    clips = read_clips(clips_csv, need_captions=False)
    ready = None if together or not (clips_csv.parent / "flows").is_dir() else clips_csv.parent / "flows"
    videos = [video_path(clips_csv.parent / "videos", clip.videoid) for clip in clips]
    taken = [video_path(ready, clip.videoid) for clip in clips] if ready else []
    step: Step[Clip] = Step(
        name="flow",
        unit="clip",
        partial=partial,
        final=output,
        inputs={
            "clips": [stamp(video) for video in videos],
            "flow": settings.model_dump(),
            "ready": [stamp(flow) for flow in taken],
        },
        items=clips,
        path=lambda folder, clip: folder / f"{clip.videoid}.mp4",
        make=_take(ready) if ready else _Estimate(clips_csv.parent / "videos", settings).make,
        finish=lambda folder: _finish(folder, clips, ready, settings),
    )
    return step.run(shard)


def encoding_of(flows: Path) -> str:
    """How the pictures in a folder of flow are encoded."""
    record = flows / RECORD
    return str(read_json(record)["encoding"]) if record.is_file() else "released"


class _Estimate:
    """Estimates clip after clip with one estimator, made when the first clip needs it."""

    def __init__(self, videos: Path, settings: Flow) -> None:
        self.videos, self.settings = videos, settings

    @cached_property
    def estimator(self) -> Estimator:
        if self.settings.backend == "dis":
            return make_estimator("dis")
        return make_estimator(self.settings.backend, self.settings.weights, default_device())

    def make(self, folder: Path, clip: Clip) -> None:
        video = read_video(video_path(self.videos, clip.videoid))
        if len(video.frames) < 2:
            raise PanobenchError(f"{self.videos / clip.videoid}.mp4: one frame has no flow")
        flow = self._flow(video.frames)
        consistent = 1.0
        if self.settings.confidence:
            backward = self._flow(video.frames[::-1])[::-1]
            consistent = _agreement(flow, np.ascontiguousarray(backward))
        quality = Quality(clip.videoid, round(consistent, 4), round(float(np.hypot(flow[:, 0], flow[:, 1]).max()), 2))
        write_json(folder / "quality" / f"{clip.videoid}.json", asdict(quality))
        pictures = encode_flow(flow, self.settings.encoding)
        write_video(folder / f"{clip.videoid}.mp4", pictures, video.fps, lossless_rgb=True)

    def _flow(self, frames: np.ndarray) -> np.ndarray:
        return estimate_flow(frames, self.estimator, cyclic=self.settings.cyclic, tangent=self.settings.tangent)


def _agreement(forward: np.ndarray, backward: np.ndarray) -> float:
    """Share of the sphere, over all frames, where the two agree."""
    total, weights = 0.0, latitude_weights(forward.shape[2])[:, None]
    for there, back in zip(forward, backward, strict=True):
        mask = forward_backward_mask(torch.from_numpy(there)[None], torch.from_numpy(back)[None])[0]
        total += float((mask * weights).sum() / weights.sum() / mask.shape[1])
    return total / len(forward)


def _take(ready: Path) -> Callable[[Path, Clip], None]:
    def make(folder: Path, clip: Clip) -> None:
        with atomic_path(folder / f"{clip.videoid}.mp4") as temporary:
            shutil.copyfile(video_path(ready, clip.videoid), temporary)

    return make


def _finish(folder: Path, clips: Sequence[Clip], ready: Path | None, settings: Flow) -> None:
    """Gather the clips' qualities into a table, and say how the pictures are encoded."""
    if ready:
        record = {"encoding": encoding_of(ready), "taken": "as the set brought it"}
        if (ready / "quality.csv").is_file():
            shutil.copyfile(ready / "quality.csv", folder / "quality.csv")
    else:
        record = {"encoding": settings.encoding, **settings.model_dump()}
        parts = [folder / "quality" / f"{clip.videoid}.json" for clip in clips]
        _write_quality(folder / "quality.csv", (json.loads(part.read_text(encoding="utf-8")) for part in parts))
        shutil.rmtree(folder / "quality")
    write_json(folder / RECORD, record)


def _write_quality(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["videoid", "consistent", "longest_px"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
