"""`panobench data flow`: the motion condition of every training clip, as lossless RGB flow maps."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from core.data.clips import read_clips, video_path
from core.data.partial import partial_folder
from core.files import sha256
from core.flow import encode_flow, estimate_flow
from core.params_schema import Flow
from core.video import read_video, write_video


def flow_stage(
    clips_csv: Path,  # of the training split, `videos/` beside it
    output: Path,  # folder of {videoid}.mp4
    partial: Path,  # unfinished folder, from which a killed run goes on
    settings: Flow,
) -> None:
    """Write `{videoid}.mp4` per clip: as many maps as frames, the last one repeated; see `core.flow.encode_flow`."""
    clips = read_clips(clips_csv, need_captions=False)
    inputs = {"clips": sha256(clips_csv), "flow": settings.model_dump()}
    with partial_folder(partial, output, inputs) as folder:
        for clip in tqdm(clips, desc="flow", unit="clip"):
            target = folder / f"{clip.videoid}.mp4"
            if target.is_file():
                continue
            video = read_video(video_path(clips_csv.parent / "videos", clip.videoid))
            flow = estimate_flow(video.frames, backend=settings.backend, cyclic=settings.cyclic)
            write_video(target, encode_flow(flow, settings.range_px), video.fps, lossless_rgb=True)
