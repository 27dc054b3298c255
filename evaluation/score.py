"""Scoring: every metric on every video of one method, kept per video, then aggregated once.

Files written
    ``scores.parquet``: one row per video and metric (columns ``COLUMNS``), sorted.
    ``metrics.json``: mean and interval per metric; for metrics of the whole set the value, its interval and the
    real-against-real floor, or under ``refused`` why there is none.
    ``sets.parquet``: half-samples behind the intervals of the metrics of the whole set; absent without such a metric.
    ``settings.json``: what produced the numbers: view set, judge and its hash, parameters, reference.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.errors import PanobenchError
from core.files import atomic_path, sha256, write_json
from core.video import Video, VideoError, VideoInfo, probe_video, read_video
from evaluation.features import extract_features, takes_truth
from evaluation.manifest import Item, Problem, VideoSet, videos_in
from evaluation.metrics.base import AnyMetric, Metric, SetMetric
from evaluation.networks import Networks
from evaluation.sets import SetScore, score_set, summary_of
from evaluation.statistics import summarise
from evaluation.views import ViewSet

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


@dataclass(frozen=True)
class Scorer:
    """Metrics with what they need; scores one video at a time, so that any split over processes gives the same rows.

    Attributes:
        metrics: in the order of the tables.
        views: view set, if a metric needs views.
        networks: those that the metrics need.
        references: metric name -> (R, ...) what the metric keeps of the reference videos.
        paired: video id -> true video; empty without paired metrics.
    """

    metrics: Sequence[AnyMetric]
    views: ViewSet | None = None
    networks: Networks = field(default_factory=Networks)
    references: Mapping[str, np.ndarray] = field(default_factory=dict)
    paired: Mapping[str, Path] = field(default_factory=dict)

    @property
    def of_sets(self) -> list[SetMetric]:
        """The metrics of the whole set."""
        return [metric for metric in self.metrics if isinstance(metric, SetMetric)]

    def measure(self, item: Item, video: Video) -> "Measured":
        """Everything about one video.

        Raises:
            VideoError: the true video is unreadable, or not of the video's size, length and rate.
            PanobenchError: a metric came out as NaN or infinite.
        """
        needs = set[str]().union(*(metric.needs for metric in self.metrics))
        truth = read_truth(self.paired[item.video_id], video) if takes_truth(needs) else None
        features = extract_features(video.frames, video.fps, needs, self.views, self.networks, item.prompt, truth)
        rows = []
        described = {}
        for metric in self.metrics:
            if isinstance(metric, SetMetric):
                described[metric.name] = {item.video_id: _finite(metric, metric.describe(features), item.path)}
                continue
            assert isinstance(metric, Metric)
            value = metric.measure(features, self.references.get(metric.name))
            if not np.isfinite(value):
                raise PanobenchError(f"{item.path}: {metric.name} came out as {value}")
            rows.append(
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
        return Measured(rows, described, {item.video_id: item.prompt_id})


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


def read_truth(path: Path, video: Video) -> np.ndarray:
    """Frames of the true video, which must be of the video's size, length and rate.

    Raises:
        VideoError: it is not, or cannot be read.
    """
    truth = read_video(path)
    if truth.frames.shape != video.frames.shape or abs(truth.fps - video.fps) > 1e-3:
        (count, height, width), (frames, high, wide) = truth.frames.shape[:3], video.frames.shape[:3]
        raise VideoError(
            f"its true video {path} is {width}x{height}, {count} frames, {truth.fps:g} fps, "
            f"but it is {wide}x{high}, {frames} frames, {video.fps:g} fps"
        )
    return truth.frames


def pair_videos(items: Sequence[Item], folder: str | Path) -> tuple[dict[str, Path], list[Problem]]:
    """The true video of each video, by file name (without suffix), and the videos that have none.

    Raises:
        PanobenchError: no such folder, or no MP4 in it.
    """
    folder = Path(folder)
    files = {file.stem: file for file in videos_in(folder)} if folder.is_dir() else {}
    if not files:
        raise PanobenchError(
            f"{folder}: no MP4s there; --paired takes a folder of true videos, named as the scored ones"
        )
    paired = {item.video_id: files[item.path.stem] for item in items if item.path.stem in files}
    lacking = [
        Problem(item.path.name, f"no true video of this name in {folder}")
        for item in items
        if item.path.stem not in files
    ]
    return paired, lacking


def _finite(metric: AnyMetric, described: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(described).all():
        raise PanobenchError(f"{path}: what {metric.name} keeps of it is not finite")
    return described


def describe_reference(
    files: Iterable[Path],
    metrics: Sequence[AnyMetric],
    size: tuple[int, int],
    views: ViewSet | None = None,
    networks: Networks | None = None,
) -> dict[str, np.ndarray]:
    """What the metrics that compare with real panoramas keep of them; each reference video is read once.

    Args:
        files: reference videos.
        metrics: only those with the need "reference" are asked.
        size: height and width that the reference must share with the scored videos.
        views: view set, if one of these metrics needs views.
        networks: those that these metrics need.

    Returns:
        metric name -> (R, ...), in the order of the files.

    Raises:
        PanobenchError: a reference video is unreadable or of another size; numbers would change silently without it.
    """
    asking = [metric for metric in metrics if "reference" in metric.needs]
    needs = set[str]().union(*(metric.needs for metric in asking)) - {"prompt"}
    kept: dict[str, list[np.ndarray]] = {metric.name: [] for metric in asking}
    for file in files:
        video = read_video(file)
        found = video.frames.shape[1:3]
        if found != size:
            raise PanobenchError(
                f"{file}: the reference is {found[1]}x{found[0]}, the scored videos are {size[1]}x{size[0]}; "
                "statistics of different sizes do not compare"
            )
        features = extract_features(video.frames, video.fps, needs, views, networks)
        for metric in asking:
            kept[metric.name].append(_finite(metric, metric.describe(features), file))
    return {name: np.stack(described) for name, described in kept.items()}


def reference_files(folder: str | Path) -> list[Path]:
    """Videos of a reference set: a folder of MP4s, or a data set folder with ``videos/``.

    Raises:
        PanobenchError: fewer than two videos: a spread needs two.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: no such folder; --reference takes a folder of MP4s of real panoramas")
    inner = folder / "videos"
    files = videos_in(inner if inner.is_dir() else folder)
    if len(files) < 2:
        raise PanobenchError(f"{folder}: {len(files)} reference video(s) found, at least 2 are needed")
    return files


