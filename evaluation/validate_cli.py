"""`panobench validate`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import PanobenchError, did_you_mean
from core.files import write_json

if TYPE_CHECKING:
    from core.nano.scene import Split
    from core.params import Params
    from evaluation.corruptions import Clip
    from evaluation.manifest import VideoSet
    from evaluation.run import Request
    from evaluation.validate import Prover


@click.command()
@click.argument("clips", required=False, type=click.Path(path_type=Path))
@click.option("--prompts", type=click.Path(path_type=Path), help="CSV, JSON or YAML: clip name and its caption.")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder of real panoramic MP4s of the same size.")
@click.option("--metrics", "chosen", help="Comma-separated names; others stay as recorded.  [default: all]")
@click.option("--corruptions", help="Comma-separated names; others are not checked.  [default: all]")
@click.option("--count", type=click.IntRange(min=2), default=16, show_default=True, help="Clips to use.")
@click.option("--rotations", type=click.IntRange(min=0), default=4, show_default=True, help="Random SO(3) rotations.")
@click.option("--strengths", type=click.IntRange(1, 8), default=4, show_default=True, help="Grades per corruption.")
@click.option("--judge", type=click.Path(path_type=Path), help="Folder of an open_clip model.")
@click.option("--weights", multiple=True, metavar="ROLE=PATH", help="Weights of a network; may be repeated.")
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
    judge: Path | None,
    weights: tuple[str, ...],
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

    A killed run goes on where it stopped: what it has measured lies in OUT/.proof until the page is written.
    """
    from dataclasses import replace

    from evaluation.corruptions import STRENGTHS
    from evaluation.manifest import read_videos
    from evaluation.metrics import METRICS
    from evaluation.metrics.claims import CORRUPTIONS
    from evaluation.options import find_params, request_of
    from evaluation.proof import record
    from evaluation.proof_page import known_proof, write_page
    from evaluation.validate import YAWS, read_clips

    params = find_params(params_file)
    everything = {name: METRICS.get(name) for name in METRICS.names()}
    damages = _names(corruptions) or list(CORRUPTIONS)
    for name in damages:
        if name not in CORRUPTIONS:
            hint = did_you_mean(name, CORRUPTIONS) or f"; known: {', '.join(CORRUPTIONS)}"
            raise PanobenchError(f"--corruptions: unknown '{name}'{hint}")
    # All metrics, not only those of params.yaml: the proof is what decides which of them belong there.
    wanted = chosen or ",".join(METRICS.names())
    asked = request_of(
        prompts, reference, clips, wanted, None, None, judge, weights, device, None, None, True, params_file
    )
    out = out or Path("validation" if clips else "docs")
    grades = STRENGTHS if strengths == len(STRENGTHS) else tuple((i + 1) / strengths for i in range(strengths))
    with _material(clips, prompts, reference, count, params) as (folder, captions, real):
        videos = read_videos(folder, captions)
        read = read_clips(videos, count)
        prover, skipped = _prover(replace(asked, reference=real, paired=folder), videos, read, real, out / ".proof")
        values = prover.run(grades, rotations, corruptions=damages, progress=_bar)
    metrics = [METRICS.get(name) for name in asked.metrics or {}]
    proof = record(values, {metric.name: metric for metric in metrics}, skipped)
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
    together = known_proof(out, run, {name: metric.version for name, metric in everything.items()}) | proof
    if clips is None:  # the project's own page: it names every metric
        missing = {name: "no run on these clips has named it" for name in everything if name not in together}
        together |= record({}, {name: everything[name] for name in missing}, missing)
    write_page(out, together, {name: metric for name, metric in everything.items() if name in together}, run)
    prover.rows.remove()
    _report(proof, out)


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
    size = params.video.model_dump() if params else {"height": 64, "width": 128, "frames": 8, "fps": 8.0}
    seed = params.seed if params else 0
    with tempfile.TemporaryDirectory(prefix="panobench-validate-") as name:
        folder = Path(name)
        captions = _film(folder / "clips", "test", count, size, seed)
        write_json(folder / "prompts.json", captions)
        if reference is None:
            _film(folder / "reference", "reference", params.dataset.reference_clips if params else 40, size, seed)
        yield folder / "clips", folder / "prompts.json", reference or folder / "reference"


def _film(folder: Path, split: Split, count: int, size: Mapping[str, Any], seed: int) -> dict[str, str]:
    """Film scenes of the procedural world; the caption of each clip, by its name."""
    import numpy as np
    from tqdm import tqdm

    from core.nano.captions import caption, shown_everywhere
    from core.nano.render import render_clip
    from core.nano.scene import face, sample_scene
    from core.sphere import erp_directions
    from core.video import write_video

    oversample = 2
    directions = erp_directions(size["height"] * oversample, size["width"] * oversample).numpy()
    captions = {}
    for index in tqdm(range(count), desc=f"film {split}", unit="clip", dynamic_ncols=True):
        scene = sample_scene(seed, split, index)
        scene = face(scene, scene.camera.yaw)
        frames = render_clip(scene, directions, [float(t) for t in range(size["frames"])], oversample)
        write_video(folder / f"{scene.scene_id}.mp4", frames, size["fps"])
        captions[scene.scene_id] = caption(scene, shown_everywhere(scene), np.random.default_rng([seed, index]))
    return captions


def _prover(
    request: Request, videos: VideoSet, clips: list[Clip], reference: Path | None, kept: Path
) -> tuple[Prover, dict[str, str]]:
    """What runs, with what it needs; and why the others do not."""
    from evaluation.features import roles_of, takes_views
    from evaluation.metrics import create_metrics
    from evaluation.networks import load_networks
    from evaluation.rules import reference_files
    from evaluation.run import lacking
    from evaluation.score import Scorer, describe_reference
    from evaluation.sources import probe
    from evaluation.validate import Prover
    from evaluation.views import ViewOptions

    prompts = all(clip.prompt is not None for clip in clips)
    metrics = create_metrics(request.metrics or {}, request.source)
    skipped = {
        m.name: " and ".join(missing).replace(str(Path.home()), "~")
        for m in metrics
        if (missing := lacking(m, request, prompts))
    }
    for name, reason in skipped.items():
        click.echo(f"not run: {name}, it needs {reason}", err=True)
    running = [metric for metric in metrics if metric.name not in skipped]
    if not running:
        raise PanobenchError("no metric can be run (reasons above)")
    needs = set[str]().union(*(metric.needs for metric in running))
    networks = load_networks(roles_of(needs), request.judge, request.weights, request.device)
    width = clips[0].frames.shape[2]
    views = ViewOptions.parse(request.views, request.source).view_set(width) if takes_views(needs) else None
    described = {}
    if reference is not None and "reference" in needs:
        scorer = Scorer(running, views, networks)
        described = describe_reference(reference_files(reference), scorer, probe(videos.items[0].path))
    return Prover(running, clips, described, views, networks, request.seed, kept), skipped


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
