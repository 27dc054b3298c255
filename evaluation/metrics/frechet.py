"""Frechet distances: OmniFID on cube faces, FAED on latitudes, FVD on the clips of every view.

d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) between two Gaussians that are fitted to features. Unlike a kernel
distance it is *biased*: two samples of the same distribution are apart, the more the fewer they are. So none is given
below ``least`` videos, and every one is to be read against the real-against-real floor, whose halves are smaller still.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import linalg

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, SetMetric, SetValue
from evaluation.metrics.claims import Claims, claims
from evaluation.metrics.mmd import spread_frames


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance between Gaussians fitted to the rows of a (N, D) and b (M, D), N, M >= 2.

    tr (S1 S2)^1/2 is the sum of the singular values of R1 R2', where Si = Ri' Ri / (n - 1) and Ri is the triangular
    factor of the centred rows: exact also for fewer rows than columns, and no matrix root is taken.
    """
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    factor_a, factor_b = (_factor(x, mean) for x, mean in ((a, mean_a), (b, mean_b)))
    root = linalg.svdvals(factor_a @ factor_b.T).sum()
    spread = (factor_a**2).sum() + (factor_b**2).sum()
    return float(((mean_a - mean_b) ** 2).sum() + spread - 2 * root)


def _factor(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """R (min(N, D), D) with R' R = covariance of the rows."""
    centred = (rows - mean) / np.sqrt(len(rows) - 1)
    if len(rows) <= rows.shape[1]:
        return centred
    return linalg.qr(centred, mode="r", check_finite=False)[0][: rows.shape[1]]


def mean_frechet(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Weighted sum of the Frechet distances of each part: a (N, P, F, D), b (M, P, F, D), weights (P,).

    Every one of a video's F features of a part is a row of that part.
    """
    return float(
        sum(
            weight * frechet_distance(a[:, part].reshape(-1, a.shape[-1]), b[:, part].reshape(-1, b.shape[-1]))
            for part, weight in enumerate(weights)
        )
    )


class _Frechet(SetMetric):
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "graphics_quality"
    version: ClassVar[int] = 1
    unit: ClassVar[str] = "1"
    array: ClassVar[str]
    least: int = Field(100, ge=4)
    resamples: int = Field(60, ge=20)
    frames: int = Field(4, ge=1)  # of each video

    def update(self, video: VideoFeatures) -> np.ndarray:
        """The array of the network, (n, ...) float32; n may be 0 in a stretch."""
        return video.arrays.get(self.array, np.zeros((0, 1), np.float32))

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """(P, frames, D): features of each of P parts."""
        return np.moveaxis(spread_frames(rows, self.frames), 0, 1)

    def weights(self, parts: int) -> np.ndarray:
        """(P,) weight of each part."""
        return np.full(parts, 1 / parts)

    def plan(self, videos: np.ndarray, reference: np.ndarray) -> SetValue:
        """See mean_frechet."""
        distance: Callable[[np.ndarray, np.ndarray, np.ndarray], float] = mean_frechet
        x, y = videos.astype(np.float64), reference.astype(np.float64)
        weights = self.weights(x.shape[1])
        return lambda a, b: distance(x[a], y[b], weights)


class OmniFid(_Frechet):
    """OmniFID: mean of the FIDs of the upper face, of the lower face, and of the four sides; lower is better.

    Features of Inception-v3 on the six faces of the cube, of every fourth frame; each side has its own FID, and the
    four are averaged. A yaw by 90 degrees changes nothing, others change what the faces show.
    Source: Christensen et al., ECCV 2024, "Geometry Fidelity for Spherical Images".
    """

    name: ClassVar[str] = "omnifid"
    summary: ClassVar[str] = "FID of the cube's faces: a third each for up, down and the four sides; one per set"
    needs: ClassVar[frozenset[Need]] = frozenset({"cube_inception", "reference"})
    array: ClassVar[str] = "cube_inception"
    claims: ClassVar[Claims] = claims(rises="perspective blur noise", level="shuffled frozen", yaw="spread")

    def weights(self, parts: int) -> np.ndarray:
        """A twelfth for each side, a third for up and for down (the order of CUBE_FACES)."""
        return np.array([1, 1, 1, 1, 4, 4]) / 12


class Faed(_Frechet):
    """FAED: Frechet distance of a panorama autoencoder's features by latitude, lower is better.

    Features averaged over longitude, times the cosine of latitude, of every fourth frame. A yaw by a multiple of 32
    columns changes nothing; others hardly do. Source: Oh et al. 2022 (BIPS), as in PanFusion (Zhang et al. 2024).
    """

    name: ClassVar[str] = "faed"
    summary: ClassVar[str] = "Frechet distance of panorama-autoencoder features by latitude; one per set"
    needs: ClassVar[frozenset[Need]] = frozenset({"latitude_features", "reference"})
    array: ClassVar[str] = "latitude_features"
    claims: ClassVar[Claims] = claims(rises="perspective blur noise", level="shuffled frozen", yaw="spread")

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """(1, frames, D)."""
        return spread_frames(rows, self.frames)[None]


class ViewFvd(_Frechet):
    """FVD of each view, averaged over views; lower is better.

    The clips that one view sees of all videos are one set, compared with what the same view sees of the reference, so
    that sky is compared with sky. Of the first 16 frames. Which network it is stands in settings.json: I3D (FVD,
    Unterthiner et al. 2018, as StyleGAN-V computes it) or VideoMAE (after content-debiased FVD, Ge et al. 2024).
    """

    name: ClassVar[str] = "view_fvd"
    summary: ClassVar[str] = "FVD (I3D or VideoMAE) of the clips of every view, averaged over views; one per set"
    needs: ClassVar[frozenset[Need]] = frozenset({"view_clips", "reference"})
    array: ClassVar[str] = "view_clips"
    claims: ClassVar[Claims] = claims(rises="perspective blur noise flicker", yaw="spread")

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """(V, 1, D); empty if the video is shorter than the clips that the network takes."""
        return np.moveaxis(rows, 0, 1)
