"""What moves: the camera turning, the camera travelling, or the rest?

Whoever travels through a still world sees everything stream away from one point of the sphere, the focus of expansion,
and into its antipode, the focus of contraction, along great circles; how fast depends on how near things are. A
panorama holds both foci, which tells travelling from turning: a turn has no foci. So the flow is split into

- the rotation that explains most of it (motion_speed.global_rotations);
- of what is left, the part along the great circles from the focus that fits best, away from it, where neighbouring
  pixels agree on the speed (depth is smooth in patches, noise is not);
- the residual: objects that move by themselves, flicker, errors of the flow, and all flow that does not lead back
  (forward and backward disagree), because a smooth field can be found between any two pictures.

A lone object that moves before a world at rest looks like a near object that the camera travels past, and counts as
travel as far as its patches agree. The three are fitted in turns until they settle. Speeds are area-weighted means of
great-circle angles over the sphere.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from core.flow.planes import angles, lengths, unit
from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.motion_speed import directions_of, global_rotations, read_rows, rotations_of
from evaluation.metrics.patches import patch_means
from evaluation.metrics.warping_error import trusted_flow_of

_TURNS = 3  # of fitting each part to what the other leaves


@dataclass(frozen=True)
class Decomposition:
    """The flow of T pairs of frames, split.

    Attributes:
        rotations: (T, 3, 3) float64: where the camera's turn takes each direction.
        foci: (T, 3) float64 unit vectors: focus of expansion, where the camera travels to.
        total: (T,) float64: mean speed, degrees per frame.
        unturned: (T,) mean speed after the rotation is taken out.
        residual: (T,) mean speed after rotation and translation are taken out.
    """

    rotations: torch.Tensor
    foci: torch.Tensor
    total: np.ndarray
    unturned: np.ndarray
    residual: np.ndarray


def decompose(
    before: torch.Tensor,  # (3, H, W) float64 unit vectors
    after: torch.Tensor,  # (3, T, H, W) float64 unit vectors
    weights: np.ndarray,  # (H,) row weights, sum 1
    rotations: torch.Tensor,  # (T, 3, 3) from global_rotations, where the fit starts
    trusted: torch.Tensor,  # (T, H, W) bool
) -> Decomposition:
    """Split moved directions into rotation, translation and residual (module docstring)."""
    area = torch.tensor(weights)[:, None].expand(before.shape[1:]) / before.shape[2]  # sum 1
    pairs = zip(after.unbind(1), rotations, trusted, strict=True)
    rotation, focus, speeds = zip(*(_decompose_pair(before, *pair, weights, area) for pair in pairs), strict=True)
    total, unturned, residual = np.array(speeds).T
    return Decomposition(torch.stack(rotation), torch.stack(focus), total, unturned, residual)


def _decompose_pair(
    before: torch.Tensor,  # (3, H, W)
    after: torch.Tensor,  # (3, H, W)
    rotation: torch.Tensor,  # (3, 3)
    trusted: torch.Tensor,  # (H, W) bool
    weights: np.ndarray,  # (H,)
    area: torch.Tensor,  # (H, W)
) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float, float]]:
    """Rotation, focus, and the three mean speeds of one pair, degrees per frame."""
    speed = angles(before, after)
    turned = torch.tensordot(rotation, before, dims=1)
    for turn in range(_TURNS):
        focus = fit_focus(turned, after, area, trusted)
        carried = travel(turned, after, focus, trusted)
        if turn + 1 < _TURNS:
            # Take the travel out of where things went, and fit the rotation to the rest again.
            parked = unit(after - (carried - turned))
            rotation = global_rotations(before, parked[:, None], weights, iterations=4)[0]
            turned = torch.tensordot(rotation, before, dims=1)
    # What cannot be trusted is not explained, and a model that explains less than nothing is not used.
    total, unturned, residual = (
        math.degrees(float((area * field).sum()))
        for field in (speed, *(torch.where(trusted, angles(x, after), speed) for x in (turned, carried)))
    )
    unturned = min(unturned, total)
    return rotation, focus, (total, unturned, min(residual, unturned))


def fit_focus(
    turned: torch.Tensor,  # (3, H, W) where the rotation alone takes things
    after: torch.Tensor,  # (3, H, W) where they went
    area: torch.Tensor,  # (H, W)
    trusted: torch.Tensor,  # (H, W) bool
    iterations: int = 5,
) -> torch.Tensor:
    """Focus of expansion of a pair, (3,) float64 unit vector.

    Great circles through the focus have normals at right angles to it. So it is the direction that is most at right
    angles to the normals of all displacements, by absolute distances (reweighted least squares).
    """
    normals = torch.linalg.cross(turned, after, dim=0)  # as long as the displacement
    trust = 1 / lengths(normals).clamp_min(1e-4)
    weight = area * (trusted + 1e-6)
    for _ in range(iterations):
        moment = (normals * (weight * trust)).flatten(1) @ normals.flatten(1).T
        focus = torch.linalg.eigh(moment)[1][:, 0]  # of the smallest eigenvalue
        trust = 1 / torch.tensordot(focus, normals, dims=1).abs().clamp_min(1e-4)
    # Away from the focus: what lies at d moves along d (d . T) - T.
    away = -(weight * torch.tensordot(focus, after - turned, dims=1)).sum()
    return -focus if away < 0 else focus


def travel(turned: torch.Tensor, after: torch.Tensor, focus: torch.Tensor, trusted: torch.Tensor) -> torch.Tensor:
    """Where rotation and travel together take things, (3, H, W) unit vectors.

    The speed of travel is the mean over a patch of the displacement away from the focus, never towards it.
    """
    away = unit(torch.tensordot(focus, turned, dims=1) * turned - focus[:, None, None])
    speed = ((after - turned) * away).sum(dim=0)  # (H, W), radians for small steps
    smooth = patch_means(speed[None, None], trusted[None])[0, 0].clamp_min(0)
    return unit(turned + smooth * away)


def explained_share(rows: np.ndarray, floor: float) -> float:
    """Per cent of the motion that the camera explains, 0 to 100; 0 for a still video.

    Args:
        rows: (T, 2): mean speed, and that of the residual, degrees/s.
        floor: degrees/s below which nothing is seen to move.
    """
    total, residual = rows.mean(axis=0)
    return float(100 * (total - residual) / max(total, floor))


def decomposition_of(video: VideoFeatures) -> Decomposition:
    """See decompose; shared by the metrics that read it."""
    before, after, weights = video.once(directions_of)
    trusted = video.once(trusted_flow_of)
    trusted = trusted[:, read_rows(trusted.shape[1])]
    return decompose(before, after, weights, video.once(rotations_of), trusted)


class _Part(Metric):
    unit: ClassVar[str] = "degrees/s"
    direction: ClassVar[Direction] = "none"
    criterion: ClassVar[Criterion] = "motion_pattern"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over pairs of frames."""
        return float(rows.mean())


