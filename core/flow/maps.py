"""Flow as pictures: two encodings of files, and the maps that a model sees.

``panobench``: 12 bits a component in a lossless RGB video. R and G hold the upper eight bits of u and v (128 is about
zero, so a player shows the motion), B the lower four of each. The unit is W / 4096 pixels and the range half a turn,
which no displacement on the sphere exceeds: nothing is cut, and decoding is exact to W / 8192 pixels.

``released``: as the authors of 360DVD stored it (`video2flow.py`): the Middlebury colour wheel (Baker et al. 2007) with
hue atan2(-v, -u) and saturation (r / 25)^1.1, above 25 pixels the full hue times 0.75, inverted, red and blue swapped.
To train with or from released weights. Longer vectors than 25 pixels decode to 25: the encoding does not keep them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from core.errors import PanobenchError

ENCODINGS = ("panobench", "released")

_LEVELS = 4096  # of a component, over one turn
_RELEASED_RANGE, _RELEASED_POWER, _RELEASED_BEYOND = 25.0, 1.1, 0.75
# Colours from one of the wheel's six corners to the next.
_WHEEL = (15, 6, 4, 11, 13, 6)


def encode_flow(flow: np.ndarray, encoding: str = "panobench") -> np.ndarray:
    """A flow field's pictures, one per frame: uint8 RGB ``(F, H, W, 3)`` of ``(F - 1, 2, H, W)``, the last repeated."""
    if flow.ndim != 4 or flow.shape[1] != 2 or not len(flow):
        raise ValueError(f"expected flow (F - 1, 2, H, W) of at least two frames, got {flow.shape}")
    maps = _of_bits(flow) if _known(encoding) == "panobench" else _of_wheel(flow)
    return np.concatenate((maps, maps[-1:]))


def decode_flow(maps: np.ndarray, encoding: str = "panobench") -> np.ndarray:
    """Flow float32 ``(F, 2, H, W)`` in pixels of pictures uint8 ``(F, H, W, 3)``; how exactly, the encodings say."""
    return _from_bits(maps) if _known(encoding) == "panobench" else _from_wheel(maps)


def condition_maps(pictures: np.ndarray, encoding: str, range_px: float) -> np.ndarray:
    """What training keeps of stored flow: uint8 ``(F, H, W, 3)``; ``released`` pictures stay as they are.

    Of ``panobench``: R is u and G is v, 128 is exactly zero and 1..255 is -range..range; B is the length, 0..range.
    Longer vectors are shortened to fit and keep their direction.
    """
    if _known(encoding) == "released":
        return pictures
    if not range_px > 0:
        raise ValueError(f"flow.range_px must be positive, not {range_px}")
    scaled = _from_bits(pictures) / np.float32(range_px)
    scaled /= np.maximum(np.abs(scaled).max(axis=1, keepdims=True), 1)
    length = np.minimum(np.hypot(scaled[:, 0], scaled[:, 1]), 1)
    red, green = np.rint(scaled * 127 + 128).transpose(1, 0, 2, 3)
    return np.stack((red, green, np.rint(length * 255)), axis=-1).astype(np.uint8)


def flow_condition(maps: Tensor, encoding: str = "panobench") -> Tensor:
    """What the model sees: float32 in [-1, 1] ``(..., 3, H, W)`` of condition maps uint8 ``(..., 3, H, W)``.

    Of ``panobench`` maps exactly zero where u or v is zero, which plain ``x / 127.5 - 1``, as for ``released`` ones, is
    not. A still pixel is (0, 0, -1), another input than the all-zero "no motion condition".
    """
    maps = maps.float()
    if _known(encoding) == "released":
        return maps / 127.5 - 1
    direction = (maps[..., :2, :, :] - 128) / 127
    return torch.cat((direction, maps[..., 2:, :, :] / 127.5 - 1), dim=-3)


def mirror_maps(maps: Tensor, encoding: str = "panobench") -> Tensor:
    """Condition maps ``(..., 3, H, W)`` uint8 of the mirrored clip: columns reversed, and with them the sign of u."""
    maps = maps.flip(-1)
    if _known(encoding) == "panobench":
        maps[..., 0, :, :] = (256 - maps[..., 0, :, :].int()).clamp(1, 255).to(torch.uint8)
        return maps
    pictures = maps.movedim(-3, -1).numpy()
    flow = _from_wheel(pictures.reshape(-1, *pictures.shape[-3:]))
    mirrored = _of_wheel(flow * np.array([-1, 1], np.float32)[:, None, None])
    return torch.from_numpy(mirrored).reshape(pictures.shape).movedim(-1, -3).contiguous()


