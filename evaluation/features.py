"""One pass per video: decoded once, views extracted once, each network and the flow run once, shared by all metrics.

A video is read in stretches of a bounded number of pixels, each of which begins with the last frame of the one before,
so that every pair of frames is in exactly one stretch. What a network says of a frame does not depend on which other
frames are in its stretch: views go through it one frame at a time.

What a metric reads besides the frames is a *need*. What a network makes of the pictures is an array by the name of the
need that asks for it (``ARRAYS``); the networks themselves never reach a metric.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, TypeVar, cast

import numpy as np
import torch

from core.sphere import latitude_weights
from evaluation.arrays import ARRAYS, ArrayName, Walk
from evaluation.directions import parts_of, view_shares
from evaluation.judge import Judge
from evaluation.networks import Networks
from evaluation.views import ViewSet
from evaluation.weights import Role

T = TypeVar("T")

# New frames of a stretch, in pixels: 2 frames of 512 x 1024. Flow metrics hold about 250 bytes per pixel at a time.
STRETCH_PIXELS = 2**20

#: "views" and "prompt" are the judge's embeddings, "prompt_parts" those of what the prompt binds to a direction,
#: "paired" is the true video, "reference" real panoramas.
Need = Literal["prompt", "prompt_parts", "views", "reference", "paired"] | ArrayName

#: Needs that take tangent views.
_OF_VIEWS = frozenset({"views", *(name for name, array in ARRAYS.items() if array.of_views)})
#: Needs that take the true video.
_OF_PAIRS = frozenset({"paired", *(name for name, array in ARRAYS.items() if array.paired)})


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
        part_embeddings: (P, D) float32, unit norm: of the parts of the prompt that are bound to a direction.
        part_shares: (P, V) float64, rows sum to 1: the views in which each part is to be seen.
        flow_frames: (F, h, w, 3) uint8: the frames, averaged down to h = 256 if they are higher, that the flow is of.
        flow: (F-1, 2, h, w) float32, pixels: frame t to t+1 (u right, v down; wraps around).
        flow_backward: (F-1, 2, h, w) float32, pixels: frame t+1 to t.
        seen: leading frames that the stretch before had already: 0 in the first, 1 in all others.
        arrays: what networks and view statistics made of the *new* frames, by need; shapes in evaluation/arrays.py.
        truth: the same frames of the true video, with their flow if this video has it; for paired metrics.
    """

    frames: np.ndarray
    fps: float
    row_weights: np.ndarray
    view_embeddings: np.ndarray | None = None
    view_weights: np.ndarray | None = None
    text_embedding: np.ndarray | None = None
    part_embeddings: np.ndarray | None = None
    part_shares: np.ndarray | None = None
    flow_frames: np.ndarray | None = None
    flow: torch.Tensor | None = None
    flow_backward: torch.Tensor | None = None
    seen: int = 0
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    truth: "VideoFeatures | None" = None
    _memory: dict[Callable[..., object], object] = field(default_factory=dict, repr=False, compare=False)

    def new(self, per_frame: np.ndarray) -> np.ndarray:
        """Of (F, ...), one entry per frame, those that no stretch before had."""
        return per_frame[self.seen :]

    def once(self, function: Callable[["VideoFeatures"], T]) -> T:
        """``function(self)``, computed at the first call: for what several metrics of one family share."""
        if function not in self._memory:
            self._memory[function] = function(self)
        return cast(T, self._memory[function])


def roles_of(needs: Iterable[str]) -> set[Role]:
    """The networks that these needs take."""
    needs = set(needs)
    roles: set[Role] = {"judge"} if needs & {"views", "prompt"} else set()
    for name in needs & ARRAYS.keys():
        role = ARRAYS[name].role
        if role:
            roles.add(role)
    return roles


def arrays_of(needs: Iterable[str]) -> set[str]:
    """What a ``Walk`` makes for these needs."""
    return set(needs) & {"views", *ARRAYS}


def takes_views(needs: Iterable[str]) -> bool:
    """Whether these needs take a view set."""
    return bool(set(needs) & _OF_VIEWS)


def takes_truth(needs: Iterable[str]) -> bool:
    """Whether these needs take the true video."""
    return bool(set(needs) & _OF_PAIRS)


def cost_of(needs: Iterable[str]) -> str:
    """What makes a metric take time: a "network", the "flow", or only the "pixels"."""
    needs = set(needs)
    if roles_of(needs):
        return "network"
    return "flow" if "flow" in needs else "pixels"


