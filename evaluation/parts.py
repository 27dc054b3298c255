"""What is measured of each video, on disk until all videos are: so that a killed run resumes, and processes can share.

A part is complete or absent, and carries the identity of everything that decided it; one of another identity is not
read. Processes never talk to each other: each measures its share, and whoever finds all parts there aggregates them.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import PanobenchError
from core.files import atomic_path, read_json, write_json
from evaluation.cache import code_hash
from evaluation.manifest import Item, Problem
from evaluation.score import Measured


def identity_of(record: Mapping[str, Any], references: Mapping[str, np.ndarray]) -> str:
    """Hash of everything but the video that decides a part: settings, what is kept of the reference, and the code."""
    digest = hashlib.sha256(json.dumps([record, code_hash()], sort_keys=True).encode())
    for name in sorted(references):
        digest.update(name.encode() + np.ascontiguousarray(references[name]).tobytes())
    return digest.hexdigest()


class Parts:
    """The parts of one method.

    Args:
        folder: where they are.
        identity: of everything but the videos that decides them.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity

    def load(self, item: Item, content: str) -> Measured | None:
        """What was measured of a video with this content hash; None if that is still to be done."""
        try:
            part = read_json(self._path(item))
            if part["identity"] != self._of(item, content):
                return None
            described: dict[str, dict[str, np.ndarray]] = {}
            if part["described"]:
                with np.load(self._path(item).with_suffix(".npz"), allow_pickle=False) as arrays:
                    described = {name: {item.video_id: arrays[name]} for name in part["described"]}
        except (PanobenchError, OSError, KeyError, TypeError, ValueError):
            return None
        problems = [Problem(**problem) for problem in part["problems"]]
        return Measured(part["rows"], described, part["prompts"], problems)

    def save(self, item: Item, content: str, measured: Measured) -> None:
        """Keep what was measured of a video; its arrays first, so that a part that is there is whole."""
        path = self._path(item)
        arrays = {name: videos[item.video_id] for name, videos in measured.described.items()}
        if arrays:
            with atomic_path(path.with_suffix(".npz")) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
        write_json(
            path,
            {
                "identity": self._of(item, content),
                "rows": measured.rows,
                "described": sorted(arrays),
                "prompts": measured.prompts,
                "problems": [asdict(problem) for problem in measured.problems],
            },
        )

    def remove(self) -> None:
        """Once everything is aggregated."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, item: Item) -> Path:
        return self.folder / f"{hashlib.sha256(item.video_id.encode()).hexdigest()[:32]}.json"

    def _of(self, item: Item, content: str) -> str:
        text = json.dumps([self.identity, content, item.video_id, item.method, item.prompt_id, item.prompt, item.seed])
        return hashlib.sha256(text.encode()).hexdigest()
