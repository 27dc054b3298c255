"""What networks and view statistics make of the pictures of a video: one walk over the frames, one at a time.

Every array is made by a small extractor that is shown the frames in order. ``Glance`` extracts a frame's views once and
runs each network once on them, whoever asks. A batch is always the views of one frame, so where a video is cut into
stretches changes nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast, get_args

import numpy as np
import torch
from torch import Tensor

from core.sphere import erp_to_cubemap
from evaluation.networks import Networks
from evaluation.perceptual import Perceptual
from evaluation.pixels import view_statistics
from evaluation.strips import bridged, squares, strips
from evaluation.views import ViewSet, resize_views
from evaluation.weights import Role

T = TypeVar("T")

#: Arrays by name, float32, with N new frames in the stretch. What compares a frame with the one before has N - 1 rows
#: in the first stretch.
ArrayName = Literal[
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

# Consecutive frames are nearly the same picture: distributions are estimated from every fourth.
_EVERY = 4


@dataclass
class Glance:
    """One frame of a video, and what was already made of it.

    Attributes:
        erp: (1, 3, H, W) float32, [0, 1].
        truth: the same of the true video, or None.
    """

    erp: Tensor
    truth: Tensor | None
    networks: Networks
    view_set: ViewSet | None
    _memory: dict[object, object] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """``make()``, at the first call with this key."""
        if key not in self._memory:
            self._memory[key] = make()
        return cast(T, self._memory[key])

    @property
    def views(self) -> Tensor:
        """(V, 3, S, S) float32, [0, 1]."""
        assert self.view_set is not None
        return self.once("views", lambda: cast(ViewSet, self.view_set).extract(self.erp)[0])

    @property
    def true_views(self) -> Tensor:
        """The views of the true video."""
        assert self.truth is not None
        return self.once("true views", lambda: cast(ViewSet, self.view_set).extract(cast(Tensor, self.truth))[0])

    def activations(self, network: Perceptual, true: bool = False) -> list[Tensor]:
        """Per layer (V, C, h, w): what LPIPS compares."""
        if network is self.networks.judge_lpips and not true:
            return self._looked[1]
        views = self.true_views if true else self.views
        return self.once((network.name, true), lambda: network.activations(views))

    @property
    def embeddings(self) -> Tensor:
        """(V, D) float32, unit norm: the judge's."""
        judge = self.networks.judge
        assert judge is not None
        if self.networks.judge_lpips is not None:
            return self._looked[0]
        return judge.encode_image(resize_views(self.views, judge.image_size))

    @property
    def _looked(self) -> tuple[Tensor, list[Tensor]]:
        """Embeddings and activations of the judge, from one pass."""
        network = self.networks.judge_lpips
        assert network is not None
        return self.once("judge", lambda: network.look(self.views))


class Extractor(ABC):
    """Makes one array of one video; holds what it needs from frame to frame, and nothing of another video."""

    @abstractmethod
    def take(self, glance: Glance) -> Tensor | None:
        """The next frame's row (...), or None if this frame gives none."""


class ViewEmbeddings(Extractor):
    """(V, D): the judge's embeddings, unit norm."""

    def take(self, glance: Glance) -> Tensor:
        """See Glance.embeddings."""
        return glance.embeddings


class ViewLpips(Extractor):
    """(V,): LPIPS from each view to the same view of the frame before."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._before: list[Tensor] | None = None

    def take(self, glance: Glance) -> Tensor | None:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        before, self._before = self._before, glance.activations(network)
        return None if before is None else network.distance(before, self._before)


class PairedLpips(Extractor):
    """(V,): LPIPS from each view to the true video's."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def take(self, glance: Glance) -> Tensor:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        return network.distance(glance.activations(network), glance.activations(network, true=True))


