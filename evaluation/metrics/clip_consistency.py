"""Does each view stay the same scene from frame to frame?"""

from typing import ClassVar

import numpy as np

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims


def weighted_frames(views: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One vector per frame, (F, V D) float64, whose inner products are sum_v w(v) cos(f(s, v), f(t, v)).

    Args:
        views: (F, V, D) float, unit norm.
        weights: (V,) float, sum 1.
    """
    x = views.astype(np.float64)
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)  # float32 norms are off by 1e-7, and a still video is 1 exactly
    return (x * np.sqrt(weights)[:, None]).reshape(len(x), -1)


def frame_consistency(frames: np.ndarray) -> float:
    """mean_{t>0} 1/2 [<f(t-1), f(t)> + <f(0), f(t)>], -1 to 1; 1 for a still video.

    Args:
        frames: (F, V D) from weighted_frames, F >= 2.
    """
    to_previous = (frames[1:] * frames[:-1]).sum(axis=-1)
    to_first = (frames[1:] * frames[:1]).sum(axis=-1)
    return float(((to_previous + to_first) / 2).mean())


class ClipConsistency(Metric):
    """CLIP frame consistency per tangent view, cosine, higher is better; read it beside motion_speed.

    A frozen video scores 1 and wins, so it means something only at equal motion. Source: background/subject
    consistency of VBench (Huang et al. 2024) and frame consistency of Gen-1 (Esser et al. 2023), on views.
    """

    name: ClassVar[str] = "clip_consistency"
    unit: ClassVar[str] = "cosine"
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "frame_consistency"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "CLIP similarity of each view to its previous and first frame; a frozen video scores 1"
    needs: ClassVar[frozenset[Need]] = frozenset({"views"})
    claims: ClassVar[Claims] = claims(
        rises="frozen", falls="flicker", level="broken_seam misaligned_seam", floor=Floor("frozen", 1, 1), yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See weighted_frames."""
        assert video.view_embeddings is not None
        assert video.view_weights is not None
        return weighted_frames(video.new(video.view_embeddings), video.view_weights)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See frame_consistency."""
        return frame_consistency(rows)
