"""`panobench params`: what is in force, and whether all of it can work."""

from pathlib import Path

import click

from core.errors import PanobenchError
from core.params import Params, load_params


def check_assets(params: Params, source: str) -> None:
    """Check that the files which params.yaml points to exist.

    Raises:
        PanobenchError: names the key and the path.
    """
    needed = {
        "base.model": (params.base.model, "model_index.json"),
        "base.motion_adapter": (params.base.motion_adapter, "config.json"),
        "generation.prompts": (params.generation.prompts, ""),
        "scoring.judge": (params.scoring.judge, "open_clip_config.json"),
    }
    needed |= {key: (path, "") for key, path in params.weights().items() if key not in needed}
    for key, (path, inside) in needed.items():
        place = Path(path) / inside if Path(path).is_dir() else Path(path)
        if not place.exists():
            remedy = "`panobench fetch` says where each weight comes from; get it"
            if place.parts[0] in ("assets", "baselines"):
                remedy = "restore it (`git checkout -- assets baselines` for what is shipped)"
            raise PanobenchError(
                f"{source}: '{key}' is '{path}', but {place} does not exist; {remedy} or correct the path"
            )


@click.command()
@click.option("--params", "path", default="params.yaml", show_default=True, help="The parameter file.")
@click.option("--quiet", is_flag=True, help="Print nothing if all is well.")
def params(path: str, quiet: bool) -> None:
    """Check the parameter file and what it points to, and print what the pipeline will run."""
    from study_app.params import parse_analysis_params, parse_study_params

    checked = load_params(path)
    check_assets(checked, path)
    parse_study_params(checked.study, path)
    parse_analysis_params(checked.analysis, path)
    if quiet:
        return
    video = checked.video
    click.echo(f"{path}: profile {checked.profile}, seed {checked.seed}, results in {checked.outputs}/")
    click.echo(f"video    {video.width} x {video.height}, {video.frames} frames at {video.fps:g} fps")
    for name in checked.run.models:
        training = checked.training[name]
        click.echo(f"train    {name}: {training.kind}, {training.steps} steps of {training.batch}")
    for name in checked.run.methods:
        click.echo(f"method   {name}: {checked.methods[name].label}")
    click.echo(f"metrics  {', '.join(checked.scoring.metrics)}")