def _known(encoding: str) -> str:
    if encoding not in ENCODINGS:
        raise PanobenchError(f"unknown encoding of flow '{encoding}'; known: {', '.join(ENCODINGS)}")
    return encoding


# --- panobench -------------------------------------------------------------------------------------------------------


def _of_bits(flow: np.ndarray) -> np.ndarray:
    unit = np.float32(flow.shape[3] / _LEVELS)
    codes = np.rint(flow / unit).clip(-_LEVELS // 2, _LEVELS // 2 - 1).astype(np.int32) + _LEVELS // 2
    u, v = codes[:, 0], codes[:, 1]
    return np.stack((u >> 4, v >> 4, (u & 15) << 4 | (v & 15)), axis=-1).astype(np.uint8)


def _from_bits(maps: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(maps.astype(np.int32), -1, 0)
    codes = np.stack((red << 4 | blue >> 4, green << 4 | (blue & 15)), axis=1) - _LEVELS // 2
    return codes.astype(np.float32) * np.float32(maps.shape[2] / _LEVELS)


# --- released --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _wheel() -> np.ndarray:
    """The 55 colours of the Middlebury wheel, ``(55, 3)`` in [0, 1]: red, yellow, green, cyan, blue, magenta."""
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]], float)
    parts = []
    for number, length in enumerate(_WHEEL):
        ramp = (np.floor(255 * np.arange(length) / length) / 255)[:, None]
        parts.append(np.where(corners[number + 1] >= corners[number], ramp, 1 - ramp))
        fixed = corners[number] == corners[number + 1]
        parts[-1][:, fixed] = corners[number, fixed]
    return np.concatenate(parts)


def _of_wheel(flow: np.ndarray) -> np.ndarray:
    """Pictures ``(F, H, W, 3)`` of ``(F, 2, H, W)``."""
    u, v = flow[:, 0].astype(np.float64), flow[:, 1].astype(np.float64)
    radius = (np.hypot(u, v) / _RELEASED_RANGE) ** _RELEASED_POWER
    colour = _hue((np.arctan2(-v, -u) / np.pi + 1) / 2 * (sum(_WHEEL) - 1))
    within = 1 - radius[..., None] * (1 - colour)
    shown = np.where(radius[..., None] <= 1, within, _RELEASED_BEYOND * colour)
    return np.ascontiguousarray((255 - np.floor(255 * shown)).astype(np.uint8)[..., ::-1])  # blue first


def _hue(place: np.ndarray) -> np.ndarray:
    """Colours between those of the wheel, of places 0 to 54."""
    wheel = _wheel()
    first = np.floor(place).astype(int)
    share = (place - first)[..., None]
    return (1 - share) * wheel[first] + share * wheel[(first + 1) % len(wheel)]


@lru_cache(maxsize=1)
def _hue_table() -> tuple[np.ndarray, np.ndarray]:
    """Directions of the wheel's colours at full saturation in fine steps: darkness `(n,3)` in units of one, `(n,)`."""
    place = np.linspace(0, sum(_WHEEL) - 1, 54 * 64 + 1)
    return 1 - _hue(place), place


def _from_wheel(maps: np.ndarray) -> np.ndarray:
    """Flow ``(F, 2, H, W)``: hue and saturation of each colour, by the position on the edge of the colour hexagon."""
    stored = maps[..., ::-1].astype(np.float64)  # 255 - floor(255 c): the darkness of each channel
    # Half a step back: floor took up to one.
    dark = np.where(stored > 0, (stored - 0.5) / 255, 0.0)
    beyond = stored.min(axis=-1) >= 255 - np.floor(255 * _RELEASED_BEYOND) - 1  # no channel is at full light
    dark = np.where(beyond[..., None], 1 - (1 - dark) / _RELEASED_BEYOND, dark).clip(0, 1)
    # Within the range one channel of the hue is at full light, so its darkness is 0, and one is at full darkness, so
    # its darkness is the radius; the third tells the place between two corners.
    radius = dark.max(axis=-1)
    place = _place_of(dark / np.maximum(radius, 1e-9)[..., None])
    angle = (place / (sum(_WHEEL) - 1) * 2 - 1) * np.pi
    length = np.where(beyond, 1.0, radius) ** (1 / _RELEASED_POWER) * _RELEASED_RANGE
    return np.stack((-length * np.cos(angle), -length * np.sin(angle)), axis=1).astype(np.float32)


def _place_of(darkness: np.ndarray) -> np.ndarray:
    """Place on the wheel, 0 to 54, of the darkness of saturated colours ``(..., 3)``: the nearest of the table."""
    from scipy.spatial import cKDTree

    table, place = _hue_table()
    _, nearest = cKDTree(table).query(darkness.reshape(-1, 3))
    return place[nearest].reshape(darkness.shape[:-1])
