"""Scoring: every metric on every video of one method, one video at a time.

What may be scored is in evaluation/rules.py, what is written of it in evaluation/records.py.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import cast

import numpy as np

from core.device import full_float32
from core.errors import PanobenchError
from core.video import VideoError, VideoInfo
from evaluation.arrays import Begun, Walk
from evaluation.cache import CachedWalk, FeatureCache, code_hash
from evaluation.features import arrays_of, extract_features, frames_of_a_stretch, stretches, takes_truth
from evaluation.manifest import Item, Problem
from evaluation.metrics.base import AnyMetric, Metric, SetMetric
from evaluation.networks import Networks
from evaluation.rules import shape_of, without_path
from evaluation.sources import Resample, content_hash, open_frames, probe, resampled
from evaluation.views import VIEW_SETS, ViewSet
from evaluation.workers import frame_workers, give_memory_back

# Stretches of one video that are begun at most: enough for every core to have a frame to look at while one is measured.
_HELD = 4
# Stretches after which memory is given back: more often costs time, for the next ones take it again.
_TIDY = 4


@dataclass(frozen=True)
class Scorer:
    """Metrics with what they need; scores one video at a time, so that any split over processes gives the same rows.

    Attributes:
        metrics: in the order of the tables.
        views: view set, if a metric needs views.
        networks: those that the metrics need.
        references: metric name -> (R, ...) what the metric keeps of the reference videos.
        paired: video id -> true video; empty without paired metrics.
        resample: what every video is brought to; None: as they are.
        fps: rate of frame folders, which do not say it.
        cache: where what networks make is kept.
    """

    metrics: Sequence[AnyMetric]
    views: ViewSet | None = None
    networks: Networks = field(default_factory=Networks)
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    paired: Mapping[str, Path] = field(default_factory=dict)
    resample: Resample | None = None
    fps: float | None = None
    cache: FeatureCache = field(default_factory=FeatureCache)

    @property
    def of_sets(self) -> list[SetMetric]:
        """The metrics of the whole set."""
        return [metric for metric in self.metrics if isinstance(metric, SetMetric)]

    def measure(self, item: Item, advance: Callable[[int], object] | None = None) -> "Measured":
        """Everything about one video.

        Args:
            item: which.
            advance: told how many frames are done.

        Raises:
            VideoError: it is unreadable or blank; or its true video is, or is not of its size, length and rate.
            PanobenchError: a metric came out as NaN or infinite.
        """
        found = self.observe(item.path, self.metrics, item.prompt, self.paired.get(item.video_id), advance)
        measured = Measured(prompts={item.video_id: item.prompt_id})
        for metric in self.metrics:
            if isinstance(metric, SetMetric):
                measured.described[metric.name] = {
                    item.video_id: _finite(metric, metric.digest(found[metric.name]), item.path)
                }
                continue
            assert isinstance(metric, Metric)
            if not len(found[metric.name]):
                continue  # the metric has nothing to say about this video: its prompt places nothing
            value = metric.compute(found[metric.name], self.references.get(metric.name))
            if not np.isfinite(value):
                raise PanobenchError(f"{item.path}: {metric.name} came out as {value}")
            measured.rows.append(
                {
                    "video_id": item.video_id,
                    "method": item.method,
                    "prompt_id": item.prompt_id,
                    "seed": item.seed,
                    "metric": metric.name,
                    "value": value,
                    "unit": metric.unit,
                    "direction": metric.direction,
                    "criterion": metric.criterion,
                    "metric_version": metric.version,
                }
            )
        return measured

    @full_float32()
    def observe(
        self,
        path: Path,
        metrics: Sequence[AnyMetric],
        prompt: str | None = None,
        true_path: Path | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """One pass over a video, a stretch at a time: metric name -> its rows, the same on a GPU but for rounding.

        Raises:
            VideoError: see measure.
        """
        needs = set[str]().union(*(metric.needs for metric in metrics)) - {"reference"}
        source = probe(path, self.fps)
        info = resampled(path, source, self.resample)
        truth: Iterator[tuple[np.ndarray | None, int]] = repeat((None, 0))
        content: dict[str, object] = {"video": content_hash(path), "resample": self.resample and self.resample.record()}
        if takes_truth(needs):
            assert true_path is not None
            truth = stretches(self._open_truth(true_path, info))
            content["truth"] = content_hash(true_path)
        walk = CachedWalk(arrays_of(needs), self.views, self.networks, self.cache, content, info.frames)
        rows: dict[str, list[np.ndarray]] = {metric.name: [] for metric in metrics}
        blank = True
        cut = zip(stretches(open_frames(path, source, self.resample)), truth, strict=False)
        with frame_workers(_HELD * frames_of_a_stretch(info.height)) as workers:
            for number, begun in enumerate(_begun_ahead(cut, walk, workers), 1):
                blank = blank and _blank(begun.frames)
                features = extract_features(
                    begun.frames,
                    info.fps,
                    needs,
                    self.views,
                    self.networks,
                    prompt,
                    begun.truth,
                    seen=begun.seen,
                    arrays=walk.finish(begun),
                )
                for metric in metrics:
                    rows[metric.name].append(metric.update(features))
                if advance:
                    advance(len(begun.frames) - begun.seen)
                if number % _TIDY == 0:
                    give_memory_back()
        if blank:
            raise VideoError(
                "every frame is one flat colour, as black frames decoded from NaN are; it would win seam and flicker"
            )
        walk.keep()
        # A network that looks at some frames only may give nothing in a stretch.
        return {name: np.concatenate([p for p in parts if len(p)] or parts[:1]) for name, parts in rows.items()}

    def _open_truth(self, path: Path, wanted: VideoInfo) -> Iterator[np.ndarray]:
        """The frames of a true video, which is brought to what the scored ones are brought to."""
        source = probe(path, self.fps)
        info = resampled(path, source, self.resample)
        if shape_of(info) != shape_of(wanted):
            raise VideoError(f"its true video {path} is {shape_of(info)}, but it is {shape_of(wanted)}")
        return open_frames(path, source, self.resample)


def _begun_ahead(
    cut: Iterable[tuple[tuple[np.ndarray, int], tuple[np.ndarray | None, int]]], walk: Walk, workers: Executor
) -> Iterator[Begun]:
    """Each stretch, while the frames of those after it are being looked at too."""
    held: deque[Begun] = deque()
    for (frames, seen), (true_frames, _) in cut:
        if len(frames) < 2:
            raise VideoError("holds one frame; a video needs at least 2")
        held.append(walk.begin(frames, true_frames, seen, workers.map))
        if len(held) == _HELD:
            yield held.popleft()
    yield from held


def _blank(frames: np.ndarray) -> bool:
    """Whether every frame (F, H, W, 3) is one flat colour, but for the noise of a codec."""
    spread = frames.max(axis=(1, 2)).astype(np.int16) - frames.min(axis=(1, 2))
    return bool((spread <= 3).all())


@dataclass
class Measured:
    """What was measured of one video or of several.

    Attributes:
        rows: one per video and metric (``records.COLUMNS``).
        described: metric of the whole set -> video id -> what it keeps of that video.
        prompts: video id -> prompt id of every video that was measured.
        problems: videos that failed on the way.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    described: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, other: "Measured") -> None:
        """Join what another process, or the next video, gave."""
        self.rows += other.rows
        self.prompts |= other.prompts
        self.problems += other.problems
        for name, videos in other.described.items():
            self.described.setdefault(name, {}).update(videos)


