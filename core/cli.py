"""`panobench data ...` and `panobench train`: from raw clips to trained models."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from core.files import exclusive
from core.params import Params, load_params

_params_option = click.option(
    "--params", "params_file", default="params.yaml", show_default=True, type=click.Path(path_type=Path),
    help="Parameter file of the profile.",
)  # fmt: skip


def one_at_a_time(params: Params, stage: str) -> AbstractContextManager[None]:
    """Wait until no other process works on this stage: a killed `dvc repro` can leave one behind."""
    return exclusive(params.outputs / "partial" / f"{stage}.lock")


@click.group()
def data() -> None:
    """Build the training set: prepare, caption, flow, encode (in this order)."""


@data.command()
@_params_option
def prepare(params_file: Path) -> None:
    """Write the raw clips with their per-view captions, train and reference split."""
    params = load_params(params_file)
    from core.data.prepare import prepare_stage

    with one_at_a_time(params, "prepare"):
        prepare_stage(params)


@data.command()
@_params_option
def caption(params_file: Path) -> None:
    """Fuse the captions of four views into one caption of the panorama (360TF)."""
    params = load_params(params_file)
    from core.data.caption import caption_stage

    outputs = params.outputs
    caption_stage(outputs / "dataset/train/clips.csv", outputs / "captions/clips.csv", params.caption.whole_erp)


@data.command()
@_params_option
def flow(params_file: Path) -> None:
    """Estimate the optical flow of the training clips, their motion condition."""
    params = load_params(params_file)
    from core.data.flowstage import flow_stage

    outputs = params.outputs
    with one_at_a_time(params, "flow"):
        flow_stage(outputs / "dataset/train/clips.csv", outputs / "flows", outputs / "partial/flow", params.flow)


@data.command()
@_params_option
def encode(params_file: Path) -> None:
    """Encode clips, captions and flow once, for all trainings."""
    params = load_params(params_file)
    from core.data.encode import encode_stage

    outputs = params.outputs
    with one_at_a_time(params, "encode"):
        encode_stage(
            params,
            outputs / "dataset/train/videos",
            outputs / "captions/clips.csv",
            outputs / "flows",
            outputs / "cache",
            outputs / "partial/encode",
        )


@click.command()
@click.argument("name")
@_params_option
def train(name: str, params_file: Path) -> None:
    r"""Train the model NAME of params.yaml; a killed run goes on where it stopped.

    \b
    On several GPUs or hosts, with the same results as one process of the same rows per step (batch x
    gradient_accumulation x processes):
      accelerate launch --multi_gpu --num_processes 8 --module panobench train NAME
      accelerate launch --multi_gpu --num_processes 16 --num_machines 2 --machine_rank R
                        --main_process_ip HOST --main_process_port 29500 --module panobench train NAME
    All hosts must see the same outputs/.
    """
    params = load_params(params_file)
    from core.train.run import train_model
    from core.train.validation import validation_videos

    first = os.environ.get("RANK", "0") == "0"  # of the processes of one training, which must not wait for each other
    with one_at_a_time(params, f"train@{name}") if first else nullcontext():
        folder = train_model(params, name, validation_videos)
    if first:
        click.echo(f"panobench: wrote {folder}")
