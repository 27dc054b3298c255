"""The released 360-Adapter checkpoint: `{epoch, global_step, state_dict}`, names below `module.`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from core.model.adapter import Adapter360
from core.weights.files import WeightsError, WeightsFile, check_names, open_weights
from core.weights.kinds import ADAPTER, expect_kind

PREFIX = "module."


def load_released_adapter(path: str | Path) -> Adapter360:
    """Load the authors' checkpoint, strictly; sizes are those of its tensors.

    The authors' loader looks for names below `module.` and takes nothing at all from a file without that prefix; here
    such a file is an error.

    Raises:
        WeightsError: another kind of file, a damaged one, or names that are missing, unexpected or not prefixed.
    """
    file = open_weights(path)
    expect_kind(file, ADAPTER)
    bare = [name for name in file.shapes if not name.startswith(PREFIX)]
    if bare:
        raise WeightsError(
            f"{file.path}: {len(bare)} of its {len(file.shapes)} keys lack the prefix '{PREFIX}' of the released "
            f"checkpoint, the first is {bare[0]}; an adapter that panobench trained is loaded by its folder"
        )
    adapter = Adapter360(**_config(file.below(PREFIX)))
    state = adapter.state_dict()
    check_names(file, {PREFIX + name: tuple(tensor.shape) for name, tensor in state.items()}, ADAPTER)
    adapter.load_state_dict(file.below(PREFIX).tensors(state))
    return adapter


def _config(file: WeightsFile) -> dict[str, Any]:
    """Sizes of the adapter whose tensors these are; names and shapes are compared with them afterwards."""
    shapes = file.shapes
    levels = len({name.split(".")[1] for name in shapes if name.startswith("body.")})
    try:
        inputs = shapes["conv_in.weight"][1]
        channels = [shapes[f"body.{level}.block1.weight"][0] for level in range(levels)]
        temporal = shapes["body.0.block2.weight"][2]
    except (KeyError, IndexError) as error:
        raise WeightsError(
            f"{file.path}: not a {ADAPTER} that fits: the key {PREFIX}{error.args[0]} is missing"
        ) from None
    return {
        "unshuffle": math.isqrt(inputs // 3),
        "channels": channels,
        "down": [True] * (levels - 1) + [False],
        "pseudo_3d": temporal == 3,
    }
