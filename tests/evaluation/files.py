"""Video files as people have them: other containers, pixel formats and clocks than panobench's own."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image


def write_as(
    path: Path,
    frames: np.ndarray,  # (F, H, W, 3 or 4) uint8
    fps: float,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: list[float] | None = None,  # seconds; default: at an even rate
    options: dict[str, str] | None = None,
) -> Path:
    """Encode with any codec of FFmpeg, at any times."""
    import av

    clock = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixel_format
        stream.codec_context.time_base = clock
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgba" if frames.shape[3] == 4 else "rgb24")
            picture.pts = round(1000 * (times[index] if times else index / fps))
            picture.time_base = clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_gif(path: Path, frames: np.ndarray, fps: float) -> Path:
    """An animated GIF; its clock has a hundredth of a second."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, disposal=1)
    return path


def write_frames(folder: Path, frames: np.ndarray, suffix: str = ".png", name: str = "frame{}") -> Path:
    """A folder of pictures, numbered without leading zeros."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{name.format(index)}{suffix}")
    return folder
