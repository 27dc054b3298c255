"""`panobench score` and `panobench metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PanobenchError

if TYPE_CHECKING:
    from evaluation.metrics.base import AnyMetric

DEFAULT_PARAMS = Path("params.yaml")


@click.command()
@click.argument("videos", type=click.Path(path_type=Path))
@click.option("--prompts", type=click.Path(path_type=Path), help="CSV, JSON or YAML: video name and its prompt.")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder of real panoramic MP4s of the same size.")
@click.option("--paired", type=click.Path(path_type=Path), help="Folder of true videos, named as the scored ones.")
@click.option("--metrics", "chosen", help="Comma-separated names; default: those of params.yaml, else all.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: scores/METHOD]")
@click.option(
    "--params", "params_file", type=click.Path(path_type=Path), help="Parameter file.  [default: params.yaml]"
)
@click.option("--judge", "judge_folder", type=click.Path(path_type=Path), help="Folder of an open_clip model.")
@click.option("--weights", "weights", multiple=True, metavar="ROLE=PATH", help="Weights of a network; may be repeated.")
@click.option("--method", help="Name of the method.  [default: the manifest's, or the folder's name]")
@click.option("--device", default="auto", show_default=True, help="Where the judge runs: auto, cpu, cuda, cuda:1, ...")
def score(
    videos: Path,
    prompts: Path | None,
    reference: Path | None,
    paired: Path | None,
    chosen: str | None,
    out: Path | None,
    params_file: Path | None,
    judge_folder: Path | None,
    weights: tuple[str, ...],
    method: str | None,
    device: str,
) -> None:
    """Score the panoramic MP4s in VIDEOS: a folder, or a manifest.jsonl.

    Videos are equirectangular (2:1), all of one size, length and frame rate. A video that cannot be scored is reported
    by name, the rest is scored, and the exit status is 1.
    """
    from tqdm import tqdm

    from evaluation.features import roles_of, takes_truth, takes_views
    from evaluation.manifest import read_videos
    from evaluation.networks import load_networks
    from evaluation.score import (
        Scorer,
        check_videos,
        describe_reference,
        pair_videos,
        reference_files,
        score_sets,
        score_videos,
        settings_of,
        table,
        write_scores,
    )
    from evaluation.views import ViewOptions
    from evaluation.weights import parse_weights

    options = _options(params_file)
    video_set = read_videos(videos, prompts, method)
    metrics = _metrics(options, chosen)
    references = reference_files(reference) if reference else []
    judge_folder = judge_folder or options.judge
    paths = {**options.weights, **parse_weights(weights)}
    given = {
        "prompt": any(item.prompt is not None for item in video_set.items),
        "reference": bool(references),
        "paired": paired is not None,
        "judge": judge_folder is not None,
    }
    metrics = _possible(metrics, given, paths, required=chosen is not None)
    items, problems, info = check_videos(video_set)
    needs = set[str]().union(*(metric.needs for metric in metrics))
    true_videos: dict[str, Path] = {}
    if takes_truth(needs):
        assert paired is not None  # _possible
        true_videos, lacking = pair_videos(items, paired)
        problems += lacking
        items = [item for item in items if item.video_id in true_videos]
    for problem in problems:
        click.echo(f"not scored: {problem}", err=True)
    if info is None or not items:
        raise PanobenchError(f"{videos}: none of the {len(problems)} videos can be scored (reasons above)")

    networks = load_networks(roles_of(needs), judge_folder, paths, device)
    views = ViewOptions.parse(options.views, options.source).view_set(info.width) if takes_views(needs) else None
    described = {}
    if "reference" in needs:
        bar = tqdm(references, desc="reference", unit="video", leave=False, dynamic_ncols=True)
        described = describe_reference(bar, metrics, (info.height, info.width), views, networks)
    scorer = Scorer(metrics, views, networks, described, true_videos)
    measured = score_videos(tqdm(items, desc=video_set.method, unit="video", dynamic_ncols=True), scorer)
    for problem in measured.problems:
        click.echo(f"not scored: {problem}", err=True)
    problems += measured.problems
    count = len(measured.prompts)
    if not count:
        raise PanobenchError(f"{videos}: none of the {len(problems)} videos can be scored (reasons above)")

    out = out or Path("scores") / video_set.method
    settings = settings_of(scorer, info, count, references, options.bootstrap, options.seed)
    sets = score_sets(scorer, measured, options.seed)
    scores = table(measured.rows, metrics)
    record = write_scores(
        out, video_set.method, scores, settings, options.bootstrap, options.seed, sets=sets, metrics=metrics
    )
    click.echo(_summary_table(video_set.method, record["metrics"]))
    for name, reason in record["refused"].items():
        click.echo(f"{name}: {reason}", err=True)
    click.echo(
        f"\n{count} videos; per video: {out / 'scores.parquet'}, means and 95 % intervals: {out / 'metrics.json'}"
    )
    if problems:
        raise PanobenchError(
            f"{len(problems)} of {count + len(problems)} not scored (listed above); the rest is in {out}"
        )


@click.command()
@click.option("--long", "verbose", is_flag=True, help="Also print definition, source and parameters of each.")
def metrics(verbose: bool) -> None:
    """List the metrics: unit, direction, the study's criterion, needs, version."""
    from evaluation.metrics import METRICS

    classes = [METRICS.get(name) for name in METRICS.names()]
    header = ("metric", "unit", "better", "criterion", "needs", "version")
    rows = [
        (
            m.name,
            m.unit,
            m.direction,
            m.criterion.replace("_", " "),
            ", ".join(sorted(m.needs)) or "frames",
            str(m.version),
        )
        for m in classes
    ]
    click.echo(_columns([header, *rows]))
    click.echo()
    for metric in classes:
        if not verbose:
            click.echo(f"{metric.name}: {metric.summary}")
            continue
        defaults = {name: info.default for name, info in metric.model_fields.items()}
        click.echo(f"{metric.name}{f'  (parameters: {defaults})' if defaults else ''}")
        click.echo(f"    {(metric.__doc__ or '').strip()}\n")


