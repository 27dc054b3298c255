"""Names of Stable Diffusion 1.x's tensors in its single file, for those of diffusers' and transformers' classes."""

from __future__ import annotations

import re
from collections.abc import Callable

from core.errors import PanobenchError

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def unet_name(name: str, layers: int, attention: Callable[[int], bool]) -> str:
    """Name below `model.diffusion_model.` of a tensor of a `UNet2DConditionModel`.

    Args:
        name: diffusers' name.
        layers: per down block; an up block has one more.
        attention: whether the up block of this number has attention, which shifts its upsampler.
    """
    stem, leaf = name.rsplit(".", 1)
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{leaf}"
    if mid := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", stem):
        part, number, rest = mid.groups()
        place = 1 if part == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{_within(part, rest)}.{leaf}"
    if down := re.fullmatch(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.+)", stem):
        block, part, number, rest = int(down[1]), down[2], int(down[3]), down[4]
        if part == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op.{leaf}"
        return (
            f"input_blocks.{1 + block * (layers + 1) + number}.{int(part == 'attentions')}.{_within(part, rest)}.{leaf}"
        )
    if up := re.fullmatch(r"up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.(.+)", stem):
        block, part, number, rest = int(up[1]), up[2], int(up[3]), up[4]
        if part == "upsamplers":
            return f"output_blocks.{block * (layers + 1) + layers}.{1 + int(attention(block))}.conv.{leaf}"
        return f"output_blocks.{block * (layers + 1) + number}.{int(part == 'attentions')}.{_within(part, rest)}.{leaf}"
    raise PanobenchError(f"{name}: not a tensor of Stable Diffusion 1.x")


def _within(part: str, rest: str) -> str:
    """Names inside a ResNet differ, those inside attention do not."""
    return _RESNET[rest] if part == "resnets" else rest


def vae_name(name: str, levels: int) -> str:
    """Name below `first_stage_model.` of a tensor of an `AutoencoderKL` with so many levels."""
    name = name.replace("mid_block.resnets.0.", "mid.block_1.").replace("mid_block.resnets.1.", "mid.block_2.")
    if "mid_block.attentions.0." in name:
        for ours, theirs in _VAE_ATTENTION.items():
            name = name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}.")
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)\.", r"down.\1.block.\2.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)

    def level(match: re.Match[str]) -> str:  # the decoder counts its levels from the finest
        return f"up.{levels - 1 - int(match[1])}."

    name = re.sub(r"up_blocks\.(\d+)\.", level, name)
    name = name.replace(".resnets.", ".block.").replace(".upsamplers.0.", ".upsample.")
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def text_name(name: str) -> str:
    """Name below `cond_stage_model.transformer.` of a tensor of a `CLIPTextModel`."""
    return name if name.startswith("text_model.") else f"text_model.{name}"
