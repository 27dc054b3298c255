"""A base of the real classes at tiny size with random weights, in the folder layout of the real one.

Sizes for a 32 x 64 video: VAE f=4, latents 8 x 16, four U-Net levels down to 1 x 2.
"""

import json
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

if TYPE_CHECKING:
    from core.params import Params

CHANNELS = (16, 16, 32, 32)
TEXT_WIDTH, TEXT_LENGTH = 16, 32
HEIGHT, WIDTH, FRAMES = 32, 64, 4


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer without merges: every character is a token."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_tiny_base(root: Path) -> tuple[Path, Path]:
    """Write `root/base` and `root/motion_adapter`; the same bytes every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = root / "base"
        tokenizer = build_tokenizer(base / "tokenizer")
        AutoencoderKL(
            block_out_channels=(8, 16, 16),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=32,
            scaling_factor=0.9,
        ).save_pretrained(base / "vae")
        UNet2DConditionModel(
            sample_size=(8, 16),
            block_out_channels=CHANNELS,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
        ).save_pretrained(base / "unet")
        CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=2 * TEXT_WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=TEXT_LENGTH,
                bos_token_id=len(tokenizer) - 2,
                eos_token_id=len(tokenizer) - 1,
                pad_token_id=len(tokenizer) - 1,
            )
        ).save_pretrained(base / "text_encoder")
        DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ).save_pretrained(base / "scheduler")
        motion = MotionAdapter(
            block_out_channels=CHANNELS,
            motion_layers_per_block=1,
            motion_num_attention_heads=2,
            motion_norm_num_groups=4,
            motion_max_seq_length=16,
            use_motion_mid_block=False,
        )
        for name, parameter in motion.named_parameters():
            if "proj_out" in name:  # starts at zero: random motion modules would do nothing
                torch.nn.init.normal_(parameter, std=0.2)
        motion.save_pretrained(root / "motion_adapter")
    return base, root / "motion_adapter"


def tiny_adapter(**options) -> "torch.nn.Module":
    """An `Adapter360` that fits the tiny U-Net, random weights."""
    from core.model.adapter import Adapter360

    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Adapter360(unshuffle=4, channels=CHANNELS, **options).eval().requires_grad_(False)


def tiny_params(base: tuple[Path, Path], /, **sections) -> "Params":
    """Parameters of a tiny profile; `sections` are merged over the defaults, one level deep."""
    from core.params import parse_params

    content: dict = {
        "profile": "tiny",
        "seed": 1,
        "video": {"height": HEIGHT, "width": WIDTH, "frames": FRAMES, "fps": 8.0},
        "base": {"model": str(base[0]), "motion_adapter": str(base[1])},
        "dataset": {"source": "nano", "train_clips": 3, "reference_clips": 1, "frames": FRAMES + 2},
        "caption": {"fusion": "rules"},
        "flow": {"backend": "dis", "range_px": 8.0},
        "encode": {"batch": 4},
        "run": {"models": ["lora", "adapter"], "methods": ["a", "b", "d"]},
        "training": {
            "lora": {"kind": "lora", "steps": 4, "batch": 2, "learning_rate": 1e-3, "rank": 2, "trigger": "erp of"},
            "adapter": {"kind": "adapter", "steps": 4, "batch": 2, "learning_rate": 1e-3, "checkpoint_every": 2},
        },
        "methods": {
            "a": {"label": "A"},
            "b": {"label": "B", "lora": "lora"},
            "d": {"label": "D", "adapter": "adapter", "rotation": True, "circular_padding": True},
        },
        "generation": {"prompts": "prompts.yaml", "steps": 2, "guidance_scale": 7.5, "batch": 1},
        "scoring": {"judge": "judge", "metrics": {}},
    }
    for name, values in sections.items():
        content[name] = content[name] | values if isinstance(values, dict) else values
    return parse_params(content)


def write_tiny_clips(folder: Path, clips: int = 3, frames: int = FRAMES + 2) -> None:
    """`clips.csv` and `videos/` as `panobench data split` writes them: smooth noise that drifts to the right."""
    import numpy as np

    from core.data.clips import YAWS, Clip, write_clips
    from core.video import write_video

    rows = []
    for number in range(clips):
        coarse = np.random.default_rng(number).integers(0, 255, (4, 8, 3), dtype=np.uint8)
        picture = coarse.repeat(HEIGHT // 4, 0).repeat(WIDTH // 8, 1)
        video = np.stack([np.roll(picture, 2 * t, 1) for t in range(frames)])
        write_video(folder / "videos" / f"clip{number}.mp4", video, 8)
        views = dict.fromkeys(YAWS, "a green meadow, at noon") | {"yaw_90": "a red ball on a green meadow, at noon"}
        rows.append(Clip(f"clip{number}", "a meadow", {**views, "whole": "a meadow", "source": "tiny"}))
    write_clips(folder / "clips.csv", rows, [*YAWS, "whole", "source"])


def encode_tiny(params: "Params") -> Path:
    """Run the real caption, flow and encode stages over tiny clips, in the current directory; returns the cache."""
    from core.data.caption import caption_stage
    from core.data.encode import encode_stage
    from core.data.flowstage import flow_stage

    out = params.outputs
    write_tiny_clips(out / "dataset/train", params.dataset.train_clips, params.dataset.frames)
    caption_stage(out / "dataset/train/clips.csv", out / "captions/clips.csv", params.caption, out / "partial/caption")
    flow_stage(out / "dataset/train/clips.csv", out / "flows", out / "partial/flow", params.flow)
    encode_stage(
        params,
        out / "dataset/train/videos",
        out / "captions/clips.csv",
        out / "flows",
        out / "cache",
        out / "partial/encode",
    )
    return out / "cache"


def write_tiny_cache(params: "Params") -> Path:
    """A cache as `panobench data encode` leaves it, of pictures that were never in a video file; returns its folder."""
    import numpy as np
    from safetensors.torch import save_file

    from core.data.encode import encode_video
    from core.files import write_json
    from core.model.base import encode_text, load_base
    from core.train.cache import SCHEMA

    base, folder, frames = load_base(params.base.model), params.outputs / "cache", params.dataset.frames
    texts, rows, tensors = ["", "a meadow", "a red ball on a green meadow, at noon"], [], {}
    for number in range(params.dataset.train_clips):
        picture = np.random.default_rng(number).integers(0, 255, (4, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        video = np.stack([np.roll(picture, 2 * t, 1) for t in range(frames)])
        name = f"clip{number}"
        tensors[f"{name}.mean"], tensors[f"{name}.std"] = encode_video(base.vae, video, 4, circular=True)
        maps = np.random.default_rng(100 + number).integers(90, 166, (frames, 3, HEIGHT, WIDTH), dtype=np.uint8)
        tensors[f"{name}.flow"] = torch.from_numpy(maps)
        row = {"videoid": name, "frames": frames, "caption": texts[2], "whole": texts[1], "shard": "c.safetensors"}
        rows.append(row)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "c.safetensors")
    embeddings = encode_text(base.tokenizer, base.text_encoder, texts).half()
    save_file({"embeddings": embeddings}, folder / "text.safetensors")
    flow = {"encoding": "panobench", "range_px": 8.0, "scale": 1}
    write_json(
        folder / "index.json", {"schema": SCHEMA, "mirrored": False, "flow": flow, "texts": texts, "clips": rows}
    )
    return folder


def exit_code_of(function: Callable[..., None], *arguments: object) -> int | None:
    """Run a module's function in a fresh process in this directory; its exit code, minus the signal that killed it.

    Not a fork: a forked copy of a process with threads can hang in the first lock that one of them held.
    """
    process = get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def write_tiny_blip(folder: Path) -> Path:
    """A captioner of the real class with random weights and a vocabulary of a few words."""
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    folder.mkdir(parents=True, exist_ok=True)
    words = [
        "a",
        "the",
        "red",
        "blue",
        "ball",
        "tower",
        "road",
        "meadow",
        "desert",
        "lake",
        "mountain",
        "sky",
        "cloud",
        "house",
        "tree",
        "at",
        "noon",
        "night",
    ]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(vocabulary), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    special = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BlipConfig(
            text_config={**text, **special}, vision_config={**small, "image_size": 32, "patch_size": 16}, **special
        )
        model = BlipForConditionalGeneration(config)
        for name, parameter in model.named_parameters():
            torch.nn.init.normal_(parameter, std=0.5 if "norm" not in name.lower() else 0.1)
        model.save_pretrained(folder)
    pictures = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(pictures, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)
    return folder
