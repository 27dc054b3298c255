"""Numerical agreement with the authors' released code: `python -m tests.parity FIXTURE.safetensors [--device cuda]`.

The fixture holds random weights, inputs and the released code's outputs; a JSON file of the same name holds the sizes.
Prints each error and exits with 1 beyond the bounds: 1e-5 of the largest value for features, U-Net outputs and final
latents, 1e-3 absolute for the video. On a GPU, whose convolutions take other algorithms (Winograd, FFT) with rounding
errors ten times as large, 1e-4 and 1e-3. Exits with 2 if the fixture cannot be read or the device is not here.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNetMotionModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from core.device import full_float32, named_device
from core.errors import PanobenchError
from core.model.adapter import Adapter360, inject_features
from core.model.base import frozen
from core.model.enhance import circular_padding
from core.model.groupnorm import released_groupnorm
from core.model.pipeline import Pipeline360

RELATIVE, RELATIVE_GPU, VIDEO = 1e-5, 1e-4, 1e-3
# AnimateDiff's names of a motion module's parts, and diffusers' (below `motion_modules.j.`).
_MOTION = {
    "temporal_transformer.": "",
    "attention_blocks.0.": "attn1.",
    "attention_blocks.1.": "attn2.",
    "norms.0.": "norm1.",
    "norms.1.": "norm2.",
    "ff_norm.": "norm3.",
}
_VAE = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}


class Fixture:
    """The released weights in current classes, and what the released code made of the inputs."""

    def __init__(self, path: str | Path, device: str | torch.device = "cpu") -> None:
        tensors = {name: t.to(device) for name, t in load_file(path).items()}
        self.tensors = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        self.device = torch.device(device)
        self.sizes: dict[str, Any] = json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def weights(self, part: str, rename: dict[str, str]) -> dict[str, Tensor]:
        """The state dict of a part, in current names, without the positions that diffusers computes itself."""
        state = {}
        for name, tensor in self.tensors.items():
            if name.startswith(f"weights.{part}.") and not name.endswith("pos_encoder.pe"):
                for old, new in rename.items():
                    name = name.replace(old, new)
                state[name.removeprefix(f"weights.{part}.")] = tensor
        return state

    def unet(self) -> UNetMotionModel:
        sizes, levels = self.sizes, len(self.sizes["channels"])
        frames = next(t.shape[1] for name, t in self.tensors.items() if name.endswith("pos_encoder.pe"))
        unet = UNetMotionModel(
            down_block_types=("CrossAttnDownBlockMotion",) * (levels - 1) + ("DownBlockMotion",),
            up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * (levels - 1),
            block_out_channels=sizes["channels"],
            layers_per_block=sizes["layers_per_block"],
            cross_attention_dim=sizes["cross_attention_dim"],
            num_attention_heads=sizes["attention_heads"],
            norm_num_groups=sizes["norm_num_groups"],
            motion_num_attention_heads=sizes["motion_heads"],
            motion_max_seq_length=frames,
            use_motion_mid_block=False,
        )
        state = self.weights("unet", _MOTION)
        positions = {name: t for name, t in unet.state_dict().items() if name.endswith("pos_embed.pe")}
        for name, table in positions.items():
            old = name.replace(
                ".transformer_blocks.0.pos_embed.pe",
                ".temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe",
            )
            theirs = self.tensors[f"weights.unet.{old}"]  # stored as fp16
            assert torch.allclose(table, theirs.cpu(), atol=1e-3), name
        unet.load_state_dict(state | positions, strict=True)
        for module in unet.modules():
            if isinstance(module, AnimateDiffTransformer3D):
                module.norm.num_groups = sizes.get("motion_norm_num_groups", sizes["norm_num_groups"])
        return frozen(unet.to(self.device))

    def adapter(self) -> Adapter360:
        channels = self.sizes["channels"]
        inputs = self["weights.adapter.conv_in.weight"].shape[1] // 3
        adapter = Adapter360(
            unshuffle=math.isqrt(inputs), channels=channels, down=[True] * (len(channels) - 1) + [False]
        )
        adapter.load_state_dict(self.weights("adapter", {}), strict=True)
        return frozen(adapter.to(self.device))

    def vae(self) -> AutoencoderKL:
        sizes = self.sizes["vae"]
        levels = len(sizes["block_out_channels"])
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            latent_channels=4,
            **sizes,
        )
        vae.load_state_dict(self.weights("vae", _VAE), strict=True)
        return frozen(vae.to(self.device))

    def pipeline(self) -> Pipeline360:
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="linear", steps_offset=1, clip_sample=False
        )
        pipe = Pipeline360(self.vae(), None, None, self.unet(), scheduler, self.adapter())
        pipe.set_progress_bar_config(disable=True)
        return pipe


def relative(ours: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over largest absolute value."""
    if ours.shape != expected.shape:
        raise ValueError(f"expected {tuple(expected.shape)}, got {tuple(ours.shape)}")
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
@full_float32()
def errors(path: str | Path, device: str | torch.device = "cpu") -> dict[str, tuple[float, float]]:
    """Each comparison's error and bound."""
    fixture, result = Fixture(path, device), {}
    bound = RELATIVE if fixture.device.type == "cpu" else RELATIVE_GPU
    pipe = fixture.pipeline()
    sizes, flow = fixture.sizes, fixture["input.flow"]
    features = pipe.adapter(flow)
    for k, feature in enumerate(features):
        expected = fixture[f"expected.adapter_feature.{k}"]
        ours = feature.unflatten(0, flow.shape[:2]).transpose(1, 2)
        result[f"adapter feature {k}"] = relative(ours, expected), bound
    text = fixture["input.text_embeddings"]
    for name, used in (("no_adapter", None), ("with_adapter", features)):
        with released_groupnorm(pipe.unet), inject_features(pipe.unet, used):
            ours = pipe.unet(
                fixture["input.latents"],
                fixture["input.timestep"],
                encoder_hidden_states=text[1:].repeat_interleave(flow.shape[1], 0),
            ).sample
        result[f"U-Net, {name.replace('_', ' ')}"] = relative(ours, fixture[f"expected.unet.{name}"]), bound
    latents = pipe(
        "given as embeddings",
        seeds=[0],
        frames=sizes["frames"],
        height=sizes["height"],
        width=sizes["width"],
        steps=sizes["sampler"]["steps"],
        guidance_scale=sizes["sampler"]["guidance_scale"],
        condition=flow,
        rotation=True,
        circular_padding=True,
        preset="released",
        latents=fixture["input.latents"],
        prompt_embeddings=text[1:],
        negative_embeddings=text[:1],
        output_type="latent",
    ).frames
    result["final latents"] = relative(latents, fixture["expected.sampler.final_latents"]), bound
    with circular_padding(pipe.vae):
        video = pipe.decode(latents).transpose(1, 2)
    result["video"] = (video - fixture["expected.sampler.video"]).abs().max().item(), VIDEO
    return result


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixture", type=Path)
    parser.add_argument("--device", default="cpu", help="where ours is computed: cpu, cuda, ...")
    options = parser.parse_args(arguments)
    try:
        found = errors(options.fixture, named_device(options.device, "--device"))
    except PanobenchError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        print(
            f"{options.fixture}: not a fixture that can be compared: {type(error).__name__}: {error}", file=sys.stderr
        )
        return 2
    for name, (error, bound) in found.items():
        print(f"{name:24} {error:.2e}  bound {bound:.0e}  {'ok' if error <= bound else 'FAILS'}")
    return int(not all(error <= bound for error, bound in found.values()))  # NaN fails too


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
