"""The frozen base: Stable Diffusion 1.5's parts and AnimateDiff's motion modules, or nano's, from folders or files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError
from core.files import read_json
from core.weights.files import WeightsError
from core.weights.motion import load_motion_module
from core.weights.stable_diffusion import (
    PARTS,
    animatediff_scheduler,
    build_part,
    clip_tokenizer,
    has_part,
    open_checkpoint,
)


@dataclass
class Base:
    """The parts of a text-to-image base, frozen, in evaluation mode, and the motion modules where asked for."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    motion_adapter: MotionAdapter | None = None
    # Group statistics of the video model as AnimateDiff's v14 and v15 modules were trained with: core.model.groupnorm.
    released_groupnorm: bool = False

    def motion_unet(self) -> UNetMotionModel:
        """The 2D U-Net with the motion modules put in: the video model, frozen, where the 2D one is. Copies weights."""
        if self.motion_adapter is None:
            raise PanobenchError("the base was loaded without a motion adapter; set base.motion_adapter")
        # diffusers builds it on the CPU, wherever the 2D U-Net is.
        unet = frozen(UNetMotionModel.from_unet2d(self.unet, self.motion_adapter).to(self.unet.device))
        for module in unet.modules():  # diffusers gives them the U-Net's groups
            if isinstance(module, AnimateDiffTransformer3D):
                module.norm.num_groups = self.motion_adapter.config.motion_norm_num_groups
        if unet.device.type == "cpu":
            # A motion module attends over a few frames at thousands of places; the fused CPU kernel is slow at that.
            unet.set_attn_processor(
                {
                    name: AttnProcessor() if "motion_modules" in name else processor
                    for name, processor in unet.attn_processors.items()
                }
            )
        return unet


_PARTS: dict[str, Any] = {
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "tokenizer": CLIPTokenizer,
    "unet": UNet2DConditionModel,
    "scheduler": DDIMScheduler,
}


def load_base(
    model: str | Path,  # diffusers folder, or a Stable Diffusion 1.x checkpoint in one file
    motion_adapter: str | Path | None = None,  # folder of a diffusers MotionAdapter, or AnimateDiff's .ckpt
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    configs: str | Path | None = None,  # of a single file: folder of PART/config.json; None: Stable Diffusion 1.5's
    released_groupnorm: bool = False,
) -> Base:
    """Load every part of the base, strictly and offline.

    Raises:
        PanobenchError: a folder or file is missing, of another kind, or its weights do not fit its configuration.
    """
    parts = {name: load_part(model, name, dtype, device, configs=configs) for name in _PARTS}
    adapter = None if motion_adapter is None else load_motion_adapter(motion_adapter, dtype, device, configs=configs)
    return Base(**parts, motion_adapter=adapter, released_groupnorm=released_groupnorm)


def personalise(
    base: Base,
    model: str | Path,  # diffusers folder or single file, a fine-tuned Stable Diffusion 1.x
    *,
    text_encoder: bool = True,  # take its text encoder too, if it has one; the authors' code never does
    configs: str | Path | None = None,
) -> Base:
    """The base with the networks of a personalised model: its U-Net, and what it has of VAE and text encoder.

    Raises:
        PanobenchError: missing, of another kind, without U-Net, or of other sizes than Stable Diffusion 1.x.
    """
    device, dtype, path = base.unet.device, base.unet.dtype, Path(model)
    wanted = [name for name in PARTS if name != "text_encoder" or text_encoder]
    if path.is_dir():
        held = [name for name in wanted if (path / name).is_dir()]
    else:
        held = [name for name in wanted if has_part(open_checkpoint(path), name)]
    if "unet" not in held:
        raise WeightsError(f"{path}: holds no U-Net; a personalised model is a fine-tuned Stable Diffusion 1.x")
    return replace(base, **{name: load_part(path, name, dtype, device, configs=configs) for name in held})


def load_part(
    model: str | Path,
    name: str,  # vae, text_encoder, tokenizer, unet or scheduler
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    configs: str | Path | None = None,
) -> Any:
    """Load one part of the base; stages that need only the VAE read only the VAE.

    The noise schedule is that of the folder where it is linear, as AnimateDiff's is. Stable Diffusion's own
    ("scaled_linear") is replaced by AnimateDiff's: motion modules sampled with it give washed-out videos.
    """
    model = Path(model)
    if model.is_file():
        return _part_of_file(model, name, dtype, device, None if configs is None else Path(configs))
    if not model.is_dir():
        raise WeightsError(f"{model}: the base model is missing; put the folder or file there, or set base.model")
    folder = model / name
    if not folder.is_dir():
        raise WeightsError(f"{folder}: missing from the base model; a diffusers folder holds {', '.join(_PARTS)}")
    part = _load(_PARTS[name], folder, dtype, device)
    return animatediff_scheduler() if name == "scheduler" and part.config.beta_schedule != "linear" else part


