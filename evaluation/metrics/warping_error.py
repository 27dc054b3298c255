"""Does what moves keep its look? Frame differences after the motion is taken out."""

from typing import ClassVar

import numpy as np
import torch

from core.flow import forward_backward_mask, warp_erp
from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric


def warped_difference(
    frames: np.ndarray,  # (F, H, W, 3) uint8
    flow: torch.Tensor,  # (F-1, 2, H, W) float32 pixels, t to t+1
    flow_backward: torch.Tensor,  # (F-1, 2, H, W) float32 pixels, t+1 to t
    weights: np.ndarray,  # (H,) float64, sum 1
) -> np.ndarray:
    """The four sums over the sphere that the error is made of, for each pair of frames: (F-1, 4) float64.

    sum w m e, sum w m, sum w e, sum w with e = |x(t) - warp(x(t+1))|, grey levels 0 to 255. warp fetches the next frame
    along the flow, around the seam; m is 1 where forward and backward flow agree, 0 where something is uncovered or
    hidden.
    """
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    error = (x[:-1] - warp_erp(x[1:], flow)).abs().mean(dim=1).double()  # (F-1, H, W)
    whole = torch.tensor(weights)[:, None].expand_as(error)
    seen = whole * forward_backward_mask(flow, flow_backward)
    sums = [
        (error * seen).sum(dim=(1, 2)),
        seen.sum(dim=(1, 2)),
        (error * whole).sum(dim=(1, 2)),
        whole.sum(dim=(1, 2)),
    ]
    return torch.stack(sums, dim=1).numpy()


def warping_error(sums: np.ndarray) -> float:
    """Sum w m e / sum w m over pixels and pairs; of all pixels if nothing can be followed anywhere.

    Args:
        sums: (T, 4) from warped_difference.
    """
    error, seen, whole_error, whole = sums.sum(axis=0)
    return float(error / seen if seen > 0 else whole_error / whole)


def warped_difference_of(video: VideoFeatures) -> np.ndarray:
    """See warped_difference; shared by the metrics that read it."""
    assert video.flow is not None
    assert video.flow_backward is not None
    return warped_difference(video.frames, video.flow, video.flow_backward, video.row_weights)


class WarpingError(Metric):
    """Mean absolute difference to the next frame fetched along the flow, grey levels, lower is better.

    Occlusion-masked, latitude-weighted, and the flow may cross the seam. Interpolation blurs what moves by fractions of
    a pixel, so a perfect moving video is above 0, and a frozen one is 0: read it beside motion_speed.
    Source: Lai et al. 2018 (planar, squared error), made spherical here.
    """

    name: ClassVar[str] = "warping_error"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "frame_consistency"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "frame difference along the flow, occlusion-masked and wrap-aware; a frozen video scores 0"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See warped_difference."""
        return video.once(warped_difference_of)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See warping_error."""
        return warping_error(rows)
