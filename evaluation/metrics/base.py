"""What a metric is: data about itself, parameters, and one measurement per video."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from evaluation.features import VideoFeatures

Direction = Literal["higher", "lower", "none"]
Criterion = Literal[
    "graphics_quality", "frame_consistency", "end_continuity", "content_distribution", "motion_pattern"
]  # the five questions of the study
Need = Literal["prompt", "views", "flow", "reference"]


class Metric(ABC, BaseModel):
    """A metric with its parameters, which are the fields of the subclass; they come from params.yaml.

    A subclass holds no arithmetic: it calls pure functions over arrays, which stand beside it in its file and are what
    the tests prove. Networks never appear here; their outputs are in the features.

    Attributes:
        name: key in params.yaml and in every table.
        unit: unit of the value; "1" for a pure number.
        direction: which way is better; "none" if neither is.
        criterion: the question of the study that the metric stands for.
        version: raised whenever the same video would get another value.
        summary: one line for `panobench metrics`.
        needs: features it reads besides the frames; "flow" gives both directions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[Direction]
    criterion: ClassVar[Criterion]
    version: ClassVar[int]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def measure(self, video: VideoFeatures, reference: np.ndarray | None = None) -> float:
        """The value of one video.

        Args:
            video: the features that ``needs`` names are present.
            reference: (R, ...) float64, what ``describe`` returned for each reference video; None unless needed.

        Returns:
            A finite number in ``unit``.
        """

    def describe(self, video: VideoFeatures) -> np.ndarray:
        """What the metric keeps of one reference video; only for metrics that need the reference."""
        raise NotImplementedError(f"{self.name} needs no reference")
