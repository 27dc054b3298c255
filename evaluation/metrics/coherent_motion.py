"""Does it move, and does what moves keep its look? Consistency and motion in one score, and flicker along the flow."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.warping_error import coherent_share, compensated_flicker, warped_difference_of


class CoherentMotion(Metric):
    """Share of the frame differences that following the motion takes away, 0 to 1, higher is better; 0 if frozen.

    Consistency metrics are won by the video that does not move. Here each pair of frames is credited with the change
    that is motion of something that keeps its look: frozen and repeated frames earn nothing, nor does flicker, which no
    flow explains. Slow motion of a smooth picture earns little. Source: this project.
    """

    name: ClassVar[str] = "coherent_motion"
    unit: ClassVar[str] = "1"
    direction: ClassVar[Direction] = "higher"
    criterion: ClassVar[Criterion] = "motion_pattern"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "share of the frame differences that is motion of what keeps its look; frozen scores 0"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})
    claims: ClassVar[Claims] = claims(
        falls="frozen flicker noise",
        level="broken_seam misaligned_seam blur",
        floor=Floor("frozen", 0, 0),
        yaw="spread",
    )
    floor_levels: float = Field(0.5, gt=0)  # grey levels of 255

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See warped_difference."""
        return video.once(warped_difference_of)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See coherent_share."""
        return coherent_share(rows, self.floor_levels)


class FlickerCompensated(Metric):
    """Brightness that changes along the motion, grey levels, lower is better; 0 if frozen, so read motion_speed too.

    The difference to the next frame fetched along the flow, averaged with its sign over patches of 11 degrees: what is
    left is patches that get brighter or darker as a whole. Texture that interpolation softens cancels, which it does
    not in warping_error. Source: temporal flickering of VBench (Huang et al. 2024) after warping as in Lai et al. 2018.
    """

    name: ClassVar[str] = "flicker_compensated"
    unit: ClassVar[str] = "grey levels"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "frame_consistency"
    version: ClassVar[int] = 2
    summary: ClassVar[str] = "change of brightness along the motion, over patches; motion itself does not count"
    needs: ClassVar[frozenset[Need]] = frozenset({"flow"})
    claims: ClassVar[Claims] = claims(
        rises="flicker", level="broken_seam misaligned_seam", floor=Floor("frozen", 0, 0.001), yaw="spread"
    )

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See warped_difference."""
        return video.once(warped_difference_of)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See compensated_flicker."""
        return compensated_flicker(rows)
