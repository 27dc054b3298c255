"""The five trainings: VAE, judge (whose text tower becomes the text encoder), U-Net, motion modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from core.nano.pretrain.loop import Plan, device_of, fit
from core.nano.pretrain.world import Pictures
from core.nano.stack import CONTEXT_LENGTH, JUDGE_PREPROCESS, bpe_tokenizer, build_scheduler

CAPTION_DROPOUT = 0.1
#: Standard deviation of a constant per channel in the noise of the stills. At the last timestep of linear betas a
#: twentieth of the picture is left, and a base that never met such noise takes its mean for the picture's brightness.
OFFSET_NOISE = 0.1


def to_unit(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (..., H, W, 3) to float32 (..., 3, H, W) in [-1, 1]."""
    return torch.tensor(images, device=device).movedim(-1, -3).float() / 127.5 - 1.0


# --- VAE --------------------------------------------------------------------------------------------------------------


def train_vae(
    vae: AutoencoderKL, stills: Pictures, plan: Plan, folder: Path, seed: int, whole_from: float = 0.8
) -> dict[str, float]:
    """L1 on pixels and on pictures averaged over 2, 4 and 8 pixels, and a little KL.

    Crops of 32 x 64 pixels give four times the updates per minute; from the fraction `whole_from` of the steps on,
    whole pictures settle the statistics of the group norms.
    """
    h, w = stills.images.shape[2:4]
    device = device_of(vae)

    def loss(generator: torch.Generator) -> Tensor:
        picked = torch.randint(len(stills), (plan.batch,), generator=generator).tolist()
        x = to_unit(np.stack([stills.images[i, 0] for i in picked]), device)
        if int(generator.initial_seed() % 1_000_003) < whole_from * plan.steps and h > 32:
            top = int(torch.randint(h - 31, (1,), generator=generator))
            left = int(torch.randint(w - 63, (1,), generator=generator))
            x = x[..., top : top + 32, left : left + 64]
        else:
            x = x[: max(1, plan.batch // 2)]
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
        return _picture_loss(y, x) + 1e-5 * posterior.kl().mean() / posterior.mean[0].numel()

    return fit("vae", vae, loss, plan, folder, seed)


def _picture_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1 on pixels and on pictures averaged over 2, 4 and 8 pixels, and half of the squared error."""
    error = (y - x).abs().mean() + 0.5 * (y - x).pow(2).mean()
    for size in (2, 4, 8):
        error = error + functional.avg_pool2d(y - x, size).abs().mean()
    return error


def train_decoder(
    vae: AutoencoderKL,
    latents: Tensor,
    stills: Pictures,
    plan: Plan,
    folder: Path,
    seed: int,
    noise: float = 0.25,
    whole_from: float = 0.7,
) -> dict[str, float]:
    """The decoder alone, on latents (N, 4, h, w) of `stills` that noise of up to `noise` was added to.

    A diffusion model's latents are never quite clean, and a decoder that saw only clean ones turns what is left of the
    noise into blocks of a latent's size. The differences of neighbouring pixels count as much as the pixels do, for
    blocks are wrong there first. The encoder stays, and with it everything that was trained on its latents.
    """
    h, w = latents.shape[-2:]
    scale = stills.images.shape[2] // h
    device = device_of(vae)

    def loss(generator: torch.Generator) -> Tensor:
        picked = torch.randint(len(latents), (plan.batch,), generator=generator)
        x = to_unit(np.stack([stills.images[i, 0] for i in picked.tolist()]), device)
        z = latents[picked].float()
        if int(generator.initial_seed() % 1_000_003) < whole_from * plan.steps and h > 8:
            top = int(torch.randint(h - 7, (1,), generator=generator))
            left = int(torch.randint(w - 15, (1,), generator=generator))
            z = z[..., top : top + 8, left : left + 16]
            x = x[..., scale * top : scale * (top + 8), scale * left : scale * (left + 16)]
        else:
            z, x = z[: max(1, plan.batch // 4)], x[: max(1, plan.batch // 4)]
        level = noise * torch.rand(len(z), 1, 1, 1, generator=generator)
        y = vae.decode((z + level * torch.randn(z.shape, generator=generator)).to(device)).sample
        edges = (y.diff(dim=-1) - x.diff(dim=-1)).abs().mean() + (y.diff(dim=-2) - x.diff(dim=-2)).abs().mean()
        return _picture_loss(y, x) + edges

    return fit("decoder", torch.nn.ModuleList([vae.post_quant_conv, vae.decoder]), loss, plan, folder, seed)


@torch.no_grad()
def blockiness(vae: AutoencoderKL, images: np.ndarray) -> float:
    """Mean step between columns where two latents meet, over that inside a latent's block; 1 where nothing shows.

    Divided by the same of the pictures themselves, uint8 (N, H, W, 3).
    """
    x = to_unit(images, device_of(vae))
    y = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in x.split(16)])
    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    ratios = []
    for pictures in (y, x):
        steps = pictures.diff(dim=-1).abs().mean((0, 1, 2))
        border = torch.arange(1, len(steps) + 1) % stride == 0
        ratios.append(steps[border].mean() / steps[~border].mean())
    return float(ratios[0] / ratios[1])


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, stills: Pictures, count: int = 512) -> None:
    """Fold the latents' mean and standard deviation per channel into the 1x1 convolutions around them.

    Afterwards latents have mean 0 and standard deviation 1 in every channel, and `scaling_factor` 1 is right.
    """
    starts = range(0, min(count, len(stills)), 16)
    device = device_of(vae)
    parts = (to_unit(stills.images[i : i + 16, 0], device) for i in starts)
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in parts])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    scale = torch.cat([std, torch.ones_like(std)])
    shift = torch.cat([mean / std, 2.0 * std.log()])
    quant.weight.div_(scale[:, None, None, None])
    quant.bias.div_(scale).sub_(shift)
    post.bias.add_((post.weight[:, :, 0, 0] * mean).sum(1))
    post.weight.mul_(std[None, :, None, None])


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: np.ndarray) -> float:
    """PSNR in dB over pictures uint8 (N, H, W, 3), encoded to the mean and decoded."""
    x = to_unit(images, device_of(vae))
    y = torch.cat([vae.decode(vae.encode(part).latent_dist.mean).sample for part in x.split(16)]).clamp(-1, 1)
    return float(-10 * torch.log10(((x - y) / 2).pow(2).mean()))


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Pictures, cache: Path) -> Tensor:
    """Latents (N, F, 4, h, w) float16, means of the posterior; kept in `cache`."""
    if cache.exists():
        return torch.load(cache, weights_only=True)
    frames = pictures.images.shape[1]
    device = device_of(vae)
    chunk = max(1, (32 if device.type == "cpu" else 256) // frames)
    latents = []
    for start in tqdm(range(0, len(pictures), chunk), desc=f"encode {cache.stem}", mininterval=2.0):
        x = to_unit(pictures.images[start : start + chunk], device)
        latents.append(vae.encode(x.flatten(0, 1)).latent_dist.mean.half().unflatten(0, (-1, frames)).cpu())
    result = torch.cat(latents)
    torch.save(result, cache)
    return result


# --- judge ------------------------------------------------------------------------------------------------------------


def train_judge(
    judge: open_clip.CLIP, views: Pictures, bpe: Path, plan: Plan, folder: Path, seed: int
) -> dict[str, float]:
    """CLIP's symmetric contrastive loss; horizontally mirrored views and shifted colours as augmentation."""
    tokens = bpe_tokenizer(bpe)(views.captions)
    device = device_of(judge)

    def loss(generator: torch.Generator) -> Tensor:
        picked = torch.randint(len(views), (plan.batch,), generator=generator)
        x = to_unit(views.images[picked.numpy(), 0])
        if torch.rand((), generator=generator) < 0.5:
            x = x.flip(-1)
        x = x + 0.05 * torch.randn(len(x), 3, 1, 1, generator=generator)
        image, text, scale = judge(judge_input(x).to(device), tokens[picked].to(device))
        logits = scale * image @ text.T
        same = torch.arange(len(x), device=device)
        return 0.5 * (functional.cross_entropy(logits, same) + functional.cross_entropy(logits.T, same))

    return fit("judge", judge, loss, plan, folder, seed)


def judge_input(x: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] with the judge's own mean and standard deviation."""
    mean = torch.tensor(JUDGE_PREPROCESS["mean"])[:, None, None]
    std = torch.tensor(JUDGE_PREPROCESS["std"])[:, None, None]
    return ((x + 1.0) / 2.0 - mean) / std


@torch.no_grad()
def retrieval(judge: open_clip.CLIP, views: Pictures, bpe: Path, pool: int) -> float:
    """Share of held-out views whose own caption is found first among `pool`; equal captions count as found."""
    tokens = bpe_tokenizer(bpe)
    device = device_of(judge)
    hits = total = 0
    for start in range(0, len(views) - pool + 1, pool):
        texts = views.captions[start : start + pool]
        looks = judge_input(to_unit(views.images[start : start + pool, 0])).to(device)
        image = judge.encode_image(looks, normalize=True)
        text = judge.encode_text(tokens(texts).to(device), normalize=True)
        best = (image @ text.T).argmax(1)
        hits += sum(texts[i] == texts[int(b)] for i, b in enumerate(best))
        total += pool
    return hits / max(1, total)


# --- U-Net and motion modules -----------------------------------------------------------------------------------------


@torch.no_grad()
def embed_texts(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Hidden states (N, 64, 128) float16."""
    parts = []
    for start in tqdm(range(0, len(texts), 64), desc="embed captions", mininterval=2.0):
        batch = tokenizer(
            texts[start : start + 64],
            padding="max_length",
            max_length=CONTEXT_LENGTH,
            truncation=True,
            return_tensors="pt",
        )
        parts.append(encoder(batch.input_ids.to(encoder.device)).last_hidden_state.half().cpu())
    return torch.cat(parts)


class _Drawing:
    """Random latents and the embeddings of their captions, some of them dropped.

    All of the set lies on the device, so that a step sends it nothing but indices.
    """

    def __init__(self, latents: Tensor, texts: Tensor, empty: Tensor, batch: int, device: torch.device) -> None:
        self.latents, self.texts, self.empty = latents.to(device), texts.to(device), empty.to(device)
        self.batch = batch

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (B, ...) and texts (B, L, C), float32."""
        picked = torch.randint(len(self.latents), (self.batch,), generator=generator)
        keep = torch.rand(self.batch, 1, 1, generator=generator) >= CAPTION_DROPOUT
        picked, keep = picked.to(self.latents.device), keep.to(self.latents.device)
        return self.latents[picked].float(), torch.where(keep, self.texts[picked], self.empty).float()


def _denoising_loss(
    predict: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    generator: torch.Generator,
    alphas: Tensor,
    weighted: bool = True,
    offset: float = 0.0,
) -> Tensor:
    """Epsilon loss of `latents` (N, C, ...), `weighted` by min-SNR (gamma 5; Hang et al. 2023, eq. 10) or plainly.

    `offset` is the standard deviation of a constant per sample and channel that the noise has besides.
    """
    device, alphas = latents.device, alphas.to(latents.device)
    t = torch.randint(len(alphas), (len(latents),), generator=generator).to(device)
    noise = torch.randn(latents.shape, generator=generator)
    if offset:
        constant = torch.randn(*latents.shape[:2], *[1] * (latents.ndim - 2), generator=generator)
        noise = noise + offset * constant
    # From pinned memory a GPU fetches it while it still computes the step before.
    noise = (noise.pin_memory() if device.type == "cuda" else noise).to(device, non_blocking=True)
    alpha = alphas[t].view(-1, *[1] * (latents.ndim - 1))
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    error = (predict(noisy, t) - noise).pow(2).flatten(1).mean(1)
    snr = alphas[t] / (1 - alphas[t])
    return (error * snr.clamp(max=5.0) / snr if weighted else error).mean()


def train_unet(
    name: str,
    unet: UNet2DConditionModel,
    latents: Tensor,
    texts: Tensor,
    empty: Tensor,
    plan: Plan,
    folder: Path,
    seed: int,
    weighted: bool,
) -> dict[str, float]:
    """Denoise single pictures: `latents` (N, 4, h, w), `texts` (N, L, C), `empty` (1, L, C) for dropped captions.

    The noise has a small constant besides (`OFFSET_NOISE`). Min-SNR weights (`weighted`) teach the layout of a picture
    fast and its finest noise hardly at all; a short training without them takes the grain away.
    """
    alphas = build_scheduler().alphas_cumprod
    draw = _Drawing(latents, texts, empty, plan.batch, device_of(unet))

    def loss(generator: torch.Generator) -> Tensor:
        picture, text = draw(generator)
        return _denoising_loss(
            lambda noisy, t: unet(noisy, t, text).sample, picture, generator, alphas, weighted, OFFSET_NOISE
        )

    return fit(name, unet, loss, plan, folder, seed)


def train_motion(
    unet: UNet2DConditionModel,
    adapter: MotionAdapter,
    latents: Tensor,
    texts: Tensor,
    empty: Tensor,
    plan: Plan,
    folder: Path,
    seed: int,
) -> dict[str, float]:
    """Denoise clips with the 2D U-Net frozen: `latents` (N, F, 4, h, w). `adapter` ends with the trained modules."""
    model = UNetMotionModel.from_unet2d(unet, adapter).to(device_of(unet))  # diffusers builds it on the CPU
    model.freeze_unet2d_params()
    alphas = build_scheduler().alphas_cumprod
    draw = _Drawing(latents, texts, empty, plan.batch, device_of(model))

    def loss(generator: torch.Generator) -> Tensor:
        clip, caption = draw(generator)
        text = caption.repeat_interleave(clip.shape[1], 0)
        return _denoising_loss(
            lambda noisy, t: model(noisy.movedim(1, 2), t, text).sample.movedim(2, 1), clip, generator, alphas
        )

    summary = fit("motion", model, loss, plan, folder, seed)
    modules = {k: v for k, v in model.state_dict().items() if "motion_modules" in k}
    adapter.load_state_dict(modules)
    return summary
