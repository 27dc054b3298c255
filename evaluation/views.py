"""The declared set of tangent views through which networks for flat pictures look at a panorama.

A network that sees a raw ERP sees a distorted picture whose middle is cropped out and whose seam and poles never count.
So a panorama is looked at through perspective views spread over the sphere, and each view's score is weighted by the
solid angle it stands for: the share of the sphere that is nearer to its centre than to any other view's centre. The
weights sum to 1, replace the latitude weight of ERP pixels, and are never combined with it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from core.errors import PanobenchError, did_you_mean
from core.sphere import (
    directions_to_lonlat,
    erp_directions,
    latitude_weights,
    lonlat_to_directions,
    sample_erp_grid,
    sampling_grid,
    view_directions,
)

# name -> (yaw, pitch) of the view centres, in degrees. The four-fold symmetry of both makes a yaw of the whole video
# by a multiple of 90 degrees a permutation of the views.
VIEW_SETS: dict[str, tuple[tuple[float, float], ...]] = {
    # The faces of a cube: with a field of view of 90 degrees every direction is seen exactly once.
    "cube6": ((0, 0), (90, 0), (180, 0), (270, 0), (0, 90), (0, -90)),
    # Four views around the horizon, four above and four below, turned by 45 degrees against each other: the horizon
    # views are what people look at, the others reach from the horizon to the poles; they overlap.
    "sphere12": (
        *((yaw, 0.0) for yaw in (0, 90, 180, 270)),
        *((yaw, 45.0) for yaw in (45, 135, 225, 315)),
        *((yaw, -45.0) for yaw in (45, 135, 225, 315)),
    ),
}


@dataclass(frozen=True)
class ViewSet:
    """View centres, field of view and size.

    Attributes:
        name: key of VIEW_SETS.
        fov_deg: horizontal and vertical field of view, degrees, between 1 and 170.
        size: width and height of a view in pixels. Networks that take another size get the views resized.
    """

    name: str
    fov_deg: float
    size: int

    def __post_init__(self) -> None:
        if self.name not in VIEW_SETS:
            known = sorted(VIEW_SETS)
            hint = did_you_mean(self.name, known)
            raise PanobenchError(f"unknown view set '{self.name}'{hint} (known: {', '.join(known)})")
        if self.size < 1:
            raise PanobenchError(f"the views' size must be a pixel or more, got {self.size}")
        if not 1 <= self.fov_deg <= 170:
            raise PanobenchError(f"the views' field of view must lie between 1 and 170 degrees, got {self.fov_deg:g}")

    @property
    def centres(self) -> torch.Tensor:
        """(V, 3) float32 unit directions of the view centres."""
        angles = torch.tensor(VIEW_SETS[self.name], dtype=torch.float64).deg2rad()
        return lonlat_to_directions(angles[:, 0], angles[:, 1]).float()

    @cache  # noqa: B019 - a frozen value; a run has one
    def weights(self) -> torch.Tensor:
        """(V,) float64: share of the sphere nearest to each view's centre; sums to 1."""
        height = 256  # fine enough for three digits, and the four-fold symmetry is exact
        directions = erp_directions(height, 2 * height).reshape(-1, 3)
        nearest = (directions @ self.centres.T.to(directions)).double()
        # Directions on a border are shared between the views that they are equally near to.
        winners = (nearest >= nearest.max(dim=1, keepdim=True).values - 1e-6).double()
        area = latitude_weights(height).double().repeat_interleave(2 * height)
        share = (winners / winners.sum(dim=1, keepdim=True) * area[:, None]).sum(dim=0)
        return share / share.sum()

    def extract(self, frames: torch.Tensor) -> torch.Tensor:
        """All views of all frames in one sampling pass.

        Where the ERP has more pixels per radian than the view, the view is rendered several times as large and averaged
        down, so that fine texture does not alias.

        Args:
            frames: (F, 3, H, W) float, ERP with W = 2H, [0, 1].

        Returns:
            (F, V, 3, S, S) float, [0, 1].
        """
        factor, grid = self._grid(frames.shape[-1])
        sampled = sample_erp_grid(frames, grid)  # (F, 3, V * side, side)
        if factor > 1:
            sampled = F.avg_pool2d(sampled, factor)
        stacked = sampled.unflatten(2, (len(VIEW_SETS[self.name]), self.size))
        return stacked.movedim(2, 1).clamp(0, 1)

    @cache  # noqa: B019 - as above; every frame is looked at from the same places
    def _grid(self, width: int) -> tuple[int, torch.Tensor]:
        """How many times as large as it is a view is rendered, and where its pixels lie in an ERP of this width.

        The second is (1, V * side, side, 2) float32, as ``sample_erp_grid`` takes it.
        """
        fov = math.radians(self.fov_deg)
        factor = max(1, math.ceil(width * math.tan(fov / 2) / (math.pi * self.size)))
        side = factor * self.size
        rays = [
            view_directions(side, side, fov, math.radians(yaw), math.radians(pitch), 0.0)
            for yaw, pitch in VIEW_SETS[self.name]
        ]
        lon, lat = directions_to_lonlat(torch.cat(rays))
        x, y = (lon / (2 * math.pi) + 0.5) * width, (0.5 - lat / math.pi) * (width / 2)
        return factor, sampling_grid(x[None], y[None], width // 2)


def resize_views(views: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures (N, 3, S, S) in [0, 1] at the side that a network takes: bicubic and antialiased, as CLIP's own resize.

    Nothing happens if they have it already.
    """
    if views.shape[-1] == size:
        return views
    return F.interpolate(views, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


@dataclass(frozen=True)
class ViewOptions:
    """``scoring.views`` of the parameters: which view set, how wide its views are, and of how many pixels.

    Without a size, views are as fine as the ERP is at the horizon, so that extracting them neither blurs nor aliases.
    """

    set: str = "sphere12"
    fov_deg: float = 90.0
    size: int | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any], source: str = "params.yaml") -> "ViewOptions":
        """From the parameter file.

        Raises:
            PanobenchError: an unknown key, or a value of the wrong type.
        """
        for key, value in options.items():
            wanted = {"set": str, "fov_deg": (int, float), "size": int}
            if key not in wanted:
                hint = did_you_mean(key, list(wanted)) or f" (known: {', '.join(wanted)})"
                raise PanobenchError(f"{source}: scoring.views.{key}: unknown key{hint}")
            if not isinstance(value, wanted[key]) or isinstance(value, bool):  # type: ignore[arg-type]
                what = {"set": "a name", "fov_deg": "a number of degrees", "size": "a whole number of pixels"}[key]
                raise PanobenchError(f"{source}: scoring.views.{key} is {value!r}, expected {what}")
        return cls(**options)

    def view_set(self, width: int) -> ViewSet:
        """The view set for videos of this width in pixels."""
        size = self.size or max(1, round(width * math.tan(math.radians(self.fov_deg) / 2) / math.pi))
        return ViewSet(self.set, float(self.fov_deg), size)
