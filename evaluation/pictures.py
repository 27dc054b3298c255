"""Pictures of a comparison: frames and seam close-ups of every video, laid out as sheets.

Frames are enlarged smoothly (they are shown as a viewer shows them), seam close-ups by repeating pixels (what is to be
seen is the step between two columns, which interpolation would hide).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from core.sphere import erp_to_view
from core.video import read_video

_INK, _MUTED, _PAPER = (28, 30, 34), (110, 116, 124), (255, 255, 255)
_GAP = 12
#: Heights of the labels of a sheet's columns and of each row, in pixels.
_HEAD, _CAPTION = 34, 26
#: Of a moving picture: its frames are spread over the video, and its side is what WebP can hold.
_MOVING_FRAMES, _MOVING_WIDTH, _MOVING_SIDE = 16, 192, 16383


@dataclass(frozen=True)
class Shots:
    """What of a video is shown, uint8 RGB.

    Attributes:
        frames: first, middle and last frame, ``(3, H, W, 3)``.
        seam: close-up of the middle frame around the seam, ``(S, S, 3)``, the seam between its two middle columns.
        poles: what a viewer sees who looks straight up and straight down in the middle frame, ``(2, P, P, 3)``.
        moving: at most 16 frames at equal distances, enlarged or reduced to the same width, ``(N, h, w, 3)``.
        seconds: from one of them to the next.
    """

    frames: np.ndarray
    seam: np.ndarray
    poles: np.ndarray
    moving: np.ndarray
    seconds: float


def read_shots(path: str | Path) -> Shots:
    """The shots of one video file.

    Raises:
        VideoError: it cannot be read.
    """
    video = read_video(path)
    frames, middle = video.frames, len(video.frames) // 2
    step = math.ceil(len(frames) / _MOVING_FRAMES)
    return Shots(
        frames[[0, middle, len(frames) - 1]],
        seam_crop(frames[middle]),
        polar_views(frames[middle]),
        np.stack([np.asarray(scaled(frame, _MOVING_WIDTH)) for frame in frames[::step]]),
        step / video.fps,
    )


def polar_views(frame: np.ndarray, fov_deg: float = 120.0) -> np.ndarray:
    """Views up and down, ``(2, P, P, 3)`` uint8, of an ERP frame ``(H, W, 3)``, P = H but at most 192 pixels.

    On a sphere a pole is a point like any other; a flat picture shows a star of streaks there.
    """
    side = min(frame.shape[0], 192)
    picture = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    looks = [
        erp_to_view(picture, side, side, math.radians(fov_deg), pitch=pitch) for pitch in (math.pi / 2, -math.pi / 2)
    ]
    return torch.cat(looks).permute(0, 2, 3, 1).round().clamp(0, 255).byte().numpy()


def seam_crop(frame: np.ndarray) -> np.ndarray:
    """Square around the seam at the horizon of ``(H, W, 3)``: a quarter turn wide, at most 64 pixels."""
    height, width = frame.shape[:2]
    side = min(width // 4, height, 64) // 2 * 2
    turned = np.roll(frame, width // 2, axis=1)
    top, left = (height - side) // 2, (width - side) // 2
    return turned[top : top + side, left : left + side]


def scaled(picture: np.ndarray, width: int, smooth: bool = True) -> Image.Image:
    """``(h, w, 3)`` uint8 at another width, in proportion."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    height = round(picture.shape[0] * width / picture.shape[1])
    return image.resize((width, height), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)


def contact_cell(shots: Shots, width: int = 288) -> Image.Image:
    """The middle frame, and below it the first and the last at half its size."""
    middle = scaled(shots.frames[1], width)
    first, last = (scaled(shots.frames[index], width // 2) for index in (0, 2))
    cell = Image.new("RGB", (width, middle.height + first.height), _PAPER)
    cell.paste(middle, (0, 0))
    cell.paste(first, (0, middle.height))
    cell.paste(last, (width // 2, middle.height))
    return cell


def seam_cell(shots: Shots, width: int = 256) -> Image.Image:
    """The seam close-up, pixels repeated, with marks above and below where the seam is."""
    close = scaled(shots.seam, width, smooth=False)
    cell = Image.new("RGB", (width, close.height + 20), _PAPER)
    cell.paste(close, (0, 10))
    draw = ImageDraw.Draw(cell)
    x = width // 2
    for tip, base in ((9, 1), (close.height + 10, close.height + 18)):
        draw.polygon([(x, tip), (x - 5, base), (x + 5, base)], fill=_INK)
    return cell


def grid(
    cells: Mapping[tuple[str, str], Image.Image],  # (method, prompt id) -> picture, all of one size
    methods: Sequence[tuple[str, str]],  # name, label: the columns
    prompts: Sequence[tuple[str, str]],  # id, text: the rows
    note: str = "",  # a line at the foot
) -> Image.Image:
    """A labelled table of pictures; where a method has no video for a prompt, the place stays empty."""
    width, height = next(iter(cells.values())).size
    foot = 30 if note else 0
    columns = len(methods)
    sheet_width = max(columns * (width + _GAP) + _GAP, 640)
    sheet_height = _HEAD + len(prompts) * (_CAPTION + height + _GAP) + foot + _GAP // 2
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (_, label) in enumerate(methods):
        x = _GAP + column * (width + _GAP)
        draw.text((x, 8), _fit(draw, label, _font(17), width), fill=_INK, font=_font(17))
    for row, (prompt, text) in enumerate(prompts):
        y = _HEAD + row * (_CAPTION + height + _GAP)
        draw.text((_GAP, y + 3), _fit(draw, text, _font(14), sheet_width - 2 * _GAP), fill=_MUTED, font=_font(14))
        for column, (method, _) in enumerate(methods):
            picture = cells.get((method, prompt))
            if picture is not None:
                sheet.paste(picture, (_GAP + column * (width + _GAP), y + _CAPTION))
    if note:
        line = _fit(draw, note, _font(12), sheet_width - 2 * _GAP)
        draw.text((_GAP, sheet.height - foot + 4), line, fill=_MUTED, font=_font(12))
    return sheet


def save_moving(
    path: Path,
    shots: Mapping[tuple[str, str], Shots],  # as of `grid`
    methods: Sequence[tuple[str, str]],
    prompts: Sequence[tuple[str, str]],
) -> None:
    """Write all videos side by side as an animated WebP, at their own speed; what WebP has no room for is left out."""
    height = next(iter(shots.values())).moving.shape[1]
    rows = prompts[: (_MOVING_SIDE - _HEAD - _GAP // 2) // (_CAPTION + height + _GAP)]
    length = min(len(shot.moving) for shot in shots.values())
    sheets = [
        grid({key: Image.fromarray(shot.moving[index]) for key, shot in shots.items()}, methods, rows)
        for index in range(length)
    ]
    milliseconds = round(1000 * min(shot.seconds for shot in shots.values()))
    sheets[0].save(path, "WEBP", save_all=True, append_images=sheets[1:], duration=milliseconds, loop=0, quality=75)


def strip(shots: Shots, width: int) -> Image.Image:
    """First, middle and last frame side by side, each at most ``width`` wide, never enlarged."""
    width = min(width, shots.frames.shape[2])
    frames = [scaled(frame, width) for frame in shots.frames]
    line = Image.new("RGB", (3 * width, frames[0].height))
    for index, frame in enumerate(frames):
        line.paste(frame, (index * width, 0))
    return line


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow's own, the same on every machine


def _fit(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, shortened with an ellipsis to so many pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."
