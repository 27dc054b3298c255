"""What is made of the pictures of a video besides the pictures: by networks, by the estimator of flow, by statistics.

One walk over the frames, in stretches: ``begin`` hands the frames of a stretch to whatever threads there are,
``finish`` takes what was seen in order (evaluation/extractors.py). So the frames of the next stretch may be looked at
while the last one is still measured, and neither that nor the number of threads changes a number.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from evaluation.extractors import (
    EVERY,
    CubeInception,
    Extractor,
    Glance,
    LatitudeFeatures,
    PairedLpips,
    PairFlow,
    StripLpips,
    ViewClips,
    ViewEmbeddings,
    ViewInception,
    ViewLpips,
    ViewStatistics,
)
from evaluation.networks import Networks
from evaluation.views import ViewSet
from evaluation.weights import Role

#: Arrays by name, float32, with N new frames in the stretch. What compares a frame with the one before has N - 1 rows
#: in the first stretch.
ArrayName = Literal[
    # (N - 1, 2, 2, h, w) flow from each frame to the next, and back; h at most 256 (evaluation/sphere_flow.py).
    "flow",
    # (N - 1, 1, 2, h, w) flow from each frame of the true video to the next.
    "true_flow",
    # (N, V) LPIPS from each view to the same view of the frame before.
    "view_lpips",
    "view_lpips_judge",
    # (N, V) LPIPS from each view to the true video's.
    "paired_lpips",
    "paired_lpips_judge",
    # (N, 16) LPIPS from the strip around each meridian, the seam's first, to itself bridged (evaluation/strips.py).
    "strip_lpips",
    "strip_lpips_judge",
    # (N, V, 6) statistics of each view (evaluation/pixels.py).
    "view_statistics",
    # (n, V, 2048) and (n, 6, 2048) Inception features of each view and of each face of the cube, of every fourth frame.
    "inception",
    "cube_inception",
    # (n, D) features of the panorama autoencoder, of every fourth frame.
    "latitude_features",
    # (1, V, D) features of the clip that each view sees, where the first frames are complete.
    "view_clips",
]


@dataclass(frozen=True)
class Array:
    """How an array is made.

    Attributes:
        make: a fresh extractor.
        role: the network it takes.
        of_views: whether it takes a view set.
        paired: whether it takes the true video.
        rows_at: numbers of all frames, (F,), and the networks -> the numbers of those that give a row.
    """

    make: Callable[[], Extractor]
    role: Role | None = None
    of_views: bool = True
    paired: bool = False
    rows_at: Callable[[np.ndarray, Networks], np.ndarray] = lambda frames, networks: frames


def _but_the_first(frames: np.ndarray, networks: Networks) -> np.ndarray:
    return frames[1:]


def _every_fourth(frames: np.ndarray, networks: Networks) -> np.ndarray:
    return frames[::EVERY]


def _when_complete(frames: np.ndarray, networks: Networks) -> np.ndarray:
    assert networks.video is not None
    return frames[networks.video.frames - 1 : networks.video.frames]


ARRAYS: Mapping[str, Array] = {
    "flow": Array(PairFlow, of_views=False, rows_at=_but_the_first),
    "true_flow": Array(lambda: PairFlow(true=True), of_views=False, paired=True, rows_at=_but_the_first),
    "view_lpips": Array(lambda: ViewLpips("lpips"), "lpips", rows_at=_but_the_first),
    "view_lpips_judge": Array(lambda: ViewLpips("judge_lpips"), "judge_lpips", rows_at=_but_the_first),
    "paired_lpips": Array(lambda: PairedLpips("lpips"), "lpips", paired=True),
    "paired_lpips_judge": Array(lambda: PairedLpips("judge_lpips"), "judge_lpips", paired=True),
    "strip_lpips": Array(lambda: StripLpips("lpips"), "lpips", of_views=False),
    "strip_lpips_judge": Array(lambda: StripLpips("judge_lpips"), "judge_lpips", of_views=False),
    "view_statistics": Array(ViewStatistics),
    "inception": Array(ViewInception, "inception", rows_at=_every_fourth),
    "cube_inception": Array(CubeInception, "inception", of_views=False, rows_at=_every_fourth),
    "latitude_features": Array(LatitudeFeatures, "faed", of_views=False, rows_at=_every_fourth),
    "view_clips": Array(ViewClips, "video", rows_at=_when_complete),
}
assert set(ARRAYS) == set(get_args(ArrayName))


class Run(Protocol):
    """``map``, or that of an executor, which begins at once."""

    def __call__(self, function: Callable[[Glance], list[Any]], glances: Iterable[Glance], /) -> Iterator[list[Any]]:
        """``function(glance)`` of each, in their order."""


@dataclass(frozen=True)
class Begun:
    """A stretch whose frames are being looked at.

    Attributes:
        frames: (F, H, W, 3) uint8.
        truth: the same frames of the true video, or None.
        seen: leading frames of the stretch before.
        first: index of the first frame that is looked at.
        looks: of each frame from ``first`` on, one look per extractor.
    """

    frames: np.ndarray
    truth: np.ndarray | None
    seen: int
    first: int
    looks: Iterator[list[Any]]


class Walk:
    """The extractors of one video, which go through its stretches in order.

    Args:
        names: of ``ARRAYS``, and "views" for the judge's embeddings.
        view_set: required if one of them takes views.
        networks: those that they take.
    """

    def __init__(self, names: Collection[str], view_set: ViewSet | None, networks: Networks) -> None:
        self._makers: dict[str, Extractor] = {
            name: ViewEmbeddings() if name == "views" else ARRAYS[name].make() for name in sorted(names)
        }
        self._view_set = view_set
        self._networks = networks
        self._shown = 0  # frames, of all stretches
        self._last_embeddings: np.ndarray | None = None  # (1, V, D)

    def begin(self, frames: np.ndarray, truth: np.ndarray | None = None, seen: int = 0, run: Run = map) -> Begun:
        """Let the frames of a stretch be looked at.

        Args:
            frames: (F, H, W, 3) uint8.
            truth: the same frames of the true video.
            seen: leading frames of the stretch before; looked at again only if that stretch did not pass here.
            run: who looks.
        """
        first = seen if self._shown else 0
        glances = []
        for index in range(first, len(frames)) if self._makers else ():
            pair = slice(max(index - 1, 0), index + 1)
            true = None if truth is None else truth[pair]
            glances.append(Glance(self._shown, frames[pair], true, self._networks, self._view_set))
            self._shown += 1
        return Begun(frames, truth, seen, first, run(self._look, glances))

    def _look(self, glance: Glance) -> list[Any]:
        return [maker.look(glance) for maker in self._makers.values()]

    def finish(self, begun: Begun) -> dict[str, np.ndarray]:
        """The arrays of one stretch.

        Returns:
            name -> (N, ...) of the new frames; "views", which metrics compare from frame to frame, of all F.
        """
        rows: dict[str, list[np.ndarray]] = {name: [] for name in self._makers}
        for index, looks in enumerate(begun.looks, begun.first):
            for (name, maker), looked in zip(self._makers.items(), looks, strict=True):
                row = maker.take(looked)
                if row is not None and (index >= begun.seen or name == "views"):
                    rows[name].append(row.numpy())
        arrays = {name: np.stack(parts) for name, parts in rows.items() if parts}
        if "views" in arrays:
            if begun.first and self._last_embeddings is not None:
                arrays["views"] = np.concatenate([self._last_embeddings, arrays["views"]])
            self._last_embeddings = arrays["views"][-1:]
        return arrays

    def take(self, frames: np.ndarray, truth: np.ndarray | None = None, seen: int = 0) -> dict[str, np.ndarray]:
        """``begin`` and ``finish`` at once, in this thread."""
        return self.finish(self.begin(frames, truth, seen))
