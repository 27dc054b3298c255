"""`panobench nano`: the procedural world and the training of the nano base."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def nano() -> None:
    """The procedural world and the small base trained on it."""


@nano.command()
@click.option("--settings", type=click.Path(path_type=Path), help="Default: assets/nano/pretrain.yaml.")
@click.option("--work", type=click.Path(path_type=Path), help="Data and checkpoints; default: outputs/nano-base.")
@click.option("--assets", type=click.Path(path_type=Path), help="Where the weights go; default: assets/nano.")
@click.option("--smoke", is_flag=True, help="A few steps of everything, written below outputs/nano-smoke.")
@click.option(
    "--going-on",
    is_flag=True,
    help="Train on from the weights in --assets: decoder, U-Net and motion modules.",
)
@click.option(
    "--phase", "phases", multiple=True, help="data, vae, decoder, judge, unet, motion, polish, export; default: all."
)
@click.option("--threads", type=int, default=None, help="CPU threads of the training; default: all cores.")
@click.option("--device", default=None, help="cpu or cuda; default: PANOBENCH_DEVICE, else cuda where there is one.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that render.")
def pretrain(
    settings: Path | None,
    work: Path | None,
    assets: Path | None,
    smoke: bool,
    going_on: bool,
    phases: tuple[str, ...],
    threads: int | None,
    device: str | None,
    workers: int,
) -> None:
    """Train the nano base from nothing but the procedural world. Resumes where a killed run stopped.

    With --going-on and longer plans in --settings the shipped weights become better; their card then tells of all runs.
    """
    import torch

    from core.device import default_device, named_device
    from core.nano.pretrain.run import GOING_ON, PHASES, Pretraining
    from core.nano.pretrain.settings import Settings

    if threads:
        torch.set_num_threads(threads)
    if smoke:
        settings = settings or Path("assets/nano/smoke.yaml")
        work, assets = work or Path("outputs/nano-smoke/work"), assets or Path("outputs/nano-smoke/assets")
    read = Settings.read(settings or Path("assets/nano/pretrain.yaml"))
    assets = assets or Path("assets/nano")
    device = str(named_device(device, "--device") if device else default_device())
    pretraining = Pretraining(read, work or Path("outputs/nano-base"), workers, device)
    if going_on:
        pretraining.go_on_from(assets)
    pretraining.run(list(phases or (GOING_ON if going_on else PHASES)), assets)


if __name__ == "__main__":
    nano()
