"""`panobench data split`: raw sources become single-scene clips of n frames, train and test by source.

A source is looked through once at a small size (shots, stillness, darkness), its clips are chosen, and only these are
decoded at full size. What is left out is listed with the reason, and shown on the report page.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from core.data import shots
from core.data.clips import Clip, write_clips
from core.data.footage import crop_eye, iter_frames
from core.data.quality import flags_of, near_duplicates, perceptual_hash, signature
from core.data.report import Card, jpeg, write_report
from core.data.sources import Source, read_sources
from core.data.work import ALL, Step, stamp
from core.errors import PanobenchError
from core.files import atomic_path, read_json, sha256, write_json
from core.shards import Shard
from core.spherical import write_panorama

COLUMNS = ["source", "start", "end", "fps", "frames", "flags"]


@dataclass(frozen=True)
class SplitSettings:
    """What clips are cut."""

    height: int  # of the clips; the width is twice that
    frames: int  # of a clip
    per_source: int  # clips of one source at most, spread evenly over it
    test_share: float  # of the sources, 0 to 1
    seed: int  # decides which sources are for testing
    keep_flagged: bool = False  # keep static, frozen and black clips, marked in the column `flags`


def split_stage(
    raw: Path,
    sources_file: Path,  # as probing wrote it
    output: Path,  # gets {train,test}/{clips.csv,videos/}, rejected.csv, report.html
    partial: Path,
    settings: SplitSettings,
    names: tuple[str, str] = ("train", "test"),
    keep: bool = False,  # leave what else is in `output`
    shard: Shard = ALL,
) -> bool:
    """Cut the clips; whether all sources are done.

    Raises:
        PanobenchError: probing has not run, rejected everything, or no clip is left.
    """
    sources = [source for source in read_sources(sources_file) if not source.reason]
    if not sources:
        raise PanobenchError(
            f"{sources_file}: every file was rejected; {sources_file.with_name('report.html')} shows why"
        )
    return Step(
        name="split",
        unit="source",
        partial=partial,
        final=output,
        inputs={
            "sources": sha256(sources_file),
            "files": [stamp(raw / source.path) for source in sources],
            "settings": settings.__dict__,
            "names": names,
        },
        items=sources,
        path=lambda folder, source: folder / "sources" / f"{source.name}.json",
        make=lambda folder, source: _cut_source(raw, folder, source, settings),
        finish=lambda folder: _finish(folder, sources, settings, names),
        keep=keep,
    ).run(shard)


# --- one source ------------------------------------------------------------------------------------------------------


def _cut_source(raw: Path, folder: Path, source: Source, settings: SplitSettings) -> None:
    """Write the clips of a source, and then the record that says so."""
    height, width = shots.HEIGHT, shots.WIDTH
    small = {"top": (2 * height, width), "bottom": (2 * height, width), None: (height, width)}.get(
        source.eye, (height, 2 * width)
    )
    frames = iter_frames(raw / source.path, source.timing, small=small)
    look = shots.look_through((crop_eye(frame, source.eye) for frame in frames), source.fps)
    wanted, rejected = choose_clips(look, settings)
    rows = []
    for start, flags in wanted:
        row = _cut_clip(raw, folder, source, start, flags, settings)
        if row is None:
            rejected.append((start, start + settings.frames, "a picture in it cannot be decoded"))
        else:
            rows.append(row)
    lost = [
        _rejected_row(raw, folder, source, number, *entry, small=small) for number, entry in enumerate(sorted(rejected))
    ]
    write_json(folder / "sources" / f"{source.name}.json", {"clips": rows, "rejected": lost})


def choose_clips(
    look: shots.Look, settings: SplitSettings
) -> tuple[list[tuple[int, list[str]]], list[tuple[int, int, str]]]:
    """Starts and flags of the clips to cut, and (start, stop, reason) of what is left out, in order."""
    length = settings.frames
    good: list[tuple[int, list[str]]] = []
    rejected: list[tuple[int, int, str]] = []
    for shot in shots.shots_of(look):
        count = (shot.stop - shot.start) // length
        if not count:
            rejected.append((shot.start, shot.stop, f"the shot has {shot.stop - shot.start} frames, fewer than a clip"))
        # In the middle of the shot: its ends are nearest to fades and to the operator's hands.
        first = shot.start + (shot.stop - shot.start - count * length) // 2
        for start in range(first, first + count * length, length):
            flags = flags_of(look.change[start + 1 : start + length], look.brightness[start : start + length])
            if flags and not settings.keep_flagged:
                rejected.append((start, start + length, ", ".join(flags)))
            else:
                good.append((start, flags))
    places = np.unique(np.linspace(0, len(good) - 1, min(settings.per_source, len(good))).round().astype(int))
    chosen = [good[place] for place in places]
    over = len(good) - len(chosen)
    if over:
        left = [start for start, _ in good if start not in {start for start, _ in chosen}]
        rejected.append((left[0], left[-1] + length, f"{over} more clips than the {settings.per_source} per source"))
    return chosen, _merged(rejected)


def _merged(rejected: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Neighbours with one reason as one."""
    merged: list[tuple[int, int, str]] = []
    for start, stop, reason in sorted(rejected):
        if merged and merged[-1][2] == reason and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop, reason)
        else:
            merged.append((start, stop, reason))
    return merged


