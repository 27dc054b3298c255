"""`panobench data encode`: latents, conditions and text embeddings, computed once; training reads nothing else.

The cache: `index.json` (what is where), `clips-NNNNN.safetensors` (per clip `{videoid}.mean`, `.std` of the VAE's
posterior, (F,4,h,w) fp16, unscaled, and `{videoid}.flow`, the flow maps (F,3,H,W) uint8) and `text.safetensors`
(`embeddings`, (N,tokens,C) fp16, in the order of the index's `texts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from core.data.clips import Clip, read_clips, video_path
from core.data.partial import partial_folder
from core.errors import PanobenchError
from core.files import atomic_path, sha256, write_json
from core.model.base import default_device, encode_text, load_part, weights_hash
from core.model.enhance import circular_padding
from core.params_schema import Params
from core.train.cache import SCHEMA
from core.video import read_video

_CLIPS_PER_SHARD = 32


@torch.no_grad()
def encode_video(
    vae: AutoencoderKL,
    frames: np.ndarray,  # (F,H,W,3) uint8 ERP
    batch: int,
    circular: bool,  # pad along longitude, so that no seam is baked into the latents
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the posterior, two (F,4,h,w) fp16 tensors on the CPU, unscaled."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    means, deviations = [], []
    with circular_padding(vae) if circular else nullcontext():
        for chunk in pixels.split(batch):
            posterior = vae.encode(chunk.to(vae.device, vae.dtype) / 127.5 - 1).latent_dist
            means.append(posterior.mean.half().cpu())
            deviations.append(posterior.std.half().cpu())
    return torch.cat(means).contiguous(), torch.cat(deviations).contiguous()


def encode_stage(
    params: Params,
    videos: Path,  # folder of the training clips
    captions_csv: Path,
    flows: Path,
    output: Path,
    partial: Path,  # unfinished folder, from which a killed run goes on
) -> None:
    """Encode every clip of the captions CSV; shards that an earlier run finished are kept."""
    settings, device = params.encode, default_device()
    clips = read_clips(captions_csv)
    base = Path(params.base.model)
    if base.is_file():
        hashes = {"file": weights_hash(base)}
    else:
        names = ("vae", "text_encoder", "tokenizer")
        hashes = {name: weights_hash(base / name) for name in names if (base / name).is_dir()}
    inputs = {
        "captions": sha256(captions_csv),
        "videos": [sha256(video_path(videos, clip.videoid)) for clip in clips],
        "flows": [sha256(video_path(flows, clip.videoid)) for clip in clips],
        "encode": settings.model_dump(),
        "video": params.video.model_dump(),
        "base": hashes,
    }
    with partial_folder(partial, output, inputs) as folder:
        rows: list[dict[str, Any]] = []
        vae = load_part(base, "vae", device=device, configs=params.base.configs)
        with tqdm(total=len(clips), desc="encode", unit="clip") as bar:
            for number, first in enumerate(range(0, len(clips), _CLIPS_PER_SHARD)):
                shard, name = clips[first : first + _CLIPS_PER_SHARD], f"clips-{number:05d}.safetensors"
                rows += _encode_shard(vae, shard, videos, flows, folder / name, params, bar)
        texts = sorted({"", *(clip.name for clip in clips), *(clip.columns.get("whole") or "" for clip in clips)})
        _encode_texts(params, texts, folder / "text.safetensors", device)
        write_json(
            folder / "index.json",
            {"schema": SCHEMA, "mirrored": settings.mirror, "base": hashes, "texts": texts, "clips": rows},
        )


def _encode_shard(
    vae: AutoencoderKL, clips: Sequence[Clip], videos: Path, flows: Path, path: Path, params: Params, bar: tqdm
) -> list[dict[str, Any]]:
    """Write one shard unless it is there, and return the index rows of its clips."""
    from safetensors import safe_open

    settings, tensors = params.encode, {}
    if path.is_file():
        with safe_open(str(path), framework="pt") as file:
            lengths = {clip.videoid: file.get_slice(f"{clip.videoid}.flow").get_shape()[0] for clip in clips}
        bar.update(len(clips))
    else:
        for clip in clips:
            frames = read_video(video_path(videos, clip.videoid)).frames
            maps = read_video(video_path(flows, clip.videoid)).frames
            _check_size(video_path(videos, clip.videoid), frames, params)
            _check_size(video_path(flows, clip.videoid), maps, params)
            if len(maps) != len(frames):
                raise PanobenchError(f"{flows / clip.videoid}.mp4: {len(maps)} maps for {len(frames)} frames")
            for suffix, pictures in [("", frames), ("_mirrored", frames[:, :, ::-1].copy())][: 1 + settings.mirror]:
                mean, std = encode_video(vae, pictures, settings.batch, settings.circular)
                tensors[f"{clip.videoid}.mean{suffix}"], tensors[f"{clip.videoid}.std{suffix}"] = mean, std
            tensors[f"{clip.videoid}.flow"] = torch.from_numpy(maps).permute(0, 3, 1, 2).contiguous()
            bar.update()
        lengths = {clip.videoid: len(tensors[f"{clip.videoid}.flow"]) for clip in clips}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)
    return [
        {
            "videoid": clip.videoid,
            "frames": lengths[clip.videoid],
            "caption": clip.name,
            "whole": clip.columns.get("whole") or clip.name,
            "shard": path.name,
        }
        for clip in clips
    ]


def _encode_texts(params: Params, texts: Sequence[str], path: Path, device: torch.device) -> None:
    base = params.base
    tokenizer, encoder = (
        load_part(base.model, name, device=device, configs=base.configs) for name in ("tokenizer", "text_encoder")
    )
    parts = [
        encode_text(tokenizer, encoder, list(texts[first : first + 64])).half().cpu()
        for first in tqdm(range(0, len(texts), 64), desc="encode captions", unit="batch")
    ]
    with atomic_path(path) as temporary:
        save_file({"embeddings": torch.cat(parts)}, temporary)


def _check_size(path: Path, frames: np.ndarray, params: Params) -> None:
    height, width = params.video.height, params.video.width
    if frames.shape[1:3] != (height, width):
        raise PanobenchError(
            f"{path}: {frames.shape[2]} x {frames.shape[1]} pixels, but video.width and height are {width} x {height}"
        )
