"""Motion as a condition of generation: a flow video, a flow tensor, or a synthetic motion by its name.

A flow field is ``(F - 1, 2, H, W)`` float32 in ERP pixels from a frame to the next, as in `core.flow`. Synthetic
motions are exact on the sphere: what a camera sees that moves through a round room, or turns in it (360DVD, Figure 7,
shows the regions).
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import PanobenchError, did_you_mean
from core.sphere import directions_to_lonlat, erp_directions, erp_lonlat

#: name -> what it is.
SYNTHETIC = {
    "still": "nothing moves; another condition than none",
    "drift-forward": "the camera moves towards the picture's centre",
    "drift-backward": "the camera moves away from the picture's centre",
    "yaw-left": "the camera turns left, so everything moves right",
    "yaw-right": "the camera turns right, so everything moves left",
    "sky-only": "what is above the horizon moves right, the rest stands still",
    "ground-only": "what is below the horizon moves as in drift-forward, the rest stands still",
}
DEGREES = 2.0  # per frame, at the equator, unless the name says otherwise: yaw-left@0.5
_HORIZON = math.radians(10)  # sky and ground move in full from so far above and below the horizon
_TENSORS = (".npy", ".safetensors", ".pt")


def is_synthetic(motion: str) -> bool:
    """Whether a motion is a name, and not a path."""
    return motion.partition("@")[0] in SYNTHETIC or not Path(motion).suffix


def synthetic_flow(motion: str, frames: int, height: int, width: int) -> np.ndarray:
    """Flow of a synthetic motion, the same between any two frames: float32 ``(frames - 1, 2, H, W)``, pixels.

    Args:
        motion: a key of SYNTHETIC, with ``@DEGREES`` per frame behind it if those are not to be 2.
        frames: two or more.
        height: of the ERP video in pixels.
        width: twice the height.

    Raises:
        PanobenchError: no such motion, or its speed is no number of degrees between 0 and 45.
    """
    name, given, speed = motion.partition("@")
    if name not in SYNTHETIC:
        hint = did_you_mean(name, list(SYNTHETIC)) or f"; known: {', '.join(SYNTHETIC)}"
        raise PanobenchError(f"unknown motion '{name}'{hint}; a flow video or tensor is named by its path")
    try:
        degrees = float(speed) if given else DEGREES
    except ValueError:
        degrees = math.nan
    if not 0 <= degrees <= 45:
        raise PanobenchError(
            f"motion '{motion}': '{speed}' is not between 0 and 45 degrees per frame, as in {name}@1.5"
        )
    angle = math.radians(degrees)
    latitude, _ = erp_lonlat(height, width)[:2]
    if name == "sky-only":
        field = _turn(angle, height, width) * _above(latitude)[:, None]
    elif name == "ground-only":
        field = _drift(angle, height, width) * _above(-latitude)[:, None]
    elif name == "still":
        field = torch.zeros(2, height, width)
    else:
        moves = _turn if name.startswith("yaw") else _drift
        field = moves(-angle if name in ("yaw-right", "drift-backward") else angle, height, width)
    return field.float().expand(frames - 1, 2, height, width).numpy()


def _turn(angle: float, height: int, width: int) -> Tensor:
    """Everything moves right by an angle around the vertical axis."""
    field = torch.zeros(2, height, width)
    field[0] = angle * width / (2 * math.pi)
    return field


def _drift(angle: float, height: int, width: int) -> Tensor:
    """The camera moves to the centre of the picture, so far that what it passes at right angles moves by `angle`.

    Everything is equally far away.
    """
    start = erp_directions(height, width, dtype=torch.float64)
    ahead = start.new_tensor([0.0, 0.0, 1.0])
    lon, lat = directions_to_lonlat(start)
    lon_seen, lat_seen = directions_to_lonlat(start - math.tan(angle) * ahead)
    turn = (lon_seen - lon + math.pi) % (2 * math.pi) - math.pi
    return torch.stack([turn * width / (2 * math.pi), (lat - lat_seen) * height / math.pi])


def _above(latitude: Tensor) -> Tensor:
    """1 well above the horizon, 0 below it, (H,)."""
    return (latitude / _HORIZON).clamp(0, 1)


def read_flow_tensor(path: str | Path, frames: int, height: int, width: int) -> np.ndarray:
    """Flow of a file: float32 ``(frames - 1, 2, H, W)``, pixels; later frames of the file are not used.

    Args:
        path: .npy, .pt, or .safetensors with one tensor (or one named `flow`), ``(T, 2, H, W)``, T >= frames - 1.
        frames: of the video.
        height: of the video.
        width: of the video.

    Raises:
        PanobenchError: no such file, no flow of this size, or values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise PanobenchError(f"{path}: no such flow; a motion is one of {', '.join(SYNTHETIC)}, or a path")
    try:
        if path.suffix == ".npy":
            found = torch.from_numpy(np.load(path, allow_pickle=False))
        elif path.suffix == ".pt":
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with safe_open(str(path), framework="pt") as file:
                names = list(file.keys())
                found = file.get_tensor(names[0] if len(names) == 1 else "flow")
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise PanobenchError(f"{path}: not a readable flow tensor ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1:] != (2, height, width) or not found.numel():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise PanobenchError(f"{path}: flow must be (T, 2, {height}, {width}), found {shape}")
    if len(found) < frames - 1:
        raise PanobenchError(f"{path}: flow for {frames} frames has {frames - 1} fields or more, found {len(found)}")
    flow = found[: frames - 1].float()
    if not bool(torch.isfinite(flow).all()):
        raise PanobenchError(f"{path}: flow holds values that are not finite")
    return flow.numpy()


def flow_of(motion: str, frames: int, height: int, width: int) -> np.ndarray | None:
    """Flow of a named motion or a tensor; None for a flow video, whose pictures are already encoded."""
    if is_synthetic(motion):
        return synthetic_flow(motion, frames, height, width)
    return read_flow_tensor(motion, frames, height, width) if Path(motion).suffix in _TENSORS else None
