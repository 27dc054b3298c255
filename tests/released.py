"""Tiny weights in the formats that the real ones are published in, written from the tiny base's own modules."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.model.base import Base
from core.weights.ldm_names import TEXT, UNET, VAE, text_name, unet_name, vae_name
from core.weights.motion import released_names


def sd_state(base: Base, parts: tuple[str, ...] = ("unet", "vae", "text_encoder")) -> dict[str, Tensor]:
    """Stable Diffusion 1.x's single-file names, with what training leaves beside the networks."""
    state: dict[str, Tensor] = {"betas": torch.linspace(0.01, 0.1, 10), "model_ema.decay": torch.tensor(0.9999)}
    types = base.unet.config.up_block_types
    if "unet" in parts:
        for name, tensor in base.unet.state_dict().items():
            own = unet_name(name, base.unet.config.layers_per_block, lambda block: "CrossAttn" in types[block])
            state[UNET + own] = tensor
    if "vae" in parts:
        for name, tensor in base.vae.state_dict().items():
            convolution = "attentions" in name and tensor.ndim == 2
            own = vae_name(name, len(base.vae.config.block_out_channels))
            state[VAE + own] = tensor[:, :, None, None] if convolution else tensor
    if "text_encoder" in parts:
        for name, tensor in base.text_encoder.state_dict().items():
            state[TEXT + text_name(name)] = tensor
        state[TEXT + "text_model.embeddings.position_ids"] = torch.arange(32)[None]
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}


def motion_state(base: Base) -> dict[str, Tensor]:
    """AnimateDiff's names."""
    assert base.motion_adapter is not None
    state = base.motion_adapter.state_dict()
    return {theirs: tensor.clone() for name, tensor in state.items() for theirs in released_names(name)}


def adapter_checkpoint(adapter: nn.Module) -> dict[str, Any]:
    """The authors' 360-Adapter checkpoint."""
    state = {f"module.{name}": tensor for name, tensor in adapter.state_dict().items()}
    return {"epoch": 3, "global_step": 100_000, "state_dict": state}


UNET_LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
OUT_LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
TEXT_LAYERS = ["encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj", "encoder.layers.0.mlp.fc1"]


def kohya_lora(base: Base, alpha: float | None = None, rank: int = 2) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A LoRA in kohya's names, and the update at scale 1 by part and layer."""
    generator = torch.Generator().manual_seed(8)
    state, deltas = {}, {}
    layers = [("unet", name) for name in (UNET_LAYER, OUT_LAYER)] + [("te", name) for name in TEXT_LAYERS]
    for part, name in layers:
        module = (base.unet if part == "unet" else base.text_encoder).get_submodule(name)
        outputs, inputs = module.weight.shape
        up, down = (torch.randn(*shape, generator=generator) * 0.2 for shape in ((outputs, rank), (rank, inputs)))
        stem = f"lora_{part}_" + (name if part == "unet" else f"text_model.{name}").replace(".", "_")
        state |= {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
        if alpha is not None:
            state[f"{stem}.alpha"] = torch.tensor(alpha)
        deltas[f"{part}.{name}"] = (1.0 if alpha is None else alpha / rank) * up @ down
    return state, deltas


def write_state(path: Path, state: dict[str, Any]) -> Path:
    """As .safetensors, or pickled for any other suffix."""
    if path.suffix == ".safetensors":
        save_file(state, path, metadata={"format": "pt", "note": json.dumps("tiny")})
    else:
        torch.save(state, path)
    return path
