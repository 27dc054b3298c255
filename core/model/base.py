"""The frozen base: Stable Diffusion 1.5's parts and AnimateDiff's motion modules, or nano's, loaded from folders."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError


@dataclass
class Base:
    """The parts of a text-to-image base, frozen, in evaluation mode, and the motion modules where asked for."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    motion_adapter: MotionAdapter | None = None

    def motion_unet(self) -> UNetMotionModel:
        """The 2D U-Net with the motion modules put in: the video model, frozen. Copies the weights."""
        if self.motion_adapter is None:
            raise PanobenchError("the base was loaded without a motion adapter; set base.motion_adapter")
        unet = frozen(UNetMotionModel.from_unet2d(self.unet, self.motion_adapter))
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
    model: str | Path,  # diffusers folder
    motion_adapter: str | Path | None = None,  # folder of a diffusers MotionAdapter
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Base:
    """Load every part of the base, strictly and offline.

    Raises:
        PanobenchError: a folder or file is missing, or its weights do not fit its configuration.
    """
    parts = {name: load_part(model, name, dtype, device) for name in _PARTS}
    adapter = None if motion_adapter is None else load_motion_adapter(motion_adapter, dtype, device)
    return Base(**parts, motion_adapter=adapter)


def load_part(
    model: str | Path,
    name: str,  # vae, text_encoder, tokenizer, unet or scheduler
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> Any:
    """Load one part of the base folder; stages that need only the VAE read only the VAE."""
    model = Path(model)
    if not model.is_dir():
        raise PanobenchError(f"{model}: the base model's folder is missing; put it there or set base.model")
    folder = model / name
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: missing from the base model; a diffusers folder holds {', '.join(_PARTS)}")
    return _load(_PARTS[name], folder, dtype, device)


def load_motion_adapter(
    folder: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> MotionAdapter:
    """Load a diffusers MotionAdapter folder, strictly and offline."""
    if not Path(folder).is_dir():
        raise PanobenchError(f"{folder}: the motion adapter is missing; put it there or set base.motion_adapter")
    return _load(MotionAdapter, Path(folder), dtype, device)


def load_adapter360(folder: str | Path, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> Any:
    """Load an `Adapter360` folder, strictly and offline."""
    from core.model.adapter import Adapter360

    if not Path(folder).is_dir():
        raise PanobenchError(f"{folder}: no such 360-Adapter; train it first")
    return _load(Adapter360, Path(folder), dtype, device)


def _load(kind: Any, folder: Path, dtype: torch.dtype, device: str | torch.device) -> Any:
    """`from_pretrained` that never downloads and refuses missing, unexpected or mismatched weights."""
    try:
        if not issubclass(kind, nn.Module):
            return kind.from_pretrained(folder, local_files_only=True)
        precision = {"dtype": dtype} if kind is CLIPTextModel else {"torch_dtype": dtype}
        module, info = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, **precision)
    except Exception as error:  # the loaders raise a dozen types for a folder that does not hold what it should
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PanobenchError(f"{folder}: not a loadable {kind.__name__} ({reason[:300]})") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        # position_ids is a constant that older transformers stored and newer ones do not.
        keys = [str(key) for key in info.get(problem) or () if not str(key).endswith("position_ids")]
        if keys:
            raise PanobenchError(
                f"{folder}: {len(keys)} {problem.replace('_', ' ')} for {kind.__name__}, first: {keys[0]}"
            )
    return frozen(module.to(device))


def default_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def frozen(module: Any) -> Any:
    """Evaluation mode, no gradients; returns the module."""
    return module.eval().requires_grad_(False)


def folder_hash(*folders: str | Path) -> str:
    """Hexadecimal SHA-256 over names and bytes of all files below `folders`: which weights made this result."""
    digest = hashlib.sha256()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise PanobenchError(f"{folder}: no such folder of weights")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
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
