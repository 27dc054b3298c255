"""What is made of one frame of a video, each by a small extractor.

A frame is looked at by itself, wherever there is a thread for it: that is what costs, and it depends on nothing but the
frame and the one before. What compares what was seen in different frames then takes the looks in their order.
``Glance`` cuts a frame's views once and runs each network once on them, whoever asks. A batch is always the views of
one frame, so where a video is cut into stretches changes nothing.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from core.sphere import erp_to_cubemap
from evaluation.networks import Networks
from evaluation.perceptual import Perceptual
from evaluation.pixels import view_statistics
from evaluation.strips import bridged, squares, strips
from evaluation.video_network import VideoNetwork
from evaluation.views import ViewSet, resize_views
from evaluation.weights import Role

T = TypeVar("T")

# Consecutive frames are nearly the same picture: distributions are estimated from every fourth.
EVERY = 4


@dataclass
class Glance:
    """One frame of a video, and what was already made of it; one thread has it.

    Attributes:
        number: of the frame, from 0.
        pair: (2, H, W, 3) uint8 RGB: the frame before and this one; (1, H, W, 3) of the first.
        true_pair: the same of the true video, or None.
        networks: those that extractors take.
        view_set: if an extractor takes views.
    """

    number: int
    pair: np.ndarray
    true_pair: np.ndarray | None
    networks: Networks
    view_set: ViewSet | None
    _memory: dict[object, object] = field(default_factory=dict)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """``make()``, at the first call with this key."""
        if key not in self._memory:
            self._memory[key] = make()
        return cast(T, self._memory[key])

    @property
    def erp(self) -> Tensor:
        """(1, 3, H, W) float32, [0, 1]."""
        return self.once("erp", lambda: _pixels(self.pair[-1]))

    @property
    def views(self) -> Tensor:
        """(V, 3, S, S) float32, [0, 1]."""
        return self.once("views", lambda: self._views_of(self.erp))

    @property
    def true_views(self) -> Tensor:
        """The views of the true video."""
        assert self.true_pair is not None
        return self.once("true views", lambda: self._views_of(_pixels(cast(np.ndarray, self.true_pair)[-1])))

    def _views_of(self, erp: Tensor) -> Tensor:
        assert self.view_set is not None
        return self.view_set.extract(erp)[0]

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
    def look(self, glance: Glance) -> Any:
        """What of this frame the array takes, None for nothing: depends on no other look, and comes from any thread."""

    def take(self, looked: Any) -> Tensor | None:
        """The row (...) that the next frame's look gives, or None if it gives none; asked in the order of frames."""
        return cast(Tensor | None, looked)


class ViewEmbeddings(Extractor):
    """(V, D): the judge's embeddings, unit norm."""

    def look(self, glance: Glance) -> Tensor:
        """See Glance.embeddings."""
        return glance.embeddings


class PairFlow(Extractor):
    """(2, 2, h, w): the flow from the frame before to this one, and the flow back; of the true video only the first.

    It brings OpenCV, which most metrics do without.
    """

    def __init__(self, true: bool = False) -> None:
        self._true = true

    def look(self, glance: Glance) -> Tensor | None:
        """See evaluation/sphere_flow.py."""
        from evaluation.sphere_flow import flow_frames, spherical_flow

        pair = glance.true_pair if self._true else glance.pair
        assert pair is not None
        if len(pair) < 2:
            return None
        small = flow_frames(pair)
        ways = [small] if self._true else [small, small[::-1]]
        return torch.from_numpy(np.concatenate([spherical_flow(way) for way in ways]))


class ViewLpips(Extractor):
    """(V,): LPIPS from each view to the same view of the frame before."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self._before: tuple[Perceptual, list[Tensor]] | None = None

    def look(self, glance: Glance) -> tuple[Perceptual, list[Tensor]]:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        return network, glance.activations(network)

    def take(self, looked: tuple[Perceptual, list[Tensor]]) -> Tensor | None:
        """See Perceptual."""
        before, self._before = self._before, looked
        network, activations = looked
        return None if before is None else network.distance(before[1], activations)


class PairedLpips(Extractor):
    """(V,): LPIPS from each view to the true video's."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def look(self, glance: Glance) -> Tensor:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        return network.distance(glance.activations(network), glance.activations(network, true=True))


class StripLpips(Extractor):
    """(16,): LPIPS from the strip around each meridian to itself bridged, the seam's first; mean of three squares."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def look(self, glance: Glance) -> Tensor:
        """See Perceptual."""
        network: Perceptual = getattr(glance.networks, self._role)
        around = strips(glance.erp[0])
        pair = (network.activations(squares(x)) for x in (around, bridged(around)))
        return network.distance(*pair).unflatten(0, (len(around), -1)).mean(dim=1)


class ViewStatistics(Extractor):
    """(V, 6): see evaluation/pixels.py."""

    def look(self, glance: Glance) -> Tensor:
        """See view_statistics."""
        return view_statistics(glance.views)


class _EveryFourth(Extractor):
    """Looks at every fourth frame, from the first."""

    @abstractmethod
    def features(self, glance: Glance) -> Tensor:
        """The row of a frame that is looked at."""

    def look(self, glance: Glance) -> Tensor | None:
        """A row, if this is such a frame."""
        return self.features(glance) if glance.number % EVERY == 0 else None


class ViewInception(_EveryFourth):
    """(V, 2048): Inception features of the views."""

    def features(self, glance: Glance) -> Tensor:
        """See Inception.features."""
        assert glance.networks.inception is not None
        return glance.networks.inception.features(glance.views)


class CubeInception(_EveryFourth):
    """(6, 2048): Inception features of the faces of the cube, in the order of CUBE_FACES."""

    def features(self, glance: Glance) -> Tensor:
        """See Inception.features; faces are as fine as the ERP is in their middle."""
        assert glance.networks.inception is not None
        faces = erp_to_cubemap(glance.erp, round(glance.erp.shape[-1] / math.pi))[0]
        return glance.networks.inception.features(faces)


class LatitudeFeatures(_EveryFourth):
    """(D,): features of the panorama autoencoder."""

    def features(self, glance: Glance) -> Tensor:
        """See Autoencoder.features."""
        assert glance.networks.faed is not None
        return glance.networks.faed.features(glance.erp)[0]


class ViewClips(Extractor):
    """(V, D): features of the clip that each view sees, once the frames that the network takes have been seen."""

    def __init__(self) -> None:
        self._frames: list[Tensor] = []  # (V, 3, s, s) each

    def look(self, glance: Glance) -> tuple[VideoNetwork, Tensor] | None:
        """See VideoNetwork.prepare."""
        network = glance.networks.video
        assert network is not None
        return (network, network.prepare(glance.views)) if glance.number < network.frames else None

    def take(self, looked: tuple[VideoNetwork, Tensor] | None) -> Tensor | None:
        """See VideoNetwork.features."""
        if looked is None:
            return None
        network, prepared = looked
        self._frames.append(prepared)
        if len(self._frames) < network.frames:
            return None
        frames, self._frames = self._frames, []
        return network.features(torch.stack(frames, dim=1))


def _pixels(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
