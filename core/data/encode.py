"""`panobench data encode`: latents, conditions and text embeddings, computed once; training reads nothing else.

The cache: `index.json` (what is where), `clips-NNNNN.safetensors` (per clip `{videoid}.mean`, `.std` of the VAE's
posterior, (F,4,h,w) fp16, unscaled, and `{videoid}.flow`, the condition maps (F,3,H,W) uint8, or at 1/n of that size
with `encode.flow_scale: n`) and `text.safetensors`
(`embeddings`, (N,tokens,C) fp16, in the order of the index's `texts`).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from core.data.clips import Clip, read_clips, video_path
from core.data.flowstage import encoding_of
from core.data.work import ALL, Step, stamp
from core.device import default_device
from core.errors import PanobenchError
from core.files import atomic_path, read_json, sha256, write_json
from core.flow import condition_maps
from core.model.base import encode_text, load_part, weights_hash
from core.model.enhance import circular_padding
from core.params_schema import Params
from core.shards import Shard
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
    ready: Path | None = None,  # a cache that the set came with; taken if it is of the same things
    shard: Shard = ALL,
) -> bool:
    """Encode every clip of the captions CSV; whether all shards are there. Those of an earlier run are kept.

    Raises:
        PanobenchError: a file is missing, of another size, or its flow has another length.
    """
    clips = read_clips(captions_csv)
    base = Path(params.base.model)
    if base.is_file():
        hashes = {"file": weights_hash(base)}
    else:
        names = ("vae", "text_encoder", "tokenizer")
        hashes = {name: weights_hash(base / name) for name in names if (base / name).is_dir()}
    encoding = encoding_of(flows)
    head = {
        "schema": SCHEMA,
        "mirrored": params.encode.mirror,
        "flow": {"encoding": encoding, "range_px": params.flow.range_px, "scale": params.encode.flow_scale},
        "base": hashes,
        "encode": params.encode.model_dump(exclude={"batch"}),
        "video": params.video.model_dump(),
    }
    paths = {clip.videoid: (video_path(videos, clip.videoid), video_path(flows, clip.videoid)) for clip in clips}
    texts = sorted({"", *(clip.name for clip in clips), *(clip.columns.get("whole") or "" for clip in clips)})
    if ready is not None and _is_of(ready, head, texts, clips, paths):
        print(f"encode: {ready} is of the same clips, captions and weights; copied", file=sys.stderr)
        shutil.copytree(ready, output, dirs_exist_ok=True)
        return True
    loaded: list[AutoencoderKL] = []

    def make(folder: Path, group: tuple[int, list[Clip]]) -> None:
        if not loaded:
            loaded.append(load_part(base, "vae", device=default_device(), configs=params.base.configs))
        _encode_shard(loaded[0], group[1], paths, folder / _shard_name(group[0]), params, encoding)

    def finish(folder: Path) -> None:
        _encode_texts(params, texts, folder / "text.safetensors", default_device())
        rows = [row for number, group in groups for row in _index_rows(folder, _shard_name(number), group, paths)]
        write_json(folder / "index.json", head | {"texts": texts, "clips": rows})

    groups = [(n, clips[i : i + _CLIPS_PER_SHARD]) for n, i in enumerate(range(0, len(clips), _CLIPS_PER_SHARD))]
    return Step(
        name="encode",
        unit=f"{_CLIPS_PER_SHARD} clips",
        partial=partial,
        final=output,
        inputs=head
        | {"captions": sha256(captions_csv), "files": [[stamp(path) for path in pair] for pair in paths.values()]},
        items=groups,
        path=lambda folder, group: folder / _shard_name(group[0]),
        make=make,
        finish=finish,
    ).run(shard)


def _shard_name(number: int) -> str:
    return f"clips-{number:05d}.safetensors"


def _is_of(
    ready: Path, head: dict[str, Any], texts: Sequence[str], clips: Sequence[Clip], paths: dict[str, tuple[Path, Path]]
) -> bool:
    """Whether a cache holds exactly these clips, encoded like this."""
    if not (ready / "index.json").is_file():
        return False
    index = read_json(ready / "index.json")
    if any(index.get(key) != value for key, value in (head | {"texts": list(texts)}).items()):
        return False
    rows = index["clips"]
    return [row["videoid"] for row in rows] == [clip.videoid for clip in clips] and all(
        row["sha256"] == [sha256(path) for path in paths[row["videoid"]]] for row in rows
    )


def _encode_shard(
    vae: AutoencoderKL, clips: Sequence[Clip], paths: dict[str, tuple[Path, Path]], path: Path, params: Params,
    encoding: str,
) -> None:  # fmt: skip
    """Write one shard."""
    settings, tensors = params.encode, {}
    for clip in clips:
        video, flow = paths[clip.videoid]
        frames, pictures = read_video(video).frames, read_video(flow).frames
        _check_size(video, frames, params)
        _check_size(flow, pictures, params)
        if len(pictures) != len(frames):
            raise PanobenchError(f"{flow}: {len(pictures)} maps for {len(frames)} frames")
        for suffix, shown in [("", frames), ("_mirrored", frames[:, :, ::-1].copy())][: 1 + settings.mirror]:
            mean, std = encode_video(vae, shown, settings.batch, settings.circular)
            tensors[f"{clip.videoid}.mean{suffix}"], tensors[f"{clip.videoid}.std{suffix}"] = mean, std
        maps = torch.from_numpy(condition_maps(pictures, encoding, params.flow.range_px)).permute(0, 3, 1, 2)
        tensors[f"{clip.videoid}.flow"] = _shrunk(maps, settings.flow_scale)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def _shrunk(maps: Tensor, scale: int) -> Tensor:
    """Condition maps (F,3,H,W) uint8 averaged over squares of `scale` pixels."""
    if scale == 1:
        return maps.contiguous()
    return torch.nn.functional.avg_pool2d(maps.float(), scale).round().byte().contiguous()


def _index_rows(
    folder: Path, shard: str, clips: Sequence[Clip], paths: dict[str, tuple[Path, Path]]
) -> list[dict[str, Any]]:
    """What the index says of a shard's clips."""
    with safe_open(str(folder / shard), framework="pt") as file:
        lengths = {clip.videoid: file.get_slice(f"{clip.videoid}.flow").get_shape()[0] for clip in clips}
    return [
        {
            "videoid": clip.videoid,
            "frames": lengths[clip.videoid],
            "caption": clip.name,
            "whole": clip.columns.get("whole") or clip.name,
            "shard": shard,
            "sha256": [sha256(path) for path in paths[clip.videoid]],
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
