"""Raw footage as a person would find it on a disk, made of scenes of the procedural world."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import erp_directions, view_directions
from core.video import _to_yuv, write_video

HEIGHT, FPS = 128, 25
#: Scenes of the world that are unlike each other, with something to see in each: thing, terrain, time of day.
SCENES = (0, 3, 5, 9, 11, 13)


@cache
def erp(scene: int, frames: int) -> np.ndarray:
    """Frames of a panorama, uint8 `(F,128,256,3)`."""
    return render_clip(sample_scene(3, "train", scene), erp_directions(HEIGHT, 2 * HEIGHT).numpy(), range(frames), 1)


@cache
def perspective(scene: int, frames: int) -> np.ndarray:
    """Frames of a film twice as wide as high, of 90 degrees, of the same size."""
    rays = view_directions(HEIGHT, 2 * HEIGHT, np.pi / 2, 0.3).numpy()
    return render_clip(sample_scene(3, "train", scene), rays, range(frames), 1)


def write_variable(path: Path, frames: np.ndarray, milliseconds: Sequence[int]) -> None:
    """A video whose frame t is shown for `milliseconds[t % n]`."""
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        time = 0
        for number, frame in enumerate(frames):
            picture = _to_yuv(frame)
            picture.pts, picture.time_base = time, base
            time += milliseconds[number % len(milliseconds)]
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


def write_footage(folder: Path) -> dict[str, str]:
    """Write the files; name -> a word of the reason why it has to be rejected, "" for those that have to be taken."""
    folder.mkdir(parents=True)
    # Three scenes, cut at frames 25 and 57.
    scenes = [erp(0, 25), erp(3, 32), erp(5, 27)]
    write_video(folder / "long.mp4", np.concatenate(scenes), FPS)
    write_video(folder / "film.mp4", perspective(3, 20), FPS)
    left = erp(9, 14)
    write_video(folder / "stereo.mp4", np.concatenate([left, np.roll(left, 1, 2)], axis=1), FPS)
    write_video(folder / "bars.mp4", np.pad(erp(13, 14), ((0, 0), (20, 20), (0, 0), (0, 0))), FPS)
    write_video(folder / "whole.mp4", erp(11, 40), FPS)
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "whole.mp4").unlink()
    (folder / "sub").mkdir()
    (folder / "sub/cut off.mp4").write_bytes(whole[: int(0.65 * len(whole))])
    (folder / "no index.mp4").write_bytes(whole[-int(0.3 * len(whole)) :])
    write_variable(folder / "phone.mp4", erp(13, 24), [33, 33, 66])
    (folder / "notes.txt").write_text("where and when")
    (folder / ".hidden.mp4").write_bytes(b"thumbnail")
    return {
        "long.mp4": "",
        "sub/cut off.mp4": "",
        "phone.mp4": "",
        "film.mp4": "perspective",
        "stereo.mp4": "stereo top-bottom",
        "bars.mp4": "letterboxed",
        "no index.mp4": "not a readable video",
    }
