"""Training of the 360-Adapter: frozen U-Net and motion modules, latitude-aware loss, cached clips (360DVD, 4)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor

from core.model.adapter import Adapter360, inject_features
from core.model.base import Base
from core.model.enhance import circular_padding, diffusion_loss
from core.params_schema import AdapterTraining
from core.train.cache import Cache
from core.train.diffusion import draw_batch


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
    adapter: Adapter360,  # trained
    cache: Cache,
    settings: AdapterTraining,
    frames: int,
    seed: int,
    stack: ExitStack,  # closes what the loss keeps open for all steps
) -> Callable[[int], Tensor]:
    """The loss of a step.

    Nothing before the first injection has a graph, since neither its weights nor its input require gradients: the
    backward pass ends behind the first down block by itself.
    """
    unet, scheduler = base.motion_unet(), base.scheduler
    device = unet.device
    captions = [clip["whole" if settings.whole_erp_captions else "caption"] for clip in cache.clips]
    if settings.circular_padding:
        stack.enter_context(circular_padding(unet, adapter))

    def loss_of_step(step: int) -> Tensor:
        batch = draw_batch(
            cache,
            base.vae,
            captions,
            settings.batch,
            frames,
            settings.stride,
            seed,
            step,
            scheduler.config.num_train_timesteps,
            settings.caption_dropout,
            settings.random_roll,
            settings.random_flip,
            settings.motion_dropout,
        )
        assert batch.condition is not None
        latents, noise, timesteps = (x.to(device) for x in (batch.latents, batch.noise, batch.timesteps))
        noisy = scheduler.add_noise(latents, noise, timesteps)
        text = torch.stack([cache.text(caption) for caption in batch.captions]).to(device)
        with inject_features(unet, adapter(batch.condition.to(device))):
            prediction = unet(
                noisy, timesteps, encoder_hidden_states=text.repeat_interleave(frames, 0), return_dict=False
            )[0]
        return diffusion_loss(prediction, noise, settings.latitude_loss)

    return loss_of_step
