"""The training set without a cache: clips are decoded and encoded at every step, and turn by single pixels.

Several times slower than the cache, and needs no room on the disk. What it can do besides: a random yaw that is not a
multiple of the VAE's factor, and mirroring without a second set of latents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.data.clips import read_clips, video_path
from core.data.encode import encode_video
from core.data.flowstage import encoding_of
from core.errors import PanobenchError
from core.files import sha256
from core.flow import condition_maps, flow_condition, mirror_maps
from core.model.base import Base, encode_text
from core.params_schema import Params
from core.train.cache import Window
from core.video import iter_video, probe_video


class RawClips:
    """Training clips in `dataset/train/videos`, their flow maps in `flows` and their captions, as a training set."""

    mirrored = True
    threaded = False  # while a window is encoded the VAE is padded circularly, for whoever uses it

    def __init__(self, params: Params, base: Base) -> None:
        outputs = params.outputs
        self.folder, self.flows = outputs / "dataset/train/videos", outputs / "flows"
        self.base, self.size, self.encode = base, (params.video.height, params.video.width), params.encode
        self.encoding, self.range_px = encoding_of(self.flows), params.flow.range_px
        captions = outputs / "captions/clips.csv"
        rows = read_clips(captions)
        digest = hashlib.sha256(captions.read_bytes())
        digest.update(f"{self.encoding} {self.range_px}".encode())
        self.clips: list[dict[str, Any]] = []
        for clip in rows:
            paths = [video_path(folder, clip.videoid) for folder in (self.folder, self.flows)]
            for path in paths:
                digest.update(sha256(path).encode())
            info, maps = (probe_video(path) for path in paths)
            for path, found in zip(paths, (info, maps), strict=True):
                if (found.height, found.width) != self.size or found.frames != info.frames:
                    raise PanobenchError(
                        f"{path}: {found.frames} frames of {found.width} x {found.height} pixels; expected "
                        f"{info.frames} of {self.size[1]} x {self.size[0]}"
                    )
            whole = clip.columns.get("whole") or clip.name
            self.clips.append({"videoid": clip.videoid, "frames": info.frames, "caption": clip.name, "whole": whole})
        self.hash = digest.hexdigest()
        self.text = lru_cache(maxsize=1024)(self._text)

    def __len__(self) -> int:
        return len(self.clips)

    def _text(self, text: str) -> Tensor:
        return encode_text(self.base.tokenizer, self.base.text_encoder, [text])[0].float().cpu()

    def window(
        self, clip: int, start: int, frames: int, stride: int, mirrored: bool, turn: float, motion: bool
    ) -> Window:
        """Frames of a clip; turned by whole pixels before they are encoded."""
        name, pixels = self.clips[clip]["videoid"], int(turn * self.size[1])

        def read(folder: Path) -> np.ndarray:
            return np.stack(list(_frames(video_path(folder, name), start, frames, stride)))

        pictures = read(self.folder)
        if mirrored:
            pictures = pictures[:, :, ::-1]
        pictures = np.ascontiguousarray(np.roll(pictures, pixels, 2))
        mean, std = encode_video(self.base.vae, pictures, self.encode.batch, self.encode.circular)
        condition = None
        if motion:
            stored = condition_maps(read(self.flows), self.encoding, self.range_px)
            maps = torch.from_numpy(np.ascontiguousarray(stored)).permute(0, 3, 1, 2)
            maps = mirror_maps(maps, self.encoding) if mirrored else maps
            condition = flow_condition(maps.roll(pixels, -1), self.encoding)
        return Window(mean.float(), std.float(), condition)


def _frames(path: Path, start: int, frames: int, stride: int) -> Iterator[np.ndarray]:
    """Frames start, start + stride, ... of a video; what is behind the last is not decoded."""
    return islice(iter_video(path), start, start + (frames - 1) * stride + 1, stride)
