"""`panobench score`, step by step: what is there, what can be measured, measuring it, and aggregating once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.errors import PanobenchError
from core.files import exclusive
from core.shards import Shard
from core.video import VideoInfo
from evaluation.cache import FeatureCache
from evaluation.features import roles_of, takes_truth, takes_views
from evaluation.manifest import MANIFEST_NAME, Item, Problem, VideoSet, read_manifest, read_videos
from evaluation.metrics import create_metrics
from evaluation.metrics.base import AnyMetric
from evaluation.metrics.proven import PROVEN
from evaluation.networks import load_networks
from evaluation.parts import Parts, identity_of
from evaluation.precision import Precision
from evaluation.records import score_sets, settings_of, table, write_scores
from evaluation.rules import check_videos, pair_videos, reference_files, shape_of
from evaluation.score import Measured, Scorer, describe_reference, score_video
from evaluation.sources import Resample, content_hash
from evaluation.views import ViewOptions
from evaluation.weights import SOURCES, find_weights

PARTS = ".parts"


@dataclass(frozen=True)
class Request:
    """How videos are to be scored; the same for all methods that are compared.

    Attributes:
        metrics: name -> parameters; None: those that are proven.
        required: whether a metric that lacks something is an error; else it is left out and named.
        source: file that the parameters are from, for messages.
        prompts: prompts file of plain folders.
        reference: folder of real panoramas.
        paired: folder of true videos.
        judge: folder of the CLIP model.
        weights: role -> path.
        views: ``scoring.views``.
        resample: what every video is brought to.
        fps: rate of frame folders.
        device: where networks run.
        precision: how finely the judge and LPIPS count.
        bootstrap: resamples.
        seed: of the bootstrap.
        cache: where what networks make is kept.
        say: told what a person should read, one line at a time.
    """

    metrics: Mapping[str, Mapping[str, Any] | None] | None = None
    required: bool = False
    source: str = "params.yaml"
    prompts: Path | None = None
    reference: Path | None = None
    paired: Path | None = None
    judge: Path | None = None
    weights: Mapping[str, str | None] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    resample: Resample | None = None
    fps: float | None = None
    device: str = "cpu"
    precision: Precision = "fp32"
    bootstrap: int = 2000
    seed: int = 0
    cache: FeatureCache = field(default_factory=FeatureCache)
    say: Callable[[str], object] = print


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        out: where the files are.
        method: its name.
        count: videos scored.
        problems: what was not.
        record: what ``metrics.json`` holds.
    """

    out: Path
    method: str
    count: int
    problems: Sequence[Problem]
    record: Mapping[str, Any]


def run(
    videos: Path, request: Request, out: Path | None = None, method: str | None = None, shard: Shard | None = None
) -> Outcome | None:
    """Score the videos of one method; None if other processes have still to do their share.

    Raises:
        PanobenchError: bad input, or not one video that can be scored.
    """
    found = read_videos(videos, request.prompts, method)
    metrics = possible_metrics(request, any(item.prompt is not None for item in found.items))
    items, problems, info, truth = _check(found, request, metrics)
    for problem in problems:
        request.say(f"not scored: {problem}")
    if info is None or not items:
        raise PanobenchError(f"{videos}: none of the {len(problems)} videos can be scored (reasons above)")
    scorer = _scorer(request, metrics, info, truth)
    out = out or Path("scores") / found.method
    references = reference_files(request.reference) if request.reference else []
    settings = settings_of(scorer, info, 0, references, request.bootstrap, request.seed)
    parts = Parts(out / PARTS, identity_of(settings, scorer.references))
    _measure((shard or Shard()).of(items), scorer, parts, info, found.method, request.say)

    with exclusive(out / f"{PARTS}.lock"):
        measured = Measured()
        for item in items:
            part = parts.load(item, _content(item, truth))
            if part is None:
                return None
            measured.add(part)
        problems += measured.problems
        count = len(measured.prompts)
        if not count:
            parts.remove()
            raise PanobenchError(f"{videos}: none of the {len(problems)} videos can be scored (reasons above)")
        settings = settings_of(scorer, info, count, references, request.bootstrap, request.seed)
        settings["prompts"] = {item.prompt_id: item.prompt for item in items if item.prompt is not None}
        sets = score_sets(scorer, measured, request.seed)
        record = write_scores(
            out,
            found.method,
            table(measured.rows, metrics),
            settings,
            request.bootstrap,
            request.seed,
            sets=sets,
            metrics=metrics,
        )
        parts.remove()
    (out / f"{PARTS}.lock").unlink(missing_ok=True)
    return Outcome(out, found.method, count, problems, record)


def method_names(sources: Sequence[Path]) -> dict[Path, str]:
    """What to call the methods of these folders: as their manifests say, else by folder, told apart by its parent.

    Raises:
        PanobenchError: two of one name.
    """
    names = {}
    for source in sources:
        manifest = source / MANIFEST_NAME if source.is_dir() else source
        names[source] = read_manifest(manifest)[0].method if manifest.is_file() else source.resolve().name
    alike = [name for name in names.values() if list(names.values()).count(name) > 1]
    names |= {s: f"{s.resolve().parent.name}_{name}" for s, name in names.items() if name in alike}
    for name in names.values():
        if list(names.values()).count(name) > 1:
            raise PanobenchError(f"two folders hold videos of a method '{name}'; score them with --method first")
    return names


