"""`panobench data ...`: from raw 360 footage to an encoded training set."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from core.errors import PanobenchError
from core.files import exclusive
from core.params import Params, load_params
from core.shards import Shard, find_shard

STEPS = ("probe", "split", "caption", "flow", "encode", "check")

params_option = click.option(
    "--params", "params_file", default="params.yaml", show_default=True, type=click.Path(path_type=Path),
    help="Parameter file of the profile.",
)  # fmt: skip
_rank_option = click.option("--rank", type=int, help="This process, from 0, of --world; default: as its launcher says.")
_world_option = click.option("--world", type=int, help="Number of processes that share the work over one disk.")


def one_at_a_time(params: Params, stage: str, shard: Shard = Shard()) -> AbstractContextManager[None]:  # noqa: B008
    """Wait until no other process works on this stage alone: a killed `dvc repro` can leave one behind."""
    return nullcontext() if shard.world > 1 else exclusive(params.outputs / "partial" / f"{stage}.run.lock")


@click.group()
def data() -> None:
    """Build a training set: probe, split, caption (360TF), flow, encode, check.

    `panobench data build RAW --out SET` does all of it for a folder of 360 footage. The single steps are those of the
    pipeline (`make repro`), with the source that params.yaml names. A killed step goes on where it stopped; several
    processes share a step with --rank and --world, torchrun or a Slurm array. docs/data.md shows each.
    """


def _step(name: str, text: str) -> None:
    """Add one step as a command."""

    @data.command(name, help=text)
    @params_option
    @_rank_option
    @_world_option
    def command(params_file: Path, rank: int | None, world: int | None) -> None:
        from core.data.stages import Layout, run_step

        params, shard = load_params(params_file), find_shard(rank, world)
        with one_at_a_time(params, name, shard):
            run_step(name, params, Layout.pipeline(params), shard)


_step("probe", "Judge raw footage: which files are full panoramas, what is wrong with the others; a report page.")
_step("split", "Cut single-scene clips, train and reference by source (or film the nano world, or take a set).")
_step("caption", "Caption four views of each training clip and fuse them into one caption (360TF).")
_step("flow", "Estimate the optical flow of the training clips, their motion condition.")
_step("encode", "Encode clips, captions and flow once, for all trainings.")


@data.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@params_option
@click.option("--quick", is_flag=True, help="Headers and lengths only; do not decode every frame.")
@_rank_option
@_world_option
def check(folder: Path | None, params_file: Path, quick: bool, rank: int | None, world: int | None) -> None:
    """Verify a data set: FOLDER (a built set, or WEB360 as released), or that of the pipeline.

    Prints every problem and how to mend it, and fails if there is one: missing files, wrong lengths, unreadable frames,
    empty captions, impossible flow.
    """
    shard = find_shard(rank, world)
    if folder is None:
        from core.data.stages import Layout, run_step

        params = load_params(params_file)
        whole = run_step("check", params, Layout.pipeline(params), shard)
        left = "this process's share is whole; the set is when the others' are"
        click.echo(f"panobench: {params.outputs}: {'the set is whole' if whole else left}")
        return
    from core.data.check import check_set, refuse_broken
    from core.data.existing import find_set

    splits = find_set(folder)
    if not splits:
        raise PanobenchError(f"{folder}: no data set; a set has a CSV with videoid,name beside videos/, or train/")
    problems = [
        problem
        for name, found in splits.items()
        for problem in check_set(found.table, found.videos, found.flows, deep=not quick, shard=shard)
    ]
    refuse_broken(problems, str(folder))
    checked = "the set" if shard.world == 1 else f"share {shard.rank} of {shard.world}"
    click.echo(f"panobench: {folder}: {checked} is whole")


def _overrides(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of `build` that stand for keys of params.yaml."""
    options = [
        click.option("--height", type=int, help="Rows of the clips; the width is twice that."),
        click.option("--frames", type=int, help="Frames of a clip."),
        click.option("--per-source", type=int, help="Clips of one source at most."),
        click.option("--test-share", type=float, help="Share of the sources that are kept for testing."),
        click.option("--crop-eye", type=click.Choice(["top", "bottom", "left", "right"]), help="Eye of stereo files."),
        click.option("--keep-flagged", is_flag=True, default=None, help="Keep static, frozen and black clips, marked."),
        click.option("--captioner", help="BLIP folder or hub id, such as Salesforce/blip-image-captioning-large."),
        click.option("--fusion", type=click.Choice(["rules", "chat", "local"]), help="What fuses the four captions."),
        click.option("--fusion-model", help="Folder or hub id of the chat model of --fusion local."),
        click.option("--whole-erp", is_flag=True, default=None, help="Ablation: one caption of the whole picture."),
        click.option("--flow", "backend", type=click.Choice(["dis", "raft", "panoflow"]), help="Estimator of flow."),
        click.option("--flow-weights", help="Checkpoint of raft or panoflow."),
        click.option("--flow-encoding", type=click.Choice(["panobench", "released"]), help="How flow is stored."),
        click.option("--base", help="Diffusers folder whose VAE and text encoder encode the set."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


_KEYS = {
    "height": "video.height",
    "frames": "dataset.frames",
    "per_source": "dataset.per_source",
    "test_share": "dataset.test_share",
    "crop_eye": "dataset.crop_eye",
    "keep_flagged": "dataset.keep_flagged",
    "captioner": "caption.captioner",
    "fusion": "caption.fusion",
    "fusion_model": "caption.fusion_model",
    "whole_erp": "caption.whole_erp",
    "backend": "flow.backend",
    "flow_weights": "flow.weights",
    "flow_encoding": "flow.encoding",
    "base": "base.model",
}


@data.command()
@click.argument("raw", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the set, e.g. datasets/NAME.")
@click.option("--until", type=click.Choice(STEPS), default="check", show_default=True, help="The last step to run.")
@params_option
@_overrides
@_rank_option
@_world_option
def build(
    raw: Path, out: Path, until: str, params_file: Path, rank: int | None, world: int | None, **given: Any
) -> None:
    """Build a training set in --out from the footage in RAW (any depth, any format that FFmpeg reads).

    Sizes and models are those of --params unless an option says otherwise. Run the same command again after a kill; it
    goes on where it stopped, and a finished step is not done again.

    \b
    The set, in WEB360's layout:
      probe/report.html, report.html     what was taken and what was not, with pictures and reasons
      train/clips.csv, videos/, flows/   the clips; `dataset.source: datasets/NAME` trains on them
      test/clips.csv, videos/            clips of other sources
      cache/                             encoded once
    """
    from core.data.build import build_set

    params = _with(load_params(params_file), raw, given, str(params_file))
    done = build_set(params, out, until, find_shard(rank, world))
    click.echo(f"panobench: {out}: {done}")


def _with(params: Params, raw: Path, given: dict[str, Any], source: str) -> Params:
    """The parameters with the options of the command line in place, checked again."""
    from core.params import parse_params

    content = params.model_dump()
    content["dataset"] |= {"source": str(raw), "watch": None}
    for name, value in given.items():
        if value is not None:
            section, key = _KEYS[name].split(".")
            content[section][key] = value
    if given.get("height"):
        content["video"]["width"] = 2 * given["height"]
    return parse_params(content, f"{source} with the options given")
