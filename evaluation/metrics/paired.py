"""Reconstruction: how near is a video to the true one, frame by frame? Every pixel counts by its area on the sphere."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from core.flow import flow_to_directions
from core.sphere import angle_between, pad_sphere
from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.ssim import WINDOW, ssim_map
from evaluation.pixels import luma

# Identical frames have no finite PSNR; this is what they read, and the most that is ever read.
MOST_DB = 100.0
_POINTS = 655_362


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


@lru_cache
def sphere_shares(height: int) -> np.ndarray:
    """(H, 2H) float64, sum 1: share of the points of S-PSNR that fall into each pixel; read-only.

    As many points as the original (655,362), spread evenly as a Fibonacci lattice, each in its nearest pixel.
    """
    index = np.arange(_POINTS) + 0.5
    latitude = np.arcsin(1 - 2 * index / _POINTS)
    longitude = np.mod(index * (3 - np.sqrt(5)) / 2, 1)  # turns, by the golden angle
    rows = np.minimum((0.5 - latitude / np.pi) * height, height - 1).astype(int)
    columns = np.minimum(longitude * 2 * height, 2 * height - 1).astype(int)
    shares = np.bincount(rows * 2 * height + columns, minlength=2 * height * height) / _POINTS
    shares = shares.reshape(height, 2 * height)
    shares.setflags(write=False)
    return shares


def weighted_ssim(frames: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean of the SSIM map of luma, (F,) float64, -1 to 1; windows go around the sphere and over poles.

    Args:
        frames: (F, H, W, 3) uint8.
        truth: as frames.
        weights: (H,) float64, sum 1.
    """
    rows = []
    for pair in zip(frames, truth, strict=True):
        a, b = (
            pad_sphere(luma(torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255), WINDOW // 2, WINDOW // 2)
            for x in pair
        )
        rows.append(float(ssim_map(a, b)[0, 0].double().mean(dim=1) @ torch.tensor(weights)))
    return np.array(rows)


def end_point_errors(flow: torch.Tensor, truth: torch.Tensor, weights: np.ndarray) -> np.ndarray:
    """Area-weighted mean great-circle angle between the ends of two flow fields, (T,) float64, degrees.

    Args:
        flow: (T, 2, H, W) float, pixels.
        truth: as flow.
        weights: (H,) float64, sum 1.
    """
    angles = angle_between(flow_to_directions(flow.double()), flow_to_directions(truth.double()))
    return np.degrees((angles.mean(dim=-1) @ torch.tensor(weights)).numpy())


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
    claims: ClassVar[Claims] = claims(
        falls="broken_seam flicker blur noise perspective", floor=Floor("identical", MOST_DB, MOST_DB)
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See weighted_squares."""
        assert video.truth is not None
        return weighted_squares(video.new(video.frames), video.new(video.truth.frames), video.row_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See psnr."""
        return psnr(rows)


class WsSsim(_Paired):
    """WS-SSIM against the true video, 0 to 1 (below 0 in theory), higher is better; 1 for identical frames.

    SSIM map of luma with the usual window (11 x 11, Gaussian of 1.5), which goes around the sphere, weighted by area.
    Source: Zhou et al. 2018, "Weighted-to-Spherically-Uniform SSIM"; Wang et al. 2004.
    """

    name: ClassVar[str] = "ws_ssim"
    unit: ClassVar[str] = "SSIM"
    direction: ClassVar[Direction] = "higher"
    summary: ClassVar[str] = "SSIM against the true video, windows weighted by their area on the sphere"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired"})
    claims: ClassVar[Claims] = claims(falls="blur noise", floor=Floor("identical", 1 - 1e-9, 1 + 1e-9))

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See weighted_ssim."""
        assert video.truth is not None
        return weighted_ssim(video.new(video.frames), video.new(video.truth.frames), video.row_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over frames."""
        return float(rows.mean())


class SPsnr(_Paired):
    """S-PSNR against the true video, decibels, higher is better; 100 for identical frames.

    At 655,362 points spread evenly over the sphere, each read at its nearest pixel (S-PSNR-NN). A yaw moves the points
    against the pixels, and the number by about 0.01 dB. Source: Yu, Lakshman & Girod 2015.
    """

    name: ClassVar[str] = "s_psnr"
    unit: ClassVar[str] = "dB"
    direction: ClassVar[Direction] = "higher"
    summary: ClassVar[str] = "PSNR against the true video at points spread evenly over the sphere"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired"})
    claims: ClassVar[Claims] = claims(falls="blur noise", floor=Floor("identical", MOST_DB, MOST_DB), yaw="spread")

    def update(self, video: VideoFeatures) -> np.ndarray:
        """Mean squared difference at the points, (N,)."""
        assert video.truth is not None
        difference = video.new(video.frames).astype(np.int32) - video.new(video.truth.frames)
        return np.einsum("fhw,hw->f", (difference**2).mean(axis=3), sphere_shares(difference.shape[1]))

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See psnr."""
        return psnr(rows)


class EndPointError(_Paired):
    """Spherical end-point error of the flow against the true video's, degrees, lower is better; 0 if they move alike.

    Great-circle distance between where the flow of both videos leads, by area. Both flows are estimated the same way,
    so it compares motion, not estimators. Source: 360-degree optical flow benchmarks (Artizzu et al. 2021).
    """

    name: ClassVar[str] = "end_point_error"
    unit: ClassVar[str] = "degrees"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "motion_pattern"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "great-circle distance between the ends of this flow and of the true video's"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow", "true_flow"})
    claims: ClassVar[Claims] = claims(
        rises="shuffled frozen pan", level="broken_seam", floor=Floor("identical", 0, 1e-6), yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See end_point_errors; one row per pair of frames."""
        assert video.flow is not None
        assert video.truth is not None
        assert video.truth.flow is not None
        return end_point_errors(video.flow, video.truth.flow, video.row_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over pairs of frames."""
        return float(rows.mean())


class ViewLpips(_Paired):
    """LPIPS (AlexNet) between views of the video and of the true one, lower is better, 0 if identical.

    By solid angle, averaged over frames. Source: Zhang et al. 2018, on tangent views.
    """

    name: ClassVar[str] = "view_lpips"
    unit: ClassVar[str] = "LPIPS"
    direction: ClassVar[Direction] = "lower"
    summary: ClassVar[str] = "LPIPS (AlexNet) against the true video on views all over the sphere"
    needs: ClassVar[frozenset[Need]] = frozenset({"paired_lpips"})
    claims: ClassVar[Claims] = claims(rises="blur noise perspective", floor=Floor("identical", 0, 1e-6), yaw="spread")
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
