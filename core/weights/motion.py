"""AnimateDiff's motion modules as it publishes them (mm_sd_v14.ckpt, mm_sd_v15.ckpt, v15_v2, v3)."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from diffusers import MotionAdapter
from torch import Tensor

from core.files import read_json
from core.weights.files import WeightsError, WeightsFile, check_names, open_weights
from core.weights.kinds import MOTION, expect_kind

# diffusers' names below `motion_modules.j.` and AnimateDiff's below `motion_modules.j.temporal_transformer.`.
_RENAMED = {
    ".attn1.": ".attention_blocks.0.",
    ".attn2.": ".attention_blocks.1.",
    ".norm1.": ".norms.0.",
    ".norm2.": ".norms.1.",
    ".norm3.": ".ff_norm.",
}
_POSITIONS = ".pos_embed.pe"


def released_names(name: str) -> tuple[str, ...]:
    """AnimateDiff's names of a tensor of diffusers' `MotionAdapter`: the table of positions has two, all others one."""
    block, rest = name.split(".motion_modules.")
    number, rest = rest.split(".", 1)
    stem = f"{block}.motion_modules.{number}.temporal_transformer.{rest}"
    if name.endswith(_POSITIONS):
        stem = stem.removesuffix(_POSITIONS)
        return tuple(f"{stem}.attention_blocks.{i}.pos_encoder.pe" for i in range(2))
    for ours, theirs in _RENAMED.items():
        stem = stem.replace(ours, theirs)
    return (stem,)


def default_config() -> dict[str, Any]:
    """What a motion module's tensors do not tell: heads and groups of AnimateDiff's own."""
    return read_json(Path(str(files("core.weights") / "configs/animatediff/config.json")))


def load_motion_module(path: str | Path, config: dict[str, Any] | None = None) -> MotionAdapter:
    """Load a motion module, strictly.

    Channels, layers, frames and the middle block are read off the tensors.

    Args:
        path: .ckpt or .safetensors; also as AnimateDiff's training saves it, under `state_dict` and below `module.`.
        config: of diffusers' MotionAdapter, for heads and groups; the default is AnimateDiff's.

    Raises:
        WeightsError: another kind of file, a damaged one, or names and shapes that do not fit.
    """
    file = open_weights(path)
    expect_kind(file, MOTION)
    if all(name.startswith("module.") for name in file.shapes):
        file = file.below("module.")
    try:
        with init_empty_weights():
            adapter = MotionAdapter(**_config(file, config or default_config()))
    except ValueError as error:  # of the classes themselves: channels that heads or groups do not divide
        raise WeightsError(f"{file.path}: not a {MOTION} with the configured heads and groups: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in adapter.state_dict().items()}
    check_names(file, {theirs: shape for name, shape in expected.items() for theirs in released_names(name)}, MOTION)
    state: dict[str, Tensor] = {}
    for name in expected:
        both = list(file.tensors(released_names(name)).values())
        if any(not both[0].equal(other) for other in both[1:]):
            raise WeightsError(f"{file.path}: the two tables of positions of {name.removesuffix(_POSITIONS)} differ")
        state[name] = both[0].float()
    adapter.load_state_dict(state, assign=True)
    return adapter


def _config(file: WeightsFile, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the adapter whose tensors these are."""
    down: dict[int, set[int]] = {}  # block -> its motion modules
    for name in file.shapes:
        parts = name.split(".")
        if parts[0] == "down_blocks" and parts[2:3] == ["motion_modules"]:
            down.setdefault(int(parts[1]), set()).add(int(parts[3]))
    first = "down_blocks.{}.motion_modules.0.temporal_transformer."
    positions = first.format(0) + "transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
    needed = [positions, *(first.format(block) + "norm.weight" for block in range(len(down)))]
    missing = [name for name in needed if name not in file.shapes]
    if missing:
        raise WeightsError(f"{file.path}: not a {MOTION} that fits: the key {missing[0]} is missing")
    known = {key: value for key, value in config.items() if key.startswith(("motion_", "use_motion"))}
    return known | {
        "block_out_channels": [file.shapes[name][0] for name in needed[1:]],
        "motion_layers_per_block": len(down[0]),
        "motion_max_seq_length": file.shapes[positions][1],
        "use_motion_mid_block": any(name.startswith("mid_block.") for name in file.shapes),
    }
