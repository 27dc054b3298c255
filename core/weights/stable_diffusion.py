"""Stable Diffusion 1.x from one file, as it and its personalised versions are published; strict, and offline."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from core.errors import PanobenchError
from core.files import read_json
from core.weights.files import WeightsError, WeightsFile, check_names, open_weights
from core.weights.kinds import CHECKPOINT, expect_kind
from core.weights.ldm_names import TEXT, UNET, VAE, text_name, unet_name, vae_name

PARTS = {"unet": UNET, "vae": VAE, "text_encoder": TEXT}
# What training left in a checkpoint beside the three networks: the noise schedule, averaged weights, CLIP's own head.
_LEFTOVERS = (
    "model_ema.",
    "alphas_cumprod",
    "betas",
    "cond_stage_model.logit_scale",
    "cond_stage_model.text_projection",
    "cond_stage_model.transformer.logit_scale",
    "cond_stage_model.transformer.text_projection",
    "log_one_minus",
    "logvar",
    "lvlb_weights",
    "posterior_",
    "scale_factor",
    "sqrt_",
)
# A constant that older versions of transformers stored.
_POSITION_IDS = "embeddings.position_ids"


def default_configs() -> Path:
    """The folder of Stable Diffusion 1.5's configurations that comes with panobench."""
    return Path(str(files("core.weights") / "configs/sd15"))


def animatediff_scheduler() -> DDIMScheduler:
    """The noise schedule that AnimateDiff's motion modules were trained on; Stable Diffusion's own is another."""
    folder = files("core.weights") / "configs/animatediff/scheduler"
    return DDIMScheduler.from_pretrained(Path(str(folder)), local_files_only=True)


def open_checkpoint(path: str | Path) -> WeightsFile:
    """Open a single file, which must hold a U-Net and nothing that belongs to none of the three networks.

    Raises:
        WeightsError: another kind of file, a damaged one, or keys of neither U-Net, VAE nor text encoder.
    """
    file = open_weights(path)
    expect_kind(file, CHECKPOINT)
    known = (*PARTS.values(), *_LEFTOVERS)
    unexpected = [name for name in file.shapes if not name.startswith(known)]
    if unexpected:
        raise WeightsError(
            f"{file.path}: {len(unexpected)} unexpected keys in a {CHECKPOINT}, the first is {unexpected[0]}"
        )
    return file


def has_part(file: WeightsFile, part: str) -> bool:
    """Whether the file holds a part: unet, vae or text_encoder. Personalised checkpoints may lack the last two."""
    return any(name.startswith(PARTS[part]) for name in file.shapes)


def build_part(file: WeightsFile, part: str, configs: Path | None = None) -> Any:
    """One network of a single file, as its class, fp32.

    Args:
        file: of `open_checkpoint`.
        part: unet, vae or text_encoder.
        configs: folder with `PART/config.json`; the default is Stable Diffusion 1.5's.

    Raises:
        WeightsError: the part is missing, or its names or shapes do not fit the configuration.
    """
    if not has_part(file, part):
        raise WeightsError(f"{file.path}: holds no {part} (no key starts with '{PARTS[part]}')")
    module = empty_part(part, configs)
    rename = _renamer(part, module)
    state = module.state_dict()
    names = {name: PARTS[part] + rename(name) for name in state}
    if part == "text_encoder" and not any(name.startswith(TEXT + "text_model.") for name in file.shapes):
        names = {name: TEXT + name.removeprefix("text_model.") for name in state}  # as some early merges have it
    own = WeightsFile(file.path, {name: s for name, s in file.shapes.items()
                                  if name.startswith(PARTS[part]) and not name.endswith(_POSITION_IDS)
                                  and not name.startswith(_LEFTOVERS)}, file.read)  # fmt: skip
    # The VAE's attention was made of 1x1 convolutions, which diffusers calls linear layers.
    expected = {
        theirs: (*shape, 1, 1) if len(own.shapes.get(theirs, ())) == 4 and len(shape) == 2 else shape
        for theirs, shape in ((names[name], tuple(tensor.shape)) for name, tensor in state.items())
    }
    check_names(own, expected, f"{CHECKPOINT} ({part})")
    loaded: dict[str, Tensor] = {}
    for name, tensor in state.items():
        loaded[name] = own.tensors([names[name]])[names[name]].float().reshape(tensor.shape)
    module.load_state_dict(loaded, assign=True)
    return module


def empty_part(part: str, configs: Path | None = None) -> nn.Module:
    """A network of this configuration without weights, its parameters on the meta device."""
    config = read_json((configs or default_configs()) / part / "config.json")
    try:
        with init_empty_weights():
            if part == "text_encoder":
                return CLIPTextModel(CLIPTextConfig(**config))
            return {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part].from_config(config)
    except (TypeError, ValueError) as error:
        raise PanobenchError(f"{configs}/{part}/config.json: {error}") from error


def _renamer(part: str, module: Any) -> Callable[[str], str]:
    """From names of the module to those of the file, below the part's prefix."""
    if part == "text_encoder":
        return text_name
    config = module.config
    if part == "vae":
        return lambda name: vae_name(name, len(config.block_out_channels))
    return lambda name: unet_name(
        name, config.layers_per_block, lambda block: "CrossAttn" in config.up_block_types[block]
    )


@lru_cache(maxsize=1)
def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer as Stable Diffusion 1.x uses it; its vocabulary comes with open_clip."""
    from open_clip.tokenizer import SimpleTokenizer

    clip = SimpleTokenizer()
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(token, token): number for token, number in clip.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in clip.bpe_ranks], model_max_length=77)
