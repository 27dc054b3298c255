"""Sharpness, noise and contrast of what a viewer sees: on views, where nothing is stretched as at the poles of an ERP.

Only blur has a direction; noise and contrast are neither good nor bad by themselves, and stand beside it because each
fakes it: noise makes a picture measure sharp, and low contrast hides blur. All three are of luma, and views weigh by
solid angle.
"""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, claims

_LEAST_VARIATION = 0.01  # grey levels; below it a picture is plain, and its steps are rounding


def blur_effect(statistics: np.ndarray) -> float:
    """Share of the variation that a further blur would leave untouched, 0 (sharp) to 1 (blurred or plain).

    1 - sum of what the blur takes away / sum of variation, of the blurrier direction (Crete et al. 2007).

    Args:
        statistics: (6,) mean of view_statistics.
    """
    variation, lost = statistics[[0, 2]], statistics[[1, 3]]
    return float((1 - lost / np.maximum(variation, _LEAST_VARIATION)).max())


class _ViewQuality(Metric):
    criterion: ClassVar[Criterion] = "graphics_quality"
    version: ClassVar[int] = 1
    needs: ClassVar[frozenset[Need]] = frozenset({"view_statistics"})

    def update(self, video: VideoFeatures) -> np.ndarray:
        """(N, 6): view_statistics, by solid angle."""
        assert video.view_weights is not None
        return np.einsum("nvk,v->nk", video.arrays["view_statistics"].astype(np.float64), video.view_weights)


class ViewBlur(_ViewQuality):
    """Blur effect of the views, 0 (sharp) to 1 (blurred), lower is better; read it beside view_noise.

    How little changes if the view is blurred with a box of nine pixels. Pooled over views before the ratio is taken, so
    a plain sky, which has nothing to be sharp, does not count as blurred.
    Source: Crete, Dolmiere, Ladret & Nicolas 2007, "The blur effect", on tangent views.
    """

    name: ClassVar[str] = "view_blur"
    unit: ClassVar[str] = "1"
    direction: ClassVar[Direction] = "lower"
    summary: ClassVar[str] = "blur effect (Crete 2007) of the views: 0 = sharp, 1 = blurred; noise reads as sharp"
    claims: ClassVar[Claims] = claims(rises="blur", level="broken_seam flicker shuffled frozen", yaw="spread")

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See blur_effect."""
        return blur_effect(rows.mean(axis=0))


class ViewNoise(_ViewQuality):
    """Noise of the views, standard deviation in grey levels, neither is better: fine texture counts as noise.

    Sampling the views averages neighbours, so white noise of the ERP reads about two thirds of itself.
    Source: Immerkaer 1996, "Fast noise variance estimation".
    """

    name: ClassVar[str] = "view_noise"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "none"
    summary: ClassVar[str] = "noise of the views (Immerkaer 1996); fine texture counts as noise"
    claims: ClassVar[Claims] = claims(rises="noise", falls="blur", level="broken_seam shuffled frozen", yaw="spread")

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean absolute response x sqrt(pi / 2) / 6: what that filter makes of white noise."""
        return float(np.sqrt(np.pi / 2) / 6 * rows.mean(axis=0)[4])


class ViewContrast(_ViewQuality):
    """Contrast of the views, standard deviation of luma in grey levels, neither is better.

    Source: RMS contrast (Peli 1990).
    """

    name: ClassVar[str] = "view_contrast"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "none"
    summary: ClassVar[str] = "standard deviation of luma within each view"
    claims: ClassVar[Claims] = claims(rises="noise", falls="blur", level="shuffled frozen", yaw="spread")

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over views and frames."""
        return float(rows.mean(axis=0)[5])
