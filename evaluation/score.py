"""Scoring: every metric on every video of one method, kept per video, then aggregated once.

Files written
    ``scores.parquet``: one row per video and metric (columns ``COLUMNS``), sorted.
    ``metrics.json``: mean and interval per metric; for metrics of the whole set the value, its interval and the
    real-against-real floor, or under ``refused`` why there is none.
    ``sets.parquet``: half-samples behind the intervals of the metrics of the whole set; absent without such a metric.
    ``settings.json``: what produced the numbers: view set, judge and its hash, parameters, reference.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from core.errors import PanobenchError
from core.files import atomic_path, write_json
from core.video import VideoError, VideoInfo
from evaluation.arrays import ARRAYS
from evaluation.cache import CachedWalk, FeatureCache, code_hash
from evaluation.features import extract_features, stretches, takes_truth
from evaluation.manifest import Item, Problem, VideoSet, name_of, videos_in
from evaluation.metrics.base import AnyMetric, Metric, SetMetric
from evaluation.networks import Networks
from evaluation.sets import SetScore, score_set, summary_of
from evaluation.sources import Resample, content_hash, open_frames, probe, resampled
from evaluation.statistics import summarise
from evaluation.views import VIEW_SETS, ViewSet

COLUMNS = (
    "video_id",
    "method",
    "prompt_id",
    "seed",
    "metric",
    "value",
    "unit",
    "direction",
    "criterion",
    "metric_version",
)
SCHEMA = 1
LEVEL = 0.95  # nominal coverage of every interval
LEAST_HEIGHT = 16  # pixels; below it there are no latitude bands, and no flow


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

    def observe(
        self,
        path: Path,
        metrics: Sequence[AnyMetric],
        prompt: str | None = None,
        true_path: Path | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> dict[str, np.ndarray]:
        """One pass over a video, a stretch at a time: metric name -> its rows.

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
        walk = CachedWalk(needs & {"views", *ARRAYS}, self.views, self.networks, self.cache, content, info.frames)
        rows: dict[str, list[np.ndarray]] = {metric.name: [] for metric in metrics}
        blank = True
        cut = stretches(open_frames(path, source, self.resample))
        for (frames, seen), (true_frames, _) in zip(cut, truth, strict=False):
            if len(frames) < 2:
                raise VideoError("holds one frame; a video needs at least 2")
            blank = blank and _blank(frames)
            features = extract_features(
                frames, info.fps, needs, self.views, self.networks, prompt, true_frames, seen=seen, walk=walk
            )
            for metric in metrics:
                rows[metric.name].append(metric.update(features))
            if advance:
                advance(len(frames) - seen)
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


def _blank(frames: np.ndarray) -> bool:
    """Whether every frame (F, H, W, 3) is one flat colour, but for the noise of a codec."""
    spread = frames.max(axis=(1, 2)).astype(np.int16) - frames.min(axis=(1, 2))
    return bool((spread <= 3).all())


@dataclass
class Measured:
    """What was measured of one video or of several.

    Attributes:
        rows: one per video and metric (``COLUMNS``).
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


def pair_videos(items: Sequence[Item], folder: str | Path) -> tuple[dict[str, Path], list[Problem]]:
    """The true video of each video, by file name (without suffix), and the videos that have none.

    Raises:
        PanobenchError: no such folder, or no video in it.
    """
    folder = Path(folder)
    files = {name_of(file): file for file in videos_in(folder)} if folder.is_dir() else {}
    if not files:
        raise PanobenchError(
            f"{folder}: no videos there; --paired takes a folder of true videos, named as the scored ones"
        )
    paired = {item.video_id: files[name_of(item.path)] for item in items if name_of(item.path) in files}
    lacking = [
        Problem(item.path.name, f"no true video of this name in {folder}")
        for item in items
        if name_of(item.path) not in files
    ]
    return paired, lacking


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
            raise PanobenchError(f"{file}: {_without_path(str(error), file)}") from error
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
        "judge": [judge.sha256, judge.preprocessing, judge.device.type] if judge else None,
        "networks": scorer.networks.record(),
        "code": code_hash(),
    }


def reference_files(folder: str | Path) -> list[Path]:
    """Videos of a reference set: a folder of videos, or a data set folder with ``videos/``.

    Raises:
        PanobenchError: fewer than two videos: a spread needs two.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: no such folder; --reference takes a folder of videos of real panoramas")
    inner = folder / "videos"
    files = videos_in(inner if inner.is_dir() else folder)
    if len(files) < 2:
        raise PanobenchError(f"{folder}: {len(files)} reference video(s) found, at least 2 are needed")
    return files


def check_videos(
    videos: VideoSet, resample: Resample | None = None, fps: float | None = None
) -> tuple[list[Item], list[Problem], VideoInfo | None]:
    """Apply the input rules before any time is spent.

    Per video: readable, 2:1, two frames or more at an even rate, and as its manifest row says. Per set: same size,
    frame count and rate, because the metrics of unequal videos do not compare; or else an explicit resampling.

    Args:
        videos: what there is.
        resample: what every video is brought to.
        fps: rate of frame folders, which do not say it.

    Returns:
        The videos to score, what is wrong with the others (also those that were wrong before), and what all share.

    Raises:
        PanobenchError: the set is mixed.
    """
    good: list[tuple[Item, VideoInfo]] = []
    problems = list(videos.problems)
    for item in videos.items:
        try:
            found = probe(item.path, fps)
            fault = _fault(item, found)
            info = found if fault else resampled(item.path, found, resample)
            fault = fault or _unfit(info)
        except VideoError as error:
            fault = _without_path(str(error), item.path)
        if fault:
            problems.append(Problem(item.path.name, fault))
        else:
            good.append((item, info))
    shapes = Counter(shape_of(info) for _, info in good)
    if len(shapes) > 1:
        parts = []
        for shape, count in shapes.most_common():
            example = next(item.path.name for item, info in good if shape_of(info) == shape)
            parts.append(f"{shape} ({count}, e.g. {example})")
        raise PanobenchError(
            f"the videos of {videos.method} differ: {'; '.join(parts)}; bring them to one size, length and rate first, "
            "or say --resample WIDTHxHEIGHT@FPSxFRAMES"
        )
    return [item for item, _ in good], problems, good[0][1] if good else None


