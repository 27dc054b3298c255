"""How finely the judge and LPIPS count: in float32, or in bfloat16, which some processors do several times as fast.

Only these two look at every view of every frame. The networks behind distances between sets look at few frames, and
what is published of them was counted in float32, which they keep; so does everything that is no network.

How far each metric moves by it is measured in docs/speed.md.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16"]

DTYPES: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def precision_of(network: nn.Module) -> Precision:
    """That of its weights; norms and position embeddings of a bfloat16 network may have stayed in float32."""
    return "bf16" if any(weight.dtype == torch.bfloat16 for weight in network.parameters()) else "fp32"
