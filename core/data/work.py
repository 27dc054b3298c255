"""How every step of the data set works: item by item, over any number of processes, resumable, complete or absent.

Processes that share a disk meet in a partial folder, in which each item is a file that is complete or absent. Each
process takes every n-th item; the one that finds all of them there finishes the step and moves the folder into place.
A killed step goes on with the first item that is missing; other inputs start it anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from core.errors import PanobenchError
from core.files import exclusive, publish_directory, read_json, write_json
from core.shards import Shard

T = TypeVar("T")

ALL = Shard()
_IDENTITY = ".inputs.json"


def identity_hash(inputs: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 of JSON-serialisable inputs, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def stamp(path: Path) -> list[Any]:
    """Name, size and time of change: tells without reading a large file whether it is still the same."""
    try:
        found = path.stat()
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error
    return [path.name, found.st_size, found.st_mtime_ns]


@dataclass(frozen=True)
class Step(Generic[T]):
    """One step over many items."""

    name: str  # for messages
    unit: str  # what an item is
    partial: Path  # unfinished folder
    final: Path  # where it goes
    inputs: Mapping[str, Any]  # what decides the results
    items: Sequence[T]
    path: Callable[[Path, T], Path]  # the file, in the folder, that says that an item is done
    make: Callable[[Path, T], None]  # writes it, atomically
    finish: Callable[[Path], None] = lambda folder: None  # once, in the complete folder, before it moves
    keep: bool = False  # beside what `final` holds already, instead of in its place

    def run(self, shard: Shard = ALL) -> bool:
        """Do this process's share; whether the step is complete afterwards."""
        identity = identity_hash(self.inputs)
        if self._done(identity):
            print(f"{self.name}: done already, {self.final}", file=sys.stderr)
            return True
        with exclusive(self._lock):
            self._open(identity)
        mine = shard.of(self.items)
        todo = [item for item in mine if not self.path(self.partial, item).exists()]
        with tqdm(total=len(mine), initial=len(mine) - len(todo), desc=self.name, unit=self.unit) as bar:
            for item in todo:
                self.make(self.partial, item)
                bar.update()
        with exclusive(self._lock):
            if self._done(identity):
                return True
            left = sum(not self.path(self.partial, item).exists() for item in self.items)
            if left:
                print(f"{self.name}: {left} of {len(self.items)} are left to other processes", file=sys.stderr)
                return False
            self.finish(self.partial)
            self._publish(identity)
        return True

    @property
    def _lock(self) -> Path:
        return self.partial.with_name(f"{self.partial.name}.lock")

    @property
    def _record(self) -> Path:
        """Says of which inputs `final` was made, when it was."""
        return self.partial.with_name(f"{self.partial.name}.done.json")

    def _done(self, identity: str) -> bool:
        if not self.final.exists() or not self._record.is_file():
            return False
        record = read_json(self._record)
        return record["identity"] == identity and all((self.final / name).exists() for name in record["files"])

    def _open(self, identity: str) -> None:
        """Create the partial folder, or keep it if it was begun with the same inputs."""
        marker = self.partial / _IDENTITY
        try:
            same = self.partial.exists() and read_json(marker)["identity"] == identity
        except (PanobenchError, KeyError, TypeError):
            same = False
        if not same:
            shutil.rmtree(self.partial, ignore_errors=True)
            write_json(marker, {"identity": identity, "inputs": self.inputs})

    def _publish(self, identity: str) -> None:
        for leftover in self.partial.rglob(".*.tmp*"):
            leftover.unlink(missing_ok=True)
        (self.partial / _IDENTITY).unlink()
        files = sorted(path.relative_to(self.partial).as_posix() for path in self.partial.rglob("*") if path.is_file())
        if self.keep:
            self.final.mkdir(parents=True, exist_ok=True)
            for part in sorted(self.partial.iterdir()):
                _replace(part, self.final / part.name)
            shutil.rmtree(self.partial)
        else:
            publish_directory(self.partial, self.final)
        write_json(self._record, {"identity": identity, "files": files})


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
