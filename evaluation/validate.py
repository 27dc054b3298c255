"""Every metric through graded corruptions of real clips: what is run. What follows from it is in proof.py."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import PanobenchError
from core.video import read_video
from evaluation.corruptions import STRENGTHS, Clip, corrupt, rotated, yawed
from evaluation.features import VideoFeatures, extract_features, takes_truth
from evaluation.manifest import VideoSet
from evaluation.metrics.base import AnyMetric, Metric, SetMetric
from evaluation.metrics.claims import CORRUPTIONS
from evaluation.networks import Networks
from evaluation.proof import Values
from evaluation.proof_rows import ProofRows, identity_of
from evaluation.views import VIEW_SETS, ViewSet

#: Turns of the whole video, as shares of the width: a quarter, three eighths and an odd number of columns.
YAWS = (0.25, 0.375, 0.613)


def read_clips(videos: VideoSet, count: int) -> list[Clip]:
    """The first ``count`` clips of a set, all of one size and length.

    Raises:
        PanobenchError: a file is unreadable, they differ, or there are fewer than two.
    """
    clips = []
    for item in videos.items[:count]:
        video = read_video(item.path)
        clips.append(Clip(item.video_id, video.frames, video.fps, item.prompt))
    if len(clips) < 2:
        raise PanobenchError(f"{len(clips)} clip(s) found; a proof needs at least 2")
    shapes = {clip.frames.shape: clip.name for clip in clips}
    if len(shapes) > 1:
        (a, one), (b, other) = list(shapes.items())[:2]
        raise PanobenchError(f"clips differ in size or length: {one} is {a[:3]}, {other} is {b[:3]} (frames, h, w)")
    if clips[0].frames.shape[2] != 2 * clips[0].frames.shape[1] or len(clips[0].frames) < 3:
        frames, height, width = clips[0].frames.shape[:3]
        raise PanobenchError(
            f"a proof needs 2:1 clips of 3 frames or more; these are {width}x{height}, {frames} frames"
        )
    return clips


@dataclass(frozen=True)
class Variant:
    """One thing that is measured on every clip.

    Attributes:
        kind: clean, corruption, yaw, rotation; or base and turned, the same for metrics that compare with a true video:
            noisy clips, and noisy clips turned together with their true ones.
        of: corruption.
        amount: its strength, the columns of a yaw, or the number of a rotation.
    """

    kind: str
    of: str = ""
    amount: float = 0


class Prover:
    """Metrics with what they need, and the clips they are to be proven on."""

    def __init__(
        self,
        metrics: Sequence[AnyMetric],
        clips: Sequence[Clip],
        references: Mapping[str, np.ndarray],  # metric -> (R, ...) what it keeps of the reference videos
        views: ViewSet | None = None,
        networks: Networks | None = None,
        seed: int = 0,
        kept: Path | None = None,  # where what was measured lies until the proof is written
    ) -> None:
        self.metrics, self.clips, self.references = metrics, clips, references
        self.views, self.networks, self.seed = views, networks or Networks(), seed
        self.rows = ProofRows(kept, self._identity() if kept else "")

    def run(
        self,
        strengths: Sequence[float] = STRENGTHS,
        rotations: int = 4,
        yaws: Sequence[float] = YAWS,
        corruptions: Sequence[str] = CORRUPTIONS,
        progress: Callable[[list[Variant]], Iterable[Variant]] = iter,
    ) -> dict[str, Values]:
        """Values of every metric.

        Args:
            strengths: of every corruption.
            rotations: random rotations of the sphere.
            yaws: turns of the video, shares of the width.
            corruptions: which.
            progress: wraps the list of what is to be measured, as tqdm does.
        """
        width = self.clips[0].frames.shape[2]
        columns = [max(1, round(share * width)) for share in yaws]
        todo = [Variant("clean")]
        todo += [Variant("corruption", name, strength) for name in corruptions for strength in strengths]
        todo += [Variant("yaw", amount=turn) for turn in columns]
        todo += [Variant("rotation", amount=index) for index in range(rotations)]
        todo += [Variant("base"), *(Variant("turned", amount=turn) for turn in columns)]
        found: dict[str, Values] = {}
        for variant in progress([variant for variant in todo if self._asked(variant)]):
            for name, values in self._measure(variant, self._asked(variant)).items():
                _keep(found, name, variant, values)
        return found

    def _identity(self) -> str:
        """Of everything that decides what is measured of a variant of a clip."""
        judge = self.networks.judge
        record = {
            "metrics": [[metric.name, metric.version, metric.model_dump()] for metric in self.metrics],
            "clips": [[clip.name, clip.fps, clip.prompt] for clip in self.clips],
            "views": [VIEW_SETS[self.views.name], self.views.fov_deg, self.views.size] if self.views else None,
            "judge": [judge.sha256, judge.preprocessing, judge.device.type] if judge else None,
            "networks": self.networks.record(),
            "seed": self.seed,
        }
        frames = {f"clip {number}": clip.frames for number, clip in enumerate(self.clips)}
        return identity_of(record, {**self.references, **frames})

    def _asked(self, variant: Variant) -> list[AnyMetric]:
        """The metrics that this variant says something about."""
        if variant.of == "wrong_caption":  # leaves the frames alone
            return [metric for metric in self.metrics if "prompt" in metric.needs]
        paired = [metric for metric in self.metrics if takes_truth(metric.needs)]
        if variant.kind in ("base", "turned"):
            return paired
        if variant.kind in ("yaw", "rotation"):
            return [metric for metric in self.metrics if metric not in paired]
        return list(self.metrics)

    def _pair(self, variant: Variant, index: int) -> tuple[Clip, Clip]:
        """The clip that is measured, and the true one that paired metrics compare it with."""
        clip = self.clips[index]
        if variant.kind == "corruption":
            other = self.clips[(index + len(self.clips) // 2) % len(self.clips)]
            return corrupt(variant.of, clip, variant.amount, self.seed, other), clip
        if variant.kind == "rotation":
            return rotated(clip, np.random.default_rng([self.seed, int(variant.amount), index])), clip
        turn = int(variant.amount)
        if variant.kind in ("base", "turned"):
            return yawed(corrupt("noise", clip, 0.5, self.seed), turn), yawed(clip, turn)
        return yawed(clip, turn), clip

    def _measure(self, variant: Variant, metrics: Sequence[AnyMetric]) -> dict[str, np.ndarray]:
        needs = set[str]().union(*(metric.needs for metric in metrics))
        measured: dict[str, list[Any]] = {metric.name: [] for metric in metrics}
        for index in range(len(self.clips)):
            for name, value in self._measure_clip(variant, index, metrics, needs).items():
                measured[name].append(value)
        return {metric.name: self._values(metric, measured[metric.name]) for metric in metrics}

    def _measure_clip(
        self, variant: Variant, index: int, metrics: Sequence[AnyMetric], needs: set[str]
    ) -> dict[str, Any]:
        """Metric -> what it says of one variant of one clip, unless a killed run has left it."""
        name = f"{variant.kind}-{variant.of}-{variant.amount:g}-{index}"
        found: dict[str, Any] | None = self.rows.load(name)
        if found is None:
            clip, true = self._pair(variant, index)
            truth = true.frames if takes_truth(needs) else None
            features = extract_features(clip.frames, clip.fps, needs, self.views, self.networks, clip.prompt, truth)
            found = {metric.name: _value(metric, features, self.references.get(metric.name)) for metric in metrics}
            self.rows.save(name, found)
        return found

    def _values(self, metric: AnyMetric, measured: list[Any]) -> np.ndarray:
        """(N,) one per clip, or (1,) of all clips."""
        if isinstance(metric, SetMetric):
            return np.array([metric.compare(np.stack(measured), self.references[metric.name])])
        return np.array(measured, dtype=np.float64)


def _value(metric: AnyMetric, features: VideoFeatures, reference: np.ndarray | None) -> Any:
    """The value of a clip, NaN if there is nothing to measure in it; or what a metric of sets keeps of it."""
    if isinstance(metric, SetMetric):
        return metric.describe(features)
    assert isinstance(metric, Metric)
    rows = metric.update(features)
    return metric.compute(rows, reference) if len(rows) else np.nan


def _keep(found: dict[str, Values], name: str, variant: Variant, values: np.ndarray) -> None:
    if variant.kind == "clean":
        found[name] = Values(values)
        return
    mine = found[name]
    if variant.kind == "corruption":
        mine.curves.setdefault(variant.of, {})[variant.amount] = values
    elif variant.kind in ("yaw", "turned"):
        mine.yaws[int(variant.amount)] = values
    elif variant.kind == "rotation":
        mine.rotations.append(values)
    else:
        mine.base = values
