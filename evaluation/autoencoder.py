"""The encoder of FAED: an autoencoder of panoramas whose convolutions go around the sphere (Oh et al. 2022).

The architecture is that of PanFusion's released ``faed.ckpt``, five halvings to 128 channels, so that its weights load;
weights trained on other panoramas load too, as a state dict of the same names. Longitude is padded circularly, latitude
with zeros.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import PanobenchError
from core.files import sha256

_PREFIX = "net.encoder."
_STRIDE = 32


class _WrappedConv(nn.Module):
    """A convolution whose input goes around in longitude."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        around = F.pad(x, (self.padding, self.padding, 0, 0), mode="circular")
        return self.conv2d(F.pad(around, (0, 0, self.padding, self.padding)))


class _Down(nn.Module):
    """Half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _WrappedConv(inputs, outputs, 4, stride=2)
        self.batchnorm1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batchnorm1(self.conv1(x)))


class _Residual(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = _WrappedConv(channels, channels, kernel, padding=kernel // 2)
        self.batchnorm1 = nn.BatchNorm2d(channels)
        self.conv2 = _WrappedConv(channels, channels, kernel, padding=kernel // 2)
        self.batchnorm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.batchnorm1(self.conv1(x)))
        return x + self.batchnorm2(self.conv2(inner))


class PanoramaEncoder(nn.Module):
    """ERP (N, 3, H, 2H) float, [-1, 1], H a multiple of 32 -> (N, 128, H / 32, H / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.downconv1_rgb = _WrappedConv(3, 32, 9, padding=4)
        self.downres1_rgb = _Residual(32, 9)
        self.downconv2_rgb = _Down(32, 64)
        self.downres2_rgb = _Residual(64, 7)
        self.downconv3_rgb = _Down(64, 128)
        self.downres3_rgb = _Residual(128, 5)
        self.downconv4_rgb = _Down(128, 128)
        self.downres4_rgb = _Residual(128, 3)
        self.downconv5_rgb = _Down(128, 128)
        self.downres5_rgb = _Residual(128, 3)
        self.downconv6_rgb = _Down(128, 128)
        self.fuse = _WrappedConv(128, 128, 3)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for layer in self.children():
            x = layer(x)
        return x


class Autoencoder:
    """The encoder with what FAED makes of its features.

    Attributes:
        name: for the record of what scored.
        sha256: hash of the weights file.
    """

    def __init__(self, encoder: PanoramaEncoder, digest: str = "") -> None:
        self.name = "faed-encoder"
        self.sha256 = digest
        self._encoder = encoder.eval().requires_grad_(False)
        self._device = next(encoder.parameters()).device

    @torch.inference_mode()
    def features(self, erp: Tensor) -> Tensor:
        """Features by latitude, averaged over longitude and weighted by its cosine.

        The cosine is taken at angles from pole to pole, both included, as the published code does.

        Args:
            erp: (N, 3, H, 2H) float, [0, 1].

        Returns:
            (N, 128 H / 32) float32 on the CPU.

        Raises:
            PanobenchError: H is not a multiple of 32.
        """
        height = erp.shape[-2]
        if height % _STRIDE:
            raise PanobenchError(
                f"faed: the encoder halves the picture five times; {height} rows are no multiple of 32"
            )
        maps = self._encoder(2 * erp.to(self._device) - 1).mean(dim=3)  # (N, 128, h)
        latitudes = torch.linspace(math.pi / 2, -math.pi / 2, maps.shape[-1], device=maps.device)
        return (maps * latitudes.cos()).flatten(1).float().cpu()


def load_autoencoder(path: Path, device: str = "cpu") -> Autoencoder:
    """Load PanFusion's checkpoint, or a state dict of ``PanoramaEncoder``.

    Raises:
        PanobenchError: the file is neither.
    """
    encoder = PanoramaEncoder()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        own = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)} or state
        encoder.load_state_dict(own)
    except Exception as error:  # torch.load and load_state_dict raise whatever pickle, zip and tensors raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PanobenchError(f"{path}: not the weights of FAED's encoder ({reason})") from error
    return Autoencoder(encoder.to(device), sha256(path))
