"""A stage's unfinished folder: kept when the stage is killed, dropped when its inputs have changed, moved when done."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import PanobenchError
from core.files import publish_directory, read_json, write_json

_IDENTITY = ".inputs.json"


def identity_hash(inputs: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 of JSON-serialisable inputs, independent of the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@contextmanager
def partial_folder(partial: Path, final: Path, inputs: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to write in; it becomes `final` when the block succeeds.

    What an earlier, killed run with the same `inputs` left there is kept, so that the stage goes on where it stopped:
    every file in it must have been written atomically. With other inputs it is removed first.
    """
    identity = identity_hash(inputs)
    marker = partial / _IDENTITY
    if partial.exists():
        try:
            same = read_json(marker).get("identity") == identity
        except (PanobenchError, AttributeError):
            same = False
        if not same:
            shutil.rmtree(partial)
    if not partial.exists():
        write_json(marker, {"identity": identity, "inputs": inputs})
    yield partial
    marker.unlink()
    for leftover in partial.rglob(".*.tmp*"):
        leftover.unlink(missing_ok=True)
    publish_directory(partial, final)
