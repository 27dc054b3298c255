"""The nano stack: a miniature Stable Diffusion 1.5 + AnimateDiff + CLIP of the real classes, with random weights.

`core.nano.pretrain` trains what is built here; tests use it as it is. The folder layout is diffusers' own, so
the same code loads the nano base and a full-size one.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from core.files import write_json

BPE_MERGES = 6000
CONTEXT_LENGTH = 64
TEXT_WIDTH = 128

VAE_CONFIG: dict[str, Any] = {
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "mid_block_add_attention": False,  # purely convolutional: trained on crops, used on whole frames
    "sample_size": 64,
    "scaling_factor": 1.0,
}
UNET_CONFIG: dict[str, Any] = {
    "sample_size": (16, 32),
    "block_out_channels": (48, 96, 144, 192),
    # No attention at the finest level: it took half of the time on a CPU and the pictures did not miss it.
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,  # diffusers' name for the number of heads
    "norm_num_groups": 16,
}
MOTION_CONFIG: dict[str, Any] = {
    "block_out_channels": UNET_CONFIG["block_out_channels"],
    "motion_layers_per_block": 1,
    "motion_num_attention_heads": 4,
    "motion_norm_num_groups": 16,
    "motion_max_seq_length": 24,
    "use_motion_mid_block": False,
}
JUDGE_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
    "text_cfg": {"context_length": CONTEXT_LENGTH, "width": TEXT_WIDTH, "heads": 4, "layers": 4},
}
JUDGE_PREPROCESS: dict[str, Any] = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def write_bpe(path: Path, merges: int = BPE_MERGES) -> None:
    """Write CLIP's own byte-pair encoding, cut to its most frequent `merges`, in open_clip's file format."""
    source = Path(open_clip.tokenizer.default_bpe())
    lines = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")[: merges + 1]
    # No line end after the last merge: open_clip would read it as an empty merge.
    # mtime=0 keeps the file the same to the bit on every run.
    path.write_bytes(gzip.compress("\n".join(lines).encode("utf-8"), mtime=0))


def reduce_bpe(source: Path, texts: Iterable[str], target: Path) -> list[int]:
    """Write a BPE with just the merges that `texts` need; they are encoded as before, other words into more tokens.

    Returns:
        for each token of the new vocabulary its number in the old one, to pick rows of an embedding.
    """
    old = bpe_tokenizer(source)
    made_of = {"".join(pair): pair for pair in old.bpe_ranks}
    needed: set[str] = set()

    def need(token: str) -> None:
        if token in made_of and token not in needed:
            needed.add(token)
            for part in made_of[token]:
                need(part)

    for word in {word for text in texts for word in text.split()} | {"a", "an"}:
        for number in old.encode(word):
            need(old.decoder[number])
    header, *merges = gzip.decompress(source.read_bytes()).decode("utf-8").split("\n")
    kept = [merge for merge in merges if merge.replace(" ", "") in needed]
    target.write_bytes(gzip.compress("\n".join([header, *kept]).encode("utf-8"), mtime=0))
    new = bpe_tokenizer(target)
    return [old.encoder[new.decoder[number]] for number in range(new.vocab_size)]


def with_vocabulary(judge: open_clip.CLIP, bpe: Path, rows: list[int]) -> open_clip.CLIP:
    """The same judge over a vocabulary cut by `reduce_bpe`."""
    cut = build_judge(bpe)
    state = judge.state_dict()
    cut.load_state_dict({**state, "token_embedding.weight": state["token_embedding.weight"][rows]})
    return cut.eval()


def bpe_tokenizer(path: Path) -> SimpleTokenizer:
    """open_clip's tokenizer over a cut BPE file."""
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)


