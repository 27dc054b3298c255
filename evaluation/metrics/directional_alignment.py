"""Is what the prompt places somewhere to be seen there?"""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, claims


def placed_alignment(views: np.ndarray, parts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Mean over parts p of sum_v s(p, v) cos(f(t, v), text(p)), for each frame t: (F,) float64, -1 to 1.

    Args:
        views: (F, V, D) float, unit norm.
        parts: (P, D) float, unit norm, P >= 1.
        shares: (P, V) float, each row sums to 1: the views where the part is to be seen.
    """
    cosines = np.einsum("fvd,pd->fpv", views.astype(np.float64), parts.astype(np.float64))
    return (cosines * shares).sum(axis=2).mean(axis=1)


class DirectionalAlignment(Metric):
    """Cosine between each part of the prompt that names a direction and the views there; higher is better.

    "A castle behind the viewer" is compared with what is seen behind, "a cloudy sky" with what is seen above
    (evaluation/directions.py). Raw cosine, as clip_alignment. A prompt that places nothing gives no value. Source: this
    project.
    """

    name: ClassVar[str] = "directional_alignment"
    unit: ClassVar[str] = "cosine"
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "content_distribution"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = (
        "CLIP of what the prompt places (behind, above, at the horizon, sky) against the views there"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"views", "prompt", "prompt_parts"})
    claims: ClassVar[Claims] = claims(
        falls="wrong_caption", level="broken_seam misaligned_seam frozen shuffled", yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See placed_alignment; no rows if the prompt places nothing."""
        assert video.view_embeddings is not None
        assert video.part_embeddings is not None
        assert video.part_shares is not None
        if not len(video.part_embeddings):
            return np.empty(0)
        return placed_alignment(video.new(video.view_embeddings), video.part_embeddings, video.part_shares)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Mean over frames."""
        return float(rows.mean())