def _finite(metric: AnyMetric, described: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(described).all():
        raise PanobenchError(f"{path}: what {metric.name} keeps of it is not finite")
    return described


def describe_reference(
    files: Iterable[Path], scorer: Scorer, wanted: VideoInfo, advance: Callable[[int], object] | None = None
) -> dict[str, np.ndarray]:
    """What the metrics that compare with real panoramas keep of them; each reference video is read once.

    It is kept in the scorer's cache too, so that all methods of a comparison, and all later ones, find it there.

    Args:
        files: reference videos.
        scorer: only its metrics with the need "reference" are asked; the reference is resampled as the scored videos
            are, except that its length stays.
        wanted: what the scored videos share: the reference must have their size.
        advance: told how many videos are done.

    Returns:
        metric name -> (R, ...), in the order of the files.

    Raises:
        PanobenchError: a reference video is unreadable or of another size; numbers would change silently without it.
    """
    asking = [metric for metric in scorer.metrics if "reference" in metric.needs]
    scorer = replace(scorer, resample=scorer.resample and replace(scorer.resample, frames=None))
    kept: dict[str, list[np.ndarray]] = {metric.name: [] for metric in asking}
    for file in files:
        try:
            info = resampled(file, probe(file, scorer.fps), scorer.resample)
            if (info.width, info.height) != (wanted.width, wanted.height):
                raise PanobenchError(
                    f"the reference is {info.width}x{info.height}, the scored videos are "
                    f"{wanted.width}x{wanted.height}; statistics of different sizes do not compare"
                )
            keys = {metric.name: _digest_key(metric, file, scorer) for metric in asking}
            digests = {name: scorer.cache.get(key) for name, key in keys.items()}
            missing = [metric for metric in asking if digests[metric.name] is None]
            found = scorer.observe(file, missing) if missing else {}
        except PanobenchError as error:
            raise PanobenchError(f"{file}: {without_path(str(error), file)}") from error
        for metric in missing:
            digest = _finite(metric, metric.digest(found[metric.name]), file)
            scorer.cache.put(keys[metric.name], digest)
            digests[metric.name] = digest
        for name, known in digests.items():
            kept[name].append(cast(np.ndarray, known))
        if advance:
            advance(1)
    return {name: np.stack(described) for name, described in kept.items()}


def _digest_key(metric: AnyMetric, file: Path, scorer: Scorer) -> dict[str, object]:
    """Everything that decides what a metric keeps of a reference video."""
    views, judge = scorer.views, scorer.networks.judge
    return {
        "digest": [metric.name, metric.version, metric.model_dump()],
        "video": content_hash(file),
        "resample": scorer.resample and scorer.resample.record(),
        "fps": scorer.fps,
        "views": [VIEW_SETS[views.name], views.fov_deg, views.size] if views else None,
        "judge": [judge.sha256, judge.preprocessing] if judge else None,
        "networks": scorer.networks.record(),
        "device": scorer.networks.device,
        "precision": scorer.networks.precision,
        "code": code_hash(),
    }


def score_videos(items: Iterable[Item], scorer: Scorer, advance: Callable[[int], object] | None = None) -> Measured:
    """All videos; those that failed on the way are named with the reason, and one broken video stops nothing."""
    measured = Measured()
    for item in items:
        measured.add(score_video(item, scorer, advance))
    return measured


def score_video(item: Item, scorer: Scorer, advance: Callable[[int], object] | None = None) -> Measured:
    """One video, or what is wrong with it."""
    try:
        return scorer.measure(item, advance)
    except VideoError as error:
        return Measured(problems=[Problem(item.path.name, without_path(str(error), item.path))])
