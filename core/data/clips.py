"""The clips CSV: WEB360's `videoid,name` plus optional columns, read strictly."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import PanobenchError
from core.files import atomic_path

YAWS = ("yaw_0", "yaw_90", "yaw_180", "yaw_270")


@dataclass(frozen=True)
class Clip:
    """One row: the id names `videos/{videoid}.mp4`, `name` is the caption (WEB360's word), the rest is in `columns`."""

    videoid: str
    name: str
    columns: dict[str, str] = field(default_factory=dict)

    def column(self, name: str, source: str | Path) -> str:
        """A further column that must be there and not empty."""
        value = self.columns.get(name, "")
        if not value:
            raise PanobenchError(f"{source}: clip {self.videoid} has no '{name}'; run `panobench data split` again")
        return value


def read_clips(path: str | Path, need_captions: bool = True) -> list[Clip]:
    """All rows, in file order.

    Raises:
        PanobenchError: the file or a column is missing, an id is empty, unsafe as a file name or there twice, a row has
            too many or too few fields, or (with `need_captions`) a caption is empty. Rows are never skipped.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
            header = reader.fieldnames or []
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such clips CSV; run the stage before this one") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PanobenchError(f"{path}: not a readable CSV ({error})") from error
    missing = [name for name in ("videoid", "name") if name not in header]
    if missing:
        raise PanobenchError(f"{path}: no column '{missing[0]}'; a clips CSV starts with videoid,name")
    clips: list[Clip] = []
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise PanobenchError(f"{path}: row {line} does not have {len(header)} fields")
        videoid, name = row["videoid"].strip(), row["name"].strip()
        if not videoid or "/" in videoid or "\\" in videoid or videoid.startswith("."):
            raise PanobenchError(f"{path}: row {line}: videoid {videoid!r} cannot be a file name")
        if videoid in seen:
            raise PanobenchError(f"{path}: row {line}: videoid {videoid} is there twice")
        if need_captions and not name:
            raise PanobenchError(f"{path}: row {line}: clip {videoid} has an empty caption")
        seen.add(videoid)
        clips.append(Clip(videoid, name, {k: v.strip() for k, v in row.items() if k not in ("videoid", "name")}))
    if not clips:
        raise PanobenchError(f"{path}: holds no clips")
    return clips


def has_clips(path: Path) -> bool:
    """Whether a clips CSV is there with at least one row: the test split of a single source has none."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return sum(1 for _ in zip(range(2), file, strict=False)) == 2
    except OSError:
        return False


def write_clips(path: str | Path, clips: Iterable[Clip], columns: Sequence[str] = ()) -> None:
    """Write `videoid,name` and the named further columns, atomically, lines ending in a plain newline."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["videoid", "name", *columns])
        for clip in clips:
            writer.writerow([clip.videoid, clip.name, *(clip.columns.get(name, "") for name in columns)])


def video_path(folder: str | Path, videoid: str) -> Path:
    """`folder/videoid.mp4`, which must exist: a missing clip is never swapped for another."""
    path = Path(folder) / f"{videoid}.mp4"
    if not path.is_file():
        raise PanobenchError(f"{path}: the clips CSV names this file, and it is missing")
    return path