def _fault(item: Item, info: VideoInfo) -> str | None:
    """What is wrong with a file as it is."""
    if info.width != 2 * info.height:
        return f"{info.width}x{info.height} is not 2:1; an equirectangular video is twice as wide as high"
    if info.height < LEAST_HEIGHT:
        return f"{info.width}x{info.height} is too small; at least {2 * LEAST_HEIGHT}x{LEAST_HEIGHT} is needed"
    if info.frames < 2:
        return f"{info.frames} frame(s); a video needs at least 2"
    row = item.declared
    if row is None:
        return None
    for name in ("frames", "height", "width"):
        if getattr(info, name) != getattr(row, name):
            return f"{name} is {getattr(info, name)}, but the manifest says {getattr(row, name)}"
    if abs(info.fps - row.fps) > 1e-3:
        return f"fps is {info.fps:g}, but the manifest says {row.fps:g}"
    if content_hash(item.path) != row.sha256:
        return "the file is not the one that the manifest lists (sha256 differs); generate it again"
    return None


def _unfit(info: VideoInfo) -> str | None:
    """What is wrong with a video as it would be scored."""
    if not info.steady:
        return "its frame rate varies; say --resample @FPS to pick frames at an even rate"
    return None


def shape_of(info: VideoInfo) -> str:
    """What the videos of a set, and of all methods compared, must share."""
    return f"{info.width}x{info.height}, {info.frames} frames, {info.fps:g} fps"


def _without_path(message: str, path: Path) -> str:
    return message.removeprefix(f"{path}: ")


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
        return Measured(problems=[Problem(item.path.name, _without_path(str(error), item.path))])


def score_sets(scorer: Scorer, measured: Measured, seed: int = 0) -> dict[str, SetScore | str]:
    """The metrics of the whole set, once all videos are gathered: a score, or the line that says why there is none."""
    videos = sorted(measured.prompts)
    prompts = [measured.prompts[video] for video in videos]
    scores = {}
    for metric in scorer.of_sets:
        described = np.stack([measured.described[metric.name][video] for video in videos])
        scores[metric.name] = score_set(metric, described, prompts, scorer.references[metric.name], LEVEL, seed)
    return scores


def table(rows: Sequence[Mapping[str, object]], metrics: Sequence[AnyMetric]) -> pd.DataFrame:
    """The long table in its one order: metrics as listed, then videos by id; however the rows were gathered."""
    order = {metric.name: index for index, metric in enumerate(metrics)}
    ordered = sorted(rows, key=lambda row: (order[str(row["metric"])], str(row["video_id"])))
    return pd.DataFrame(ordered, columns=list(COLUMNS))


def write_scores(
    out: str | Path,
    method: str,
    scores: pd.DataFrame,  # from table(), one method
    settings: Mapping[str, object],  # goes to settings.json as it is
    resamples: int = 2000,
    seed: int = 0,
    sets: Mapping[str, SetScore | str] | None = None,  # from score_sets()
    metrics: Sequence[AnyMetric] = (),  # required for sets
) -> dict[str, Any]:
    """Aggregate once and write the files (module docstring); returns what ``metrics.json`` holds."""
    out = Path(out)
    summary: dict[str, Mapping[str, object]] = dict(summarise(scores, resamples=resamples, level=LEVEL, seed=seed))
    refused = {}
    draws = []
    for metric in metrics:
        score = (sets or {}).get(metric.name)
        if isinstance(score, str):
            refused[metric.name] = score
        elif score is not None:
            summary[metric.name] = summary_of(metric, score)
            draws.append(pd.DataFrame({"metric": metric.name, "draw": range(len(score.draws)), "value": score.draws}))
    record = {"schema": SCHEMA, "method": method, "metrics": summary, "refused": refused}
    with atomic_path(out / "scores.parquet") as path:
        scores.to_parquet(path, index=False)
    (out / "sets.parquet").unlink(missing_ok=True)
    if draws:
        with atomic_path(out / "sets.parquet") as path:
            pd.concat(draws).to_parquet(path, index=False)
    write_json(out / "settings.json", settings)
    write_json(out / "metrics.json", record)
    return record


def settings_of(
    scorer: Scorer, info: VideoInfo, videos: int, reference: Sequence[Path], resamples: int, seed: int
) -> dict[str, object]:
    """What produced the numbers, for the report's methods section; the same inputs give the same record."""
    views, judge = scorer.views, scorer.networks.judge
    return {
        "schema": SCHEMA,
        "videos": {"count": videos, "frames": info.frames, "fps": info.fps, "height": info.height, "width": info.width},
        "resample": scorer.resample.record() if scorer.resample else None,
        "views": {"set": views.name, "fov_deg": views.fov_deg, "size": views.size} if views else None,
        "judge": {"name": judge.name, "sha256": judge.sha256} if judge else None,
        "networks": scorer.networks.record(),
        "reference_videos": len(reference),
        "bootstrap": {"resamples": resamples, "level": LEVEL, "seed": seed, "interval": "expanded percentile"},
        "metrics": {
            m.name: {"version": m.version, "summary": m.summary, "parameters": m.model_dump()} for m in scorer.metrics
        },
    }
