"""Video files: frame-exact reading, and writing that gives the same bytes every time or no file at all.

Written files are H.264 in MP4 with the index in front, which every browser plays: yuv420p, BT.709, limited range,
near-lossless in luma (chroma has half the resolution, as in every such file), or bit-exact RGB for maps that carry
numbers. Colours are converted with swscale's accurate paths: its fast ones darken by one grey level on average.

Frames twice as wide as high are panoramas, and their chroma is filtered around the sphere, both ways. A plain
conversion repeats it at the left and right edge, which on seamless clips of the procedural world raises the step across
the seam by a third against other meridians: a measured seam would be partly the file format's.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from core.errors import PanobenchError
from core.files import atomic_path, disk_full

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

Frames = np.ndarray | Iterable[np.ndarray]


class VideoError(PanobenchError):
    """A video file that cannot be read or written, with its name and the reason."""


@dataclass(frozen=True)
class Video:
    """Decoded frames, uint8 RGB ``(F, H, W, 3)``, and their rate in frames per second."""

    frames: np.ndarray
    fps: float


@dataclass(frozen=True)
class VideoInfo:
    """What a file holds; ``frames`` is counted, not taken from the header. Size in pixels.

    ``steady`` is false if frames follow each other at uneven times, by more than a tenth or the clock of the file.
    """

    frames: int
    fps: float
    height: int
    width: int
    codec: str
    pixel_format: str
    steady: bool = True


# --- reading ---------------------------------------------------------------------------------------------------------


def read_video(path: str | Path) -> Video:
    """Every frame of a video file, in order of display.

    Raises:
        VideoError: missing, empty, without picture, truncated, damaged, or in a codec that this FFmpeg lacks.
    """
    with _opened(path) as (container, stream):
        frames = list(_decode(path, container, stream))
        if not frames:
            raise VideoError(f"{path}: holds no frames")
        return Video(np.stack(frames), _rate(path, stream))


def iter_video(path: str | Path) -> Iterator[np.ndarray]:
    """The frames of a video one at a time, uint8 RGB ``(H, W, 3)``; memory does not grow with its length."""
    with _opened(path) as (container, stream):
        yield from _decode(path, container, stream)


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and number of frames without decoding; raises as ``read_video`` does, unless only pixels are bad."""
    with _opened(path) as (container, stream):
        packets = [packet.pts for packet in _packets(path, container, stream) if packet.size > 0]
        context = stream.codec_context
        return VideoInfo(
            len(packets),
            _rate(path, stream),
            context.height,
            context.width,
            codec=context.name,
            pixel_format=context.pix_fmt or "",
            steady=_steady(packets),
        )


def frame_times(path: str | Path) -> np.ndarray:
    """When each frame is shown, ``(F,)`` float64, seconds, in order of display, without decoding.

    Raises:
        VideoError: as ``read_video``, or the file does not say when.
    """
    with _opened(path) as (container, stream):
        stamps = [packet.pts for packet in _packets(path, container, stream) if packet.size > 0]
        if not stamps or None in stamps:
            raise VideoError(f"{path}: does not say when its frames are shown")
        return np.sort(np.array(stamps, dtype=np.float64)) * float(stream.time_base or 1)


def _steady(stamps: list[int | None]) -> bool:
    """Whether frames follow each other evenly; stamps count ticks of the file's clock, which rounds them."""
    if None in stamps or len(stamps) < 3:
        return True
    steps = np.diff(np.sort(np.array(stamps, dtype=np.int64)))
    return bool(np.ptp(steps) <= max(0.2 * float(np.median(steps)), 1))


@contextmanager
def _opened(path: str | Path) -> "Iterator[tuple[av.container.InputContainer, VideoStream]]":
    """The container and its first video stream; FFmpeg's exceptions become one line about ``path``."""
    import av

    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (zero bytes)")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                raise VideoError(f"{path}: has no video stream, only {kinds}")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: its video codec is unknown to this FFmpeg; convert it to H.264 first")
            # WebM keeps it beside the picture, where FFmpeg's own decoders do not look.
            if any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()):
                raise VideoError(f"{path}: has transparent pixels; flatten it on a background first")
            yield container, stream
    except av.error.DecoderNotFoundError as error:
        raise VideoError(f"{path}: its video codec has no decoder here; convert it to H.264 first") from error
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: not a readable video ({_reason(error)}); truncated or damaged?") from error


