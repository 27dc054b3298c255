"""Where networks run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.errors import PanobenchError


def default_device() -> torch.device:
    """What PANOBENCH_DEVICE names; without it the first CUDA device where there is one, else the CPU.

    Raises:
        PanobenchError: the variable names no device.
    """
    named = os.environ.get("PANOBENCH_DEVICE")
    if not named:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(named)
    except RuntimeError as error:
        raise PanobenchError(f"PANOBENCH_DEVICE: '{named}' is no device; expected cpu, cuda or cuda:N") from error


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
