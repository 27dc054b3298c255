"""Training of the panorama LoRA: the frozen 2D U-Net, single ERP frames, a trigger phrase before every caption."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import nn

from core.model.base import Base, encode_text, with_trigger
from core.model.enhance import circular_padding
from core.params_schema import LoraTraining
from core.train.cache import Clips
from core.train.diffusion import Drawing, DrawingAhead, Losses, LossOfRows, Rows

# Regular expressions over module names, stored in the file: they must not match the motion modules when the LoRA is
# put into the video model.
_ATTENTION = r"(to_q|to_k|to_v|to_out\.0)"
_WITH_CONVOLUTIONS = r"(to_q|to_k|to_v|to_out\.0|conv|conv1|conv2|conv_shortcut)"


def add_lora_layers(base: Base, settings: LoraTraining, seed: int) -> nn.Module:
    """Put fresh LoRA layers into the base's 2D U-Net, as fp32, and return it; they alone require gradients."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha or settings.rank,
        init_lora_weights="gaussian",
        target_modules=r"(?!.*motion_modules).*\." + (_WITH_CONVOLUTIONS if settings.convolutions else _ATTENTION),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base.unet.add_adapter(config)
    return base.unet


def lora_loss(
    base: Base,  # its 2D U-Net has the LoRA layers
    clips: Clips,
    settings: LoraTraining,
    seed: int,
    stack: ExitStack,  # closes what the loss keeps open for all steps
) -> LossOfRows:
    """The loss of rows of a step, over single frames. Captions with the trigger are encoded once, here."""
    unet, device = base.unet, base.unet.device
    captions = [with_trigger(settings.trigger, clip["caption"]) for clip in clips.clips]
    texts = sorted({*captions, ""})
    embedded = [encode_text(base.tokenizer, base.text_encoder, texts[i : i + 64]) for i in range(0, len(texts), 64)]
    text_of = dict(zip(texts, torch.cat(embedded), strict=True))
    draw = DrawingAhead(Drawing(clips, base, captions, settings, seed, frames=1), device)
    stack.callback(draw.close)
    if settings.circular_padding:
        stack.enter_context(circular_padding(unet))

    def losses(rows: Rows, following: Rows | None) -> Losses:
        batch = draw(rows, following).to(device).frame(0)
        text = torch.stack([text_of[caption] for caption in batch.captions])
        prediction = unet(batch.noisy(base.scheduler), batch.timesteps, encoder_hidden_states=text, return_dict=False)[
            0
        ]
        return Losses.of(prediction, batch, "none")

    return losses


def save_lora(unet: Any, folder: Path) -> None:
    """Write `pytorch_lora_weights.safetensors` in diffusers' format, alpha in its metadata.

    The layers keep peft's names: diffusers' own conversion renames attention layers only, and its loader then drops
    them silently where a file holds convolutions too.
    """
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(
        str(folder), unet_lora_layers=layers, unet_lora_adapter_metadata=unet.peft_config["default"].to_dict()
    )
