"""What a metric is: data about itself, parameters, and two pure steps: rows of a stretch of frames, and their value.

A clip is never held as a whole: it comes in stretches of frames (evaluation/features.py). ``update`` turns a stretch
into rows, one per new frame or per pair of frames; the rows of all stretches, one after the other, go to ``compute``.
So memory does not grow with the length of a clip, and where it was cut changes nothing.
"""

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
    the tests prove. Networks never appear here; their outputs are in the features. It defines ``update`` and
    ``compute``, and ``digest`` if it needs the reference.

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
    def update(self, video: VideoFeatures) -> np.ndarray:
        """(N, ...) float64: one row for each frame that is new in this stretch, or for each pair of its frames.

        Args:
            video: a stretch of frames; the features that ``needs`` names are present.
        """

    @abstractmethod
    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """The value of one video, a finite number in ``unit``.

        Args:
            rows: (N, ...) float64, what ``update`` returned, over all stretches.
            reference: (R, ...) float64, what ``digest`` returned for each reference video; None unless needed.
        """

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """What the metric keeps of one reference video; only for metrics that need the reference."""
        raise NotImplementedError(f"{self.name} needs no reference")

    def measure(self, video: VideoFeatures, reference: np.ndarray | None = None) -> float:
        """The value of a video that is one stretch."""
        return self.compute(self.update(video), reference)

    def describe(self, video: VideoFeatures) -> np.ndarray:
        """``digest`` of a reference video that is one stretch."""
        return self.digest(self.update(video))