def _packets(
    path: str | Path, container: "av.container.InputContainer", stream: "VideoStream"
) -> "Iterator[av.packet.Packet]":
    """Packets of the stream; a file that ends before its index says so is refused rather than read in part."""
    count = 0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise VideoError(f"{path}: truncated or damaged at frame {count}")
        count += packet.size > 0
        yield packet
    if count < stream.frames:
        raise VideoError(f"{path}: truncated, {count} of {stream.frames} frames are there")


def _decode(path: str | Path, container: "av.container.InputContainer", stream: "VideoStream") -> Iterator[np.ndarray]:
    shape: tuple[int, ...] | None = None
    for packet in _packets(path, container, stream):
        for frame in packet.decode():
            try:
                picture = to_rgb(frame)
            except VideoError as error:
                raise VideoError(f"{path}: {error}") from None
            if shape is not None and picture.shape != shape:
                raise VideoError(f"{path}: changes size from {shape[1]} x {shape[0]} to {frame.width} x {frame.height}")
            shape = picture.shape
            yield picture


def _rate(path: str | Path, stream: "VideoStream") -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not rate:
        raise VideoError(f"{path}: does not say its frame rate")
    return float(rate)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_video(path: str | Path, frames: Frames, fps: float, crf: int = 8, lossless_rgb: bool = False) -> None:
    """Write an MP4 that is complete or absent; the same frames give the same bytes on any number of cores.

    Args:
        path: ends in ``.mp4``; an existing file is replaced only by a finished one.
        frames: uint8 RGB ``(F, H, W, 3)``, or an iterable of ``(H, W, 3)``; height and width even.
        fps: frames per second.
        crf: x264's constant rate factor, 0 (lossless luma) to 51; 8 cannot be told from the original.
        lossless_rgb: store RGB bit-exactly instead (``libx264rgb``; browsers do not play it). Any size.

    Raises:
        VideoError: no such encoder in this FFmpeg, an odd size, or FFmpeg failed.
        PanobenchError: the disk is full or the place cannot be written.
        ValueError: frames are not uint8 RGB, there are none, or the rate is not positive.
    """
    import av

    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"{path}: videos are written as .mp4")
    if not fps > 0:
        raise ValueError(f"{path}: frames per second must be positive, not {fps}")
    with atomic_path(path) as temporary:
        try:
            _encode(path, temporary, frames, fps, crf, lossless_rgb)
        except av.error.FFmpegError as error:
            if disk_full(error):
                raise
            raise VideoError(f"{path}: could not be encoded ({_reason(error)})") from error


def _encode(path: Path, temporary: Path, frames: Frames, fps: float, crf: int, lossless_rgb: bool) -> None:
    import av

    # threads=1: x264 cuts a frame into as many slices of work as there are threads, and its choices depend on that.
    # mbtree=0: x264's macroblock tree reads memory that nobody wrote, so small videos came out in several versions.
    crf_text = "0" if lossless_rgb else str(crf)
    options = {"threads": "1", "preset": "slow", "crf": crf_text, "x264-params": "mbtree=0"}
    encoder = find_encoder("libx264rgb" if lossless_rgb else "libx264")
    stream: VideoStream | None = None
    with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
        for index, frame in enumerate(frames):
            height, width = _frame_size(path, index, frame)
            if stream is None:
                if not lossless_rgb and (height % 2 or width % 2):
                    raise VideoError(f"{path}: H.264 yuv420p needs an even size, not {width} x {height}")
                rate = Fraction(fps).limit_denominator(1001)
                stream = cast("VideoStream", out.add_stream(encoder, rate=rate, options=options))
                stream.width, stream.height = width, height
                stream.pix_fmt = "rgb24" if lossless_rgb else "yuv420p"
                if not lossless_rgb:
                    _tag_bt709(stream)
            elif (height, width) != (stream.height, stream.width):
                raise ValueError(
                    f"{path}: frame {index} is {width} x {height}, the others {stream.width} x {stream.height}"
                )
            picture = np.ascontiguousarray(frame)
            out.mux(
                stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24") if lossless_rgb else _to_yuv(picture))
            )
        if stream is None:
            raise ValueError(f"{path}: there are no frames to write")
        out.mux(stream.encode())


