"""`panobench nano`: the procedural world and the training of the nano base."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def nano() -> None:
    """The procedural world and the small base trained on it."""


@nano.command()
@click.option("--settings", type=click.Path(path_type=Path), default="assets/nano/pretrain.yaml", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default="outputs/nano-base", show_default=True)
@click.option("--assets", type=click.Path(path_type=Path), default="assets/nano", show_default=True)
@click.option("--phase", "phases", multiple=True, help="data, vae, judge, unet, motion, polish, export; default: all.")
@click.option("--threads", type=int, default=None, help="CPU threads of the training; default: all cores.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that render.")
def pretrain(
    settings: Path, work: Path, assets: Path, phases: tuple[str, ...], threads: int | None, workers: int
) -> None:
    """Train the nano base from nothing but the procedural world. Resumes where a killed run stopped."""
    import torch

    from core.nano.pretrain.run import PHASES, Pretraining
    from core.nano.pretrain.settings import Settings

    if threads:
        torch.set_num_threads(threads)
    Pretraining(Settings.read(settings), work, workers).run(list(phases or PHASES), assets)


if __name__ == "__main__":
    nano()