@dataclass
class _Options:
    """What of params.yaml scoring reads; defaults where there is none, for videos from elsewhere."""

    judge: Path | None = None
    views: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str | None] = field(default_factory=dict)
    bootstrap: int = 2000
    metrics: Mapping[str, Mapping[str, Any]] | None = None  # None: all
    seed: int = 0
    source: str = "params.yaml"


def _options(file: Path | None) -> _Options:
    options = _Options()
    if file is None and not DEFAULT_PARAMS.is_file():
        return options
    from core.params import load_params

    params = load_params(file or DEFAULT_PARAMS)
    options.source = str(file or DEFAULT_PARAMS)
    options.judge = Path(params.scoring.judge)
    options.views = params.scoring.views
    options.weights = params.scoring.weights.model_dump()
    options.bootstrap = params.scoring.bootstrap
    options.metrics = params.scoring.metrics
    options.seed = params.seed
    return options


def _metrics(options: _Options, chosen: str | None) -> list[AnyMetric]:
    """The metrics to run: those named on the command line, else those of the parameter file, else all."""
    from evaluation.metrics import METRICS, create_metrics

    configured = options.metrics or {}
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        if not names:
            raise PanobenchError("--metrics: no name given; `panobench metrics` lists them")
    else:
        names = list(options.metrics or METRICS.names())
    return create_metrics({name: configured.get(name) for name in names}, options.source)


def _possible(
    metrics: list[AnyMetric], given: Mapping[str, bool], weights: Mapping[str, str | None], required: bool
) -> list[AnyMetric]:
    """The metrics for which everything is at hand; the others are named, with what they lack.

    Raises:
        PanobenchError: one that was asked for by name (``required``) lacks something, or none is left.
    """
    possible = []
    for metric in metrics:
        lacking = _lacking(metric, given, weights)
        if not lacking:
            possible.append(metric)
        elif required:
            raise PanobenchError(f"{metric.name} needs {' and '.join(lacking)}")
        else:
            click.echo(f"left out: {metric.name} needs {' and '.join(lacking)}", err=True)
    if not possible:
        raise PanobenchError("no metric is left to compute (reasons above)")
    return possible


def _lacking(metric: AnyMetric, given: Mapping[str, bool], weights: Mapping[str, str | None]) -> list[str]:
    """What a metric needs and has not got, each with what to do."""
    from evaluation.features import roles_of, takes_truth
    from evaluation.weights import SOURCES, find_weights

    lacking = []
    roles = roles_of(metric.needs)
    if "prompt" in metric.needs and not given["prompt"]:
        lacking.append("prompts (--prompts)")
    if roles & {"judge", "judge_lpips"} and not given["judge"]:
        lacking.append("a judge (--judge, or scoring.judge in params.yaml)")
    if "reference" in metric.needs and not given["reference"]:
        lacking.append("reference videos (--reference)")
    if takes_truth(metric.needs) and not given["paired"]:
        lacking.append("true videos (--paired)")
    for role in sorted(roles & SOURCES.keys()):
        try:
            find_weights(role, weights)
        except PanobenchError as error:
            lacking.append(f"weights: {error}")
    return lacking


def _summary_table(method: str, summary: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(method, "mean", "95 % interval", "unit", "better", "criterion")]
    for name, entry in summary.items():
        low, high = entry["low"], entry["high"]
        interval = f"{low:.4g} .. {high:.4g}" if low is not None else "one prompt: none"
        if "floor" in entry:
            interval += f" (real against real {entry['floor']['mean']:.4g} .. {entry['floor']['high']:.4g})"
        criterion = str(entry["criterion"]).replace("_", " ")
        rows.append((name, f"{entry['mean']:.4g}", interval, entry["unit"], entry["direction"], criterion))
    return _columns(rows)


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
