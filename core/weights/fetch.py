"""What weights a profile needs, whether they are here and the right ones, and getting those that a hub has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from core.errors import PanobenchError
from core.files import read_json, sha256, write_json
from core.params_schema import Params

SEEN = Path("weights/seen.json")  # path -> hash, size and time of change of what was found first
PRESENT, MISSING = "present", "missing"


@dataclass(frozen=True)
class Entry:
    """What is known of a file or folder of weights."""

    path: str
    name: str
    licence: str = "not known here"
    hub: str | None = None  # id of the repository on the Hugging Face hub that holds it
    source: str | None = None  # where else it comes from
    files: tuple[str, ...] = ()  # of a folder; a file's own name otherwise
    bytes: int | None = None
    about: str | None = None  # the size, where the exact one is not known
    sha256: str | None = None

    @property
    def where(self) -> str:
        """Where to get it."""
        return f"hub {self.hub}" if self.hub else self.source or "your own"

    @property
    def size(self) -> str:
        """Expected size."""
        return f"{self.bytes:,} bytes" if self.bytes else f"about {self.about}" if self.about else "not known"


@dataclass
class Need:
    """A path that the profile names, and how it stands."""

    keys: list[str]  # of params.yaml
    entry: Entry
    state: str = MISSING  # or "present", or what is wrong
    hashes: dict[str, str] = field(default_factory=dict)  # file -> SHA-256

    @property
    def well(self) -> bool:
        """Whether it is there and right."""
        return self.state == PRESENT


def catalogue() -> dict[str, Entry]:
    """All entries by path."""
    content = yaml.safe_load((files("core.weights") / "catalogue.yaml").read_text(encoding="utf-8"))
    entries = [Entry(**{**entry, "files": tuple(entry.get("files", ()))}) for entry in content]
    return {entry.path: entry for entry in entries}


def needs(params: Params) -> list[Need]:
    """Everything from elsewhere that the profile uses, in the order of params.yaml, not yet looked at."""
    known, found = catalogue(), dict[str, Need]()
    named = params.weights()
    if params.dataset.source != "nano":
        named["dataset.source"] = params.dataset.source
    for key, path in named.items():
        entry = known.get(Path(path).as_posix())
        if entry is None and path.startswith("assets/"):
            source = "comes with panobench: git checkout -- assets"
            entry = Entry(path, "trained by this project", "as panobench (Apache-2.0)", source=source)
        entry = entry or Entry(path, "not in the catalogue", "not known here")
        found.setdefault(path, Need([], entry)).keys.append(key)
    return list(found.values())


def check(found: Sequence[Need]) -> None:
    """Fill in how each of them stands: size and hash of files against the catalogue, or what was seen at first use."""
    seen: dict[str, Any] = read_json(SEEN) if SEEN.is_file() else {}
    for need in found:
        need.state = _state(need, seen)
    if seen and SEEN.parent.is_dir():
        write_json(SEEN, seen)


def _state(need: Need, seen: dict[str, Any]) -> str:
    entry, path = need.entry, Path(need.entry.path)
    if not path.exists():
        return MISSING
    lacking = [name for name in entry.files if not (path / name).is_file()]
    if lacking:
        return f"{lacking[0]} is missing"
    if entry.path.startswith("datasets/") or need.keys == ["dataset.source"]:
        return PRESENT
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if entry.bytes is not None and file.stat().st_size != entry.bytes:
            return f"{file.stat().st_size:,} bytes instead of {entry.bytes:,}: damaged or another file"
        digest = _hash(file, seen)
        need.hashes[file.as_posix()] = digest
        if entry.sha256 is not None and digest != entry.sha256:
            return f"sha256 {digest[:12]}... instead of {entry.sha256[:12]}...: damaged or another file"
        first = seen[file.as_posix()]["first"]
        if path.parts[0] == SEEN.parts[0] and digest != first:
            return f"sha256 {digest[:12]}... instead of {first[:12]}... as first seen; delete {SEEN} if this is meant"
    return PRESENT


def _hash(file: Path, seen: dict[str, Any]) -> str:
    """The file's hash; computed again only if it has another size or time than when it was last."""
    stamp = [file.stat().st_size, file.stat().st_mtime_ns]
    known = seen.get(file.as_posix())
    if known and known["stamp"] == stamp:
        return str(known["sha256"])
    digest = sha256(file)
    seen[file.as_posix()] = {"first": known["first"] if known else digest, "sha256": digest, "stamp": stamp}
    return digest


def download(found: Sequence[Need]) -> None:
    """Get what is missing and on the hub, each file complete or absent.

    Raises:
        PanobenchError: HF_HUB_OFFLINE is set, or a download failed.
    """
    waiting = [need.entry for need in found if need.state == MISSING and need.entry.hub]
    if not waiting:
        return
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise PanobenchError(
            "HF_HUB_OFFLINE is set, so nothing is downloaded; unset it, or put the files there yourself"
        )
    from huggingface_hub import hf_hub_download

    for entry in waiting:
        target = Path(entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")  # a download that was cut off goes on from here
        try:
            for name in entry.files or (target.name,):
                hf_hub_download(str(entry.hub), name, local_dir=partial)
        except Exception as error:  # of many types: no connection, no access, no such file, no room
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise PanobenchError(f"{entry.path}: could not be downloaded from {entry.where} ({reason})") from error
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        os.replace(partial if entry.files else partial / target.name, target)
        shutil.rmtree(partial, ignore_errors=True)


def table(found: Sequence[Need]) -> str:
    """One block per need, what is wrong first: what it is, how it stands, where to get it and where to put it."""
    lines = []
    for need in sorted(found, key=lambda need: need.well):
        entry = need.entry
        several = len(need.hashes) > 1
        hashed = "of each file: --record" if several else entry.sha256 or next(iter(need.hashes.values()), None)
        pinned = "" if entry.sha256 or several else " (not pinned)"
        rows = [
            ("state", need.state),
            ("used by", ", ".join(need.keys)),
            ("get it", entry.where),
            ("licence", entry.licence),
            ("size", entry.size),
            ("sha256", f"{hashed}{pinned}" if hashed else "not pinned"),
        ]
        lines.append(f"{entry.path}  {entry.name}")
        lines += [f"    {label:8} {text}" for label, text in rows]
    return "\n".join(lines)
