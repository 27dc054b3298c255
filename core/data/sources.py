"""The list of raw sources, `sources.jsonl`: what probing found out about each file, one line a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.data.footage import Eye, Timing
from core.errors import PanobenchError
from core.files import write_text


@dataclass(frozen=True)
class Source:
    """One raw file. Fields behind `reason` are empty where the file could not be read that far."""

    path: str  # below the raw folder
    reason: str  # why it is rejected; "" if it is taken
    hint: str = ""  # what to do about it
    repairs: list[str] = field(default_factory=list)  # what is mended in passing
    height: int = 0
    width: int = 0
    fps: float = 0.0
    frames: int = 0
    variable: bool = False
    lost: str = ""
    codec: str = ""
    projection: str = ""  # of the metadata
    stereo: str = ""  # of the metadata
    eye: Eye | None = None
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """A short name, safe in file names and the same in every run."""
        return source_name(self.path)

    @property
    def timing(self) -> Timing:
        """As `core.data.footage` reads it."""
        return Timing(self.frames, self.fps, self.variable, self.lost)


def source_name(path: str) -> str:
    """The file's name in plain letters, and eight digits of the hash of its whole path: two names are never equal."""
    stem = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in Path(path).stem)
    return f"{stem[:40].strip('_') or 'clip'}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def write_sources(path: Path, sources: Iterable[Source]) -> None:
    """One JSON object a line, in the order given."""
    lines = (json.dumps(asdict(source), ensure_ascii=False, sort_keys=True) for source in sources)
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_sources(path: Path) -> list[Source]:
    """All of them, rejected ones too.

    Raises:
        PanobenchError: missing or not what probing writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise PanobenchError(f"{path}: missing; run `panobench data probe` first") from None
    return [source_of(path, line) for line in text.splitlines()]


def source_of(path: Path, text: str) -> Source:
    """A `Source` of one line."""
    try:
        values: dict[str, Any] = json.loads(text)
        return Source(**values)
    except (TypeError, ValueError) as error:
        raise PanobenchError(f"{path}: not what `panobench data probe` writes ({error}); run it again") from error
