"""Graded corruptions of panoramic clips: each damages one thing, at strengths from 0 (nothing) to 1 (plain to see).

Frames are uint8 RGB ERP ``(F, H, 2H, 3)`` throughout. A corruption of strength 0 returns the clip as it is, a greater
strength damages it more, and the same seed damages it alike. Where a corruption is not about the seam it keeps the seam
closed: it is made around the sphere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from core.sphere import erp_directions, rotate_erp, sample_erp, view_directions
from evaluation.metrics.claims import CORRUPTIONS

#: Strengths at which a curve is measured.
STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Clip:
    """A clip with what is said about it.

    Attributes:
        name: for messages, and the seed of what is drawn at random.
        frames: (F, H, 2H, 3) uint8 RGB.
        fps: frames per second.
        prompt: caption, if there is one.
    """

    name: str
    frames: np.ndarray
    fps: float
    prompt: str | None = None


@dataclass(frozen=True)
class Corruption:
    """One way to damage a clip.

    Attributes:
        title: for people.
        unit: what the strength is in, at strength 1.
        damage: (frames, strength, generator) -> frames.
    """

    title: str
    unit: str
    damage: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def corrupt(name: str, clip: Clip, strength: float, seed: int, other: Clip | None = None) -> Clip:
    """The clip damaged in one way; "wrong_caption" takes words from ``other``'s caption and leaves the frames alone."""
    if name == "wrong_caption":
        assert other is not None
        return Clip(clip.name, clip.frames, clip.fps, wrong_caption(clip.prompt or "", other.prompt or "", strength))
    # Drawn anew for every strength from the same seed, so that a stronger damage is the same damage, stronger.
    generator = np.random.default_rng([seed, CORRUPTIONS.index(name), *clip.name.encode()])
    frames = clip.frames if strength == 0 else MAKERS[name].damage(clip.frames, strength, generator)
    return Clip(clip.name, frames, clip.fps, clip.prompt)


def wrong_caption(own: str, other: str, strength: float) -> str:
    """A caption with a share of its parts (between commas, from the front) replaced by another caption's."""
    parts, foreign = own.split(", "), other.split(", ")
    count = math.ceil(strength * len(parts) - 1e-9)
    if count == len(parts):
        return other
    return ", ".join([*foreign[:count], *parts[count:]])


def _broken_seam(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """Brightness falls evenly from the left edge to the right: only where the ends meet is there a step."""
    ramp = 64 * strength * (0.5 - np.arange(frames.shape[2]) / (frames.shape[2] - 1))
    return _to_bytes(frames + ramp[None, None, :, None])


def _misaligned_seam(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """The picture is sheared, so that the right end meets the left one up to 10 % of the height too low."""
    height, width = frames.shape[1:3]
    shift = 0.1 * height * strength * (np.arange(width) / (width - 1) - 0.5)
    rows = np.arange(height)[:, None] - shift[None, :]
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), rows.shape)
    return _remap(frames, columns.copy(), rows.astype(np.float32))


def _perspective(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """A perspective view ahead fills the frame as if it were the sphere: 150 degrees wide at strength 1/4, 60 at 1."""
    height, width = frames.shape[1:3]
    rays = view_directions(height, width, math.radians(180 - 120 * strength))
    seen = sample_erp(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), rays)
    return _to_bytes(seen.permute(0, 2, 3, 1).numpy())


