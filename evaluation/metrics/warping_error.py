"""Does what moves keep its look? Frame differences after the motion is taken out."""

from typing import ClassVar

import numpy as np
import torch

from core.flow import forward_backward_mask, warp_erp
from evaluation.features import Need, VideoFeatures, row_weights
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.patches import patch_means


def warped_difference(
    frames: np.ndarray,  # (F, H, W, 3) uint8
    flow: torch.Tensor,  # (F-1, 2, H, W) float32 pixels, t to t+1
    mask: torch.Tensor,  # (F-1, H, W) bool, where the flow can be trusted
    weights: np.ndarray,  # (H,) float64, sum 1
) -> np.ndarray:
    """Sums over the sphere of each pair of frames: (F-1, 6) float64, grey levels 0 to 255.

    With e = |x(t) - warp(x(t+1))|, d = |x(t) - x(t+1)|, and b the absolute mean over a patch of the sphere (11 degrees)
    of m (x(t) - warp(x(t+1))), signed: 0 w m e; 1 w m; 2 w e; 3 w; 4 w m d; 5 w m b. warp fetches the next frame along
    the flow, around the seam; m is the mask.
    """
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    signed = x[:-1] - warp_erp(x[1:], flow)  # (F-1, 3, H, W)
    error = signed.abs().mean(dim=1).double()
    plain = (x[:-1] - x[1:]).abs().mean(dim=1).double()
    whole = torch.tensor(weights)[:, None].expand_as(error)
    seen = whole * mask
    brightness = patch_means(signed, mask).abs().mean(dim=1).double()
    columns = [error * seen, seen, error * whole, whole, plain * seen, brightness * seen]
    return torch.stack([column.sum(dim=(1, 2)) for column in columns], dim=1).numpy()


def warping_error(sums: np.ndarray) -> float:
    """Sum w m e / sum w m over pixels and pairs; of all pixels if nothing can be followed anywhere.

    Args:
        sums: (T, 6) from warped_difference.
    """
    error, seen, whole_error, whole = sums.sum(axis=0)[:4]
    return float(error / seen if seen > 0 else whole_error / whole)


def trusted_flow_of(video: VideoFeatures) -> torch.Tensor:
    """(F-1, H, W) bool: where forward and backward flow agree, so that nothing is uncovered or hidden."""
    assert video.flow is not None
    assert video.flow_backward is not None
    return forward_backward_mask(video.flow, video.flow_backward)


def warped_difference_of(video: VideoFeatures) -> np.ndarray:
    """See warped_difference; shared by the metrics that read it."""
    assert video.flow is not None
    assert video.flow_frames is not None
    weights = row_weights(video.flow_frames.shape[1])
    return warped_difference(video.flow_frames, video.flow, video.once(trusted_flow_of), weights)


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
    version: ClassVar[int] = 3
    summary: ClassVar[str] = "frame difference along the flow, occlusion-masked and wrap-aware; a frozen video scores 0"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})
    claims: ClassVar[Claims] = claims(
        rises="flicker noise",
        falls="frozen",
        level="broken_seam misaligned_seam",
        floor=Floor("frozen", 0, 0.001),
        yaw="spread",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See warped_difference."""
        return video.once(warped_difference_of)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See warping_error."""
        return warping_error(rows)


def compensated_flicker(sums: np.ndarray) -> float:
    """Sum w m b / sum w m over pixels and pairs; 0 if nothing can be followed anywhere.

    Args:
        sums: (T, 6) from warped_difference.
    """
    seen = sums[:, 1].sum()
    return float(sums[:, 5].sum() / seen if seen > 0 else 0.0)


def coherent_share(sums: np.ndarray, floor: float) -> float:
    """Mean over pairs of s (1 - (e + floor) / (d + floor)), at least 0: what of the change the motion explains.

    s is the share of the sphere on which the flow can be trusted: between unrelated pictures a flow can always be found
    that makes them more alike, but it does not lead back.

    Args:
        sums: (T, 6) from warped_difference.
        floor: grey levels that nobody sees; a pair of equal frames gives 0.
    """
    seen = np.maximum(sums[:, 1], 1e-12)
    moved, still = sums[:, 0] / seen, sums[:, 4] / seen
    gain = np.maximum(1 - (moved + floor) / (still + floor), 0)
    return float((gain * sums[:, 1] / sums[:, 3]).mean())