def build_tokenizer(bpe: Path, folder: Path) -> CLIPTokenizer:
    """The tokenizer of transformers with the same tokens as `bpe_tokenizer`, saved to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = dict(bpe_tokenizer(bpe).encoder)
    rename = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {rename.get(token, token): number for token, number in tokens.items()}
    merges = gzip.decompress(bpe.read_bytes()).decode("utf-8").split("\n")[1:]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT_LENGTH)
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_judge(bpe: Path) -> open_clip.CLIP:
    """An open_clip CLIP of nano size with random weights."""
    config = JUDGE_CONFIG | {"text_cfg": JUDGE_CONFIG["text_cfg"] | {"vocab_size": bpe_tokenizer(bpe).vocab_size}}
    return open_clip.CLIP(**config)


def text_encoder_of(judge: open_clip.CLIP) -> CLIPTextModel:
    """The text tower of a CLIP as transformers' class, as Stable Diffusion 1.5 uses that of CLIP ViT-L/14."""
    vocabulary, width = judge.token_embedding.weight.shape
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=len(judge.transformer.resblocks),
        num_attention_heads=judge.transformer.resblocks[0].attn.num_heads,
        max_position_embeddings=judge.positional_embedding.shape[0],
        projection_dim=judge.text_projection.shape[1],
        hidden_act="gelu",
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    encoder = CLIPTextModel(config)
    ours = judge.state_dict()
    state: dict[str, torch.Tensor] = {}
    prefix = next(iter(encoder.state_dict())).split("embeddings.")[0]
    state["embeddings.token_embedding.weight"] = ours["token_embedding.weight"]
    state["embeddings.position_embedding.weight"] = ours["positional_embedding"]
    for part in ("weight", "bias"):
        state[f"final_layer_norm.{part}"] = ours[f"ln_final.{part}"]
        for layer in range(len(judge.transformer.resblocks)):
            source, target = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
            joint = ours[f"{source}.attn.in_proj_{part}"].chunk(3)
            for name, tensor in zip(("q_proj", "k_proj", "v_proj"), joint, strict=True):
                state[f"{target}.self_attn.{name}.{part}"] = tensor
            for theirs, mine in {
                "attn.out_proj": "self_attn.out_proj",
                "ln_1": "layer_norm1",
                "ln_2": "layer_norm2",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
            }.items():
                state[f"{target}.{mine}.{part}"] = ours[f"{source}.{theirs}.{part}"]
    encoder.load_state_dict({prefix + key: tensor.clone() for key, tensor in state.items()}, strict=True)
    return encoder.eval()


def build_vae() -> AutoencoderKL:
    """A VAE with 4-fold reduction whose start is already an autoencoder of the mean colours; see `_keep_colors`."""
    vae = AutoencoderKL(**VAE_CONFIG)
    with torch.no_grad():
        _keep_colors(vae)
    return vae


def build_unet() -> UNet2DConditionModel:
    """The 2D U-Net with random weights."""
    return UNet2DConditionModel(**UNET_CONFIG)


def build_motion_adapter() -> MotionAdapter:
    """The motion modules; their output projections start at zero, so that they start as the identity."""
    return MotionAdapter(**MOTION_CONFIG)


def build_scheduler() -> DDIMScheduler:
    """AnimateDiff's noise schedule: 1,000 steps, linear betas."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def save_base(
    folder: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    unet: UNet2DConditionModel,
    bpe: Path,
) -> None:
    """Write a diffusers folder with fp16 weights."""
    # .half() converts in place: the caller may go on training, so copies are saved.
    _half_copy(vae).save_pretrained(folder / "vae")
    _half_copy(text_encoder).save_pretrained(folder / "text_encoder")
    _half_copy(unet).save_pretrained(folder / "unet")
    build_tokenizer(bpe, folder / "tokenizer")
    build_scheduler().save_pretrained(folder / "scheduler")
    write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.30.0",
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


def save_motion_adapter(folder: Path, adapter: MotionAdapter) -> None:
    """Write the motion modules as fp16."""
    _half_copy(adapter).save_pretrained(folder)


def save_judge(folder: Path, judge: open_clip.CLIP, bpe: Path) -> None:
    """Write the judge in open_clip's folder layout, fp16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = JUDGE_CONFIG | {
        "text_cfg": JUDGE_CONFIG["text_cfg"] | {"vocab_size": judge.token_embedding.weight.shape[0]}
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": JUDGE_PREPROCESS})
    state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in judge.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "bpe_simple_vocab.txt.gz").write_bytes(bpe.read_bytes())