class StripLpips(Extractor):
    """(16,): LPIPS from the strip around each meridian to itself bridged, the seam's first; mean of three squares."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def take(self, glance: Glance) -> Tensor:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        around = strips(glance.erp[0])
        pair = (network.activations(squares(x)) for x in (around, bridged(around)))
        return network.distance(*pair).unflatten(0, (len(around), -1)).mean(dim=1)


class ViewStatistics(Extractor):
    """(V, 6): see evaluation/pixels.py."""

    def take(self, glance: Glance) -> Tensor:
        """See view_statistics."""
        return view_statistics(glance.views)


class _EveryFourth(Extractor):
    """Looks at every fourth frame, from the first."""

    def __init__(self) -> None:
        self._next = 0

    @abstractmethod
    def look(self, glance: Glance) -> Tensor:
        """The row of a frame that is looked at."""

    def take(self, glance: Glance) -> Tensor | None:
        """A row, if this is such a frame."""
        self._next += 1
        return self.look(glance) if (self._next - 1) % _EVERY == 0 else None


class ViewInception(_EveryFourth):
    """(V, 2048): Inception features of the views."""

    def look(self, glance: Glance) -> Tensor:
        """See Inception.features."""
        assert glance.networks.inception is not None
        return glance.networks.inception.features(glance.views)


class CubeInception(_EveryFourth):
    """(6, 2048): Inception features of the faces of the cube, in the order of CUBE_FACES."""

    def look(self, glance: Glance) -> Tensor:
        """See Inception.features; faces are as fine as the ERP is in their middle."""
        assert glance.networks.inception is not None
        faces = erp_to_cubemap(glance.erp, round(glance.erp.shape[-1] / math.pi))[0]
        return glance.networks.inception.features(faces)


class LatitudeFeatures(_EveryFourth):
    """(D,): features of the panorama autoencoder."""

    def look(self, glance: Glance) -> Tensor:
        """See Autoencoder.features."""
        assert glance.networks.faed is not None
        return glance.networks.faed.features(glance.erp)[0]


class ViewClips(Extractor):
    """(V, D): features of the clip that each view sees, once the frames that the network takes have been seen."""

    def __init__(self) -> None:
        self._frames: list[Tensor] = []  # (V, 3, s, s) each

    def take(self, glance: Glance) -> Tensor | None:
        """See VideoNetwork.features."""
        network = glance.networks.video
        assert network is not None
        if len(self._frames) == network.frames:
            return None
        self._frames.append(network.prepare(glance.views))
        if len(self._frames) < network.frames:
            return None
        features = network.features(torch.stack(self._frames, dim=1))
        self._frames = [torch.empty(0)] * network.frames  # done; nothing of it is needed any more
        return features


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
    return frames[::_EVERY]


def _when_complete(frames: np.ndarray, networks: Networks) -> np.ndarray:
    assert networks.video is not None
    return frames[networks.video.frames - 1 : networks.video.frames]


ARRAYS: Mapping[str, Array] = {
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


class Walk:
    """The extractors of one video, which go through its stretches in order.

    Args:
        names: of ``ARRAYS``, and "views" for the judge's embeddings.
        view_set: required if one of them takes views.
        networks: those that they take.
    """

    def __init__(self, names: Collection[str], view_set: ViewSet | None, networks: Networks) -> None:
        self._makers = {name: ViewEmbeddings() if name == "views" else ARRAYS[name].make() for name in sorted(names)}
        self._view_set = view_set
        self._networks = networks
        self._begun = False
        self._last_embeddings: np.ndarray | None = None  # (1, V, D)

    def take(self, frames: np.ndarray, truth: np.ndarray | None = None, seen: int = 0) -> dict[str, np.ndarray]:
        """The arrays of one stretch.

        Args:
            frames: (F, H, W, 3) uint8.
            truth: the same frames of the true video.
            seen: leading frames of the stretch before; looked at again only if that stretch did not pass here.

        Returns:
            name -> (N, ...) of the new frames; "views", which metrics compare from frame to frame, of all F.
        """
        if not self._makers:
            return {}
        rows: dict[str, list[np.ndarray]] = {name: [] for name in self._makers}
        for index in range(seen if self._begun else 0, len(frames)):
            true = _pixels(truth[index]) if truth is not None else None
            glance = Glance(_pixels(frames[index]), true, self._networks, self._view_set)
            for name, maker in self._makers.items():
                row = maker.take(glance)
                if row is not None and (index >= seen or name == "views"):
                    rows[name].append(row.numpy())
        arrays = {name: np.stack(parts) for name, parts in rows.items() if parts}
        if "views" in arrays:
            if self._begun and seen and self._last_embeddings is not None:
                arrays["views"] = np.concatenate([self._last_embeddings, arrays["views"]])
            self._last_embeddings = arrays["views"][-1:]
        self._begun = True
        return arrays


def _pixels(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
