"""What a file of weights is, told from its names, so that a wrong file is called what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core.weights.files import WeightsError, WeightsFile

ADAPTER = "360-Adapter checkpoint"
MOTION = "motion module of AnimateDiff"
LORA = "LoRA"
CHECKPOINT = "Stable Diffusion 1.x checkpoint"

_LORA_ENDINGS = (
    ".lora_down.weight",
    ".lora_up.weight",
    ".lora_A.weight",
    ".lora_B.weight",
    "lora.down.weight",
    "lora.up.weight",
    "_layer.down.weight",
    "_lora.down.weight",
)


def _has(*parts: str) -> Callable[[list[str]], bool]:
    """Whether some name contains one of these."""
    return lambda names: any(part in name for name in names for part in parts)


def _starts(*parts: str) -> Callable[[list[str]], bool]:
    return lambda names: any(name.startswith(parts) for name in names)


def _lora(names: list[str]) -> bool:
    return any(name.endswith(_LORA_ENDINGS) for name in names)


# The first that fits, most special first.
_KINDS: list[tuple[str, Callable[[list[str]], bool]]] = [
    ("motion LoRA of AnimateDiff", lambda names: _lora(names) and _has("motion_modules")(names)),
    ("LyCORIS adapter (LoHa, LoKr or the like)", _has(".hada_w1", ".lokr_w", ".glora_", ".oft_")),
    (LORA, lambda names: _lora(names) or _starts("lora_unet_", "lora_te_")(names)),
    (ADAPTER, lambda names: _has("body.0.block1.")(names) and _has("conv_in.")(names)),
    ("ControlNet", _has("control_model.", "controlnet_cond_embedding", "input_hint_block")),
    ("Stable Diffusion XL checkpoint", _starts("conditioner.embedders.")),
    ("Stable Diffusion 2.x checkpoint", _starts("cond_stage_model.model.")),
    (CHECKPOINT, _starts("model.diffusion_model.")),
    (MOTION, _has(".temporal_transformer.")),
    ("motion adapter in diffusers' format", _has(".motion_modules.")),
    ("U-Net in diffusers' format", _starts("down_blocks.0.resnets.")),
    ("VAE", _starts("encoder.down", "decoder.up", "first_stage_model.")),
    ("text encoder", _has("text_model.encoder.layers.", "encoder.layers.0.self_attn.")),
    ("textual inversion", lambda names: len(names) < 5 and _has("emb_params", "clip_l", "<")(names)),
]


def kind_of(names: Iterable[str]) -> str | None:
    """The kind of a file with these names; None if it is none that is known here."""
    names = list(names)
    return next((kind for kind, fits in _KINDS if fits(names)), None)


def expect_kind(file: WeightsFile, expected: str) -> None:
    """Raise WeightsError unless the file is of this kind, naming what it is instead."""
    found = kind_of(file.shapes)
    if found == expected:
        return
    if found is not None:
        raise WeightsError(f"{file.path}: this is a {found}, expected a {expected}")
    if not file.shapes:
        raise WeightsError(f"{file.path}: holds no named tensors, expected a {expected}")
    first = next(iter(file.shapes))
    raise WeightsError(f"{file.path}: not a {expected}; its {len(file.shapes)} keys start with '{first}'")
