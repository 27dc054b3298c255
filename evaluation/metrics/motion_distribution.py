"""Do things move as fast, and in such directions at each latitude, as in real panoramic video?"""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from core.flow.planes import lengths
from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, SetMetric, SetValue
from evaluation.metrics.claims import Claims, claims
from evaluation.metrics.motion_speed import directions_of

BANDS = 6  # of equal latitude
_ANGLES = 8  # directions in which velocities are projected, over half a turn
_STILL_DEG_S = 2.0  # speeds below it count about linearly, above it by their logarithm
_REACH, _BIN = 7.0, 0.1  # of compressed velocities: up to 2,000 degrees/s


def compressed_velocities(before: torch.Tensor, after: torch.Tensor, fps: float) -> np.ndarray:
    """East and north velocity at every pixel, length log(1 + speed / 2 degrees/s): (T, H, W, 2) float64.

    Args:
        before: (3, H, W) float64 unit directions.
        after: (3, T, H, W) float64 unit directions one frame later.
        fps: frames per second.
    """
    x, y, z = before
    flat = (x * x + z * z).sqrt().clamp_min(1e-12)
    east_x, east_z = z / flat, -x / flat  # of unit length, level; north is the direction's cross product with it
    east, north = (east_x, torch.zeros_like(x), east_z), (y * east_z, z * east_x - x * east_z, -y * east_x)
    fields = []
    for pair in after.unbind(1):
        step = pair - before
        along = torch.stack([sum(s * axis for s, axis in zip(step, axes, strict=True)) for axes in (east, north)])
        length = (along[0] ** 2 + along[1] ** 2).sqrt().clamp_min(1e-12)
        # The angle of the great circle, for large steps too; its direction is that of the chord on the ground.
        angle = 2 * torch.asin((lengths(step) / 2).clamp(max=1)).rad2deg()
        fields.append((along / length * torch.log1p(fps * angle / _STILL_DEG_S)).movedim(0, -1))
    return torch.stack(fields).numpy()


def projected_histograms(velocities: np.ndarray, bands: int = BANDS) -> np.ndarray:
    """Shares of the pixels of each latitude band by projected velocity, of each pair: (T, bands, A, B) float64, sum 1.

    A velocity and its mirror image count half each: a turn to the left is as real as one to the right.

    Args:
        velocities: (T, H, W, 2) from compressed_velocities.
        bands: number of bands of equal latitude.
    """
    angles = np.pi * np.arange(_ANGLES) / _ANGLES
    axes = np.stack([np.cos(angles), np.sin(angles)])  # (2, A)
    count = round(2 * _REACH / _BIN)
    result = np.empty((len(velocities), bands, _ANGLES, count))
    offset = np.arange(_ANGLES) * count
    for pair, field in enumerate(velocities):
        for band, rows in enumerate(np.array_split(field, bands)):
            total = np.zeros(_ANGLES * count)
            for sign in (1, -1):
                projected = (rows.reshape(-1, 2) * (sign, 1)) @ axes  # (N, A)
                bins = np.clip(((projected + _REACH) / _BIN).astype(int), 0, count - 1) + offset
                total += np.bincount(bins.ravel(), minlength=total.size)
            result[pair, band] = (total / (2 * rows.shape[0] * rows.shape[1])).reshape(_ANGLES, count)
    return result


def sliced_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Area-weighted mean over bands of the sliced Wasserstein-1 distance of velocities, in units of log speed.

    Args:
        a: (bands, A, B) from projected_histograms, averaged over pairs and videos.
        b: the same of the reference.
    """
    edges = np.linspace(np.pi / 2, -np.pi / 2, len(a) + 1)
    areas = -np.diff(np.sin(edges)) / 2
    apart = np.abs(np.cumsum(a - b, axis=-1)).sum(axis=-1).mean(axis=-1) * _BIN  # (bands,)
    return float(apart @ areas)


class MotionDistribution(SetMetric):
    """Distance of the (speed, direction) distribution per latitude from the reference's, lower is better, 0 if alike.

    Speeds count by their logarithm, so 0.7 is a factor of two, as far as directions agree. It is a distance between the
    pooled distributions of two sets: read it beside its real-against-real floor. A set of frozen videos is as far off
    as the reference is fast. Source: this project; sliced Wasserstein distance after Rabin et al. 2011.
    """

    name: ClassVar[str] = "motion_distribution"
    unit: ClassVar[str] = "log speed"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "motion_pattern"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = (
        "speeds and directions by latitude against reference videos; 0.7 = a factor of two; per set"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"flow", "reference"})
    claims: ClassVar[Claims] = claims(rises="pan", level="broken_seam misaligned_seam blur", yaw="spread")
    least: int = Field(8, ge=4)

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See projected_histograms."""
        before, after, _ = video.once(directions_of)
        return projected_histograms(compressed_velocities(before, after, video.fps))

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """Mean over pairs of frames."""
        return rows.mean(axis=0)

    def plan(self, videos: np.ndarray, reference: np.ndarray) -> SetValue:
        """See sliced_distance, of the means over videos."""
        return lambda a, b: sliced_distance(videos[a].mean(axis=0), reference[b].mean(axis=0))
