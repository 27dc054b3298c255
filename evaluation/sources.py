"""Opening what people have: video files, animated GIFs, folders of frames; as they are, or resampled as asked for.

Nothing is changed quietly. Frames come as they are in the file, or, with ``Resample``, reduced by area averaging and
picked at an even rate: the nearest frame in time, each at most once. No frame is ever repeated, invented or appended.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from core.errors import PanobenchError
from core.files import sha256
from core.video import VideoError, VideoInfo, frame_times, iter_video, probe_video

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif")
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
_PATTERN = re.compile(r"(?:(\d+)x(\d+))?(?:@(\d+(?:\.\d+)?))?(?:x(\d+))?")


@dataclass(frozen=True)
class Resample:
    """What every video is brought to before it is scored; None leaves that as it is.

    Attributes:
        width: pixels, twice the height.
        height: pixels.
        fps: frames per second.
        frames: number of frames; the rest is cut off.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Resample":
        """Of ``WIDTHxHEIGHT@FPSxFRAMES``; each of the three parts may be left out: ``@8``, ``512x256``, ``@8x16``.

        Raises:
            PanobenchError: not of this form, or not 2:1.
        """
        match = _PATTERN.fullmatch(text.strip())
        if not match or not text.strip():
            raise PanobenchError(
                f"--resample: '{text}' is not of the form WIDTHxHEIGHT@FPSxFRAMES, for example 1024x512@8x16, @8, x16"
            )
        width, height, fps, frames = match.groups()
        found = cls(
            int(width) if width else None,
            int(height) if height else None,
            float(fps) if fps else None,
            int(frames) if frames else None,
        )
        if found.width is not None and found.height is not None and found.width != 2 * found.height:
            raise PanobenchError(
                f"--resample: {width}x{height} is not 2:1; an equirectangular video is twice as wide as high"
            )
        if found.fps == 0 or (found.frames is not None and found.frames < 2) or found.height == 0:
            raise PanobenchError(f"--resample: '{text}' asks for no size, no rate, or fewer than 2 frames")
        return found

    def record(self) -> dict[str, float | int | None]:
        """For settings.json and the report."""
        return asdict(self)


# --- what a source holds ---------------------------------------------------------------------------------------------


def is_frame_folder(path: Path) -> bool:
    """Whether a folder is a video: it holds pictures and no video."""
    if not path.is_dir() or path.name.startswith("."):
        return False
    suffixes = {file.suffix.lower() for file in path.iterdir() if file.is_file() and not file.name.startswith(".")}
    return bool(suffixes & set(FRAME_SUFFIXES)) and not suffixes & set(VIDEO_SUFFIXES)


def probe(path: Path, fps: float | None = None) -> VideoInfo:
    """What a source holds, without decoding all of it.

    Args:
        path: video file or frame folder.
        fps: rate of frame folders, which do not say it.

    Raises:
        VideoError: unreadable, or a frame folder without a rate.
    """
    if not path.is_dir():
        return probe_video(path)
    files = frame_files(path)
    if fps is None:
        raise VideoError(f"{path}: a folder of frames does not say its rate; pass --fps")
    first = _picture(files[0])
    return VideoInfo(
        len(files), fps, first.shape[0], first.shape[1], codec=files[0].suffix[1:].lower(), pixel_format="rgb24"
    )


