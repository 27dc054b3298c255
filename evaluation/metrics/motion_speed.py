"""How fast does the world move on the sphere, and how much of it is the camera turning?

Planar flow on an ERP measures the projection: a slow tilt of the camera gives huge vectors at the poles. So each flow
vector becomes the great-circle angle between the directions of its two ends, and pixels count by their area.

A turn of the camera by w degrees moves a point at the angle a from the axis by w sin(a): the mean over the sphere is
pi/4 w, whatever the axis. ``motion_speed`` is that plain mean; ``rotation_speed`` is w itself, from the rotation that
explains the flow best; what else moves is in motion_decomposition.py. Neither more nor less motion is better; all
consistency metrics are to be read beside it.

Flow is smooth, so of high pictures only every n-th row is read, 128 or more; of each row every column, so that a yaw of
the video by whole pixels changes nothing.
"""

import math
from typing import ClassVar

import numpy as np
import torch

from core.flow.planes import angles, lengths, moved_planes
from evaluation.features import Need, VideoFeatures, row_weights
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims

_ROWS = 128  # fewest rows that are read


def global_rotations(
    before: torch.Tensor,  # (3, H, W) float64 unit vectors
    after: torch.Tensor,  # (3, T, H, W) float64 unit vectors
    weights: np.ndarray,  # (H,) row weights
    iterations: int = 10,
    least_deg: float = 0.05,
) -> torch.Tensor:
    """The rotation of each frame pair that explains most of the moved directions, (T, 3, 3) float64, determinant 1.

    argmin_R sum w |after - R before|, by iteratively reweighted least squares (each step is Wahba's problem, solved by
    singular value decomposition; Kabsch 1976). Absolute, not squared distances: an object that moves on a still
    background, or flow that fails at a pole, must not turn the camera.

    Misses below ``least_deg`` degrees weigh alike, which is about the precision of estimated flow.
    """
    area = torch.tensor(weights)[:, None].expand(before.shape[1:]).flatten()
    least, start = math.radians(least_deg), before.flatten(1)
    rotations = []
    for pair in after.unbind(1):
        end, trust = pair.flatten(1), area
        for _ in range(iterations):
            rotation = _wahba((end * trust) @ start.T)
            # Of chords, which are as long as their angles are.
            miss = 2 * (lengths(end - rotation @ start) / 2).clamp_max(1).asin()
            trust = area / miss.clamp_min(least)
        rotations.append(rotation)
    return torch.stack(rotations)


def _wahba(covariance: torch.Tensor) -> torch.Tensor:
    """The rotation R that maximises tr(R' covariance), (3, 3)."""
    u, _, v = torch.linalg.svd(covariance)
    u[:, 2] *= torch.linalg.det(u @ v)
    return u @ v


def rotation_angles(rotations: torch.Tensor) -> torch.Tensor:
    """Angle of each rotation (T, 3, 3), degrees, (T,); exact for tiny angles too."""
    skew = rotations - rotations.transpose(-1, -2)
    sine = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], dim=-1).norm(dim=-1) / 2
    cosine = (rotations.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.atan2(sine, cosine).rad2deg()


def mean_angle(before: torch.Tensor, after: torch.Tensor, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean great-circle angle between two fields of directions, degrees, of each pair, (T,) float64.

    Args:
        before: (3, H, W) unit vectors.
        after: (3, T, H, W) unit vectors.
        weights: (H,) row weights, sum 1.
    """
    rows = torch.stack([angles(before, pair).mean(dim=1) for pair in after.unbind(1)])  # (T, H)
    return (rows @ torch.tensor(weights)).rad2deg().numpy()


def read_rows(height: int) -> slice:
    """The rows that are read."""
    step = max(1, height // _ROWS)
    return slice(step // 2, None, step)


def directions_of(video: VideoFeatures) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Directions before (3, h, W) and after (3, T, h, W), and row weights (h,) of sum 1, of every n-th row."""
    assert video.flow is not None
    height = video.flow.shape[-2]
    rows = read_rows(height)
    weights = row_weights(height)[rows]
    return *moved_planes(video.flow.double(), rows), weights / weights.sum()


def rotations_of(video: VideoFeatures) -> torch.Tensor:
    """See global_rotations."""
    return global_rotations(*video.once(directions_of))


class _Motion(Metric):
    unit: ClassVar[str] = "degrees/s"
    direction: ClassVar[Direction] = "none"
    criterion: ClassVar[Criterion] = "motion_pattern"
    version: ClassVar[int] = 3
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over pairs of frames."""
        return float(rows.mean())


class MotionSpeed(_Motion):
    """Mean great-circle speed over the sphere, degrees per second, neither is better.

    Source: spherical flow of OmniFlowNet / 360 optical flow (Artizzu et al. 2021), area-weighted mean.
    """

    name: ClassVar[str] = "motion_speed"
    summary: ClassVar[str] = "area-weighted mean great-circle speed; a camera turn of w degrees/s reads 0.785 w"
    claims: ClassVar[Claims] = claims(
        rises="shuffled",
        falls="frozen",
        level="broken_seam misaligned_seam flicker blur",
        floor=Floor("frozen", 0, 0.1),
        yaw="spread",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See mean_angle."""
        return video.fps * mean_angle(*video.once(directions_of))


class RotationSpeed(_Motion):
    """Rate of the camera rotation that explains most of the flow, degrees per second, neither is better.

    Source: Wahba's problem on spherical flow with absolute distances, this project.
    """

    name: ClassVar[str] = "rotation_speed"
    summary: ClassVar[str] = "rate of the global rotation that explains the flow best: the camera's turn"
    claims: ClassVar[Claims] = claims(
        falls="frozen", level="broken_seam misaligned_seam flicker blur", floor=Floor("frozen", 0, 0.1), yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See global_rotations."""
        return video.fps * rotation_angles(video.once(rotations_of)).numpy()
