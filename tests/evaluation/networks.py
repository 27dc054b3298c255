"""Weights files of the real network classes, small or random, for tests: nothing is downloaded."""

import json
from pathlib import Path

import torch
from torch import nn
from torchvision.models import alexnet
from transformers import VideoMAEConfig, VideoMAEModel

from evaluation.autoencoder import PanoramaEncoder


def write_alexnet(path: Path) -> Path:
    """The convolutions of AlexNet as torchvision saves them; the classifier, which LPIPS has no use for, left out."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        state = alexnet(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, path)
    return path


class _Layers(nn.Module):
    """2,048 features of a 299 x 299 picture, as Inception-v3's layers give them; far fewer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 13, stride=13)
        self.wide = nn.Conv2d(32, 2048, 3, stride=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.wide(torch.relu(self.conv(x)))).mean(dim=(2, 3))


class _InceptionFile(nn.Module):
    """The interface of inception-2015-12-05.pt that clean-fid uses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = _Layers()

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return self.layers((x - 128.0) / 128.0)


def write_inception(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        torch.jit.script(_InceptionFile().eval()).save(str(path))
    return path


def write_autoencoder(path: Path) -> Path:
    """Random weights under the names of PanFusion's checkpoint."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        state = PanoramaEncoder().state_dict()
    torch.save({"state_dict": {f"net.encoder.{name}": value for name, value in state.items()}}, path)
    return path


class _Script(nn.Module):
    """The interface of i3d_torchscript.pt, and hardly more: 400 numbers of a clip (N, 3, T, 224, 224) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 400, (2, 32, 32), stride=(2, 32, 32))

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        return torch.tanh(self.conv(x)).mean(dim=(2, 3, 4))


def write_i3d(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        torch.jit.script(_Script().eval()).save(str(path))
    return path


def write_videomae(folder: Path) -> Path:
    """A tiny VideoMAE over clips of four frames, in transformers' layout."""
    config = VideoMAEConfig(
        image_size=224, patch_size=32, num_frames=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, decoder_num_hidden_layers=1, decoder_hidden_size=8, decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(6)
        VideoMAEModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})
    )
    return folder
