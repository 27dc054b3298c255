"""One pass per video: decoded once, views extracted once, each network and the flow run once, shared by all metrics.

A video is read in stretches of a bounded number of pixels, each of which begins with the last frame of the one before,
so that every pair of frames is in exactly one stretch. What a network says of a frame does not depend on which other
frames are in its stretch: views go through it one frame at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar, cast

import numpy as np
import torch

from core.sphere import latitude_weights
from evaluation.judge import Judge
from evaluation.views import ViewSet

T = TypeVar("T")

# New frames of a stretch, in pixels: 4 frames of 512 x 1024. Flow metrics hold about 250 bytes per pixel at a time.
STRETCH_PIXELS = 2**21


@dataclass(frozen=True)
class VideoFeatures:
    """Everything that metrics may read of one stretch of a video; what nobody needs is None.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB, ERP with W = 2H, F >= 2.
        fps: frames per second.
        row_weights: (H,) float64, cos(latitude) of each row, normalised to sum 1.
        view_embeddings: (F, V, D) float32, unit norm: the judge's image embedding of every view of every frame.
        view_weights: (V,) float64, sum 1: solid angle that each view stands for.
        text_embedding: (D,) float32, unit norm: the judge's embedding of the prompt.
        flow: (F-1, 2, H, W) float32, pixels: frame t to t+1 (u right, v down; wraps around).
        flow_backward: (F-1, 2, H, W) float32, pixels: frame t+1 to t.
        seen: leading frames that the stretch before had already: 0 in the first, 1 in all others.
    """

    frames: np.ndarray
    fps: float
    row_weights: np.ndarray
    view_embeddings: np.ndarray | None = None
    view_weights: np.ndarray | None = None
    text_embedding: np.ndarray | None = None
    flow: torch.Tensor | None = None
    flow_backward: torch.Tensor | None = None
    seen: int = 0
    _memory: dict[Callable[..., object], object] = field(default_factory=dict, repr=False, compare=False)

    def new(self, per_frame: np.ndarray) -> np.ndarray:
        """Of (F, ...), one entry per frame, those that no stretch before had."""
        return per_frame[self.seen :]

    def once(self, function: Callable[["VideoFeatures"], T]) -> T:
        """``function(self)``, computed at the first call: for what several metrics of one family share."""
        if function not in self._memory:
            self._memory[function] = function(self)
        return cast(T, self._memory[function])


def extract_features(
    frames: np.ndarray,  # (F, H, W, 3) uint8 RGB, W = 2H
    fps: float,
    needs: Iterable[str],  # union of the metrics' needs
    views: ViewSet | None = None,  # required for "views" and "prompt"
    judge: Judge | None = None,  # required for "views" and "prompt"
    prompt: str | None = None,  # required for "prompt"
    flow_backend: str = "dis",
    *,
    seen: int = 0,  # leading frames that the stretch before had
    view_embeddings: np.ndarray | None = None,  # (F, V, D) if known already
) -> VideoFeatures:
    """The features of one stretch that the metrics at hand need, each computed once.

    Raises:
        ValueError: the frames are not (F >= 2, H, 2H, 3) uint8, or something required is missing.
    """
    needs = set(needs)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 (F, H, W, 3), got {frames.dtype} {frames.shape}")
    count, height, width, _ = frames.shape
    if width != 2 * height or count < 2:
        raise ValueError(f"frames must be at least 2 of size H x 2H, got {count} of {height} x {width}")
    embeddings = view_weights = text = forward = backward = None
    if "views" in needs:
        if views is None or judge is None:
            raise ValueError("the need 'views' takes a view set and a judge")
        embeddings = embed_views(frames, views, judge) if view_embeddings is None else view_embeddings
        view_weights = views.weights().numpy()
    if "prompt" in needs:
        if prompt is None or judge is None:
            raise ValueError("the need 'prompt' takes a prompt and a judge")
        text = judge.encode_text([prompt])[0].numpy()
    if "flow" in needs:
        forward = _flow(frames, flow_backend)
        # Of the reversed video, in the order of the forward pairs: pair t goes from frame t+1 to frame t.
        backward = _flow(frames[::-1].copy(), flow_backend).flip(0)
    return VideoFeatures(frames, fps, row_weights(height), embeddings, view_weights, text, forward, backward, seen)


def stretches(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Cut a video into stretches: (F, H, W, 3) uint8 and how many leading frames the stretch before had already.

    Args:
        frames: (H, W, 3) uint8, all of one size; only one stretch of them is held at a time.
    """
    held: list[np.ndarray] = []
    seen = 0
    for frame in frames:
        held.append(frame)
        if len(held) > max(1, STRETCH_PIXELS // (frame.shape[0] * frame.shape[1])):
            yield np.stack(held), seen
            held, seen = held[-1:], 1
    if len(held) > seen:
        yield np.stack(held), seen


def embed_views(frames: np.ndarray, views: ViewSet, judge: Judge) -> np.ndarray:
    """The judge's embedding of every view of every frame, (F, V, D) float32, unit norm.

    Args:
        frames: (F, H, W, 3) uint8.
        views: view set.
        judge: CLIP model.
    """
    embedded = []
    for frame in frames:
        pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        embedded.append(judge.encode_image(views.extract(pixels)[0]).numpy())
    return np.stack(embedded)


def _flow(frames: np.ndarray, backend: str) -> torch.Tensor:
    from core.flow import estimate_flow  # brings OpenCV, which the other metrics do without

    return torch.as_tensor(estimate_flow(frames, backend=backend, cyclic=True), dtype=torch.float32)


@lru_cache
def row_weights(height: int) -> np.ndarray:
    """(H,) float64: cos(latitude) of each ERP row, normalised to sum 1; read-only."""
    weights = latitude_weights(height, dtype=torch.float64).numpy()
    weights = weights / weights.sum()
    weights.setflags(write=False)
    return weights
