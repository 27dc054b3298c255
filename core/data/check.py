"""`panobench data check`: is a data set whole? Every problem with the file and what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from core.data.clips import Clip, read_clips
from core.data.flowstage import encoding_of
from core.data.work import ALL, identity_hash, stamp
from core.errors import PanobenchError
from core.files import exclusive, sha256, write_json
from core.flow import decode_flow
from core.shards import Shard
from core.video import VideoError, VideoInfo, iter_video, probe_video

#: Of a whole set; a broken one may have a problem with each clip.
SHOWN = 50


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with a set."""

    place: str  # file or clip
    found: str
    mend: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found}; {self.mend}"


def check_set(
    table: Path,
    videos: Path,
    flows: Path | None,  # None: the set has none yet
    need_captions: bool = True,
    deep: bool = True,  # decode every frame; else headers and lengths only
    shard: Shard = ALL,  # check only this share of the clips
) -> list[Problem]:
    """Everything that is wrong with one split of a set, in the order of its clips; empty if it is whole."""
    try:
        clips = read_clips(table, need_captions=False)
    except PanobenchError as error:
        return [Problem(str(table), str(error).removeprefix(f"{table}: "), "run `panobench data split` again")]
    problems: list[Problem] = []
    for clip in tqdm(shard.of(clips), desc=f"check {table.parent.name}", unit="clip"):
        if need_captions and not clip.name:
            problems.append(
                Problem(f"{table}: clip {clip.videoid}", "its caption is empty", "run `panobench data caption`")
            )
        problems += _check_clip(clip, videos, flows, deep)
    problems += _strangers(videos, clips, "remove it, or add its row to the CSV")
    if flows is not None:
        problems += _strangers(flows, clips, "remove it")
    return problems


def _check_clip(clip: Clip, videos: Path, flows: Path | None, deep: bool) -> Iterator[Problem]:
    video = videos / f"{clip.videoid}.mp4"
    cut = "cut it again: remove it and run `panobench data split`"
    try:
        shown = _measure(video, deep)
    except VideoError as error:
        yield Problem(str(video), str(error).removeprefix(f"{video}: "), cut)
        return
    promised = clip.columns.get("frames", "")
    if promised.isdigit() and int(promised) != shown.frames:
        yield Problem(str(video), f"{shown.frames} frames, the CSV says {promised}", cut)
    if shown.width != 2 * shown.height:
        yield Problem(str(video), f"{shown.width} x {shown.height} pixels, not 2:1", cut)
    if flows is None:
        return
    flow = flows / f"{clip.videoid}.mp4"
    again = "estimate it again: remove it and run `panobench data flow`"
    try:
        maps = _measure(flow, deep=False)
        if maps.frames != shown.frames:
            yield Problem(str(flow), f"{maps.frames} maps for {shown.frames} frames", again)
        if (maps.height, maps.width) != (shown.height, shown.width):
            sizes = f"{maps.width} x {maps.height} pixels for a clip of {shown.width} x {shown.height}"
            yield Problem(str(flow), sizes, again)
        elif deep and (longest := _longest(flow, encoding_of(flows))) is not None:
            yield Problem(str(flow), f"flow of {longest:.0f} pixels, more than the sphere has", again)
    except VideoError as error:
        yield Problem(str(flow), str(error).removeprefix(f"{flow}: "), again)


def _measure(path: Path, deep: bool) -> VideoInfo:
    """What a file holds.

    Raises:
        VideoError: it is missing, or, with `deep`, not every frame of it can be decoded.
    """
    info = probe_video(path)
    if deep:
        decoded = sum(1 for _ in iter_video(path))
        if decoded != info.frames:
            raise VideoError(f"{path}: {decoded} of {info.frames} frames can be decoded")
    return info


def _longest(path: Path, encoding: str) -> float | None:
    """A component that no motion on the sphere can have, more than half a turn or than all rows; None without one."""
    for picture in iter_video(path):
        u, v = decode_flow(picture[None], encoding)[0]
        if np.abs(v).max() > v.shape[0] or np.abs(u).max() > u.shape[1] / 2:
            return float(max(np.abs(u).max(), np.abs(v).max()))
    return None


def _strangers(folder: Path, clips: Iterable[Clip], mend: str) -> list[Problem]:
    """Videos that no row names."""
    if not folder.is_dir():
        return [Problem(str(folder), "missing", "run `panobench data split` or `panobench data flow`")]
    names = {f"{clip.videoid}.mp4" for clip in clips}
    return [
        Problem(str(path), "no row of the CSV names it", mend)
        for path in sorted(folder.glob("*.mp4"))
        if path.name not in names
    ]


def refuse_broken(problems: list[Problem], what: str) -> None:
    """Raise if there is a problem.

    Raises:
        PanobenchError: says how many, and what the first ones are.
    """
    if problems:
        lines = [str(problem) for problem in problems[:SHOWN]]
        more = f"\n  ... and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise PanobenchError(f"{what}: {len(problems)} problems\n  " + "\n  ".join(lines) + more)


def all_shares_whole(folder: Path, table: Path, media: Iterable[Path], shard: Shard) -> bool:
    """Note that this process's share of a set is whole; whether by now all are.

    Notes are kept in `folder` under a hash of the table and of every file's size and time, so that none outlives what
    it is about.
    """
    if shard.world == 1:
        return True
    files = sorted(path for part in media for path in part.glob("*.mp4"))
    identity = identity_hash({"table": sha256(table), "files": [stamp(path) for path in files], "world": shard.world})
    notes = [folder / f"{identity[:16]}-{rank}.json" for rank in range(shard.world)]
    with exclusive(folder / "shares.lock"):
        write_json(notes[shard.rank], {"rank": shard.rank, "world": shard.world})
        return all(note.is_file() for note in notes)
