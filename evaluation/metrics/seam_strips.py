"""End continuity as an eye sees it: how much does a strip change when a line in its middle is taken away?

See evaluation/strips.py for the strips, and for why the other meridians are the multiples of W / 16.
"""

from typing import ClassVar

import numpy as np
import torch

from evaluation.features import Need, VideoFeatures, row_weights
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.ssim import WINDOW, ssim_map
from evaluation.pixels import luma
from evaluation.strips import bridged, strips


def strip_ssim(frames: np.ndarray) -> np.ndarray:
    """SSIM between each strip and its bridged self, (F, 16), -1 to 1, the seam's first; latitude-weighted, of luma.

    Args:
        frames: (F, H, W, 3) uint8.
    """
    height = frames.shape[1]
    weights = torch.tensor(row_weights(height))[WINDOW // 2 : height - WINDOW // 2].float()
    rows = []
    for frame in frames:
        around = strips(luma(torch.from_numpy(frame).permute(2, 0, 1).float() / 255))  # (16, 1, H, w)
        similar = ssim_map(around, bridged(around))
        rows.append((similar.mean(dim=(1, 3)) @ (weights / weights.sum())).double().numpy())
    return np.stack(rows)


def excess(meridians: np.ndarray) -> float:
    """Value at the seam minus the median of the other meridians.

    Args:
        meridians: (F, 16), the seam's first; averaged over frames before anything else.
    """
    mean = meridians.mean(axis=0)
    return float(mean[0] - np.median(mean[1:]))


class SeamSsim(Metric):
    """SSIM that bridging the seam leaves, minus what bridging elsewhere leaves; higher is better, 0 if seamless.

    Source: this project; SSIM of Wang et al. 2004 on strips, after the seam crops of PanFusion (Zhang et al. 2024).
    """

    name: ClassVar[str] = "seam_ssim"
    unit: ClassVar[str] = "SSIM"
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "end_continuity"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "SSIM of the seam's strip to itself without the seam, less that elsewhere; 0 = seamless"
    claims: ClassVar[Claims] = claims(
        falls="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen",
        floor=Floor("clean", -0.01, 0.01),
        yaw="edge",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See strip_ssim."""
        return strip_ssim(video.new(video.frames))

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See excess."""
        return excess(rows)


class SeamLpips(Metric):
    """LPIPS (AlexNet) from the seam's strip to itself bridged, minus that elsewhere; lower is better, 0 if seamless.

    Source: this project; LPIPS of Zhang et al. 2018, heads included, after the seam crops of PanFusion.
    """

    name: ClassVar[str] = "seam_lpips"
    unit: ClassVar[str] = "LPIPS"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "end_continuity"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "LPIPS of the seam's strip to itself without the seam, less that elsewhere; 0 = seamless"
    needs: ClassVar[frozenset[Need]] = frozenset({"strip_lpips"})
    array: ClassVar[str] = "strip_lpips"
    claims: ClassVar[Claims] = claims(
        rises="broken_seam misaligned_seam perspective",
        level="flicker shuffled frozen",
        floor=Floor("clean", -0.01, 0.01),
        yaw="edge",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """(N, 16) LPIPS, the seam's first."""
        return video.arrays[self.array].astype(np.float64)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See excess."""
        return excess(rows)


class SeamLpipsJudge(SeamLpips):
    """seam_lpips in the judge's image tower instead of AlexNet, lower is better, 0 if seamless.

    Not the published LPIPS: every channel of every stage weighs the same, so its scale is its own.
    Source: this project, after Zhang et al. 2018.
    """

    name: ClassVar[str] = "seam_lpips_judge"
    unit: ClassVar[str] = "judge distance"
    summary: ClassVar[str] = "seam_lpips with the judge's tower in place of AlexNet; not LPIPS itself; 0 = seamless"
    needs: ClassVar[frozenset[Need]] = frozenset({"strip_lpips_judge"})
    array: ClassVar[str] = "strip_lpips_judge"
