"""The training set as `panobench data encode` left it: latents, conditions and text embeddings, read by window."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from core.errors import PanobenchError
from core.files import read_json
from core.flow import flow_condition

SCHEMA = 1


class Cache:
    """Read access to a cache folder; files are mapped, so memory does not grow with the number of clips."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index_file = self.folder / "index.json"
        if not index_file.is_file():
            raise PanobenchError(f"{index_file}: no encoded training set; run `panobench data encode`")
        self.index: dict[str, Any] = read_json(index_file)
        if self.index.get("schema") != SCHEMA:
            raise PanobenchError(f"{index_file}: schema {self.index.get('schema')}, expected {SCHEMA}; encode again")
        self.hash = hashlib.sha256(index_file.read_bytes()).hexdigest()
        self.clips: list[dict[str, Any]] = self.index["clips"]
        self._text_rows = {text: row for row, text in enumerate(self.index["texts"])}
        self._shards: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def _text(self) -> Tensor:
        return load_file(self.folder / "text.safetensors")["embeddings"].float()

    def text(self, text: str) -> Tensor:
        """Embedding of a caption, or of "" for the dropped one: (tokens, C) float."""
        if text not in self._text_rows:
            raise PanobenchError(f"{self.folder}: the caption {text!r} is not encoded; encode again")
        return self._text[self._text_rows[text]]

    def latents(
        self, clip: int, start: int, frames: int, stride: int = 1, mirrored: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's latents of a window, not yet scaled: two (F,4,h,w) float."""
        suffix = "_mirrored" if mirrored else ""
        return (
            self._read(clip, "mean" + suffix, start, frames, stride).float(),
            self._read(clip, "std" + suffix, start, frames, stride).float(),
        )

    def condition(self, clip: int, start: int, frames: int, stride: int = 1, mirrored: bool = False) -> Tensor:
        """Motion condition of a window, (F,3,H,W) float in [-1,1], as the adapter reads it."""
        maps = self._read(clip, "flow", start, frames, stride)
        return flow_condition(mirror_map(maps) if mirrored else maps)

    def _read(self, clip: int, name: str, start: int, frames: int, stride: int) -> Tensor:
        row = self.clips[clip]
        end = start + (frames - 1) * stride + 1
        if not 0 <= start < end <= row["frames"]:
            raise PanobenchError(
                f"{self.folder}: clip {row['videoid']} has {row['frames']} frames; {start} to {end - 1} were asked for"
            )
        shard = row["shard"]
        if shard not in self._shards:
            path = self.folder / shard
            if not path.is_file():
                raise PanobenchError(f"{path}: missing from the encoded training set; encode again")
            self._shards[shard] = safe_open(str(path), framework="pt")
        key = f"{row['videoid']}.{name}"
        try:
            return self._shards[shard].get_slice(key)[start:end][::stride]
        except Exception as error:
            raise PanobenchError(f"{self.folder / shard}: cannot read '{key}' ({error}); encode again") from error


def mirror_map(maps: Tensor) -> Tensor:
    """Flow maps (..., 3, H, W) uint8 of the mirrored clip: columns reversed, and with them the sign of u."""
    maps = maps.flip(-1)
    maps[..., 0, :, :] = (256 - maps[..., 0, :, :].int()).clamp(1, 255).to(torch.uint8)
    return maps


def seeded(*parts: int | str) -> torch.Generator:
    """A CPU generator that depends on nothing but `parts`: what a step draws is the same after a resume."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw_clips(clips: int, batch: int, seed: int, step: int) -> list[int]:
    """The clips of one step: epochs of seeded permutations, without keeping any state."""
    order: dict[int, list[int]] = {}
    picked = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, clips)
        if epoch not in order:
            order[epoch] = torch.randperm(clips, generator=seeded(seed, "epoch", epoch)).tolist()
        picked.append(order[epoch][place])
    return picked
