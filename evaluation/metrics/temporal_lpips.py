"""Does each view change by little from frame to frame, as a network sees it?"""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims


class TemporalLpips(Metric):
    """tLPIPS: LPIPS (AlexNet) between consecutive frames of each view, lower is better, 0 if frozen.

    By solid angle, mean over pairs of frames. Motion counts too, and a frozen video wins: read it beside motion_speed.
    Source: temporal perceptual consistency of TecoGAN (Chu et al. 2020), without its ground truth, on tangent views.
    """

    name: ClassVar[str] = "tlpips"
    unit: ClassVar[str] = "LPIPS"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "frame_consistency"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "LPIPS (AlexNet) of consecutive frames on views all over the sphere; a frozen video scores 0"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"view_lpips"})
    array: ClassVar[str] = "view_lpips"
    claims: ClassVar[Claims] = claims(
        rises="flicker noise",
        falls="frozen",
        level="broken_seam misaligned_seam",
        floor=Floor("frozen", 0, 1e-6),
        yaw="spread",
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """sum_v w(v) d(t, v) of each pair of frames, (T,)."""
        assert video.view_weights is not None
        return video.arrays[self.array].astype(np.float64) @ video.view_weights

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over pairs of frames."""
        return float(rows.mean())


class TemporalLpipsJudge(TemporalLpips):
    """tlpips in the judge's image tower instead of AlexNet, lower is better, 0 if frozen.

    Not the published LPIPS: every channel of every stage weighs the same, so its scale is its own.
    Source: this project, after Chu et al. 2020.
    """

    name: ClassVar[str] = "tlpips_judge"
    unit: ClassVar[str] = "judge distance"
    summary: ClassVar[str] = (
        "distance of LPIPS's form in the judge's tower between consecutive frames; not LPIPS itself"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"view_lpips_judge"})
    array: ClassVar[str] = "view_lpips_judge"