def find_encoder(name: str) -> str:
    """``name``, if this FFmpeg can encode with it.

    Raises:
        VideoError: it cannot.
    """
    import av

    try:
        return av.codec.Codec(name, "w").name
    except av.codec.codec.UnknownCodecError as error:
        raise VideoError(
            f"this FFmpeg has no encoder '{name}'; install PyAV's own wheel, which brings it: pip install --force av"
        ) from error


def _frame_size(path: Path, index: int, frame: np.ndarray) -> tuple[int, int]:
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"{path}: frame {index} is {frame.dtype} {frame.shape}, expected uint8 (H, W, 3)")
    return frame.shape[0], frame.shape[1]


def _tag_bt709(stream: "VideoStream") -> None:
    """Name the colour space in the stream, so that players do not guess it from the size of the picture."""
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # limited


# --- colours ---------------------------------------------------------------------------------------------------------

_DEEP = ("yuv420p10le", "yuv420p12le")
_TRANSPARENT = ("yuva420p", "rgba", "bgra", "argb", "abgr", "pal8")
_WRAP = 16  # pixels of continuation, more than any of swscale's chroma filters reaches


def to_rgb(frame: "av.VideoFrame") -> np.ndarray:
    """RGB ``(H, W, 3)`` of a decoded frame; the chroma of a panorama in 8-bit 4:2:0 is interpolated across the seam."""
    height, width = frame.height, frame.width
    if frame.format.name in _DEEP:  # 10 and 12 bits: rounded to 8, then as the others
        frame = frame.reformat(format="yuv420p", interpolation=_accurate(), threads=1)
    elif frame.format.name in _TRANSPARENT:
        _refuse_transparent(frame)
        frame = frame.reformat(format="rgb24" if "yuv" not in frame.format.name else "yuv420p", threads=1)
    if frame.format.name not in ("yuv420p", "yuvj420p") or width != 2 * height or height % 2 or width < _WRAP:
        return frame.reformat(format="rgb24", interpolation=_accurate(), threads=1).to_ndarray()
    planes = frame.to_ndarray()  # (H * 3 / 2, W): Y, then U and V, two of their rows in each row
    luma, chroma = planes[:height], planes[height:].reshape(height, width // 2)
    wide_luma = np.pad(luma, ((0, 0), (_WRAP, _WRAP)), mode="wrap")
    wide_chroma = np.pad(chroma, ((0, 0), (_WRAP // 2, _WRAP // 2)), mode="wrap").reshape(height // 2, -1)
    wide = _from_planes(wide_luma, wide_chroma, frame)
    rgb = wide.reformat(format="rgb24", interpolation=_accurate(), threads=1).to_ndarray()
    return np.ascontiguousarray(rgb[:, _WRAP:-_WRAP])


def _refuse_transparent(frame: "av.VideoFrame") -> None:
    """What is transparent has no colour until somebody says what is behind it."""
    alpha = frame.reformat(format="rgba", threads=1).to_ndarray()[..., 3]
    if alpha.min() < 255:
        raise VideoError("has transparent pixels; flatten it on a background first")


def _to_yuv(picture: np.ndarray) -> "av.VideoFrame":
    """BT.709 yuv420p of RGB ``(H, W, 3)``; the inverse of ``to_rgb``, around the sphere for panoramas too."""
    import av

    height, width = picture.shape[:2]
    wraps = width == 2 * height and width >= _WRAP
    wide = np.pad(picture, ((0, 0), (_WRAP, _WRAP), (0, 0)), mode="wrap") if wraps else picture
    frame = av.VideoFrame.from_ndarray(wide, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", interpolation=_accurate(), threads=1)
    if not wraps:
        return frame
    planes = frame.to_ndarray()
    luma = planes[:height, _WRAP:-_WRAP]
    chroma = planes[height:].reshape(height, -1)[:, _WRAP // 2 : -_WRAP // 2].reshape(height // 2, width)
    return _from_planes(luma, chroma, frame)


def _from_planes(luma: np.ndarray, chroma: np.ndarray, like: "av.VideoFrame") -> "av.VideoFrame":
    import av

    planes = np.concatenate((luma, chroma)).astype(np.uint8, copy=False)
    frame = av.VideoFrame.from_ndarray(planes, format=like.format.name)
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    return frame


def _accurate() -> int:
    from av.video.reformatter import Interpolation as I

    return I.BICUBIC | I.ACCURATE_RND | I.BITEXACT | I.FULL_CHR_H_INT | I.FULL_CHR_H_INP


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).split(":")[0]
