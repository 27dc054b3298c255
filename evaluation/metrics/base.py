"""What a metric is: data about itself, parameters, and two pure steps: rows of a stretch of frames, and their value.

A clip is never held as a whole: it comes in stretches of frames (evaluation/features.py). ``update`` turns a stretch
into rows, one per new frame or per pair of frames; the rows of all stretches, one after the other, go to ``compute``.
So memory does not grow with the length of a clip, and where it was cut changes nothing.

A metric gives one value per video (``Metric``) or one per set of videos (``SetMetric``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from evaluation.features import Need, VideoFeatures
from evaluation.metrics.claims import Claims

Direction = Literal["higher", "lower", "none"]
Criterion = Literal[
    "graphics_quality", "frame_consistency", "end_continuity", "content_distribution", "motion_pattern"
]  # the five questions of the study

#: Value of some of the videos (by index) against some of the reference videos.
SetValue = Callable[[np.ndarray, np.ndarray], float]


class AnyMetric(ABC, BaseModel):
    """What both kinds share: data about the metric; its parameters are the fields of the subclass, from params.yaml.

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
        needs: features it reads besides the frames (evaluation/features.py); "flow" gives both directions.
        claims: how it moves under corruptions, which `panobench validate` checks; a metric without is not proven.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[Direction]
    criterion: ClassVar[Criterion]
    version: ClassVar[int]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    claims: ClassVar[Claims | None] = None

    @abstractmethod
    def update(self, video: VideoFeatures) -> np.ndarray:
        """(N, ...) float64: one row for each frame that is new in this stretch, or for each pair of its frames.

        Args:
            video: a stretch of frames; the features that ``needs`` names are present.
        """

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """What the metric keeps of one video, from its rows; only for metrics that need the reference."""
        raise NotImplementedError(f"{self.name} needs no reference")

    def describe(self, video: VideoFeatures) -> np.ndarray:
        """``digest`` of a video that is one stretch."""
        return self.digest(self.update(video))


class Metric(AnyMetric):
    """A metric with one value per video."""

    @abstractmethod
    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """The value of one video, a finite number in ``unit``.

        Args:
            rows: (N, ...) float64, what ``update`` returned, over all stretches.
            reference: (R, ...) float64, what ``digest`` returned for each reference video; None unless needed.
        """

    def measure(self, video: VideoFeatures, reference: np.ndarray | None = None) -> float:
        """The value of a video that is one stretch."""
        return self.compute(self.update(video), reference)


class SetMetric(AnyMetric):
    """A metric with one value per set of videos: a distance between their distribution and the reference's.

    It always needs the reference, and ``digest`` is what it keeps of every video, scored or reference: any shape, the
    same for all. Interval, real-against-real floor and refusal are in evaluation/sets.py.

    Attributes:
        least: fewest videos, and fewest reference videos, for which a number is given.
        resamples: half-samples behind the interval and the floor.
    """

    least: int = Field(ge=4)
    resamples: int = Field(200, ge=20)

    @abstractmethod
    def plan(self, videos: np.ndarray, reference: np.ndarray) -> SetValue:
        """Do once what every subset shares; the function returned gives the value of subsets, in ``unit``.

        Args:
            videos: (N, ...) what ``digest`` kept of each video.
            reference: (R, ...) the same of the reference.
        """

    def compare(self, videos: np.ndarray, reference: np.ndarray) -> float:
        """The value of all ``videos`` (N, ...) against all of the ``reference`` (R, ...)."""
        return self.plan(videos, reference)(np.arange(len(videos)), np.arange(len(reference)))
