"""The options that `panobench score` and `panobench compare` share, and how they become a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from core.errors import PanobenchError

if TYPE_CHECKING:
    from core.params import Params
    from evaluation.precision import Precision
    from evaluation.run import Request

PARAMS = Path("params.yaml")
Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--prompts", type=click.Path(path_type=Path), help="CSV, JSON or YAML: video name and its prompt."),
    click.option("--reference", type=click.Path(path_type=Path), help="Folder of real panoramic videos, same size."),
    click.option("--paired", type=click.Path(path_type=Path), help="Folder of true videos, named as the scored ones."),
    click.option(
        "--metrics", "chosen", help="Comma-separated names.  [default: those of params.yaml, else all that are proven]"
    ),
    click.option(
        "--resample",
        metavar="WxH@FPSxFRAMES",
        help="Bring every video to one size, rate and length, for example 1024x512@8x16, 512x256 or @8; recorded.",
    ),
    click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Rate of folders of frames."),
    click.option("--judge", type=click.Path(path_type=Path), help="Folder of an open_clip model, for CLIP metrics."),
    click.option("--weights", multiple=True, metavar="ROLE=PATH", help="Weights of a network; may be repeated."),
    click.option(
        "--device", default="auto", show_default=True, help="Where networks run: auto, cpu, cuda, cuda:1, ..."
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        help="How finely the judge and LPIPS count. bf16 takes about half as long where the processor has "
        "instructions for it, and moved their metrics by up to half a per cent on the clip measured (docs/speed.md); "
        "recorded, and methods scored differently do not compare.  [default: that of params.yaml, else fp32]",
    ),
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="What networks make is kept here.  [default: ~/.cache/panobench]",
    ),
    click.option("--no-cache", is_flag=True, help="Run every network anew, and keep nothing."),
    click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        help="Parameter file.  [default: params.yaml, if any]",
    ),
)


def scoring_options(command: Command) -> Command:
    """Add them to a command, which gets them all by keyword."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def find_params(file: Path | None) -> Params | None:
    """The parameters: of the file that was given, else of params.yaml here if panobench's; None: defaults are in force.

    Raises:
        PanobenchError: the file that was given, or panobench's own params.yaml, is wrong.
    """
    if file is None and not _is_ours(PARAMS):
        return None
    from core.params import load_params

    return load_params(file or PARAMS)


def _is_ours(file: Path) -> bool:
    """Whether a params.yaml is panobench's: other projects, all that use DVC, have files of that name."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False
    except yaml.YAMLError:
        return True  # whose it is cannot be told: let its reader say what is wrong
    return isinstance(content, dict) and "profile" in content


def request_of(
    prompts: Path | None,
    reference: Path | None,
    paired: Path | None,
    chosen: str | None,
    resample: str | None,
    fps: float | None,
    judge: Path | None,
    weights: tuple[str, ...],
    device: str,
    precision: Precision | None,
    cache: Path | None,
    no_cache: bool,
    params_file: Path | None,
) -> Request:
    """What the command line and the parameters ask for.

    Raises:
        PanobenchError: an option that makes no sense.
    """
    from evaluation.cache import FeatureCache, cache_folder
    from evaluation.metrics import METRICS
    from evaluation.metrics.proven import PROVEN
    from evaluation.run import Request
    from evaluation.sources import Resample
    from evaluation.weights import parse_weights

    params = find_params(params_file)
    source = str(params_file or PARAMS)
    scoring = params.scoring if params else None
    configured = scoring.metrics if scoring else {}
    if params is None:
        which = (
            "" if chosen is not None else "the metrics that are proven (--metrics names others, or all), with their "
        )
        click.echo(f"no params.yaml of panobench here: {which}default parameters", err=True)
    names = list(configured or PROVEN)
    if chosen == "all":
        names, chosen = METRICS.names(), None
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip()]
        if not names:
            raise PanobenchError("--metrics: no name given; `panobench metrics` lists them")
    if scoring and judge is None:
        judge = _beside(scoring.judge, params_file or PARAMS)
    known = scoring.weights.model_dump() if scoring else {}
    known = {role: path and str(_beside(path, params_file or PARAMS)) for role, path in known.items()}
    return Request(
        metrics={name: configured.get(name) for name in names},
        required=chosen is not None,
        source=source,
        prompts=prompts,
        reference=reference,
        paired=paired,
        judge=judge,
        weights={**known, **parse_weights(weights)},
        views=scoring.views if scoring else {},
        resample=Resample.parse(resample) if resample is not None else None,
        fps=fps,
        device=device,
        precision=precision or (scoring.precision if scoring else "fp32"),
        bootstrap=scoring.bootstrap if scoring else 2000,
        seed=params.seed if params else 0,
        cache=FeatureCache(None if no_cache else cache or cache_folder() / "features"),
        say=lambda line: click.echo(line, err=True),
    )


def _beside(path: str, params_file: Path) -> Path:
    """A path of the parameter file: as seen from here, or else from where that file is."""
    beside = params_file.parent / path
    return beside if not Path(path).exists() and beside.exists() else Path(path)