def frame_files(folder: Path) -> list[Path]:
    """Pictures of a frame folder by the number in their name: frame2 comes before frame10.

    Raises:
        VideoError: no pictures, or PNG and JPEG mixed: two sets of frames in one folder.
    """
    files = [f for f in folder.iterdir() if f.suffix.lower() in FRAME_SUFFIXES and not f.name.startswith(".")]
    if not files:
        raise VideoError(f"{folder}: holds no PNG or JPEG")
    kinds = {".jpg" if f.suffix.lower() == ".jpeg" else f.suffix.lower() for f in files}
    if len(kinds) > 1:
        raise VideoError(f"{folder}: PNG and JPEG pictures are mixed; keep one kind per folder")
    return sorted(
        files,
        key=lambda file: [
            (part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", file.stem)
        ],
    )


@lru_cache(maxsize=4096)
def content_hash(path: Path) -> str:
    """SHA-256 of a video file, or of the names and contents of a frame folder."""
    if not path.is_dir():
        return sha256(path)
    digest = hashlib.sha256()
    for file in frame_files(path):
        digest.update(f"{file.name}\0{sha256(file)}\n".encode())
    return digest.hexdigest()


# --- frames ----------------------------------------------------------------------------------------------------------


def resampled(path: Path, info: VideoInfo, how: Resample | None) -> VideoInfo:
    """What a source holds after resampling; decodes nothing.

    Raises:
        VideoError: it is too short, too slow or too small for it: frames are never repeated, nor pictures enlarged.
    """
    if how is None:
        return info
    if how.width is not None and how.width > info.width:
        raise VideoError(f"{path}: {info.width}x{info.height} cannot be enlarged to {how.width}x{how.height}")
    count = len(_picks(path, info, how))
    return replace(
        info,
        frames=count,
        fps=how.fps or info.fps,
        width=how.width or info.width,
        height=how.height or info.height,
        steady=how.fps is not None or info.steady,
    )


def open_frames(path: Path, info: VideoInfo, how: Resample | None = None) -> Iterator[np.ndarray]:
    """The frames of a source one at a time, uint8 RGB ``(H, W, 3)``.

    Args:
        path: video file or frame folder.
        info: what ``probe`` found in it.
        how: resampling, which ``resampled`` has found possible.

    Raises:
        VideoError: damaged, transparent, or frames of several sizes.
    """
    frames = _pictures(path) if path.is_dir() else iter_video(path)
    if how is None:
        yield from frames
        return
    picks = _picks(path, info, how)
    wanted, last = set(picks), picks[-1]
    for index, frame in enumerate(frames):
        if index in wanted:
            yield _reduce(frame, how)
        if index == last:
            return


def _picks(path: Path, info: VideoInfo, how: Resample) -> list[int]:
    """Indices of the frames to keep."""
    if how.fps is None:
        picks = list(range(info.frames))
    else:
        times = np.arange(info.frames) / info.fps if path.is_dir() else frame_times(path)
        times = times - times[0]
        interval = float(np.median(np.diff(times))) if len(times) > 1 else 1 / info.fps
        count = int((times[-1] + interval) * how.fps + 1e-6)
        wanted = np.arange(max(count, 1)) / how.fps
        picks = [int(index) for index in np.abs(times[None, :] - wanted[:, None]).argmin(axis=1)]
        repeated = next((n for n, (a, b) in enumerate(pairwise(picks)) if a >= b), None)
        if repeated is not None and (how.frames is None or repeated + 1 < how.frames):
            raise VideoError(
                f"{path}: has no new frame at {wanted[repeated + 1]:.3g} s; at {how.fps:g} fps frames would repeat, "
                "which panobench never does"
            )
    if how.frames is not None:
        if len(picks) < how.frames:
            raise VideoError(
                f"{path}: gives {len(picks)} frames, {how.frames} are asked for; panobench never pads with still frames"
            )
        picks = picks[: how.frames]
    return picks


def _reduce(frame: np.ndarray, how: Resample) -> np.ndarray:
    """Area averaging; the borders of pixels meet at the seam before and after, so nothing crosses it."""
    if how.width is None or how.height is None or frame.shape[:2] == (how.height, how.width):
        return frame
    return cv2.resize(frame, (how.width, how.height), interpolation=cv2.INTER_AREA)


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    shape: tuple[int, ...] | None = None
    for file in frame_files(folder):
        picture = _picture(file)
        if shape is not None and picture.shape != shape:
            found, first = (f"{s[1]}x{s[0]}" for s in (picture.shape, shape))
            raise VideoError(f"{folder}: {file.name} is {found}, the frames before it are {first}")
        shape = picture.shape
        yield picture


def _picture(file: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            if image.mode in ("I", "I;16", "F"):
                raise VideoError(f"{file.parent}: {file.name} is a {image.mode} picture; 8-bit RGB or grey is expected")
            if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
                raise VideoError(f"{file.parent}: {file.name} has transparent pixels; flatten it first")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise VideoError(
            f"{file.parent}: {file.name} is not a readable picture; damaged, or of another format?"
        ) from error
