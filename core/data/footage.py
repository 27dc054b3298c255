"""Raw footage: any video file that FFmpeg reads, its timing measured by packets, its frames at a constant rate.

A frame of footage is counted at the constant rate `Timing.fps` from the first picture on, so that the same number means
the same picture whether the file keeps its rate or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.video import VideoError, to_rgb

if TYPE_CHECKING:
    import av

Eye = Literal["top", "bottom", "left", "right"]

_NEVER_VIDEO = {".txt", ".csv", ".json", ".jsonl", ".md", ".html", ".yaml", ".yml", ".srt", ".vtt", ".xml", ".pdf"}
_STANDARD_RATES = (23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 90, 100, 119.88, 120)
_JITTER = 0.15  # of a frame; timestamps are rounded to the container's clock
_REORDERED = 16  # pictures that a codec may hold back, H.264's limit


@dataclass(frozen=True)
class Timing:
    """When the pictures of a file are shown."""

    frames: int  # at the constant rate, without a damaged tail
    fps: float  # constant rate; for a variable one the standard rate nearest to its median
    variable: bool  # whether the file's own intervals differ
    lost: str  # what is missing at the end, "" if nothing is


def find_footage(folder: str | Path) -> list[Path]:
    """Every file below `folder` that may be a video, sorted; hidden ones and texts are not."""
    root = Path(folder)
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix.lower() not in _NEVER_VIDEO)
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The container and its first real video stream.

    Raises:
        VideoError: not a video, no picture in it, or a codec that this FFmpeg lacks.
    """
    import av

    try:
        with av.open(str(path)) as container:
            streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not streams:
                raise VideoError(f"{path}: has no video stream")
            if streams[0].codec_context is None or not streams[0].codec_context.width:
                raise VideoError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first")
            yield container, streams[0]
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def measure_timing(path: str | Path) -> Timing:
    """Read every packet, decode none.

    Raises:
        VideoError: not a readable video, or it holds no picture.
    """
    import av

    times: list[int] = []
    lost = ""
    with opened(path) as (container, stream):
        base, promised = stream.time_base, stream.frames
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    lost = "damaged"
                    break
                if packet.size and packet.pts is not None:
                    times.append(packet.pts)
        except av.error.FFmpegError:
            lost = "unreadable"
        rate = float(stream.average_rate or stream.guessed_rate or 0)
    if not times:
        raise VideoError(f"{path}: holds no frames")
    if promised > len(times):
        lost = lost or "missing"
    at = np.sort(np.array(times, dtype=np.float64)) * float(base)
    if lost:
        at = _before_break(at)
    steps = np.diff(at)
    usual = float(np.median(steps)) if len(steps) else (1 / rate if rate else 1.0)
    variable = bool(len(steps) and (np.abs(steps - usual) > max(_JITTER * usual, float(base))).mean() > 0.02)
    fps = _nearest_rate(1 / usual) if variable else _constant_rate(at, rate, usual)
    frames = round((at[-1] - at[0]) * fps) + 1
    share = f", {max(promised - len(at), 1)} of {promised} frames" if promised else ""
    return Timing(frames, round(fps, 6), variable, f"the end is {lost}{share}" if lost else "")


def _before_break(at: np.ndarray) -> np.ndarray:
    """Timestamps of a file that ends too soon, less those that the break has torn from their neighbours.

    Pictures are stored in the order of decoding: behind the break some are there whose predecessors in time are lost.
    """
    if len(at) < 3:
        return at[:1]
    steps = np.diff(at)
    first = max(len(steps) - _REORDERED, 0)
    gaps = np.flatnonzero(steps[first:] > 1.5 * np.median(steps))
    # Without a gap, the picture at the break may be half.
    return at[: first + gaps[0] + 1] if len(gaps) else at[:-1]


def _nearest_rate(rate: float) -> float:
    return min(_STANDARD_RATES, key=lambda standard: abs(np.log(standard / rate)))


def _constant_rate(at: np.ndarray, said: float, usual: float) -> float:
    """The rate that fits the timestamps: the file's own word where it is true to half a frame over its length."""
    found = (len(at) - 1) / (at[-1] - at[0]) if len(at) > 1 and at[-1] > at[0] else 1 / usual
    if said and abs(said - found) * (at[-1] - at[0]) <= 0.5:
        return said
    near = _nearest_rate(found)
    return near if abs(near - found) / found < 0.002 else found


