"""Sets that exist: WEB360 as its authors released it, and what `panobench data build` made."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.data.clips import Clip, read_clips, video_path, write_clips
from core.data.flowstage import RECORD
from core.data.split import held_out_sources
from core.data.work import ALL, Step, stamp
from core.errors import PanobenchError
from core.files import atomic_path, sha256
from core.shards import Shard


@dataclass(frozen=True)
class Web360:
    """A folder in WEB360's layout: a CSV `videoid,name,...` and `{videoid}.mp4` files in one or two folders."""

    table: Path
    videos: Path
    flows: Path | None  # None: flow is to be estimated


#: Split, folder of its video, clip, and the part of the set that it is of.
_Item = tuple[str, Path, Clip, Web360]


def find_set(folder: Path) -> dict[str, Web360]:
    """The splits of a set by name, `train` and `reference`, or `all` of one that is not divided; empty for none.

    Built sets hold `train/` and `test/` (or `reference/`); WEB360 as released holds a CSV (`WEB360_360TF.csv`) beside
    `videos_512x1024x100/` and `flows_512x1024x100/`.

    Raises:
        PanobenchError: it is a set, and a part of it is missing or there twice.
    """
    splits = {}
    for name, folders in (("train", ["train"]), ("reference", ["reference", "test"])):
        found = next((folder / part for part in folders if (folder / part / "clips.csv").is_file()), None)
        if found is not None:
            splits[name] = Web360(found / "clips.csv", found / "videos", _optional(found / "flows"))
    if splits:
        if "train" not in splits:
            raise PanobenchError(f"{folder}: holds no train/clips.csv")
        return splits
    tables = [path for path in sorted(folder.glob("*.csv")) if _is_clips(path)]
    if not tables:
        return {}
    fused = [path for path in tables if "360tf" in path.stem.lower()]
    tables = fused if len(tables) > 1 and len(fused) == 1 else tables
    if len(tables) > 1:
        raise PanobenchError(
            f"{folder}: {len(tables)} clips CSVs, {', '.join(p.name for p in tables)}; leave one there"
        )
    videos, flows = _only(folder, "videos"), _only(folder, "flows")
    if videos is None:
        raise PanobenchError(f"{folder}: {tables[0].name} is there, and no videos/ or videos_*/ beside it")
    return {"all": Web360(tables[0], videos, flows)}


def take_stage(folder: Path, output: Path, partial: Path, test_share: float, seed: int, shard: Shard = ALL) -> bool:
    """Copy a set into `output`/{train,reference}; one that is not divided is divided by its column `source`.

    Raises:
        PanobenchError: a clip that the CSV names has no video, or no flow where the set has flows.
    """
    splits = find_set(folder)
    items: list[_Item] = []
    for name, found in splits.items():
        clips = read_clips(found.table, need_captions=False)
        for clip in clips:
            video_path(found.videos, clip.videoid)
            if found.flows is not None and name != "reference":
                video_path(found.flows, clip.videoid)
        for split, members in _divided(name, clips, test_share, seed).items():
            items += [(split, found.videos, clip, found) for clip in members]

    def make(into: Path, item: _Item) -> None:
        video, *flows = _files(item)
        for flow in flows:
            _copy(flow, into / item[0] / "flows" / flow.name)
        _copy(video, into / item[0] / "videos" / video.name)

    def finish(into: Path) -> None:
        for split in ("train", "reference"):
            mine = [clip for part, _, clip, _ in items if part == split]
            columns = list(dict.fromkeys(column for clip in mine for column in clip.columns))
            (into / split / "videos").mkdir(parents=True, exist_ok=True)
            write_clips(into / split / "clips.csv", mine, columns)
        for found in splits.values():
            for extra in (RECORD, "quality.csv"):
                if found.flows and (found.flows / extra).is_file() and (into / "train/flows").is_dir():
                    _copy(found.flows / extra, into / "train/flows" / extra)

    return Step(
        name="take",
        unit="clip",
        partial=partial,
        final=output,
        inputs={
            "tables": [sha256(found.table) for found in splits.values()],
            "files": [stamp(file) for item in items for file in _files(item)],
            "test_share": test_share,
            "seed": seed,
        },
        items=items,
        path=lambda into, item: into / item[0] / "videos" / f"{item[2].videoid}.mp4",
        make=make,
        finish=finish,
    ).run(shard)


def _files(item: _Item) -> list[Path]:
    """A clip's video, and for training its flow where the set has one."""
    split, videos, clip, found = item
    flow = found.flows and found.flows / f"{clip.videoid}.mp4"
    ready = flow is not None and flow.is_file() and split == "train"
    return [video_path(videos, clip.videoid), *([flow] if flow is not None and ready else [])]


def _divided(name: str, clips: Sequence[Clip], test_share: float, seed: int) -> dict[str, list[Clip]]:
    """Clips by split; without a column `source` each clip counts as a source of its own."""
    if name != "all":
        return {name: list(clips)}
    sources = [clip.columns.get("source") or clip.videoid for clip in clips]
    testing = held_out_sources(sources, test_share, seed)
    return {
        "train": [clip for clip, source in zip(clips, sources, strict=True) if source not in testing],
        "reference": [clip for clip, source in zip(clips, sources, strict=True) if source in testing],
    }


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _is_clips(path: Path) -> bool:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {"videoid", "name"} <= set(header)


def _optional(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def _only(folder: Path, kind: str) -> Path | None:
    """`kind/` or the one `kind_*/` of a folder."""
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.split("_")[0] == kind]
    if len(found) > 1:
        raise PanobenchError(f"{folder}: {len(found)} folders of {kind}, {', '.join(p.name for p in found)}; leave one")
    return found[0] if found else None