def _cut_clip(
    raw: Path, folder: Path, source: Source, start: int, flags: list[str], settings: SplitSettings
) -> dict[str, Any] | None:
    """Write one clip and its record; None if not all of its pictures can be decoded."""
    videoid = f"{source.name}_{start:06d}"
    record, video = folder / "clips" / f"{videoid}.json", folder / "clips" / f"{videoid}.mp4"
    if record.is_file():
        found: dict[str, Any] = read_json(record)
        return found
    size = (2 * settings.height, settings.height)
    hashes: list[str] = []
    kept: dict[str, Any] = {}
    count = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal count
        last = settings.frames - 1
        for frame in iter_frames(raw / source.path, source.timing, start, start + settings.frames):
            picture = cv2.resize(crop_eye(frame, source.eye), size, interpolation=cv2.INTER_AREA)
            if count in (0, last // 2, last):
                hashes.append(perceptual_hash(picture))
            if count == last // 2:
                kept.update(signature=signature(picture), picture=picture)
            count += 1
            yield picture
        if count < settings.frames:
            raise _IncompleteError

    try:
        write_panorama(video, frames(), source.fps)
    except _IncompleteError:
        return None
    with atomic_path(folder / "pictures" / f"{videoid}.jpg") as temporary:
        temporary.write_bytes(jpeg(kept["picture"]))
    row = {
        "videoid": videoid,
        "source": source.path,
        "start": start,
        "end": start + settings.frames,
        "fps": source.fps,
        "frames": settings.frames,
        "flags": " ".join(flags),
        "hashes": hashes,
        "signature": kept["signature"],
    }
    write_json(record, row)
    return row


class _IncompleteError(Exception):
    """Fewer pictures than a clip has."""


def _rejected_row(
    raw: Path,
    folder: Path,
    source: Source,
    number: int,
    start: int,
    stop: int,
    reason: str,
    small: tuple[int, int],
) -> dict[str, Any]:
    """A row of rejected.csv, with a picture from its middle."""
    name = f"{source.name}_rejected_{number:03d}"
    middle = (start + stop) // 2
    picture = next(iter(iter_frames(raw / source.path, source.timing, middle, middle + 1, small)), None)
    with atomic_path(folder / "pictures" / f"{name}.jpg") as temporary:
        temporary.write_bytes(jpeg(None if picture is None else np.ascontiguousarray(crop_eye(picture, source.eye))))
    return {"source": source.path, "start": start, "end": stop, "reason": reason, "picture": name}


# --- all sources -----------------------------------------------------------------------------------------------------


def _finish(folder: Path, sources: Sequence[Source], settings: SplitSettings, names: tuple[str, str]) -> None:
    """Drop near-duplicates, divide by source, write tables and page. May be done again after a kill."""
    records = [read_json(folder / "sources" / f"{source.name}.json") for source in sources]
    clips = [clip for record in records for clip in record["clips"]]
    rejected = [row for record in records for row in record["rejected"]]
    for index, (other, turn) in near_duplicates(
        [clip["hashes"] for clip in clips], [clip["signature"] for clip in clips]
    ).items():
        clip = clips[index]
        reason = f"shows what {clips[other]['videoid']} shows, turned by {turn:.0f} degrees"
        rejected.append(
            {name: clip[name] for name in ("source", "start", "end")} | {"reason": reason, "picture": clip["videoid"]}
        )
        clip["duplicate"] = True
        (folder / "clips" / f"{clip['videoid']}.mp4").unlink(missing_ok=True)
    clips = [clip for clip in clips if "duplicate" not in clip]
    if not clips:
        raise PanobenchError(
            f"no clip of {settings.frames} frames is left; the reasons: "
            + "; ".join(sorted({str(row["reason"]) for row in rejected}))
        )
    testing = held_out_sources([clip["source"] for clip in clips], settings.test_share, settings.seed)
    for name, wanted in zip(names, (False, True), strict=True):
        mine = [clip for clip in clips if (clip["source"] in testing) == wanted]
        _write_split(folder, name, mine)
    _write_rejected(folder / "rejected.csv", rejected)
    _write_page(folder, clips, rejected)
    for part in ("sources", "clips"):
        for path in (folder / part).iterdir():
            path.unlink()
        (folder / part).rmdir()


def held_out_sources(sources: Sequence[str], share: float, seed: int) -> set[str]:
    """The sources, of one per clip, that no training sees: their clips are at most about `share` of all.

    In an order that name and seed decide; at least one source of two or more, the smallest if all are larger.
    """
    clips = Counter(sources)
    if share <= 0 or len(clips) < 2:
        return set()
    ranked = sorted(clips, key=lambda source: hashlib.sha256(f"{seed}/{source}".encode()).hexdigest())
    chosen: set[str] = set()
    room = share * len(sources)
    for source in ranked[:-1]:
        if clips[source] <= room:
            chosen.add(source)
            room -= clips[source]
    return chosen or {min(ranked, key=clips.__getitem__)}


def _write_split(folder: Path, name: str, clips: Sequence[dict[str, Any]]) -> None:
    videos = folder / name / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        before = folder / "clips" / f"{clip['videoid']}.mp4"
        if before.exists():  # else an earlier, killed run has moved it
            before.replace(videos / before.name)
    rows = [Clip(clip["videoid"], "", {column: str(clip[column]) for column in COLUMNS}) for clip in clips]
    write_clips(folder / name / "clips.csv", rows, COLUMNS)


def _write_rejected(path: Path, rejected: Sequence[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["source", "start", "end", "reason"], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rejected)


def _write_page(folder: Path, clips: Sequence[dict[str, Any]], rejected: Sequence[dict[str, Any]]) -> None:
    def card(row: dict[str, Any], accepted: bool, title: str, reason: str, picture: str) -> Card:
        place = f"{row['source']}, frames {row['start']} to {row['end']}"
        return Card(title, accepted, reason, [place], folder / "pictures" / f"{picture}.jpg", json.dumps(row))

    cards = [card(row, False, row["source"], row["reason"], row["picture"]) for row in rejected]
    for clip in clips:
        shown = {name: clip[name] for name in ("videoid", *COLUMNS)}
        cards.append(card(shown, True, clip["videoid"], clip["flags"] or "", clip["videoid"]))
    write_report(folder / "report.html", "Clips", "clips", cards)
