"""`panobench validate`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PanobenchError, did_you_mean
from evaluation.cli import lacking

if TYPE_CHECKING:
    from core.params import Params

DEFAULT_PARAMS = Path("params.yaml")


@click.command()
@click.argument("clips", required=False, type=click.Path(path_type=Path))
@click.option("--prompts", type=click.Path(path_type=Path), help="CSV, JSON or YAML: clip name and its caption.")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder of real panoramic MP4s of the same size.")
@click.option("--metrics", "chosen", help="Comma-separated names; others stay as recorded.  [default: all]")
@click.option("--corruptions", help="Comma-separated names; others are not checked.  [default: all]")
@click.option("--count", type=click.IntRange(min=2), default=16, show_default=True, help="Clips to use.")
@click.option("--rotations", type=click.IntRange(min=0), default=4, show_default=True, help="Random SO(3) rotations.")
@click.option("--strengths", type=click.IntRange(1, 8), default=4, show_default=True, help="Grades per corruption.")
@click.option("--judge", "judge_folder", type=click.Path(path_type=Path), help="Folder of an open_clip model.")
@click.option(
    "--params", "params_file", type=click.Path(path_type=Path), help="Parameter file.  [default: params.yaml]"
)
@click.option("--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda, cuda:1, ...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: docs, or validation with CLIPS]")
def validate(
    clips: Path | None,
    prompts: Path | None,
    reference: Path | None,
    chosen: str | None,
    corruptions: str | None,
    count: int,
    rotations: int,
    strengths: int,
    judge_folder: Path | None,
    params_file: Path | None,
    device: str,
    out: Path | None,
) -> None:
    """Prove the metrics on graded corruptions of real clips, and write the page about them.

    CLIPS is a folder of panoramic MP4s (with --prompts, and --reference for metrics that compare with real panoramas).
    Without it, clips of the procedural world are filmed: scenes never trained on, at the size of params.yaml.

    Every metric runs on each clip with a broken or misaligned seam, flicker, shuffled frames, blur, noise, a narrow
    view stretched to 2:1, frozen frames, a straight-line pan and a wrong caption, at several strengths, turned by whole
    columns, and rotated at random. It passes if it keeps all that it claims. Exit status 1 if a metric fails.
    """
    from evaluation.corruptions import STRENGTHS
    from evaluation.manifest import read_videos
    from evaluation.metrics import METRICS, create_metrics
    from evaluation.metrics.claims import CORRUPTIONS
    from evaluation.proof import record
    from evaluation.proof_page import known_proof, write_page
    from evaluation.validate import YAWS, read_clips

    params = _params(params_file)
    damages = _names(corruptions) or list(CORRUPTIONS)
    for name in damages:
        if name not in CORRUPTIONS:
            hint = did_you_mean(name, CORRUPTIONS) or f"; known: {', '.join(CORRUPTIONS)}"
            raise PanobenchError(f"--corruptions: unknown '{name}'{hint}")
    names = _names(chosen) or METRICS.names()
    configured = params.scoring.metrics if params else {}
    metrics = create_metrics({name: configured.get(name) for name in names}, str(params_file or DEFAULT_PARAMS))
    grades = STRENGTHS if strengths == len(STRENGTHS) else tuple((i + 1) / strengths for i in range(strengths))
    with _material(clips, prompts, reference, count, params) as (videos, captions, real):
        read = read_clips(read_videos(videos, captions), count)
        prover, skipped = _prover(metrics, read, real, judge_folder, device, params)
        values = prover.run(grades, rotations, corruptions=damages, progress=_bar)
    proof = record(values, {metric.name: type(metric) for metric in metrics}, skipped)
    frames, height, width = read[0].frames.shape[:3]
    what = "clips" if clips else "clips of the procedural world"
    run: dict[str, Any] = {
        "clips": {"count": len(read), "what": what, "width": width, "height": height, "frames": frames},
        "strengths": list(grades),
        "yaws": [max(1, round(share * width)) for share in YAWS],
        "rotations": rotations,
        "left_out": [name for name in CORRUPTIONS if name not in damages],
        "seed": prover.seed,
    }
    out = out or Path("validation" if clips else "docs")
    everything = {name: METRICS.get(name) for name in METRICS.names()}
    together = known_proof(out, run, {name: metric.version for name, metric in everything.items()}) | proof
    write_page(out, together, {name: metric for name, metric in everything.items() if name in together}, run)
    _report(proof, out)


def _params(file: Path | None) -> Params | None:
    if file is None and not DEFAULT_PARAMS.is_file():
        return None
    from core.params import load_params

    return load_params(file or DEFAULT_PARAMS)


def _names(chosen: str | None) -> list[str]:
    return [name.strip() for name in (chosen or "").split(",") if name.strip()]


@contextmanager
def _material(
    clips: Path | None, prompts: Path | None, reference: Path | None, count: int, params: Params | None
) -> Iterator[tuple[Path, Path | None, Path | None]]:
    """Folder of clips, their captions, and the reference; those of the procedural world are gone afterwards."""
    if clips is not None:
        yield clips, prompts, reference
        return
    from core.data.prepare import ClipSpec, film_nano

    size = params.video.model_dump() if params else {"height": 64, "width": 128, "frames": 8, "fps": 8.0}
    seed = params.seed if params else 0
    with tempfile.TemporaryDirectory(prefix="panobench-validate-") as folder:
        film_nano(Path(folder) / "clips", "test", count, ClipSpec(**size), seed)
        if reference is None:
            number = params.dataset.reference_clips if params else 40
            film_nano(Path(folder) / "reference", "reference", number, ClipSpec(**size), seed)
        table = Path(folder) / "prompts.csv"
        _captions(Path(folder) / "clips" / "clips.csv", table)
        yield Path(folder) / "clips" / "videos", table, reference or Path(folder) / "reference"


def _captions(clips: Path, out: Path) -> None:
    import pandas as pd

    table = pd.read_csv(clips, dtype=str)
    pd.DataFrame({"video": table["videoid"], "prompt": table["name"]}).to_csv(out, index=False)


def _prover(
    metrics: list[Any],
    clips: list[Any],
    reference: Path | None,
    judge_folder: Path | None,
    device: str,
    params: Params | None,
) -> tuple[Any, dict[str, str]]:
    """What runs, with what it needs; and why the others do not."""
    from evaluation.features import roles_of, takes_views
    from evaluation.networks import load_networks
    from evaluation.score import describe_reference, reference_files
    from evaluation.validate import Prover
    from evaluation.views import ViewOptions

    folder = judge_folder or (Path(params.scoring.judge) if params else None)
    weights = params.scoring.weights.model_dump() if params else {}
    given = {
        "prompt": all(clip.prompt is not None for clip in clips),
        "reference": reference is not None,
        "paired": True,  # with the clip as it was
        "judge": folder is not None,
    }
    skipped = {metric.name: " and ".join(lack) for metric in metrics if (lack := lacking(metric, given, weights))}
    for name, reason in skipped.items():
        click.echo(f"not run: {name}, it needs {reason}", err=True)
    running = [metric for metric in metrics if metric.name not in skipped]
    if not running:
        raise PanobenchError("no metric can be run (reasons above)")
    needs = set[str]().union(*(metric.needs for metric in running))
    networks = load_networks(roles_of(needs), folder, weights, device)
    width = clips[0].frames.shape[2]
    views = ViewOptions.parse(params.scoring.views if params else {}).view_set(width) if takes_views(needs) else None
    described = {}
    if reference is not None and "reference" in needs:
        described = describe_reference(reference_files(reference), running, (width // 2, width), views, networks)
    return Prover(running, clips, described, views, networks, params.seed if params else 0), skipped


def _bar(todo: list[Any]) -> Iterator[Any]:
    from tqdm import tqdm

    yield from tqdm(todo, desc="proof", unit="variant", dynamic_ncols=True)


def _report(proof: dict[str, Any], out: Path) -> None:
    """Say what came out.

    Raises:
        PanobenchError: a metric failed.
    """
    from evaluation.proof import failed

    wrong = [name for name, entry in proof.items() if not entry["passed"] and "skipped" not in entry]
    for name in wrong:
        click.echo(f"{name}: {'; '.join(failed(proof[name]['checks']))}", err=True)
    passed = sum(entry["passed"] for entry in proof.values())
    click.echo(f"{passed} of {len(proof)} metrics keep their claims: {out / 'metrics.md'}")
    if wrong:
        raise PanobenchError(f"{len(wrong)} of {len(proof)} metrics fail their own proof: {', '.join(wrong)}")
