"""The motion condition of each sample, as the method's adapter was taught to read it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.data.flowstage import encoding_of
from core.errors import PanobenchError
from core.files import sha256
from core.flow import condition_maps, decode_flow, encode_flow, flow_condition
from core.motion import flow_of, is_synthetic
from core.params_schema import Video
from core.video import read_video


def motion_identity(motion: str) -> str:
    """What decides a motion: its name, or the hash of its file."""
    return motion if is_synthetic(motion) else sha256(motion)


class Motions:
    """Conditions for videos of one size and one adapter, each read once."""

    def __init__(
        self,
        video: Video,
        adapter: dict[str, Any] | None,  # of a recipe: encoding, range_px and stride of what it was trained on
    ) -> None:
        self.video, self.adapter = video, adapter
        self._one = lru_cache(maxsize=16)(self._read)

    def of(self, motions: Sequence[str | None]) -> Tensor | None:
        """Conditions (B,F,3,H,W) float in [-1,1]; 0 where a sample has none. None if nobody has one.

        Raises:
            PanobenchError: no such motion, or a file of another size.
        """
        if self.adapter is None or not any(motions):
            return None
        size = self.video
        none = torch.zeros(size.frames, 3, size.height, size.width)
        return torch.stack([self._one(motion) if motion else none for motion in motions])

    def _read(self, motion: str) -> Tensor:
        """Condition (F,3,H,W) of one motion."""
        assert self.adapter is not None
        video, encoding = self.video, self.adapter["encoding"]
        flow = flow_of(motion, video.frames, video.height, video.width)
        pictures = self._pictures(Path(motion)) if flow is None else encode_flow(flow, encoding)
        maps = np.ascontiguousarray(condition_maps(pictures, encoding, self.adapter["range_px"]))
        return flow_condition(torch.from_numpy(maps).permute(0, 3, 1, 2), encoding).clamp(-1, 1)

    def _pictures(self, path: Path) -> np.ndarray:
        """Pictures of a flow video, (F,H,W,3) uint8 in the adapter's encoding; one of `stride`, as in training."""
        assert self.adapter is not None
        video, stride = self.video, self.adapter["stride"]
        needed = (video.frames - 1) * stride + 1
        pictures = read_video(path).frames
        if len(pictures) < needed or pictures.shape[1:3] != (video.height, video.width):
            raise PanobenchError(
                f"{path}: a motion must be a flow video of at least {needed} frames of {video.width} x {video.height} "
                f"pixels, found {len(pictures)} of {pictures.shape[2]} x {pictures.shape[1]}"
            )
        pictures = pictures[:needed:stride]
        stored = encoding_of(path.parent)
        if stored == self.adapter["encoding"]:
            return pictures
        return encode_flow(decode_flow(pictures, stored), self.adapter["encoding"])[: video.frames]
