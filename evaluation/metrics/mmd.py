"""Maximum mean discrepancy between the views of generated and of real videos, in the features of a network.

MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) with x from the videos and y from the reference. The views and frames of
one video resemble each other, so a pair (x, x') is always taken from two *different* videos: then the estimate is
unbiased over videos, whatever their number, and two sets of one kind read 0 on average, sometimes less. Views count
equally.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from pydantic import Field

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, SetMetric, SetValue
from evaluation.metrics.claims import Claims, claims

Kernel = Callable[[np.ndarray], np.ndarray]  # inner products -> kernel values


def gaussian(width: float) -> Kernel:
    """exp(-|x - y|^2 / (2 width^2)) of vectors of unit norm."""
    return lambda product: np.exp((product - 1) / width**2)


def cubic(features: int) -> Kernel:
    """(<x, y> / D + 1)^3, the kernel of KID (Binkowski et al. 2018)."""
    return lambda product: (product / features + 1) ** 3


def mean_kernels(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> np.ndarray:
    """(N, M) float64: mean kernel value between all features of video i of ``a`` and all of video j of ``b``.

    Args:
        a: (N, P, D) float, P features of each of N videos.
        b: (M, Q, D) float.
        kernel: of inner products.
    """
    flat = b.reshape(-1, b.shape[-1]).T.astype(np.float64)
    rows = [kernel(video.astype(np.float64) @ flat).mean(axis=0).reshape(len(b), -1).mean(axis=1) for video in a]
    return np.stack(rows)


def unbiased_mmd(within_a: np.ndarray, within_b: np.ndarray, between: np.ndarray) -> float:
    """MMD^2 from mean kernels between videos (N, N), (M, M), (N, M); the diagonals are not looked at."""
    return _off_diagonal_mean(within_a) + _off_diagonal_mean(within_b) - 2 * float(between.mean())


def _off_diagonal_mean(kernels: np.ndarray) -> float:
    count = len(kernels)
    return float((kernels.sum() - np.trace(kernels)) / (count * (count - 1)))


def spread_frames(features: np.ndarray, count: int) -> np.ndarray:
    """(F, ...) -> (count, ...): frames from the first to the last, evenly spread; a short video repeats some."""
    return features[np.linspace(0, len(features) - 1, count).round().astype(int)]


class _Mmd(SetMetric):
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "graphics_quality"
    version: ClassVar[int] = 1
    least: int = Field(8, ge=4)
    frames: int = Field(4, ge=1)  # of each video
    scale: ClassVar[float]

    @abstractmethod
    def kernel(self, features: int) -> Kernel:
        """The kernel, of inner products of so many features."""

    def plan(self, videos: np.ndarray, reference: np.ndarray) -> SetValue:
        """See unbiased_mmd; all kernels are evaluated once."""
        kernel = self.kernel(videos.shape[-1])
        within_a, within_b, between = (
            mean_kernels(a, b, kernel) for a, b in ((videos, videos), (reference, reference), (videos, reference))
        )

        def value(a: np.ndarray, b: np.ndarray) -> float:
            return self.scale * unbiased_mmd(within_a[np.ix_(a, a)], within_b[np.ix_(b, b)], between[np.ix_(a, b)])

        return value


class ClipMmd(_Mmd):
    """MMD^2 x 1000 between the judge's embeddings of views and of reference views, lower is better, 0 if alike.

    Gaussian kernel of width 10 as CMMD, whose CLIP is ViT-L/14 at 336 pixels and whose estimate is the biased one;
    here the judge is that of the run, and the estimate is unbiased over videos. Around 0 for small sets too, so values
    below 0 occur. Source: Jayasumana et al. 2024, "Rethinking FID".
    """

    name: ClassVar[str] = "clip_mmd"
    unit: ClassVar[str] = "1e-3"
    summary: ClassVar[str] = "distance of the views' CLIP embeddings from reference views (CMMD, unbiased); one per set"
    needs: ClassVar[frozenset[Need]] = frozenset({"views", "reference"})
    scale: ClassVar[float] = 1000.0
    claims: ClassVar[Claims] = claims(rises="perspective noise", level="shuffled frozen", yaw="spread")
    width: float = Field(10.0, gt=0)

    def update(self, video: VideoFeatures) -> np.ndarray:
        """The embeddings, (N, V, D) float32, unit norm."""
        assert video.view_embeddings is not None
        return video.new(video.view_embeddings)

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """(frames V, D), see spread_frames."""
        return spread_frames(rows, self.frames).reshape(-1, rows.shape[-1])

    def kernel(self, features: int) -> Kernel:
        """See gaussian."""
        return gaussian(self.width)


class Kid(_Mmd):
    """KID of views against reference views, lower is better, 0 if alike; values below 0 occur.

    Cubic kernel on the pool features of Inception-v3, of every fourth frame, unbiased over videos. On flat pictures,
    one per video, it is clean-fid's and torchmetrics' KID. Source: Binkowski et al. 2018.
    """

    name: ClassVar[str] = "kid"
    unit: ClassVar[str] = "1"
    summary: ClassVar[str] = "KID of the views (Inception-v3, unbiased) against reference views; one per set"
    needs: ClassVar[frozenset[Need]] = frozenset({"inception", "reference"})
    claims: ClassVar[Claims] = claims(rises="perspective blur noise", level="shuffled frozen", yaw="spread")
    scale: ClassVar[float] = 1.0

    def update(self, video: VideoFeatures) -> np.ndarray:
        """The features, (n, V, 2048) float32."""
        return video.arrays.get("inception", np.zeros((0, 1, 1), np.float32))

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """(frames V, 2048), see spread_frames."""
        return spread_frames(rows, self.frames).reshape(-1, rows.shape[-1])

    def kernel(self, features: int) -> Kernel:
        """See cubic."""
        return cubic(features)
