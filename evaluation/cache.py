"""What networks made of a video, kept on disk by its content: adding a metric runs no network again.

A key is everything that decides the numbers: the video's hash, what was done to its frames, the network's hash and
preprocessing, the view set, the code that extracts, the kind of device and the precision. So nothing is ever out of
date, and the folder may be deleted or shared at will. Entries are complete or absent; one that cannot be read is
computed again.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import PanobenchError
from core.files import atomic_path
from evaluation.arrays import ARRAYS, Begun, Walk
from evaluation.networks import Networks
from evaluation.views import VIEW_SETS, ViewSet

VARIABLE = "PANOBENCH_CACHE"
_CODE = (
    "arrays.py",
    "autoencoder.py",
    "extractors.py",
    "inception.py",
    "judge.py",
    "networks.py",
    "perceptual.py",
    "precision.py",
    "sources.py",
    "strips.py",
    "video_network.py",
    "views.py",
)


def cache_folder() -> Path:
    """``$PANOBENCH_CACHE``, else ``$XDG_CACHE_HOME/panobench``, else ``~/.cache/panobench``."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "panobench"


@dataclass
class FeatureCache:
    """Arrays by key.

    Attributes:
        folder: where they are; None keeps nothing.
        complaint: why nothing more is kept, once writing has failed: a full disk must not stop the scoring.
    """

    folder: Path | None = None
    complaint: str | None = None

    def get(self, key: Mapping[str, Any]) -> np.ndarray | None:
        """The array of this key, or None."""
        if self.folder is None:
            return None
        try:
            return np.load(self._path(key), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None

    def put(self, key: Mapping[str, Any], array: np.ndarray) -> None:
        """Keep an array."""
        if self.folder is None or self.complaint:
            return
        try:
            with atomic_path(self._path(key)) as path:
                np.save(path, array, allow_pickle=False)
        except PanobenchError as error:
            self.complaint = str(error)

    def _path(self, key: Mapping[str, Any]) -> Path:
        assert self.folder is not None
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:]}.npy"


class CachedWalk(Walk):
    """A walk over one video that runs only the networks whose arrays are not kept yet.

    Args:
        names: as ``Walk``.
        view_set: as ``Walk``.
        networks: as ``Walk``.
        store: where arrays are kept.
        content: hashes of the video, and of its true video, and what was done to the frames.
        frames: number of frames of the video.
    """

    def __init__(
        self,
        names: Collection[str],
        view_set: ViewSet | None,
        networks: Networks,
        store: FeatureCache,
        content: Mapping[str, Any],
        frames: int,
    ) -> None:
        self._store, self._next = store, 0
        self._keys = {name: {**content, **_maker_key(name, view_set, networks)} for name in names if _has_network(name)}
        found = {name: store.get(key) for name, key in self._keys.items()}
        # The frames that rows belong to: all but the first, say, for what compares a frame with the one before.
        self._at = {name: _rows_at(name, frames, networks) for name in found}
        self._known = {k: v for k, v in found.items() if v is not None and len(v) == len(self._at[k])}
        self._parts: dict[str, list[np.ndarray]] = {}
        super().__init__(set(names) - self._known.keys(), view_set, networks)

    def finish(self, begun: Begun) -> dict[str, np.ndarray]:
        """As ``Walk.finish``."""
        arrays, seen = super().finish(begun), begun.seen
        for name in arrays.keys() & self._keys.keys():
            self._parts.setdefault(name, []).append(arrays[name][seen:] if name == "views" else arrays[name])
        first, self._next = self._next, self._next + len(begun.frames) - seen
        for name, array in self._known.items():
            start, end = np.searchsorted(self._at[name], [first - seen * (name == "views"), self._next])
            if end > start:
                arrays[name] = array[start:end]
        return arrays

    def keep(self) -> None:
        """After the last stretch: what was made now, for the next time."""
        for name, parts in self._parts.items():
            self._store.put(self._keys[name], np.concatenate(parts))


def _has_network(name: str) -> bool:
    return name == "views" or ARRAYS[name].role is not None


def _rows_at(name: str, frames: int, networks: Networks) -> np.ndarray:
    numbers = np.arange(frames)
    return numbers if name == "views" else ARRAYS[name].rows_at(numbers, networks)


def _maker_key(name: str, views: ViewSet | None, networks: Networks) -> dict[str, Any]:
    role = "judge" if name == "views" else ARRAYS[name].role
    assert role is not None
    network = getattr(networks, role)
    shape = None if views is None else [VIEW_SETS[views.name], views.fov_deg, views.size]
    judge = networks.judge.preprocessing if networks.judge is not None else None
    return {
        "array": name,
        "network": network.sha256,
        "judge": judge,
        "views": shape,
        "device": networks.device,
        "precision": networks.precision,
        "code": code_hash(*_CODE),
    }


@cache
def code_hash(*names: str) -> str:
    """Hash of files of this package, by default all, and of what it takes from core."""
    import core

    here, below = Path(__file__).parent, Path(core.__path__[0])
    files = [here / name for name in names] or [
        *here.glob("*.py"),
        *here.glob("metrics/*.py"),
        *below.glob("flow/*.py"),
    ]
    digest = hashlib.sha256()
    for file in sorted([*files, below / "sphere.py", below / "video.py"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
