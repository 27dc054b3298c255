"""`panobench recipes` and `panobench generate`."""

from __future__ import annotations

from pathlib import Path

import click

from core.cli import one_at_a_time
from core.params import load_params

_params_option = click.option(
    "--params", "params_file", default="params.yaml", show_default=True, type=click.Path(path_type=Path),
    help="Parameter file of the profile.",
)  # fmt: skip


@click.command()
@_params_option
def recipes(params_file: Path) -> None:
    """Resolve every method of run.methods into the switches and weights it uses."""
    params = load_params(params_file)
    from baselines.recipes import write_recipes

    for path in write_recipes(params):
        click.echo(f"panobench: wrote {path}")


@click.command()
@click.argument("method")
@_params_option
@click.option(
    "--upscale",
    type=click.IntRange(min=1, max=8),
    metavar="N",
    help="Enlarge the videos N times, seam-aware bicubic, instead of generation.upscale.",
)
@click.option(
    "--motion",
    metavar="MOTION",
    help="Motion condition instead of generation.motion: a flow video (.mp4), a flow tensor (.npy, .safetensors, .pt), "
    "or still, drift-forward, drift-backward, yaw-left, yaw-right, sky-only, ground-only; yaw-left@1.5 says how many "
    "degrees per frame.",
)
@click.option("--rank", type=int, help="Of several processes: this one, from 0. Default: as the launcher says.")
@click.option("--world", type=int, help="How many processes there are.")
def generate(
    method: str, params_file: Path, upscale: int | None, motion: str | None, rank: int | None, world: int | None
) -> None:
    """Generate the prompt set's videos with METHOD; a killed run goes on where it stopped.

    \b
    Several processes share the work without talking to each other; the videos are the same to the bit:
      torchrun --nproc-per-node 8 --no-python panobench generate METHOD
      srun --ntasks 16 --gpus-per-task 1 panobench generate METHOD
      sbatch --array 0-7 --wrap "panobench generate METHOD"
      panobench generate METHOD --rank 0 --world 2      (and --rank 1 elsewhere)
    All must see the same outputs/. The last to finish moves the videos into place; should one have failed, any later
    run makes what is missing.
    """
    params = load_params(params_file)
    given = {key: value for key, value in (("upscale", upscale), ("motion", motion)) if value is not None}
    params = params.model_copy(update={"generation": params.generation.model_copy(update=given)})
    from baselines.generate import generate as run
    from core.shards import find_shard

    shard = find_shard(rank, world)
    stage = f"generate@{method}" if shard.world == 1 else f"generate@{method}.{shard.rank}-of-{shard.world}"
    with one_at_a_time(params, stage):
        folder = run(params, method, shard)
    if folder is None:
        click.echo(
            f"panobench: process {shard.rank} of {shard.world} is done; the last one moves the videos into place"
        )
    else:
        click.echo(f"panobench: wrote {folder}")
