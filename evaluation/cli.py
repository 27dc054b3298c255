"""`panobench score` and `panobench metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from core.errors import PanobenchError
from evaluation.options import request_of, scoring_options


@click.command()
@click.argument("videos", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: scores/METHOD]")
@click.option("--method", help="Name of the method.  [default: the manifest's, or the folder's name]")
@scoring_options
@click.option("--rank", type=int, help="Of several processes: this one, from 0.  [default: as the launcher says]")
@click.option("--world", type=int, help="How many processes there are.")
def score(
    videos: Path, out: Path | None, method: str | None, rank: int | None, world: int | None, **options: Any
) -> None:
    """Score the panoramic videos in VIDEOS: a folder, or a manifest.jsonl.

    \b
      panobench score my_videos
      panobench score my_videos --prompts prompts.csv --judge ViT-L-14 --reference real_panoramas

    A folder holds one video per file (MP4, WebM, MOV, MKV, GIF), or one per folder of PNG or JPEG frames. Videos are
    equirectangular (2:1), all of one size, length and frame rate; others are refused unless --resample says what to
    bring them to. It averages pixels and leaves frames out; it never enlarges, repeats or appends anything.

    A video that cannot be scored is named with the reason, the rest is scored, and the exit status is 1. What networks
    make of a video is kept, so that scoring again with another metric runs no network again. A killed run goes on
    where it stopped. Memory does not grow with the length of a video.

    \b
    Several processes share the work; the files are the same to the bit, and the last to finish writes them:
      torchrun --nproc-per-node 8 --no-python panobench score VIDEOS
      panobench score VIDEOS --rank 0 --world 2      (and --rank 1 elsewhere)
    """
    from core.shards import find_shard
    from evaluation.run import run

    shard = find_shard(rank, world)
    outcome = run(videos, request_of(**options), out, method, shard)
    if outcome is None:
        click.echo(f"process {shard.rank} of {shard.world} is done; the last one writes the scores")
        return
    click.echo(_summary_table(outcome.method, outcome.record["metrics"]))
    for name, reason in outcome.record["refused"].items():
        click.echo(f"{name}: {reason}", err=True)
    files = f"per video: {outcome.out / 'scores.parquet'}, means and 95 % intervals: {outcome.out / 'metrics.json'}"
    click.echo(f"\n{outcome.count} videos; {files}")
    if outcome.problems:
        failed = len(outcome.problems)
        raise PanobenchError(
            f"{failed} of {outcome.count + failed} not scored (listed above); the rest is in {outcome.out}"
        )


@click.command()
@click.option("--long", "verbose", is_flag=True, help="Also print definition, source and parameters of each.")
def metrics(verbose: bool) -> None:
    """List the metrics: unit, direction, the study's criterion, needs, cost, version, and whether they are proven.

    Proven: it kept all that it claims under graded corruptions (`panobench validate`, docs/metrics.md). These are the
    default set; the others are computed only if they are named.

    Cost, for a clip of 16 x 512 x 1024 on two CPU cores: "pixels" is under a second, "flow" some seconds once for all
    metrics that take it, "network" as long as the network takes for 12 views a frame, once for all that share it.
    """
    from evaluation.features import cost_of
    from evaluation.metrics import METRICS
    from evaluation.metrics.proven import PROVEN

    classes = [METRICS.get(name) for name in METRICS.names()]
    header = ("metric", "unit", "better", "criterion", "needs", "cost", "version", "proven")
    rows = [
        (
            m.name,
            m.unit,
            m.direction,
            m.criterion.replace("_", " "),
            ", ".join(sorted(m.needs)) or "frames",
            cost_of(m.needs),
            str(m.version),
            "yes" if m.name in PROVEN else "no",
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
