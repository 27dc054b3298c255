"""`panobench train`: from an encoded set to a trained model."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import click

from core.data.cli import one_at_a_time, params_option
from core.params import load_params


@click.command()
@click.argument("name")
@params_option
def train(name: str, params_file: Path) -> None:
    """Train the model NAME of params.yaml; a killed run goes on where it stopped.

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