def _flicker(frames: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """Each frame is brighter or darker than it should be, by up to 32 grey levels."""
    levels = generator.uniform(-1, 1, len(frames))
    levels[::2], levels[1::2] = np.abs(levels[::2]), -np.abs(levels[1::2])  # neighbours differ, whatever is drawn
    return _to_bytes(frames + 32 * strength * levels[:, None, None, None])


def _shuffled(frames: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """Frames out of order: each is displaced at random, by up to twice the clip's length at strength 1."""
    count = len(frames)
    return frames[np.argsort(np.arange(count) + 2 * count * strength * generator.uniform(size=count), kind="stable")]


def _frozen(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """The clip stops early: the frame at which it stops is held to the end. At strength 1 nothing moves at all."""
    last = round((1 - strength) * (len(frames) - 1))
    return frames[np.minimum(np.arange(len(frames)), last)]


def _pan(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """The picture slides diagonally in a straight line as a flat sheet, in a share of the clip that grows from the end.

    Every pixel moves by the same vector, which no motion of a camera in a world does: on the sphere, paths bend. (A
    sideways slide alone would be a turn of the camera.) Rows that leave come back mirrored.
    """
    count, height, width = frames.shape[:3]
    first = round((1 - strength) * (count - 1))
    step = max(1, width // 64)
    sheet = np.concatenate([frames[first], frames[first, ::-1]])  # the same rows above and below again, mirrored
    slides = [np.roll(sheet, (step * t, step * t), axis=(0, 1))[:height] for t in range(count - first)]
    return np.concatenate([frames[:first], np.stack(slides)])


def _blur(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """Gaussian blur around the sphere, standard deviation up to 1/32 of the height."""
    sigma = strength * frames.shape[1] / 32
    margin = math.ceil(4 * sigma) + 1
    wide = np.pad(frames, ((0, 0), (0, 0), (margin, margin), (0, 0)), mode="wrap")
    blurred = [cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) for frame in wide]
    return np.stack(blurred)[:, :, margin:-margin]


def _noise(frames: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise, standard deviation up to 24 grey levels, new in every frame and pixel."""
    return _to_bytes(frames + 24 * strength * generator.standard_normal(frames.shape))


def _cube_edges(frames: np.ndarray, strength: float, _: np.random.Generator) -> np.ndarray:
    """The six faces of a cube do not match: each is brighter or darker as a whole, by up to 24 grey levels.

    Neighbours always differ, so all twelve edges show.
    """
    height, width = frames.shape[1:3]
    x, y, z = erp_directions(height, width).abs().unbind(-1)
    axis = torch.stack((x, y, z)).argmax(dim=0).numpy()  # opposite faces are no neighbours
    return _to_bytes(frames + 24 * strength * np.array([1.0, 0.0, -1.0])[axis][None, ..., None])


#: Name -> how it is made, for the corruptions of the frames.
MAKERS: dict[str, Corruption] = {
    "broken_seam": Corruption("broken seam", "64 grey levels of a ramp along the equator", _broken_seam),
    "misaligned_seam": Corruption("misaligned seam", "ends a tenth of the height apart", _misaligned_seam),
    "perspective": Corruption("narrow view stretched to 2:1", "60 degrees for the whole sphere", _perspective),
    "flicker": Corruption("flicker", "32 grey levels", _flicker),
    "shuffled": Corruption("shuffled frames", "displaced by up to twice the length", _shuffled),
    "frozen": Corruption("frozen frames", "all frames", _frozen),
    "pan": Corruption("straight-line pan", "all frames", _pan),
    "blur": Corruption("blur", "sigma of 1/32 of the height", _blur),
    "noise": Corruption("noise", "sigma of 24 grey levels", _noise),
    "cube_edges": Corruption("cube faces that do not match", "24 grey levels from face to face", _cube_edges),
}
TITLES = {name: MAKERS[name].title if name in MAKERS else "wrong caption" for name in CORRUPTIONS}
UNITS = {name: MAKERS[name].unit if name in MAKERS else "all parts of another clip's" for name in CORRUPTIONS}


def yawed(clip: Clip, columns: int) -> Clip:
    """The clip turned by whole columns."""
    return Clip(clip.name, np.roll(clip.frames, columns, axis=2), clip.fps, clip.prompt)


def rotated(clip: Clip, generator: np.random.Generator) -> Clip:
    """The clip turned by a random rotation, uniform over SO(3) (Shoemake 1992), interpolated bicubically."""
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float()
    turned = rotate_erp(frames, random_rotation(generator), mode="bicubic")
    return Clip(clip.name, _to_bytes(turned.permute(0, 2, 3, 1).numpy()), clip.fps, clip.prompt)


def random_rotation(generator: np.random.Generator) -> torch.Tensor:
    """A rotation (3, 3) float64, uniform over SO(3): a unit quaternion from four normal numbers."""
    w, x, y, z = (q := generator.standard_normal(4)) / np.linalg.norm(q)
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


def _remap(frames: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Each frame looked up at (column, row) of pixel centres, (H, W) float32, bilinear, edges repeated."""
    looked_up = [cv2.remap(frame, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for frame in frames]
    return np.stack(looked_up)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).round().astype(np.uint8)
