"""What a proof has measured of each clip and variant, on disk until it is complete: so that a killed run resumes.

A file is complete or absent. All files of one run lie in a folder that is named by the hash of everything that decides
their numbers: the clips, the metrics with their versions and parameters, networks, views, reference and the code.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.files import atomic_path
from evaluation.cache import code_hash


def identity_of(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of settings, of the arrays behind them, and of the code."""
    digest = hashlib.sha256(json.dumps([record, code_hash()], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


class ProofRows:
    """Metric -> what was measured (a number, or what a metric of sets keeps), by the name of variant and clip.

    Args:
        folder: of all runs; None keeps nothing.
        identity: of this run.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self._all = folder
        self._mine = folder and folder / identity[:32]

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """What was kept, or None if that is still to be done."""
        if self._mine is None:
            return None
        try:
            with np.load(self._mine / f"{name}.npz", allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, EOFError):
            return None

    def save(self, name: str, found: Mapping[str, Any]) -> None:
        """Keep what was measured."""
        if self._mine is None:
            return
        with atomic_path(self._mine / f"{name}.npz") as temporary:
            np.savez(temporary, **found)

    def remove(self) -> None:
        """Once the proof is written; what killed runs of other settings have left goes too."""
        if self._all is not None:
            shutil.rmtree(self._all, ignore_errors=True)
