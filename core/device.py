"""Where networks run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import PanobenchError


def default_device() -> torch.device:
    """What PANOBENCH_DEVICE names; without it the first CUDA device where there is one, else the CPU.

    Raises:
        PanobenchError: the variable names no device, or one that is not here.
    """
    named = os.environ.get("PANOBENCH_DEVICE")
    if not named:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return named_device(named, "PANOBENCH_DEVICE")


def named_device(name: str, where: str) -> torch.device:
    """The device that a user named.

    Args:
        name: cpu, cuda, cuda:1, ...
        where: the option or variable that names it, for messages.

    Raises:
        PanobenchError: that is no device, or a CUDA device that is not here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PanobenchError(f"{where}: '{name}' is no device; expected cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        there = f"the last CUDA device is cuda:{count - 1}" if count else "there is no CUDA device here (cpu works)"
        raise PanobenchError(f"{where}: '{name}' cannot be used: {there}")
    return device


@contextmanager
def full_float32() -> Iterator[None]:
    """Products and convolutions of float32 in float32 while the context is open.

    Without it CUDA's convolutions round their inputs to TF32, which has ten bits behind the point: three digits.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
