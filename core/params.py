"""Read params.yaml: typed, frozen parameters, or one line that names what is wrong in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from core.errors import PanobenchError, did_you_mean
from core.params_explain import explain, shown
from core.params_schema import Params, is_path

__all__ = ["Params", "load_params", "parse_params"]


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        PanobenchError: one line that names the file, the key and what was found.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such file; run in the repository's root, or pass --params") from None
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PanobenchError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return parse_params(content, str(path))


def parse_params(content: Any, source: str = "params.yaml") -> Params:
    """Validate what was read; ``source`` names the file in messages.

    Raises:
        PanobenchError: see load_params.
    """
    if not isinstance(content, dict):
        raise PanobenchError(f"{source}: expected a mapping of parameters, found {shown(content)}")
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise PanobenchError(f"{source}: {explain(error, content)}") from error
    problem = _contradiction(params)
    if problem:
        raise PanobenchError(f"{source}: {problem}")
    return params


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads 5e-4 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is given twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


# YAML 1.2, which DVC reads the same file by, takes exponents without a dot; PyYAML reads YAML 1.1.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _contradiction(params: Params) -> str | None:
    """What each key allows but the keys together do not; None if all is well."""
    video, run = params.video, params.run
    if video.width != 2 * video.height:
        return (
            f"'video.width' is {video.width} and 'video.height' {video.height}; "
            f"an equirectangular video is twice as wide as high: set 'video.width' to {2 * video.height}"
        )
    if params.dataset.frames < video.frames:
        return (
            f"'dataset.frames' is {params.dataset.frames}, fewer than 'video.frames' ({video.frames}); "
            "a clip must hold at least one training window"
        )
    source, watch = params.dataset.source, params.dataset.watch
    if source != "nano" and watch is not None and Path(watch) != Path(source):
        return (
            f"'dataset.watch' is '{watch}' and 'dataset.source' '{source}'; "
            f"set 'dataset.watch' to '{source}' too, so that DVC sees its files change"
        )
    for kind, chosen, defined in (("models", run.models, params.training), ("methods", run.methods, params.methods)):
        for name in chosen:
            if name not in defined:
                section = "training" if kind == "models" else "methods"
                hint = did_you_mean(name, list(defined))
                return f"'run.{kind}' lists '{name}', which '{section}' does not define{hint}"
        for name in chosen:
            if chosen.count(name) > 1:
                return f"'run.{kind}' lists '{name}' twice"
    for name, method in params.methods.items():
        for key in ("lora", "adapter"):
            model = getattr(method, key)
            if model is None or is_path(model):
                continue
            if model not in params.training:
                hint = did_you_mean(model, [m for m, t in params.training.items() if t.kind == key])
                hint = hint or "; a file's name has a '/' or a '.' in it"
                return f"'methods.{name}.{key}' is '{model}', which 'training' does not define{hint}"
            if params.training[model].kind != key:
                return f"'methods.{name}.{key}' is '{model}', which is of kind '{params.training[model].kind}'"
            if name in run.methods and model not in run.models:
                return f"'run.methods' has '{name}', which needs the model '{model}'; add it to 'run.models'"
    return _indivisible(params)


def _config_folder(params: Params) -> Path:
    """Where the base's configurations are; a single file has none in it."""
    if params.base.configs is not None:
        return Path(params.base.configs)
    model = Path(params.base.model)
    return Path(__file__).parent / "weights/configs/sd15" if model.is_file() else model


def _indivisible(params: Params) -> str | None:
    """Whether the base, where it is present, can halve the picture as often as it wants to."""
    factor = 1
    for part in ("vae", "unet"):
        config = _config_folder(params) / part / "config.json"
        try:
            levels = len(json.loads(config.read_text(encoding="utf-8"))["block_out_channels"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent or broken: said by whoever loads it, for commands that need no base work without
        factor *= 2 ** (levels - 1)
    if params.video.height % factor:
        return (
            f"'video.height' is {params.video.height}; with the base in {params.base.model} "
            f"it must be a multiple of {factor}"
        )
    return None