def extract_features(
    frames: np.ndarray,  # (F, H, W, 3) uint8 RGB, W = 2H
    fps: float,
    needs: Iterable[str],  # union of the metrics' needs
    views: ViewSet | None = None,  # required if takes_views(needs)
    networks: Networks | None = None,  # of the roles_of(needs)
    prompt: str | None = None,  # required for "prompt"
    truth: np.ndarray | None = None,  # the same frames of the true video; required if takes_truth(needs)
    *,
    seen: int = 0,  # leading frames that the stretch before had
    arrays: Mapping[str, np.ndarray] | None = None,  # what the video's own walk made of it, if it comes in stretches
) -> VideoFeatures:
    """The features of one stretch that the metrics at hand need, each computed once.

    Raises:
        ValueError: the frames are not (F >= 2, H, 2H, 3) uint8, or something required is missing.
    """
    needs = set(needs)
    networks = networks or Networks()
    _check(frames, needs, views, networks, prompt, truth)
    weights = row_weights(frames.shape[1])
    if arrays is None:
        arrays = Walk(arrays_of(needs), views, networks).take(frames, truth, seen)
    text = parts = shares = small = forward = backward = true = None
    if "prompt" in needs:
        assert networks.judge is not None
        text = networks.judge.encode_text([cast(str, prompt)])[0].numpy()
        if "prompt_parts" in needs:
            assert views is not None
            parts, shares = _placed(cast(str, prompt), views, networks.judge)
    if "flow" in needs:
        from evaluation.sphere_flow import flow_frames  # brings OpenCV, which the other metrics do without

        small = flow_frames(frames)
        forward, backward = torch.from_numpy(arrays["flow"]).unbind(dim=1)
    if takes_truth(needs):
        assert truth is not None
        true = VideoFeatures(truth, fps, weights, seen=seen)
        if "true_flow" in arrays:
            true = replace(true, flow=torch.from_numpy(arrays["true_flow"])[:, 0])
    return VideoFeatures(
        frames,
        fps,
        weights,
        view_embeddings=arrays.get("views"),
        view_weights=views.weights().numpy() if views is not None and takes_views(needs) else None,
        text_embedding=text,
        part_embeddings=parts,
        part_shares=shares,
        flow_frames=small,
        flow=forward,
        flow_backward=backward,
        seen=seen,
        arrays={name: array for name, array in arrays.items() if name not in ("views", "flow", "true_flow")},
        truth=true,
    )


def _placed(prompt: str, views: ViewSet, judge: Judge) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (P, D) and view shares (P, V) of the parts of a prompt that are bound to a direction."""
    found = parts_of(prompt)
    weights, centres = views.weights().numpy(), views.centres.numpy()
    if not found:
        return np.empty((0, 1), np.float32), np.empty((0, len(weights)))
    shares = np.stack([view_shares(part.direction, centres, weights) for part in found])
    return judge.encode_text([part.text for part in found]).numpy(), shares


def _check(
    frames: np.ndarray,
    needs: set[str],
    views: ViewSet | None,
    networks: Networks,
    prompt: str | None,
    truth: np.ndarray | None,
) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 (F, H, W, 3), got {frames.dtype} {frames.shape}")
    count, height, width, _ = frames.shape
    if width != 2 * height or count < 2:
        raise ValueError(f"frames must be at least 2 of size H x 2H, got {count} of {height} x {width}")
    if takes_views(needs) and views is None:
        raise ValueError(f"the needs {sorted(needs & _OF_VIEWS)} take a view set")
    for role in roles_of(needs):
        if getattr(networks, role) is None:
            raise ValueError(f"the needs {sorted(needs)} take the network '{role}'")
    if "prompt" in needs and prompt is None:
        raise ValueError("the need 'prompt' takes a prompt")
    if "prompt_parts" in needs and (views is None or "prompt" not in needs):
        raise ValueError("the need 'prompt_parts' takes a view set and the need 'prompt'")
    if takes_truth(needs) and (truth is None or truth.shape != frames.shape or truth.dtype != frames.dtype):
        found = None if truth is None else f"{truth.dtype} {truth.shape}"
        raise ValueError(f"paired needs take a true video of the frames' own shape {frames.shape}, got {found}")


def frames_of_a_stretch(height: int) -> int:
    """New frames of a stretch of a video of so many rows."""
    return max(1, STRETCH_PIXELS // (2 * height * height))


def stretches(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Cut a video into stretches: (F, H, W, 3) uint8 and how many leading frames the stretch before had already.

    Args:
        frames: (H, W, 3) uint8, all of one size; only one stretch of them is held at a time.
    """
    held: list[np.ndarray] = []
    seen = 0
    for frame in frames:
        held.append(frame)
        if len(held) > frames_of_a_stretch(frame.shape[0]):
            yield np.stack(held), seen
            held, seen = held[-1:], 1
    if len(held) > seen:
        yield np.stack(held), seen


@lru_cache
def row_weights(height: int) -> np.ndarray:
    """(H,) float64: cos(latitude) of each ERP row, normalised to sum 1; read-only."""
    weights = latitude_weights(height, dtype=torch.float64).numpy()
    weights = weights / weights.sum()
    weights.setflags(write=False)
    return weights