def iter_frames(
    path: str | Path,
    timing: Timing,
    start: int = 0,
    stop: int | None = None,  # one past the last; None: to the end
    small: tuple[int, int] | None = None,  # convert at this height and width, quickly; None: full size, exact colours
) -> Iterator[np.ndarray]:
    """Frames `start` to `stop` at the constant rate, uint8 RGB `(H, W, 3)`, one at a time.

    A variable rate is made constant by showing the picture that is nearest in time. A picture that cannot be decoded
    ends the iteration early: what comes is always whole.
    """
    stop = timing.frames if stop is None else min(stop, timing.frames)
    number = start
    held: np.ndarray | None = None
    for time, frame in _decoded(path, start / timing.fps):
        # `held` is shown until half a frame before the next one begins.
        while held is not None and number < stop and number / timing.fps < time - 0.5 / timing.fps:
            yield held
            number += 1
        if number >= stop:
            return
        if (number + 1.5) / timing.fps < time and held is None:
            return  # the seek ended behind the place: a damaged index
        if time + 1.5 / timing.fps >= number / timing.fps or timing.variable:
            held = _rgb(frame, small)
    if held is not None and number < stop:
        yield held


def _decoded(path: str | Path, start: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pictures in order of display with their times in seconds after the file's first, from a key frame before `start`.

    Stops at the first picture that is damaged. Containers without an index, such as MPEG-TS, seek to somewhere near:
    what comes too late is sought again from further ahead, and at last from the beginning.
    """
    first = _first_time(path)
    for ahead in (0.5, 5.0, start):
        frames = _read(path, first, max(start - ahead, 0.0))
        head = next(frames, None)
        if ahead >= start or (head is not None and head[0] <= start):
            if head is not None:
                yield head
                yield from frames
            return


def _read(path: str | Path, first: int, place: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pictures and their times from about `place`, in seconds, on; `first` is the timestamp of the file's first."""
    import av

    with opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        base = float(stream.time_base)
        if place > 0:
            container.seek(int(place / base) + first, stream=stream, backward=True)
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return
                for frame in packet.decode():
                    if frame.pts is not None and not frame.is_corrupt:
                        yield (frame.pts - first) * base, frame
        except av.error.FFmpegError:
            return


def _first_time(path: str | Path) -> int:
    """Timestamp of the picture that is shown first; the first packets may be of later ones."""
    times = []
    with opened(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                times.append(packet.pts)
            if len(times) >= _REORDERED:
                break
    return min(times, default=0)


def _rgb(frame: av.VideoFrame, small: tuple[int, int] | None) -> np.ndarray:
    if small is None:
        return to_rgb(frame)
    from av.video.reformatter import Interpolation

    return frame.reformat(
        width=small[1], height=small[0], format="rgb24", interpolation=Interpolation.AREA
    ).to_ndarray()


def sample_frames(path: str | Path, timing: Timing, count: int, small: tuple[int, int] | None = None) -> np.ndarray:
    """Up to `count` frames spread over a file, uint8 `(n, H, W, 3)`, n >= 1; cheap on long files.

    Raises:
        VideoError: not one picture can be decoded.
    """
    places = np.unique(np.linspace(0, max(timing.frames - 1, 0), count + 2).astype(int)[1:-1])
    found = [frame for place in places for frame in iter_frames(path, timing, int(place), int(place) + 1, small)]
    if not found:
        raise VideoError(f"{path}: no picture in it can be decoded")
    return np.stack([frame for frame in found if frame.shape == found[0].shape])


def crop_eye(frames: np.ndarray, eye: Eye | None) -> np.ndarray:
    """One eye's half of stereo frames `(..., H, W, 3)`; all of it for None."""
    height, width = frames.shape[-3:-1]
    if eye in ("top", "bottom"):
        return frames[..., : height // 2, :, :] if eye == "top" else frames[..., height - height // 2 :, :, :]
    if eye in ("left", "right"):
        return frames[..., : width // 2, :] if eye == "left" else frames[..., width - width // 2 :, :]
    return frames