def _part_of_file(model: Path, name: str, dtype: torch.dtype, device: str | torch.device, configs: Path | None) -> Any:
    """One part of a single-file checkpoint; what such files do not hold is the same for all of them."""
    if name == "scheduler":
        return animatediff_scheduler()
    if name == "tokenizer":
        if configs is not None and (configs / "tokenizer").is_dir():
            return _load(CLIPTokenizer, configs / "tokenizer", dtype, device)
        return clip_tokenizer()
    file = open_checkpoint(model)
    if not has_part(file, name):
        raise WeightsError(f"{model}: holds no {name}; set base.model to a whole checkpoint, this as base.personalised")
    return frozen(build_part(file, name, configs).to(device, dtype))


def load_motion_adapter(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    *,
    configs: str | Path | None = None,  # of a file: folder with motion_adapter/config.json; else AnimateDiff's own
) -> MotionAdapter:
    """Load motion modules, a diffusers folder or AnimateDiff's file, strictly and offline."""
    if Path(path).is_file():
        config = None if configs is None else Path(configs) / "motion_adapter/config.json"
        return frozen(
            load_motion_module(path, read_json(config) if config and config.is_file() else None).to(device, dtype)
        )
    if not Path(path).is_dir():
        raise WeightsError(f"{path}: the motion modules are missing; put them there or set base.motion_adapter")
    return _load(MotionAdapter, Path(path), dtype, device)


def load_adapter360(path: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> Any:
    """Load an `Adapter360`, a folder that training left or the released checkpoint, strictly and offline."""
    from core.model.adapter import Adapter360
    from core.weights.adapter360 import load_released_adapter

    if Path(path).is_file():
        return frozen(load_released_adapter(path).to(device, dtype))
    if not Path(path).is_dir():
        raise WeightsError(f"{path}: no such 360-Adapter; train it or put the released checkpoint there")
    return _load(Adapter360, Path(path), dtype, device)


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | torch.device) -> Any:
    """`from_pretrained` that never downloads and refuses missing, unexpected or mismatched weights."""
    try:
        if not issubclass(kind, nn.Module):
            return kind.from_pretrained(folder, local_files_only=True)
        precision = {"dtype": dtype} if kind is CLIPTextModel else {"torch_dtype": dtype}
        module, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **precision)
    except Exception as error:  # the loaders raise a dozen types for a folder that does not hold what it should
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{folder}: not a loadable {kind.__name__} ({reason[:300]})") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        # position_ids is a constant that older transformers stored and newer ones do not.
        keys = [str(key) for key in info.get(problem) or () if not str(key).endswith("position_ids")]
        if keys:
            raise WeightsError(
                f"{folder}: {len(keys)} {problem.replace('_', ' ')} for {kind.__name__}, first: {keys[0]}"
            )
    return frozen(module.to(device))


def frozen(module: Any) -> Any:
    """Evaluation mode, no gradients; returns the module."""
    return module.eval().requires_grad_(False)


def weights_hash(*paths: str | Path) -> str:
    """Hexadecimal SHA-256 over names and bytes of files and of all files below folders: which weights made this."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        if not path.exists():
            raise WeightsError(f"{path}: no such weights")
        files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            with open(file, "rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()


@torch.no_grad()
def encode_text(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, texts: list[str]) -> Tensor:
    """Text embeddings as Stable Diffusion 1.5 uses them: last hidden state, (N, tokens, C) float.

    Padded to the encoder's length; what is longer is cut, as the model cannot read it.
    """
    length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return text_encoder(tokens.input_ids.to(text_encoder.device))[0]


def with_trigger(trigger: str, caption: str) -> str:
    """The trigger phrase and the caption; an empty caption stays empty, it is the unconditional one."""
    return f"{trigger} {caption}" if trigger and caption else caption


def normalise_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """From what the VAE encodes to what the U-Net sees: (z - shift) * scale."""
    return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode U-Net latents (N,4,h,w) to pictures (N,3,H,W) float in [-1,1], not clipped."""
    return vae.decode(latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)).sample
