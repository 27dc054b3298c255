"""Inception-v3 of 2015-12-05, whose 2,048 pool features FID and KID are defined on.

The weights are the TorchScript file ``inception-2015-12-05.pt`` that clean-fid and StyleGAN use. Views are brought to
299 x 299 by an antialiased bicubic filter without rounding in between, as clean-fid does, and skip the network's own
resizing, which aliases (Parmar et al. 2022).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import PanobenchError
from core.files import sha256
from evaluation.views import resize_views

_SIZE = 299
_FEATURES = 2048


class Inception:
    """The network with its preprocessing.

    Attributes:
        name: for the record of what scored.
        sha256: hash of the weights file.
    """

    def __init__(self, layers: Any, device: str = "cpu", digest: str = "") -> None:
        self.name = "inception-2015-12-05"
        self.sha256 = digest
        self._layers = layers
        self._device = device

    @torch.inference_mode()
    def features(self, views: Tensor) -> Tensor:
        """(N, 3, S, S) float, [0, 1] -> (N, 2048) float32 on the CPU."""
        levels = 255 * resize_views(views, _SIZE).to(self._device)
        return self._layers((levels - 128) / 128).reshape(len(views), -1).float().cpu()


def load_inception(path: Path, device: str = "cpu") -> Inception:
    """Load the TorchScript file.

    Raises:
        PanobenchError: it is none, or not this network.
    """
    try:
        layers = torch.jit.load(path, map_location=device).eval().layers
        found = Inception(layers, device, sha256(path))
        width = found.features(torch.full((1, 3, _SIZE, _SIZE), 0.5)).shape[1]
    except (RuntimeError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PanobenchError(f"{path}: not the TorchScript file inception-2015-12-05.pt ({reason})") from error
    if width != _FEATURES:
        raise PanobenchError(f"{path}: gives {width} features, not the {_FEATURES} of inception-2015-12-05.pt")
    return found