def check_videos(videos: VideoSet) -> tuple[list[Item], list[Problem], VideoInfo | None]:
    """Apply the input rules before any time is spent.

    Per video: readable, 2:1, two frames or more, and as its manifest row says. Per set: same size, frame count and
    rate, because the metrics of unequal videos do not compare.

    Returns:
        The videos to score, what is wrong with the others (also those that were wrong before), and what all share.

    Raises:
        PanobenchError: the set is mixed.
    """
    good: list[tuple[Item, VideoInfo]] = []
    problems = list(videos.problems)
    for item in videos.items:
        try:
            info = probe_video(item.path)
        except VideoError as error:
            problems.append(Problem(item.path.name, _without_path(str(error), item.path)))
            continue
        fault = _fault(item, info)
        if fault:
            problems.append(Problem(item.path.name, fault))
        else:
            good.append((item, info))
    shapes = Counter(_shape(info) for _, info in good)
    if len(shapes) > 1:
        parts = []
        for shape, count in shapes.most_common():
            example = next(item.path.name for item, info in good if _shape(info) == shape)
            parts.append(f"{shape} ({count}, e.g. {example})")
        raise PanobenchError(
            f"the videos of {videos.method} differ: {'; '.join(parts)}; bring them to one size, length and rate first"
        )
    return [item for item, _ in good], problems, good[0][1] if good else None


def _fault(item: Item, info: VideoInfo) -> str | None:
    if info.width != 2 * info.height:
        return f"{info.width}x{info.height} is not 2:1; an equirectangular video is twice as wide as high"
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
    if sha256(item.path) != row.sha256:
        return "the file is not the one that the manifest lists (sha256 differs); generate it again"
    return None


def _shape(info: VideoInfo) -> str:
    return f"{info.width}x{info.height}, {info.frames} frames, {info.fps:g} fps"


def _without_path(message: str, path: Path) -> str:
    return message.removeprefix(f"{path}: ")


def score_videos(items: Iterable[Item], scorer: Scorer) -> Measured:
    """All videos; those that failed on the way are named with the reason, and one broken video stops nothing."""
    measured = Measured()
    for item in items:
        try:
            measured.add(scorer.measure(item, read_video(item.path)))
        except VideoError as error:
            measured.problems.append(Problem(item.path.name, _without_path(str(error), item.path)))
    return measured


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
        "views": {"set": views.name, "fov_deg": views.fov_deg, "size": views.size} if views else None,
        "judge": {"name": judge.name, "sha256": judge.sha256} if judge else None,
        "networks": scorer.networks.record(),
        "reference_videos": len(reference),
        "bootstrap": {"resamples": resamples, "level": LEVEL, "seed": seed, "interval": "expanded percentile"},
        "metrics": {
            m.name: {"version": m.version, "summary": m.summary, "parameters": m.model_dump()} for m in scorer.metrics
        },
    }
