"""LoRA files in the formats of kohya (Civitai) and of diffusers, merged into U-Net and text encoder, strictly.

A layer's weight W becomes W + s * alpha / rank * up @ down (Hu et al. 2022, section 4.1). A file without alpha means
alpha = rank. Every tensor of the file is used, or the file is refused: loaders that drop what they do not know make a
weaker LoRA without a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.weights.files import WeightsError, WeightsFile, open_weights
from core.weights.kinds import LORA, expect_kind
from core.weights.ldm_names import unet_name

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"
# Endings of the keys of a layer: kohya, three ages of diffusers, peft; longer before shorter.
_FACTOR = r"(?:\.lora_{0}|\.lora_linear_layer\.{0}|_lora\.{0}|\.lora\.{0}|\.lora_{1})\.weight$"
_ENDINGS = {
    "down": re.compile(_FACTOR.format("down", "A")),
    "up": re.compile(_FACTOR.format("up", "B")),
    "alpha": re.compile(r"\.alpha$"),
}
_PARTS = {"unet": ("lora_unet_", "unet."), "text_encoder": ("lora_te_", "lora_te1_", "text_encoder.")}


@dataclass
class Layer:
    """The update of one layer."""

    key: str  # of its first factor in the file
    down: Tensor  # (rank, in) of a linear layer, (rank, in, k, k) of a convolution
    up: Tensor  # (out, rank) or (out, rank, 1, 1)
    alpha: float | None  # None: as the rank

    def delta(self) -> Tensor:
        """The update alpha / rank * up @ down as fp32, (out, in) or (out, in, k, k)."""
        down, up = self.down.float(), self.up.float()
        rank = down.shape[0]
        product = up.flatten(1) @ down.flatten(1)
        if down.ndim == 4:
            product = product.unflatten(1, tuple(down.shape[1:]))
        return product * ((rank if self.alpha is None else self.alpha) / rank)


def lora_file(path: str | Path) -> Path:
    """The file itself, or diffusers' name for it in a folder.

    Raises:
        WeightsError: there is none.
    """
    path = Path(path)
    file = path / DIFFUSERS_FILE if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(f"{file}: no such LoRA; put it there, or train it first")
    return file


def merge_lora(
    path: str | Path,  # .safetensors or pickled, of kohya or diffusers; or a folder with diffusers' file
    scale: float,  # of the update; 0 leaves the modules as they are
    unet: nn.Module,
    text_encoder: nn.Module | None,
) -> int:
    """Add a LoRA to the weights of a U-Net (2D or with motion modules) and a text encoder; returns how many layers.

    Raises:
        WeightsError: another kind of file, or a layer that the modules do not have or that has other sizes. Nothing has
            been changed then.
    """
    file = open_weights(lora_file(path))
    expect_kind(file, LORA)
    found = _places(unet, text_encoder)
    layers = read_lora(file)
    foreign = [layer.key for place, layer in layers.items() if place not in found]
    if foreign:
        raise WeightsError(
            f"{file.path}: not a LoRA for this base, which lacks {len(foreign)} of its {len(layers)} layers; the first "
            f"unexpected key is {foreign[0]}"
        )
    updates: list[tuple[Any, Tensor]] = []
    for key, layer in layers.items():
        place = found[key]
        delta = layer.delta()
        if delta.shape != place.weight.shape and delta.numel() == place.weight.numel():
            delta = delta.reshape(place.weight.shape)  # 1x1 convolutions and linear layers stand for each other
        if delta.shape != place.weight.shape:
            raise WeightsError(
                f"{file.path}: not a LoRA for this base: the update of {layer.key} is {tuple(delta.shape)}, the "
                f"base's layer {tuple(place.weight.shape)}"
            )
        updates.append((place, delta))
    with torch.no_grad():
        for place, delta in updates:
            place.weight.copy_(place.weight.float() + scale * delta.to(place.weight.device))
    return len(updates)


def read_lora(file: WeightsFile) -> dict[tuple[str, str], Layer]:
    """The layers of a file: (part, name without its separators) -> update.

    Raises:
        WeightsError: a tensor that belongs to no layer, or a layer without one of its factors.
    """
    pieces: dict[tuple[str, str], dict[str, str]] = {}
    strange = []
    for key in file.shapes:
        for kind, ending in _ENDINGS.items():
            if ending.search(key):
                pieces.setdefault(_layer(ending.sub("", key)), {})[kind] = key
                break
        else:
            strange.append(key)
    if strange:
        hint = (
            "; it is of a variant that panobench does not read" if "dora" in strange[0] or "mid" in strange[0] else ""
        )
        raise WeightsError(f"{file.path}: {len(strange)} keys are not of a plain LoRA, the first is {strange[0]}{hint}")
    alphas = _stated_alphas(file)
    layers = {}
    for place, keys in pieces.items():
        if "down" not in keys or "up" not in keys:
            lacks = "up" if "down" in keys else "down"
            raise WeightsError(f"{file.path}: the layer of {next(iter(keys.values()))} lacks its '{lacks}' factor")
        tensors = file.tensors(keys.values())
        down, up = tensors[keys["down"]], tensors[keys["up"]]
        if down.shape[0] != up.shape[1] or up.flatten(1).shape[1] != up.shape[1]:
            raise WeightsError(
                f"{file.path}: {keys['down']} is {tuple(down.shape)} and {keys['up']} {tuple(up.shape)}; no common rank"
            )
        alpha = float(tensors[keys["alpha"]]) if "alpha" in keys else alphas(place)
        layers[place] = Layer(keys["down"], down, up, alpha)
    return layers


def _layer(stem: str) -> tuple[str, str]:
    """Part and flat name of the layer that a key is about: kohya writes `_` for `.`, so both become nothing."""
    for part, prefixes in _PARTS.items():
        for prefix in prefixes:
            if stem.startswith(prefix):
                stem = stem.removeprefix(prefix).replace(".processor.", ".")
                return part, _flat(stem)
    return "unet", _flat(stem.replace(".processor.", "."))  # diffusers' first files held the U-Net's alone


def _flat(name: str) -> str:
    """A name that is the same in all formats."""
    name = name.replace(".", "_").removeprefix("text_model_")
    # The first files of diffusers named attention's projections `to_out_lora` for `to_out.0`.
    return re.sub(r"_to_out$", "_to_out_0", name)


def _places(unet: nn.Module, text_encoder: nn.Module | None) -> dict[tuple[str, str], Any]:
    """Every linear and convolutional layer by part and flat name; the U-Net's also by Stable Diffusion's names."""
    found: dict[tuple[str, str], Any] = {}
    config: Any = unet.config
    attention = [hasattr(block, "attentions") for block in unet.up_blocks]  # type: ignore[union-attr]
    layers = config.layers_per_block if isinstance(config.layers_per_block, int) else config.layers_per_block[0]
    for part, module in (("unet", unet), ("text_encoder", text_encoder)):
        for name, child in module.named_modules() if module is not None else ():
            if isinstance(child, nn.Linear | nn.Conv2d):
                found[part, _flat(name)] = child
                if part == "unet" and "motion_modules" not in name:
                    found[
                        part, _flat(unet_name(f"{name}.weight", layers, attention.__getitem__).removesuffix(".weight"))
                    ] = child
    return found


def _stated_alphas(file: WeightsFile):
    """What the file's metadata, as diffusers and peft write it, says about alpha: a function of the layer."""
    stated: dict[tuple[str, str], float] = {}
    common: dict[str, float] = {}
    try:
        metadata: Mapping[str, Any] = json.loads(file.metadata.get("lora_adapter_metadata", "{}"))
    except ValueError as error:
        raise WeightsError(f"{file.path}: its lora_adapter_metadata is not JSON ({error})") from None
    for key, value in metadata.items():
        part, _, setting = key.partition(".")
        if setting == "lora_alpha":
            common[part] = float(value)
        elif setting == "alpha_pattern":
            stated |= {(part, _flat(name)): float(alpha) for name, alpha in (value or {}).items()}
        elif setting in ("use_dora", "use_rslora") and value:
            raise WeightsError(f"{file.path}: {setting} is set; panobench reads plain LoRA only")
    return lambda place: stated.get(place, common.get(place[0]))
