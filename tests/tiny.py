"""A base of the real classes at tiny size with random weights, in the folder layout of the real one.

Sizes for a 32 x 64 video: VAE f=4, latents 8 x 16, four U-Net levels down to 1 x 2.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

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
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TEXT_LENGTH
    )
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
