"""Training of the 360-Adapter: frozen U-Net and motion modules, latitude-aware loss, cached clips (360DVD, 4)."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from diffusers import UNetMotionModel

from core.model.adapter import Adapter360, inject_features
from core.model.base import Base
from core.model.enhance import circular_padding
from core.model.groupnorm import released_groupnorm
from core.params_schema import AdapterTraining
from core.train.cache import Clips
from core.train.diffusion import Drawing, DrawingAhead, Losses, LossOfRows, Rows


def build_adapter(base: Base, settings: AdapterTraining, seed: int) -> Adapter360:
    """A new adapter that fits this base; the same weights for the same seed."""
    channels = tuple(base.unet.config.block_out_channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Adapter360(
            unshuffle=2 ** (len(base.vae.config.block_out_channels) - 1),
            channels=channels,
            down=(True,) * (len(channels) - 1) + (False,),
            pseudo_3d=settings.pseudo_3d,
            latitude_channels=settings.latitude_channels,
            zero_output=settings.zero_output,
        )


def adapter_loss(
    base: Base,
    unet: UNetMotionModel,  # the base's, frozen
    adapter: Adapter360,  # trained
    clips: Clips,
    settings: AdapterTraining,
    frames: int,
    seed: int,
    stack: ExitStack,  # closes what the loss keeps open for all steps
) -> LossOfRows:
    """The loss of rows of a step.

    Nothing before the first injection has a graph, since neither its weights nor its input require gradients: the
    backward pass ends behind the first down block by itself.
    """
    captions = [clip["whole" if settings.whole_erp_captions else "caption"] for clip in clips.clips]
    draw = DrawingAhead(
        Drawing(clips, base, captions, settings, seed, frames, settings.stride, settings.motion_dropout), unet.device
    )
    stack.callback(draw.close)
    if settings.circular_padding:
        stack.enter_context(circular_padding(unet, adapter))
    if base.released_groupnorm:
        stack.enter_context(released_groupnorm(unet))

    def losses(rows: Rows, following: Rows | None) -> Losses:
        batch = draw(rows, following).to(unet.device)
        text = torch.stack([clips.text(caption) for caption in batch.captions]).to(unet.device)
        with inject_features(unet, adapter(batch.condition)):
            prediction = unet(
                batch.noisy(base.scheduler),
                batch.timesteps,
                encoder_hidden_states=text.repeat_interleave(frames, 0),
                return_dict=False,
            )[0]
        return Losses.of(prediction, batch, settings.latitude_loss)

    return losses
