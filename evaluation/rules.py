"""What may be scored: the input rules, references, and pairs; applied before any time is spent."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from core.errors import PanobenchError
from core.video import VideoError, VideoInfo
from evaluation.manifest import Item, Problem, VideoSet, name_of, videos_in
from evaluation.sources import Resample, content_hash, probe, resampled

LEAST_HEIGHT = 16  # pixels; below it there are no latitude bands, and no flow


def reference_files(folder: str | Path) -> list[Path]:
    """Videos of a reference set: a folder of videos, or a data set folder with ``videos/``.

    Raises:
        PanobenchError: fewer than two videos: a spread needs two.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise PanobenchError(f"{folder}: no such folder; --reference takes a folder of videos of real panoramas")
    inner = folder / "videos"
    files = videos_in(inner if inner.is_dir() else folder)
    if len(files) < 2:
        raise PanobenchError(f"{folder}: {len(files)} reference video(s) found, at least 2 are needed")
    return files


def pair_videos(items: Sequence[Item], folder: str | Path) -> tuple[dict[str, Path], list[Problem]]:
    """The true video of each video, by file name (without suffix), and the videos that have none.

    Raises:
        PanobenchError: no such folder, or no video in it.
    """
    folder = Path(folder)
    files = {name_of(file): file for file in videos_in(folder)} if folder.is_dir() else {}
    if not files:
        raise PanobenchError(
            f"{folder}: no videos there; --paired takes a folder of true videos, named as the scored ones"
        )
    paired = {item.video_id: files[name_of(item.path)] for item in items if name_of(item.path) in files}
    lacking = [
        Problem(item.path.name, f"no true video of this name in {folder}")
        for item in items
        if name_of(item.path) not in files
    ]
    return paired, lacking


def check_videos(
    videos: VideoSet, resample: Resample | None = None, fps: float | None = None
) -> tuple[list[Item], list[Problem], VideoInfo | None]:
    """Apply the input rules before any time is spent.

    Per video: readable, 2:1, two frames or more at an even rate, and as its manifest row says. Per set: same size,
    frame count and rate, because the metrics of unequal videos do not compare; or else an explicit resampling.

    Args:
        videos: what there is.
        resample: what every video is brought to.
        fps: rate of frame folders, which do not say it.

    Returns:
        The videos to score, what is wrong with the others (also those that were wrong before), and what all share.

    Raises:
        PanobenchError: the set is mixed.
    """
    good: list[tuple[Item, VideoInfo]] = []
    problems = list(videos.problems)
    for item in videos.items:
        try:
            found = probe(item.path, fps)
            fault = _fault(item, found)
            info = found if fault else resampled(item.path, found, resample)
            fault = fault or _unfit(info)
        except VideoError as error:
            fault = without_path(str(error), item.path)
        if fault:
            problems.append(Problem(item.path.name, fault))
        else:
            good.append((item, info))
    shapes = Counter(shape_of(info) for _, info in good)
    if len(shapes) > 1:
        parts = []
        for shape, count in shapes.most_common():
            example = next(item.path.name for item, info in good if shape_of(info) == shape)
            parts.append(f"{shape} ({count}, e.g. {example})")
        raise PanobenchError(
            f"the videos of {videos.method} differ: {'; '.join(parts)}; bring them to one size, length and rate first, "
            "or say --resample WIDTHxHEIGHT@FPSxFRAMES"
        )
    return [item for item, _ in good], problems, good[0][1] if good else None


def _fault(item: Item, info: VideoInfo) -> str | None:
    """What is wrong with a file as it is."""
    if info.width != 2 * info.height:
        return f"{info.width}x{info.height} is not 2:1; an equirectangular video is twice as wide as high"
    if info.height < LEAST_HEIGHT:
        return f"{info.width}x{info.height} is too small; at least {2 * LEAST_HEIGHT}x{LEAST_HEIGHT} is needed"
    if info.frames < 2:
        return f"{info.frames} frame(s); a video needs at least 2"
    row = item.declared
    if row is None:
        return None
    for name in ("frames", "height", "width"):
        if getattr(info, name) != getattr(row, name):
            return f"{name} is {getattr(info, name)}, but the manifest says {getattr(row, name)}"
    if abs(info.fps - row.fps) > 1e-3:
        return f"fps is {info.fps:g}, but the manifest says {row.fps:g}"
    if content_hash(item.path) != row.sha256:
        return "the file is not the one that the manifest lists (sha256 differs); generate it again"
    return None


def _unfit(info: VideoInfo) -> str | None:
    """What is wrong with a video as it would be scored."""
    if not info.steady:
        return "its frame rate varies; say --resample @FPS to pick frames at an even rate"
    return None


def shape_of(info: VideoInfo) -> str:
    """What the videos of a set, and of all methods compared, must share."""
    return f"{info.width}x{info.height}, {info.frames} frames, {info.fps:g} fps"


def without_path(message: str, path: Path) -> str:
    """An error of a file, for a list that names the file already."""
    return message.removeprefix(f"{path}: ")
