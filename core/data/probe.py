"""`panobench data probe`: which of the raw files are full panoramas, what is wrong with the others, one report page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core.data.footage import Eye, Timing, crop_eye, find_footage, measure_timing, opened, sample_frames
from core.data.projection import HEIGHT, WIDTH, judge
from core.data.report import Card, jpeg, write_report
from core.data.sources import Source, source_name, source_of, write_sources
from core.data.work import ALL, Step, stamp
from core.errors import PanobenchError
from core.files import atomic_path, write_json
from core.shards import Shard
from core.spherical import read_spherical
from core.video import VideoError

_LOOKS = 8  # frames that are judged
_MP4 = {".mp4", ".m4v", ".mov"}


def probe_stage(
    raw: Path,  # folder of footage, searched to its depths
    output: Path,  # gets sources.jsonl, report.html and pictures/
    partial: Path,
    height: int,  # rows that clips will have; smaller footage is refused
    frames: int,  # that a clip will have; shorter footage is refused
    eye: Eye | None = None,  # which half of stereo files to keep
    shard: Shard = ALL,
) -> bool:
    """Judge every file; whether all are judged (another process may still be at its share).

    Raises:
        PanobenchError: no such folder, or no file in it that could be footage.
    """
    if not raw.is_dir():
        raise PanobenchError(f"{raw}: no such folder of raw footage")
    files = find_footage(raw)
    if not files:
        raise PanobenchError(f"{raw}: no file in it can be a video")

    def make(folder: Path, file: Path) -> None:
        source, picture = probe_file(raw, file, height, frames, eye)
        with atomic_path(folder / "pictures" / f"{source.name}.jpg") as temporary:
            temporary.write_bytes(jpeg(picture))
        write_json(folder / f"{source.name}.json", asdict(source))  # last: it says that the item is done

    def finish(folder: Path) -> None:
        parts = [folder / f"{source_name(file.relative_to(raw).as_posix())}.json" for file in files]
        sources = [source_of(part, part.read_text(encoding="utf-8")) for part in parts]
        write_sources(folder / "sources.jsonl", sources)
        _write_page(folder, sources)
        for part in parts:
            part.unlink()

    return Step(
        name="probe",
        unit="file",
        partial=partial,
        final=output,
        inputs={"files": [[str(f), *stamp(f)] for f in files], "height": height, "frames": frames, "eye": eye},
        items=files,
        path=lambda folder, file: folder / f"{source_name(file.relative_to(raw).as_posix())}.json",
        make=make,
        finish=finish,
    ).run(shard)


def probe_file(
    raw: Path, file: Path, height: int = 0, frames: int = 1, eye: Eye | None = None
) -> tuple[Source, np.ndarray | None]:
    """What is known about a file, and a picture of it, uint8 `(128,256,3)`, if it has one; no file makes it raise."""
    source = Source(file.relative_to(raw).as_posix(), "")
    try:
        timing = measure_timing(file)
        source = replace(source, **_format(file, timing))
        looks = sample_frames(file, timing, _LOOKS)
    except VideoError as error:
        reason = str(error).removeprefix(f"{file}: ")
        return replace(source, reason=f"not a readable video: {reason}", hint=_recovery(reason)), None
    seen = crop_eye(looks, eye) if eye and _is_stereo(source, looks) else looks
    cropped = seen is not looks
    small = np.stack([cv2.resize(look, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for look in seen])
    aspect = source.width / source.height if not cropped else _eye_aspect(seen)
    verdict = judge(small, aspect, source.projection or None, source.stereo or None, eye if cropped else None)
    repairs = []
    if cropped:
        repairs.append(f"the {eye} eye is kept")
    if timing.variable:
        repairs.append(f"variable frame rate, made constant at {timing.fps:g} frames per second")
    if timing.lost:
        repairs.append(f"{timing.lost}: cut off")
    reason, hint = verdict.reason, verdict.hint
    if not reason and timing.frames == 1:
        reason, hint = "a still picture", "panobench builds its sets from videos"
    elif not reason and timing.frames < frames:
        reason = f"too short: {timing.frames} frames, a clip has {frames}"
    elif not reason and seen.shape[1] < height:
        reason = f"too small: {seen.shape[1]} rows, a clip has {height}"
    found = replace(
        source, reason=reason, hint=hint, repairs=repairs, measures=verdict.measures, eye=eye if cropped else None
    )
    return found, small[len(small) // 2]


def _format(file: Path, timing: Timing) -> dict[str, Any]:
    """The fields of a Source that the container tells."""
    with opened(file) as (_, stream):
        context = stream.codec_context
        ratio = stream.sample_aspect_ratio or context.sample_aspect_ratio or 1
        size = {"height": context.height, "width": round(context.width * float(ratio)), "codec": context.name}
    said = None
    if file.suffix.lower() in _MP4:
        try:
            said = read_spherical(file)
        except PanobenchError:
            said = None  # damaged metadata say nothing
    return {
        **size,
        "fps": timing.fps,
        "frames": timing.frames,
        "variable": timing.variable,
        "lost": timing.lost,
        "projection": (said and (said.v2 or said.v1)) or "",
        "stereo": (said and said.stereo) or "",
    }


def _is_stereo(source: Source, looks: np.ndarray) -> bool:
    """Whether the file holds two pictures of one scene."""
    small = np.stack([cv2.resize(look, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for look in looks])
    reason = judge(small, source.width / source.height, None, source.stereo or None).reason
    return reason.startswith("stereo")


def _eye_aspect(seen: np.ndarray) -> float:
    """Aspect of one eye; eyes packed at half their height or width count as what they are stretched to."""
    aspect = seen.shape[2] / seen.shape[1]
    return 2.0 if any(abs(aspect / packed - 1) < 0.03 for packed in (1, 2, 4)) else aspect


def _recovery(reason: str) -> str:
    """What may help with a file that cannot be opened."""
    if "moov" in reason.lower() or "invalid data" in reason.lower():
        return "an MP4 without its index was cut off while it was recorded or copied; copy it again"
    return ""


def _write_page(folder: Path, sources: list[Source]) -> None:
    cards = []
    for source in sources:
        lines = [*source.repairs, source.hint] if source.reason else source.repairs
        shape = f"{source.width} x {source.height}, {source.frames} frames at {source.fps:g}" if source.frames else ""
        cards.append(
            Card(
                title=source.path,
                accepted=not source.reason,
                reason=source.reason or shape,
                lines=[line for line in ([shape, *lines] if source.reason else lines) if line],
                picture=folder / "pictures" / f"{source.name}.jpg",
                details=json.dumps(source.measures),
            )
        )
    write_report(folder / "report.html", "Raw footage", "files", cards)
