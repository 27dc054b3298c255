"""A method resolved: its switches, and path and hash of every weight it uses, in one JSON file.

Generation of a method depends on its recipe and not on all models, so that a changed LoRA re-generates only the methods
that use it. What does not change a video (labels, training times) is left out.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from core.errors import PanobenchError, did_you_mean
from core.files import read_json, sha256, write_json
from core.model.presets import get_preset
from core.params_schema import LoraTraining, Method, Params, is_path

SCHEMA = 2


def resolve(params: Params, name: str) -> dict[str, Any]:
    """The recipe of one method.

    Raises:
        PanobenchError: the method is not defined, or weights that it uses are missing.
    """
    if name not in params.methods:
        raise PanobenchError(f"methods does not define '{name}'{did_you_mean(name, list(params.methods))}")
    method, base = params.methods[name], params.base
    personalised = method.personalised or base.personalised
    recipe: dict[str, Any] = {
        "schema": SCHEMA,
        "method": name,
        "base": {
            "model": _weights(Path(base.model), "set base.model"),
            "motion_adapter": _weights(Path(base.motion_adapter), "set base.motion_adapter"),
            "personalised": personalised and _weights(Path(personalised), "set base.personalised"),
            "personalised_text_encoder": base.personalised_text_encoder,
            "configs": base.configs,
            "groupnorm": base.groupnorm,
        },
        "lora": None,
        "adapter": None,
        "rotation": method.rotation,
        "circular_padding": method.circular_padding,
        "preset": method.preset,
    }
    if method.lora:
        training = params.training.get(method.lora)
        trained = training.trigger if isinstance(training, LoraTraining) else ""
        recipe["lora"] = {
            **_model(params, method.lora),
            "scale": method.lora_scale,
            "trigger": trained if method.trigger is None else method.trigger,
        }
    if method.adapter:
        recipe["adapter"] = {
            **_model(params, method.adapter),
            "scale": method.adapter_scale,
            **_training_motion(params, method),
        }
    return recipe


def _training_motion(params: Params, method: Method) -> dict[str, Any]:
    """How the motion that the adapter was trained on is encoded, and how many source frames lie between two of its own.

    A checkpoint from elsewhere is taken for the authors': trained with a stride of 4, and sampled by their code with 1.
    """
    name = str(method.adapter)
    training = params.training.get(name)
    encoding, stride = params.flow.encoding, getattr(training, "stride", 4)
    if is_path(name) and Path(name).is_file():
        encoding = "released"
    record = params.outputs / "models" / name / "training.json"
    if training is not None and record.is_file():
        encoding = read_json(record).get("flow_encoding", encoding)
    if not get_preset(method.preset).stride_motion:
        stride = 1
    return {"encoding": encoding, "range_px": params.flow.range_px, "stride": stride}


def _model(params: Params, name: str) -> dict[str, str]:
    """Path and hash of a model trained here, or of weights from elsewhere."""
    if is_path(name):
        return _weights(Path(name), "put them there, or train a model")
    return _weights(params.outputs / "models" / name, f"run `panobench train {name}`")


def _weights(folder: Path, remedy: str) -> dict[str, str]:
    """Path and hash over the file, or the files of a folder that decide what it computes: weights, sizes, tokens."""
    if folder.is_file():
        return {"path": folder.as_posix(), "sha256": sha256(folder)}
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: these weights are missing; {remedy}")
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".safetensors", ".bin", ".json", ".txt") and file.name != "training.json"
    ]
    if not any(file.suffix in (".safetensors", ".bin") for file in files):
        raise PanobenchError(f"{folder}: holds no weights; {remedy}")
    lines = [f"{file.relative_to(folder).as_posix()} {sha256(file)}" for file in files]
    return {"path": folder.as_posix(), "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def write_recipes(params: Params) -> list[Path]:
    """Write `recipes/<method>.json` for every method of `run.methods`, and remove those of other methods."""
    folder = params.outputs / "recipes"
    recipes = {name: resolve(params, name) for name in params.run.methods}
    if folder.exists():
        shutil.rmtree(folder)
    for name, recipe in recipes.items():
        write_json(folder / f"{name}.json", recipe)
    return [folder / f"{name}.json" for name in recipes]


def read_recipe(params: Params, name: str) -> dict[str, Any]:
    """The recipe of a method of `run.methods`, as `panobench recipes` left it."""
    path = params.outputs / "recipes" / f"{name}.json"
    if not path.is_file():
        if name not in params.methods:
            raise PanobenchError(f"methods does not define '{name}'{did_you_mean(name, list(params.methods))}")
        hint = "" if name in params.run.methods else f"add '{name}' to run.methods and "
        raise PanobenchError(f"{path}: no such recipe; {hint}run `panobench recipes`")
    recipe = read_json(path)
    if recipe.get("schema") != SCHEMA:
        raise PanobenchError(f"{path}: schema {recipe.get('schema')}, expected {SCHEMA}; run `panobench recipes` again")
    return recipe
