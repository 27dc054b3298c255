"""The training set as `panobench data encode` left it: latents, conditions and text embeddings, read by window."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import interpolate

from core.errors import PanobenchError
from core.files import read_json
from core.flow import flow_condition, mirror_maps
from core.model.enhance import roll_columns
from core.sphere import pad_sphere

SCHEMA = 2


@dataclass
class Window:
    """Some frames of a clip, turned and mirrored as asked for."""

    mean: Tensor  # (F,4,h,w) float, of the VAE's posterior, not yet scaled
    std: Tensor  # like mean
    condition: Tensor | None  # (F,3,H,W) float in [-1,1], as the adapter reads it


class Clips(Protocol):
    """A training set: encoded (`Cache`), or raw and encoded at every step (`core.train.raw.RawClips`)."""

    folder: Path
    hash: str  # of everything that is read
    clips: list[dict[str, Any]]  # videoid, frames, caption, whole
    mirrored: bool  # whether mirrored windows can be had
    encoding: str  # of the conditions: core.flow.ENCODINGS
    threaded: bool  # whether a thread may read windows beside the training

    def __len__(self) -> int:
        """Number of clips."""

    def text(self, text: str) -> Tensor:
        """Embedding of a caption of the set or of "", (tokens, C) float."""

    def window(
        self,
        clip: int,
        start: int,
        frames: int,
        stride: int,  # source frames from one to the next
        mirrored: bool,  # left and right exchanged, and with them the sign of the horizontal flow
        turn: float,  # to the right, in whole turns from 0 to 1; rounded down to what the set can turn by
        motion: bool,  # with the condition
    ) -> Window:
        """Frames start, start + stride, ... of a clip."""


class Cache:
    """Read access to a cache folder; files are mapped, so memory does not grow with the number of clips."""

    threaded = True

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
        self.mirrored: bool = self.index["mirrored"]
        self.encoding: str = self.index["flow"]["encoding"]
        self._text_rows = {text: row for row, text in enumerate(self.index["texts"])}
        self._shards: dict[str, Any] = {}
        self._refuse_broken()

    def _refuse_broken(self) -> None:
        """Every clip of the index must be there in full: training never swaps one for another."""
        for row in self.clips:
            shard = self._shard(row["shard"])
            for name in ("mean", "std", "flow"):
                try:
                    frames = shard.get_slice(f"{row['videoid']}.{name}").get_shape()[0]
                except Exception as error:
                    raise PanobenchError(
                        f"{self.folder / row['shard']}: lacks '{row['videoid']}.{name}' ({error}); encode again"
                    ) from error
                if frames != row["frames"]:
                    raise PanobenchError(
                        f"{self.folder / row['shard']}: '{row['videoid']}.{name}' has {frames} frames, the index says "
                        f"{row['frames']}; encode again"
                    )

    def _shard(self, name: str) -> Any:
        """An open file of the cache."""
        if name not in self._shards:
            path = self.folder / name
            if not path.is_file():
                raise PanobenchError(f"{path}: missing from the encoded training set; encode again")
            try:
                self._shards[name] = safe_open(str(path), framework="pt")
            except Exception as error:
                raise PanobenchError(f"{path}: not a readable shard ({error}); encode again") from error
        return self._shards[name]

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

    def window(
        self, clip: int, start: int, frames: int, stride: int, mirrored: bool, turn: float, motion: bool
    ) -> Window:
        """Frames of a clip; turned by whole latent columns, the condition by the pixels that they are of."""
        mean, std = self.latents(clip, start, frames, stride, mirrored)
        columns = int(turn * mean.shape[-1])
        condition = None
        if motion:
            condition = self.condition(clip, start, frames, stride, mirrored)
            condition = roll_columns(condition, columns * condition.shape[-1] // mean.shape[-1])
        return Window(roll_columns(mean, columns), roll_columns(std, columns), condition)

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
        maps, encoding = self._read(clip, "flow", start, frames, stride), self.encoding
        condition = flow_condition(mirror_maps(maps, encoding) if mirrored else maps, encoding)
        return enlarge(condition, self.index["flow"]["scale"])

    def _read(self, clip: int, name: str, start: int, frames: int, stride: int) -> Tensor:
        row = self.clips[clip]
        end = start + (frames - 1) * stride + 1
        if not 0 <= start < end <= row["frames"]:
            raise PanobenchError(
                f"{self.folder}: clip {row['videoid']} has {row['frames']} frames; {start} to {end - 1} were asked for"
            )
        shard, key = row["shard"], f"{row['videoid']}.{name}"
        try:
            return self._shard(shard).get_slice(key)[start:end][::stride]
        except PanobenchError:
            raise
        except Exception as error:
            raise PanobenchError(f"{self.folder / shard}: cannot read '{key}' ({error}); encode again") from error


def enlarge(condition: Tensor, scale: int) -> Tensor:
    """A condition (F,3,h,w) kept at 1/scale of its size, back at its own: bilinear, around the sphere."""
    if scale == 1:
        return condition
    grown = interpolate(pad_sphere(condition, 1, 1), scale_factor=scale, mode="bilinear", align_corners=False)
    return grown[..., scale:-scale, scale:-scale]


def seeded(*parts: int | str) -> torch.Generator:
    """A CPU generator that depends on nothing but `parts`: what a step draws is the same after a resume."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw_clips(clips: int, positions: Iterable[int], seed: int) -> list[int]:
    """The clips at these positions of the training: epochs of seeded permutations, without keeping any state."""
    places = (divmod(position, clips) for position in positions)
    return [_epoch(clips, epoch, seed)[place] for epoch, place in places]


@lru_cache(maxsize=2)
def _epoch(clips: int, epoch: int, seed: int) -> list[int]:
    return torch.randperm(clips, generator=seeded(seed, "epoch", epoch)).tolist()
