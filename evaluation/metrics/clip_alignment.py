"""Does the panorama show what the prompt says, all around and not only in the middle of the picture?"""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, claims


def weighted_alignment(views: np.ndarray, text: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_v w(v) cos(f(t, v), text) of each frame t, (F,) float64, -1 to 1.

    Args:
        views: (F, V, D) float, unit norm.
        text: (D,) float, unit norm.
        weights: (V,) float, sum 1.
    """
    return (views.astype(np.float64) @ text.astype(np.float64)) @ weights


class ClipAlignment(Metric):
    """Latitude-weighted CLIP: cosine of prompt and views, weighted by solid angle; higher is better.

    The views are spread over the sphere (evaluation/views.py) and weigh what they cover of it, so sky, ground, seam and
    rear count as much as they surround the viewer. Raw cosine: it compares methods under one judge, and its level means
    nothing. Source: CLIPScore (Hessel et al. 2021) per view as in PanoWan; the weighting is this project's.
    """

    name: ClassVar[str] = "clip_alignment"
    unit: ClassVar[str] = "cosine"
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "content_distribution"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "latitude-weighted CLIP: prompt against views all over the sphere, by solid angle"
    needs: ClassVar[frozenset[Need]] = frozenset({"views", "prompt"})
    claims: ClassVar[Claims] = claims(
        falls="wrong_caption", level="broken_seam misaligned_seam shuffled frozen", yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See weighted_alignment."""
        assert video.view_embeddings is not None
        assert video.text_embedding is not None
        assert video.view_weights is not None
        return weighted_alignment(video.new(video.view_embeddings), video.text_embedding, video.view_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over frames."""
        return float(rows.mean())
