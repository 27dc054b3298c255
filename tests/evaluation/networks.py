"""Weights files of the real network classes, random, for tests: nothing is downloaded."""

from pathlib import Path

import torch
from torchvision.models import alexnet


def write_alexnet(path: Path) -> Path:
    """The convolutions of AlexNet as torchvision saves them; the classifier, which LPIPS has no use for, left out."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        state = alexnet(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, path)
    return path
