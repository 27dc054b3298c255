"""RAFT (Teed and Deng 2020) and PanoFlow's RAFT (Shi et al. 2023) on torchvision's network, weights by path.

PanoFlow's network is RAFT whose two encoders begin with a deformable convolution, so that the stem can follow the
stretch of a panorama. Three kinds of files load: torchvision's own (`raft_large`), the original RAFT's and
PanoFlow's (`PanoFlow-RAFT-wo-CFE.pth`), which differ in the names of the same tensors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_large
from torchvision.ops import DeformConv2d

from core.errors import PanobenchError

_STEP = 8  # the network works at an eighth of the size
_LEAST = 128  # rows and columns; fewer leave nothing of the correlation pyramid
_ITERATIONS = 12  # as 360DVD runs it

# Original names -> torchvision's.
_NAMES = (
    (r"^(module\.|_model\.)+", ""),
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"(?<=_encoder\.)(dconv|conv_offset)\.", r"convnormrelu.0.\1."),
    (r"(?<=_encoder\.)conv1\.", "convnormrelu.0."),
    (r"(?<=_encoder\.)norm1\.", "convnormrelu.1."),
    (r"(?<=_encoder\.)conv2\.", "conv."),
    (r"(layer\d\.\d\.)conv(\d)\.", r"\1convnormrelu\2.0."),
    (r"(layer\d\.\d\.)norm([12])\.", r"\1convnormrelu\2.1."),
    (r"(layer\d\.\d\.)norm3\.", r"\1downsample.1."),
    (r"^update_block\.encoder\.convc", "update_block.motion_encoder.convcorr"),
    (r"^update_block\.encoder\.convf", "update_block.motion_encoder.convflow"),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"(motion_encoder\.conv(?:corr|flow)\d)\.(?=weight|bias)", r"\1.0."),
    (r"^update_block\.gru\.conv([zrq])([12])\.", r"update_block.recurrent_block.convgru\2.conv\1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


class DeformableStem(nn.Module):
    """7 x 7 deformable convolution, stride 2, with its own convolution that says where to look: PanoFlow's stem."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(3, 2 * 7 * 7, 7, stride=2, padding=3)
        self.dconv = DeformConv2d(3, 64, 7, stride=2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,64,H/2,W/2)."""
        found: Tensor = self.dconv(x, self.conv_offset(x))
        return found


def build_raft(kind: str) -> nn.Module:
    """The network of `raft` or `panoflow`, random weights."""
    network: nn.Module = raft_large(weights=None, progress=False)
    if kind == "panoflow":
        for encoder in (network.feature_encoder, network.context_encoder):
            encoder.convnormrelu[0] = DeformableStem()  # type: ignore[operator, union-attr, assignment]
    return network.eval().requires_grad_(False)


def load_raft(kind: str, weights: str | Path | None) -> nn.Module:
    """The network with the weights of a file.

    Raises:
        PanobenchError: no file is named, it is missing, unreadable, or not of this network.
    """
    source = {
        "raft": "torchvision's raft_large weights (C_T_SKHT_V2) or the original raft-things.pth",
        "panoflow": "PanoFlow-RAFT-wo-CFE.pth from the PanoFlow project",
    }[kind]
    if not weights:
        raise PanobenchError(f"flow.backend '{kind}' needs its weights: set flow.weights to {source}")
    if not Path(weights).is_file():
        raise PanobenchError(f"flow.weights: {weights} does not exist; put {source} there")
    network = build_raft(kind)
    try:
        found = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint makes it raise a dozen types
        raise PanobenchError(f"flow.weights: {weights} is not a readable checkpoint ({error})") from error
    tensors = renamed(found.get("state_dict", found) if isinstance(found, dict) else {})
    wanted = network.state_dict()
    for name in set(wanted) - set(tensors):
        if name.endswith("num_batches_tracked"):
            tensors[name] = wanted[name]
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        first = (missing or unknown)[0]
        raise PanobenchError(
            f"flow.weights: {weights} is no '{kind}' network: {len(missing)} tensors are missing, {len(unknown)} "
            f"unknown, first {first}; expected {source}"
        )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise PanobenchError(f"flow.weights: {weights} is no '{kind}' network ({error})") from error
    return network


def renamed(tensors: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors under torchvision's names."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


class Raft:
    """An estimator: see `core.flow.estimate.Estimator`."""

    def __init__(self, kind: str, weights: str | Path | None, device: torch.device | str = "cpu") -> None:
        self.kind = kind
        self.network = load_raft(kind, weights).to(device)
        self.device = torch.device(device)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Colours as they are; PanoFlow was fed blue first."""
        return np.ascontiguousarray(frame[..., ::-1]) if self.kind == "panoflow" else frame

    @torch.no_grad()
    def flow(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `Estimator`; sides that are no multiple of 8 are continued by their edge and cut again."""
        height, width = a.shape[:2]
        if min(height, width) < _LEAST:
            raise PanobenchError(
                f"flow.backend '{self.kind}' needs pictures of at least {_LEAST} rows, these have {height}; use dis"
            )
        down, right = -height % _STEP, -width % _STEP
        pair = [torch.from_numpy(np.pad(x, ((0, down), (0, right), (0, 0)), mode="edge")) for x in (a, b)]
        first, second = (x.permute(2, 0, 1)[None].to(self.device).float() / 127.5 - 1 for x in pair)
        found: Tensor = self.network(first, second, num_flow_updates=_ITERATIONS)[-1][0]
        return found[:, :height, :width].float().cpu().numpy()
