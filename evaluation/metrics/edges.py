"""Continuity where other projections have edges: over the poles, and across the edges of the cube."""

import itertools
import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from core.sphere import sample_erp
from evaluation.features import VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims

_NEAR = 16  # rows from a pole to the equator are H / 2; this many times fewer are "near the pole"


def pole_steps(frames: np.ndarray) -> np.ndarray:
    """Steps around both poles, (F, 2, 1 + k) float64, grey levels: over the pole, then from row to row below it.

    Over a pole, the pixel opposite on the same row is as far away as the next row is: one row's height. k is H / 16,
    two at least.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    height, width = frames.shape[1:3]
    count = max(2, height // _NEAR)
    steps = []
    for rows in (frames[:, : count + 1], frames[:, : -count - 2 : -1]):
        near = rows.astype(np.int16)
        over = np.abs(near[:, :1] - np.roll(near[:, :1], width // 2, axis=2))
        steps.append(np.concatenate([over, np.abs(np.diff(near, axis=1))], axis=1).mean(axis=(2, 3)))
    return np.stack(steps, axis=1)


def pole_ratio(steps: np.ndarray, floor: float) -> float:
    """Step over the pole / median step from row to row near it, of the worse pole; 1 if nothing steps.

    Args:
        steps: (2, 1 + k) grey levels, averaged over frames.
        floor: step in grey levels that nobody sees.
    """
    return float(((steps[:, 0] + floor) / (np.median(steps[:, 1:], axis=1) + floor)).max())


@lru_cache
def across_edges(width: int) -> torch.Tensor:
    """Directions across the 12 edges of the cube, (2K, 12 n, 3) float32: lines along the edges, 2 pixels apart.

    The edges are those of the faces front, right, back, left, up and down. The step from line K - 1 to line K crosses
    the edge in the middle, two pixels wide, so that an ERP made from cube faces by bilinear interpolation shows all of
    its step there; the other steps lie inside the faces.

    Args:
        width: of the ERP; its pixel at the equator is the unit.
    """
    lines, points = 6, max(4, width // 8)
    offsets = (torch.arange(-lines, lines, dtype=torch.float64) + 0.5) * 2 * (2 * math.pi / width)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    share = ((torch.arange(points, dtype=torch.float64) + 0.5) / points)[:, None]
    rays = []
    for a, b in itertools.combinations(corners, 2):
        if int((a != b).sum()) != 1:
            continue  # a diagonal
        along = F.normalize(a * (1 - share) + b * share, dim=-1)
        normal = F.normalize(torch.linalg.cross(a, b), dim=-1)  # of the great circle that the edge lies on
        rays.append(along * offsets.cos()[:, None, None] + normal * offsets.sin()[:, None, None])
    return torch.cat(rays, dim=1).float()


def edge_steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute step from line to line along the cube's edges, (F, 2K - 1), grey levels; the middle one crosses.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    rays = across_edges(frames.shape[2])
    steps = []
    for frame in frames:
        sampled = sample_erp(torch.from_numpy(frame).permute(2, 0, 1)[None].float(), rays)[0]  # (3, 2K, 12 n)
        steps.append(sampled.diff(dim=1).abs().mean(dim=(0, 2)).double().numpy())
    return np.stack(steps)


def edge_ratio(steps: np.ndarray, floor: float) -> float:
    """Step across the edges / median step inside the faces, beside the edges; 1 if nothing steps.

    Args:
        steps: (2K - 1,) grey levels, averaged over frames.
        floor: step in grey levels that nobody sees.
    """
    middle = len(steps) // 2
    # The two steps next to the edge share a sample with it, and a half-smeared edge: left out.
    inside = np.concatenate([steps[: middle - 1], steps[middle + 2 :]])
    return float((steps[middle] + floor) / (np.median(inside) + floor))


class _Edges(Metric):
    criterion: ClassVar[Criterion] = "end_continuity"
    direction: ClassVar[Direction] = "lower"
    unit: ClassVar[str] = "1"
    version: ClassVar[int] = 1
    floor_levels: float = Field(0.25, gt=0)  # grey levels of 255


class PoleRatio(_Edges):
    """Step over the pole / step from row to row near it, lower is better, about 1 on a sphere; the worse pole counts.

    The seam ratio at the poles: on a sphere the picture goes on over the pole on the opposite meridian, and a flat
    picture stretched to 2:1 does not. Source: this project.
    """

    name: ClassVar[str] = "pole_ratio"
    summary: ClassVar[str] = "step over the pole / from row to row beside it, of the worse pole; 1 = goes on over it"
    claims: ClassVar[Claims] = claims(
        rises="perspective", level="flicker shuffled frozen", floor=Floor("clean", 0.6, 1.8)
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See pole_steps."""
        return pole_steps(video.new(video.frames))

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See pole_ratio."""
        return pole_ratio(rows.mean(axis=0), self.floor_levels)


class CubeEdgeRatio(_Edges):
    """Step across the 12 edges of the cube / step inside its faces, lower is better, about 1 if nothing shows.

    For methods that make six faces and join them; the faces are those that look ahead, right, back, left, up and down,
    so a video that was turned after joining hides its edges. Neither a seam nor the poles make it rise.
    Source: this project.
    """

    name: ClassVar[str] = "cube_edge_ratio"
    summary: ClassVar[str] = "step across the 12 cube edges / beside them, for methods that join faces; 1 = none shows"
    claims: ClassVar[Claims] = claims(
        rises="cube_edges", level="flicker shuffled frozen blur noise", floor=Floor("clean", 0.7, 1.4), yaw="edge"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See edge_steps."""
        return edge_steps(video.new(video.frames))

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See edge_ratio."""
        return edge_ratio(rows.mean(axis=0), self.floor_levels)