def _half_copy(module: Any) -> Any:
    if isinstance(module, CLIPTextModel):
        copy = CLIPTextModel(module.config)
    else:
        # Where it was read from is nobody's business.
        config = {name: value for name, value in module.config.items() if name != "_name_or_path"}
        copy = type(module).from_config(config)
    copy.load_state_dict(module.state_dict())
    return copy.half()


# --- colour-preserving initialisation ---------------------------------------------------------------------------------
# GroupNorm forgets a picture's absolute colour, and a default VAE learns it back very slowly. Every feature channel
# is therefore given one of eight roles by its number modulo 8: (R, -R, G, -G, B, -B, +c, -c). The constants keep the
# group's standard deviation nearly independent of the colour, and the pairs make SiLU linear: silu(x) - silu(-x) = x.

_ROLES, _CONSTANT = 8, 2.0
_CODE = torch.tensor([[1, -1, 0, 0, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0, 0, 0], [0, 0, 0, 0, 1, -1, 0, 0]]).float()


def _keep_colors(vae: AutoencoderKL) -> None:
    for name, module in vae.named_modules():
        if not isinstance(module, torch.nn.Conv2d):
            if name.endswith("to_out.0"):
                module.weight.mul_(0.1)
            continue
        bias = module.bias
        assert bias is not None  # a VAE's convolutions all have one
        centre = tuple(size // 2 for size in module.kernel_size)
        if re.search(r"conv2$", name):  # the residual branch starts small
            module.weight.mul_(0.1)
        elif name.endswith("conv_shortcut"):
            module.weight.copy_(_same_role(module.out_channels, module.in_channels)[..., None, None])
            bias.zero_()
        elif "downsamplers" in name or "upsamplers" in name:
            same = _same_role(module.out_channels, module.in_channels)
            module.weight.mul_(0.1)
            if "downsamplers" in name:  # mean over the 2 x 2 pixels that the stride merges
                module.weight[:, :, :2, :2] += 0.25 * same[..., None, None]
            else:
                module.weight[:, :, centre[0], centre[1]] += same
            bias.zero_()
        elif name.endswith("conv_in"):
            module.weight.mul_(0.1)
            module.weight[:, :3, centre[0], centre[1]] += _CODE.T.repeat(module.out_channels // _ROLES, 1)
            constant = torch.tensor([0, 0, 0, 0, 0, 0, _CONSTANT, -_CONSTANT])
            bias.copy_(constant.repeat(module.out_channels // _ROLES))
        elif name.endswith("conv_out"):
            repeats = module.in_channels // _ROLES
            module.weight.mul_(0.1)
            module.weight[:3, :, centre[0], centre[1]] += _CODE.repeat(1, repeats) / repeats
            bias.zero_()
            if name.startswith("encoder"):  # the log variances: little noise to begin with
                half = module.out_channels // 2
                module.weight[half:] = 0.0
                bias[half:] = -5.0
        elif name in ("quant_conv", "post_quant_conv"):
            module.weight.copy_(torch.eye(module.out_channels)[..., None, None])
            bias.zero_()


def _same_role(out_channels: int, in_channels: int) -> torch.Tensor:
    """(out, in): each output channel is the mean of the input channels of its role."""
    roles_out, roles_in = torch.arange(out_channels) % _ROLES, torch.arange(in_channels) % _ROLES
    return (roles_out[:, None] == roles_in[None]).float() * _ROLES / in_channels