def check_alike(sources: Sequence[Path], names: Mapping[Path, str], request: Request) -> None:
    """Refuse methods whose videos do not compare, before any of them is scored.

    Raises:
        PanobenchError: they differ in size, length or rate, and no resampling is asked for that brings them together.
    """
    shapes = {}
    for source in sources:
        found = read_videos(source, prompts_for(source, request), names[source])
        _, _, info = check_videos(found, request.resample, request.fps)
        if info is not None:
            shapes[names[source]] = shape_of(info)
    if len(set(shapes.values())) > 1:
        listed = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise PanobenchError(
            f"the methods differ: {listed}; bring them to one size, length and rate, or say --resample "
            "WIDTHxHEIGHT@FPSxFRAMES"
        )


def prompts_for(source: Path, request: Request) -> Path | None:
    """The prompts file, for plain folders: a manifest holds its own prompts."""
    return request.prompts if source.is_dir() and not (source / MANIFEST_NAME).is_file() else None


def _check(
    found: VideoSet, request: Request, metrics: Sequence[AnyMetric]
) -> tuple[list[Item], list[Problem], VideoInfo | None, dict[str, Path]]:
    """The videos to score, what is wrong with the others, what all share, and the true videos if a metric asks."""
    items, problems, info = check_videos(found, request.resample, request.fps)
    truth: dict[str, Path] = {}
    if takes_truth(_needs(metrics)):
        assert request.paired is not None  # possible_metrics
        truth, lacking = pair_videos(items, request.paired)
        problems += lacking
        items = [item for item in items if item.video_id in truth]
    return items, problems, info, truth


def _scorer(request: Request, metrics: Sequence[AnyMetric], info: VideoInfo, truth: Mapping[str, Path]) -> Scorer:
    """Networks loaded, reference described."""
    needs = _needs(metrics)
    views = ViewOptions.parse(request.views, request.source).view_set(info.width) if takes_views(needs) else None
    networks = load_networks(roles_of(needs), request.judge, request.weights, request.device, request.precision)
    scorer = Scorer(metrics, views, networks, {}, truth, request.resample, request.fps, request.cache)
    if "reference" not in needs:
        return scorer
    assert request.reference is not None  # possible_metrics
    files = reference_files(request.reference)
    with tqdm(total=len(files), desc="reference", unit="video", leave=False, dynamic_ncols=True) as bar:
        described = describe_reference(files, scorer, info, bar.update)
    return Scorer(metrics, views, networks, described, truth, request.resample, request.fps, request.cache)


def _measure(
    items: Sequence[Item],
    scorer: Scorer,
    parts: Parts,
    info: VideoInfo,
    method: str,
    say: Callable[[str], object],
) -> None:
    """Measure what is not measured yet, and keep it."""
    problems: list[Problem] = []
    with tqdm(total=len(items) * info.frames, desc=method, unit="frame", dynamic_ncols=True) as bar:
        for number, item in enumerate(items, start=1):
            content = _content(item, scorer.paired)
            measured = parts.load(item, content)
            if measured is None:
                measured = score_video(item, scorer, bar.update)
                parts.save(item, content, measured)
            problems += measured.problems
            bar.update(number * info.frames - bar.n)
    for problem in problems:
        say(f"not scored: {problem}")
    if scorer.cache.complaint:
        say(f"nothing more is kept for another time: {scorer.cache.complaint}")


def _content(item: Item, truth: Mapping[str, Path]) -> str:
    """Hash of a video, and of its true video."""
    true = truth.get(item.video_id)
    return content_hash(item.path) + (content_hash(true) if true else "")


def _needs(metrics: Sequence[AnyMetric]) -> set[str]:
    return set[str]().union(*(metric.needs for metric in metrics))


# --- what can be measured --------------------------------------------------------------------------------------------


def possible_metrics(request: Request, prompts: bool) -> list[AnyMetric]:
    """The metrics for which everything is at hand; the others are named, with what they lack.

    Args:
        request: what was asked for, and what was given.
        prompts: whether there are prompts.

    Raises:
        PanobenchError: one that was asked for by name (``required``) lacks something, or none is left.
    """
    wanted = request.metrics if request.metrics is not None else dict.fromkeys(PROVEN)
    possible = []
    for metric in create_metrics(wanted, request.source):
        missing = lacking(metric, request, prompts)
        if not missing:
            possible.append(metric)
        elif request.required:
            raise PanobenchError(f"{metric.name} needs {' and '.join(missing)}")
        else:
            request.say(f"left out: {metric.name} needs {' and '.join(missing)}")
    if not possible:
        raise PanobenchError("no metric is left to compute (reasons above)")
    return possible


def lacking(metric: AnyMetric, request: Request, prompts: bool) -> list[str]:
    """What a metric needs and has not got, each with what to do."""
    missing = []
    roles = roles_of(metric.needs)
    if "prompt" in metric.needs and not prompts:
        missing.append("prompts (--prompts)")
    if roles & {"judge", "judge_lpips"} and request.judge is None:
        missing.append("a judge (--judge, or scoring.judge in params.yaml)")
    if "reference" in metric.needs and request.reference is None:
        missing.append("reference videos (--reference)")
    if takes_truth(metric.needs) and request.paired is None:
        missing.append("true videos (--paired)")
    for role in sorted(roles & SOURCES.keys()):
        try:
            find_weights(role, request.weights)
        except PanobenchError as error:
            missing.append(f"weights: {error}")
    return missing
