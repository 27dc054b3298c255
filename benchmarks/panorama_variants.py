"""What real panoramas go through, and what is mistaken for one: clips from pictures, for benchmarks.real_panoramas.

Pictures are uint8 RGB (H, W, 3), clips (F, H, 2H, 3). Lengths in pixels are of a picture 512 wide, angles in degrees.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from core.sphere import rotate_erp, rotation_matrix, sample_erp, view_directions
from core.video import read_video, write_video

FPS = 8.0
FRAMES = 4  # of a clip that moves

#: Horizontal fields of view of the stretched crops, degrees.
FIELDS = (50, 65, 80, 95, 110, 120)


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Rounded to uint8."""
    return np.clip(values, 0, 255).round().astype(np.uint8)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width, 3), averaged down or interpolated up."""
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


# --- panoramas -------------------------------------------------------------------------------------------------------


def panoramas(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name -> clip of what is a panorama and what is exported from one."""
    turned = turning(picture)
    yield "as it is", picture[None]
    yield "a quarter on", np.roll(picture, picture.shape[1] // 4, axis=1)[None]
    yield "half a turn on", np.roll(picture, picture.shape[1] // 2, axis=1)[None]
    yield "turned, 1.3° a frame", turned
    yield "turned and tilted", turning(picture, yaw=1.1, pitch=0.7, roll=0.5)
    for crf in (18, 23, 28):
        yield f"H.264, crf {crf}", h264(turned, crf)
    for quality in (90, 75, 60):
        yield f"JPEG, quality {quality}", jpeg(picture[None], quality)


def treated(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name -> clip of panoramas with what photographers, stitchers and codecs leave: still panoramas."""
    for name, change in NADIRS.items():
        changed = change(picture)
        yield f"nadir {name}", changed[None]
        yield f"nadir {name}, JPEG 75", jpeg(changed[None], 75)
    for percent in (2, 6, 10):
        yield f"exposure ramp, {percent} %", exposure_ramp(picture, percent)[None]
        yield f"two lenses, {percent} %", two_lenses(picture, percent)[None]
    for pixels in (1, 2):
        yield f"seam {pixels} px off", seam_off(picture, pixels)[None]
    yield "two lenses 1 px off", lenses_off(picture, 1)[None]
    yield "seam blurred", seam_blurred(picture)[None]


def nearly(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name -> clip of what one may call a panorama or not; no verdict is asked for."""
    for pixels in (4, 8):
        yield f"seam {pixels} px off", seam_off(picture, pixels)[None]
    yield "two lenses 4 px off", lenses_off(picture, 4)[None]
    for degrees in (350, 330):
        yield f"{degrees}° stretched to 360°", part_of(picture, degrees)[None]
    for degrees in (5, 15):
        yield f"{degrees}° cut off at each pole", poles_cut(picture, degrees)[None]
    yield "H.264, crf 33", h264(turning(picture), 33)
    yield "JPEG, quality 40", jpeg(picture[None], 40)


def parts(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name -> clip of what is made from a panorama and is none."""
    for degrees in (300, 270, 180):
        yield f"{degrees}° stretched to 360°", part_of(picture, degrees)[None]
    for degrees in (60, 90, 120):
        yield f"cylinder, {degrees}° high", cylinder(picture, degrees)[None]
    yield "45° cut off at each pole", poles_cut(picture, 45)[None]


def turning(picture: np.ndarray, yaw: float = 1.3, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """The viewer turns by so many degrees a frame, interpolated bicubically."""
    erp = torch.tensor(picture).permute(2, 0, 1)[None].float()
    turns = [rotation_matrix(*(math.radians(t * angle) for angle in (yaw, pitch, roll))) for t in range(FRAMES)]
    found = torch.cat([rotate_erp(erp, turn, mode="bicubic") for turn in turns])
    return bytes_of(found.permute(0, 2, 3, 1).numpy())


def h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """Written as H.264 and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, FPS, crf=crf)
        return read_video(path).frames


def jpeg(frames: np.ndarray, quality: int) -> np.ndarray:
    """Each frame written as JPEG and read again."""
    decoded = []
    for frame in frames:
        file = BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(file)))
    return np.stack(decoded)


def _below(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Rows less than so many degrees from the nadir, (H,) bool."""
    height = len(picture)
    return (height - np.arange(height) - 0.5) * 180 / height < degrees


def _black(picture: np.ndarray) -> np.ndarray:
    changed = picture.copy()
    changed[_below(picture, 20)] = 0
    return changed


def _smeared(picture: np.ndarray) -> np.ndarray:
    """The last row that the lens saw is repeated."""
    below = _below(picture, 15)
    changed = picture.copy()
    changed[below] = picture[~below][-1]
    return changed


def _blurred(picture: np.ndarray) -> np.ndarray:
    below, reach = _below(picture, 20), len(picture) // 8
    wide = np.pad(picture, ((0, 0), (reach, reach), (0, 0)), mode="wrap")
    changed = picture.copy()
    changed[below] = cv2.blur(wide, (2 * reach // 2 * 2 + 1, 1))[:, reach:-reach][below]
    return changed


def _logo(picture: np.ndarray) -> np.ndarray:
    """A disc with a ring and letters, flat on the ground."""
    disc = np.full((256, 256, 3), 240, np.uint8)
    cv2.putText(disc, "PANO", (30, 140), cv2.FONT_HERSHEY_SIMPLEX, 2, (20, 20, 120), 8)
    cv2.circle(disc, (128, 128), 110, (200, 60, 20), 6)
    height, width = picture.shape[:2]
    below = _below(picture, 18)
    radius = ((height - np.arange(height) - 0.5) * 180 / height / 18)[below, None]
    angle = ((np.arange(width) + 0.5) / width * 2 * np.pi)[None]
    x, y = 128 + 127 * radius * np.sin(angle), 128 - 127 * radius * np.cos(angle)
    changed = picture.copy()
    changed[below] = cv2.remap(disc, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    return changed


#: What is done about the tripod.
NADIRS = {"black": _black, "smeared": _smeared, "blurred": _blurred, "under a logo": _logo}


def exposure_ramp(picture: np.ndarray, percent: float) -> np.ndarray:
    """Brighter from left to right: a step at the seam and, half as high, over both poles."""
    gain = 1 + percent / 100 * (np.arange(picture.shape[1]) / (picture.shape[1] - 1) - 0.5)
    return bytes_of(picture * gain[:, None])


def two_lenses(picture: np.ndarray, percent: float) -> np.ndarray:
    """The right half brighter: a step at the seam, ahead and over both poles."""
    half = np.arange(picture.shape[1]) >= picture.shape[1] // 2
    return bytes_of(picture * (1 + percent / 100 * half)[:, None])


def seam_off(picture: np.ndarray, pixels: float) -> np.ndarray:
    """The last quarter is sheared, so that its end meets the other end so many pixels too high."""
    height, width = picture.shape[:2]
    shift = np.interp(np.arange(width), [0.75 * width, width - 1], [0, pixels * width / 512])
    rows = (np.arange(height)[:, None] - shift).astype(np.float32)
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), rows.shape).copy()
    return cv2.remap(picture, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def lenses_off(picture: np.ndarray, pixels: int) -> np.ndarray:
    """The right half lies so many pixels too low: at the seam, ahead and over both poles."""
    changed, half = picture.copy(), picture.shape[1] // 2
    changed[:, half:] = np.roll(picture[:, half:], round(pixels * picture.shape[1] / 512), axis=0)
    return changed


def seam_blurred(picture: np.ndarray) -> np.ndarray:
    """Blended over the seam, as padding around the sphere or feathering leaves it: 8 pixels wide."""
    width = picture.shape[1]
    sigma = 8 * width / 512
    centred = np.roll(picture, width // 2, axis=1).astype(np.float32)
    share = np.exp(-(((np.arange(width) + 0.5 - width / 2) / (2 * sigma)) ** 2))[:, None]
    mixed = (1 - share) * centred + share * cv2.GaussianBlur(centred, (0, 0), sigma)
    return np.roll(bytes_of(mixed), -(width // 2), axis=1)


def part_of(picture: np.ndarray, degrees: float) -> np.ndarray:
    """The middle so many degrees, stretched to the whole width."""
    height, width = picture.shape[:2]
    part = round(width * degrees / 360)
    left = (width - part) // 2
    return resized(picture[:, left : left + part], height, width)


def poles_cut(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Without so many degrees at the top and at the bottom, stretched to the whole height."""
    height, width = picture.shape[:2]
    cut = round(height * degrees / 180)
    return resized(picture[cut : height - cut], height, width)


def cylinder(picture: np.ndarray, degrees: float) -> np.ndarray:
    """On a cylinder, so many degrees high: all around, but without the poles."""
    height, width = picture.shape[:2]
    reach = math.tan(math.radians(degrees / 2))
    latitude = np.arctan(reach * (1 - (np.arange(height) + 0.5) / height * 2))
    rows = ((np.pi / 2 - latitude) / np.pi * height - 0.5).astype(np.float32)
    columns = np.arange(width, dtype=np.float32)
    return cv2.remap(picture, np.tile(columns, (height, 1)), np.repeat(rows[:, None], width, axis=1), cv2.INTER_CUBIC)


# --- perspective pictures --------------------------------------------------------------------------------------------


def crops(
    picture: np.ndarray,
    height: int,
    generator: np.random.Generator,
) -> Iterator[tuple[str, np.ndarray]]:
    """Perspective views of a panorama stretched to 2:1: level, looking up and down, 4:3 to 2:1, still and moving.

    They are as large as the panorama is sharp, ``height`` rows at most.
    """
    for field in FIELDS:
        for aspect in (16 / 9, 4 / 3, 2.0):
            sharp = int(picture.shape[1] * field / 360 / aspect)
            rows = min(height, max(48, sharp)) // 16 * 16
            pitch, yaw = (float(generator.uniform(-most, most)) for most in (35, 180))
            clip = view(picture, field, aspect, rows, yaw, pitch if aspect < 2 else 0.0)
            yield f"crop, {field}°", clip[:1]
            if aspect == 2:
                yield "crop, moving", clip
                yield "crop, JPEG 75", jpeg(clip[:1], 75)
                yield "crop, noise of 2", noisy(clip[:1], 2, generator)
                yield "crop, mirrored", mirrored(clip[:1])


def view(picture: np.ndarray, field: float, aspect: float, height: int, yaw: float, pitch: float) -> np.ndarray:
    """A view that pans by 1.5 degrees a frame, stretched to 2:1."""
    erp = torch.tensor(picture).permute(2, 0, 1)[None].float()
    frames = []
    for t in range(FRAMES):
        angles = (math.radians(yaw + 1.5 * t), math.radians(pitch))
        rays = view_directions(height, round(height * aspect), math.radians(field), *angles)
        seen = sample_erp(erp, rays, mode="bicubic")[0].permute(1, 2, 0).numpy()
        frames.append(resized(bytes_of(seen), height, 2 * height))
    return np.stack(frames)


def photographs(picture: np.ndarray, height: int, generator: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """A photograph stretched to 2:1: whole, and cut anywhere."""
    whole = resized(picture, height, 2 * height)[None]
    yield "photograph", whole
    yield "photograph, JPEG 75", jpeg(whole, 75)
    yield "photograph, noise of 2", noisy(whole, 2, generator)
    yield "photograph, mirrored", mirrored(whole)
    for _ in range(4):
        rows = int(len(picture) * generator.uniform(0.3, 1))
        columns = min(picture.shape[1], int(rows * generator.choice([1, 4 / 3, 1.5, 16 / 9])))
        top, left = (int(generator.integers(0, room + 1)) for room in np.subtract(picture.shape[:2], (rows, columns)))
        yield "photograph, cut", resized(picture[top : top + rows, left : left + columns], height, 2 * height)[None]


def noisy(frames: np.ndarray, levels: float, generator: np.random.Generator) -> np.ndarray:
    """With Gaussian noise of so many grey levels."""
    return bytes_of(frames + generator.normal(0, levels, frames.shape))


def mirrored(frames: np.ndarray) -> np.ndarray:
    """Squeezed into the left half, and its mirror image in the right: the ends meet in a fold."""
    height, width = frames.shape[1:3]
    halves = [resized(frame, height, width // 2) for frame in frames]
    return np.stack([np.concatenate([half, half[:, ::-1]], axis=1) for half in halves])
