"""Tensors of a .safetensors or a pickled file, read without running anything, or an error that names the file."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import PanobenchError

_SHOWN = 3  # keys named in an error; their number is always given


class WeightsError(PanobenchError):
    """A weights file that is missing, damaged, of another kind than expected, or that does not fit its model."""


@dataclass
class WeightsFile:
    """The named tensors of a file; those of a .safetensors file are read when they are asked for."""

    path: Path
    shapes: dict[str, tuple[int, ...]]  # of every tensor, in file order
    read: Callable[[str], Tensor]
    metadata: dict[str, str] = field(default_factory=dict)  # of a .safetensors file
    other: dict[str, Any] = field(default_factory=dict)  # what a pickled file holds beside its tensors

    def tensors(self, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """These tensors, or all.

        Raises:
            WeightsError: a tensor cannot be read, or holds NaN or infinity.
        """
        found = {}
        for name in self.shapes if names is None else names:
            try:
                found[name] = self.read(name)
            except (SafetensorError, RuntimeError, OSError) as error:
                raise WeightsError(
                    f"{self.path}: '{name}' cannot be read ({_line(error)}); get the file again"
                ) from error
            if found[name].is_floating_point() and not bool(torch.isfinite(found[name]).all()):
                raise WeightsError(f"{self.path}: '{name}' holds values that are not finite; get the file again")
        return found

    def below(self, prefix: str) -> WeightsFile:
        """The part of the file whose names start with `prefix`, without it."""
        shapes = {name.removeprefix(prefix): s for name, s in self.shapes.items() if name.startswith(prefix)}
        return WeightsFile(self.path, shapes, lambda name: self.read(prefix + name), self.metadata, self.other)


def open_weights(path: str | Path) -> WeightsFile:
    """Open a file of tensors; its format is told by its first bytes, not by its name.

    A pickled file (.ckpt, .pt, .bin) is read with `weights_only=True`: what it holds besides numbers and texts is never
    run. Tensors may stand at its top or under `state_dict`.

    Raises:
        WeightsError: no such file, no file of tensors, or a damaged one.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file" + ("; this is a folder" if path.is_dir() else ""))
    with open(path, "rb") as file:
        start = file.read(64)
    if not start:
        raise WeightsError(f"{path}: empty; get the file again")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: a Git LFS pointer instead of the weights; run `git lfs pull` where it came from")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise WeightsError(f"{path}: a web page instead of the weights; its download needs a login or another link")
    if start[8:9] == b"{":
        return _open_safetensors(path)
    if start.startswith((b"PK\x03\x04", b"\x80")):
        return _open_pickled(path)
    raise WeightsError(f"{path}: neither a .safetensors nor a PyTorch file, or a damaged one; get the file again")


def _open_safetensors(path: Path) -> WeightsFile:
    try:
        file = safe_open(str(path), framework="pt")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not iterable
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path}: damaged or cut off, as a .safetensors file ({_line(error)}); get the file again"
        ) from error
    return WeightsFile(path, shapes, file.get_tensor, dict(file.metadata() or {}))


class _Ignored:
    """Stands for a class that old Lightning checkpoints name among their bookkeeping."""


_LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"


def _open_pickled(path: Path) -> WeightsFile:
    try:
        with torch.serialization.safe_globals([(_Ignored, _LIGHTNING)]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: holds program objects besides tensors, which panobench does not run "
                f"({_line(error, 'Unsupported')}); take the .safetensors version of the file"
            ) from error
        raise WeightsError(f"{path}: damaged, as a PyTorch file ({_line(error)}); get the file again") from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"{path}: damaged or cut off, as a PyTorch file ({_line(error)}); get the file again"
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__} instead of named tensors")
    wrapped = content.get("state_dict")
    named = wrapped if isinstance(wrapped, Mapping) else content
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    other = {str(name): value for name, value in content.items() if not isinstance(value, Tensor | Mapping)}
    return WeightsFile(path, {name: tuple(t.shape) for name, t in tensors.items()}, tensors.__getitem__, {}, other)


def check_names(
    file: WeightsFile,
    expected: Mapping[str, tuple[int, ...]],  # names as the file has them, with shapes
    what: str,  # the file should be: "motion module"
) -> None:
    """Raise WeightsError unless the file has exactly the expected tensors, in the expected shapes."""
    missing = [name for name in expected if name not in file.shapes]
    unexpected = [name for name in file.shapes if name not in expected]
    if missing or unexpected:
        parts = [f"{len(keys)} {word} ({_some(keys)})" for word, keys in
                 (("missing keys", missing), ("unexpected keys", unexpected)) if keys]  # fmt: skip
        raise WeightsError(f"{file.path}: not a {what} that fits: {'; '.join(parts)}")
    other = [name for name, shape in expected.items() if file.shapes[name] != tuple(shape)]
    if other:
        found, wanted = file.shapes[other[0]], tuple(expected[other[0]])
        raise WeightsError(
            f"{file.path}: not a {what} that fits: {len(other)} of {len(expected)} tensors have other sizes, "
            f"the first is {other[0]}, {found} instead of {wanted}"
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")


def _line(error: BaseException, about: str = "") -> str:
    """The telling line of an error, not too long."""
    lines = [line.strip() for line in str(error).splitlines() if about in line] or [type(error).__name__]
    return lines[0][:160].rstrip(".")
