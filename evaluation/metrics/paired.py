"""Reconstruction: how near is a video to the true one, frame by frame? Every pixel counts by its area on the sphere."""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric

# Identical frames have no finite PSNR; this is what they read, and the most that is ever read.
MOST_DB = 100.0


def psnr(mean_squares: np.ndarray) -> float:
    """10 log10(255^2 / mean square), decibels, per frame, averaged; at most 100 for each frame.

    Args:
        mean_squares: (F,) float64, squared grey levels.
    """
    least = 255**2 / 10 ** (MOST_DB / 10)
    return float((10 * np.log10(255**2 / np.maximum(mean_squares, least))).mean())


def weighted_squares(frames: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean squared difference of each frame, (F,) float64, squared grey levels, over RGB.

    Args:
        frames: (F, H, W, 3) uint8.
        truth: as frames.
        weights: (H,) float64, sum 1.
    """
    difference = frames.astype(np.int32) - truth
    return (difference**2).mean(axis=(2, 3)) @ weights


class _Paired(Metric):
    criterion: ClassVar[Criterion] = "graphics_quality"
    version: ClassVar[int] = 1


class WsPsnr(_Paired):
    """WS-PSNR against the true video, decibels, higher is better; 100 for identical frames.

    Of the RGB error, per frame, averaged over frames. Source: Sun, Lu & Yu 2017, equations 6 to 9.
    """

    name: ClassVar[str] = "ws_psnr"
    unit: ClassVar[str] = "dB"
    direction: ClassVar[Direction] = "higher"
    summary: ClassVar[str] = "PSNR against the true video, pixels weighted by their area on the sphere"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired"})

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See weighted_squares."""
        assert video.truth is not None
        return weighted_squares(video.new(video.frames), video.new(video.truth.frames), video.row_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See psnr."""
        return psnr(rows)


class ViewLpips(_Paired):
    """LPIPS (AlexNet) between views of the video and of the true one, lower is better, 0 if identical.

    By solid angle, averaged over frames. Source: Zhang et al. 2018, on tangent views.
    """

    name: ClassVar[str] = "view_lpips"
    unit: ClassVar[str] = "LPIPS"
    direction: ClassVar[Direction] = "lower"
    summary: ClassVar[str] = "LPIPS (AlexNet) against the true video on views all over the sphere"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired_lpips"})
    array: ClassVar[str] = "paired_lpips"

    def update(self, video: VideoFeatures) -> np.ndarray:
        """sum_v w(v) d(t, v) of each new frame, (N,)."""
        assert video.view_weights is not None
        return video.arrays[self.array].astype(np.float64) @ video.view_weights

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over frames."""
        return float(rows.mean())


class ViewLpipsJudge(ViewLpips):
    """view_lpips in the judge's image tower instead of AlexNet, lower is better, 0 if identical.

    Not the published LPIPS: every channel of every stage weighs the same, so its scale is its own.
    Source: this project, after Zhang et al. 2018.
    """

    name: ClassVar[str] = "view_lpips_judge"
    unit: ClassVar[str] = "judge distance"
    summary: ClassVar[str] = "distance of LPIPS's form in the judge's tower against the true video; not LPIPS itself"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired_lpips_judge"})
    array: ClassVar[str] = "paired_lpips_judge"