class TranslationSpeed(_Part):
    """Mean great-circle speed that the camera's travel adds, degrees per second, neither is better.

    Speed before less speed after the travel is taken out. Source: antipodal foci of expansion and contraction in
    spherical flow (Nelson and Aloimonos 1988); the fit is this project's.
    """

    name: ClassVar[str] = "translation_speed"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "mean speed that flows from one focus to its antipode: the camera's travel"
    claims: ClassVar[Claims] = claims(
        falls="frozen", level="broken_seam misaligned_seam flicker blur", floor=Floor("frozen", 0, 0.1), yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See decompose."""
        parts = video.once(decomposition_of)
        return video.fps * (parts.unturned - parts.residual)


class ResidualSpeed(_Part):
    """Mean great-circle speed after the camera's turn and travel are taken out, degrees per second, neither is better.

    Source: residual of the fit, this project.
    """

    name: ClassVar[str] = "residual_speed"
    version: ClassVar[int] = 3
    summary: ClassVar[str] = "mean speed that neither turn nor travel of the camera explains: objects, and flicker"
    claims: ClassVar[Claims] = claims(
        rises="shuffled noise",
        falls="frozen",
        level="broken_seam misaligned_seam blur",
        floor=Floor("frozen", 0, 0.1),
        yaw="spread",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See decompose."""
        return video.fps * video.once(decomposition_of).residual


class MotionExplained(_Part):
    """Share of the motion that one camera explains, per cent, neither is better; 0 for a still video.

    High in a still world with a moving camera, low if much moves by itself, or if nothing moves and all of it flickers:
    read it beside flicker. Source: this project.
    """

    name: ClassVar[str] = "motion_explained"
    unit: ClassVar[str] = "%"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "share of the motion that the camera's turn and travel explain; 0 if nothing moves"
    claims: ClassVar[Claims] = claims(
        falls="frozen", level="broken_seam misaligned_seam", floor=Floor("frozen", 0, 0), yaw="spread"
    )
    floor_deg_s: float = 0.5

    def update(self, video: VideoFeatures) -> np.ndarray:
        """(T, 2): speed, and that of the residual."""
        parts = video.once(decomposition_of)
        return video.fps * np.stack([parts.total, parts.residual], axis=1)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See explained_share."""
        return explained_share(rows, self.floor_deg_s)
