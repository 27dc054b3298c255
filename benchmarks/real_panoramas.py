"""Do the metrics tell real panoramas from stretched pictures? `python -m benchmarks.real_panoramas DIR PHOTOGRAPHS`.

The proof of the metrics (`panobench validate`) runs on clips of the procedural world unless it is given others. Here
are photographs: DIR is a folder of equirectangular pictures (2:1), PHOTOGRAPHS one of ordinary pictures. From each
panorama clips are made that are panoramas too, with what photographers, stitchers and codecs do to them; others that
are nearly panoramas; and others that are none: parts of it, cylinders, perspective crops, mirror images. From each
ordinary picture, cuts stretched to 2:1. Every clip is scored by the metrics of end continuity that need no network, by
is_360 and field_of_view, and judged by the check that `panobench data` makes before it takes a video.

Constants of is_360, and those of the data check that concern poles and mirror images, were chosen on every second
panorama and photograph, in the order of their names, the first among them; the tables give both halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from benchmarks.panorama_variants import FPS, bytes_of, crops, nearly, panoramas, parts, photographs, resized, treated
from core.data.projection import HEIGHT, WIDTH, judge
from core.errors import PanobenchError
from core.files import write_json, write_text
from evaluation.features import cost_of, extract_features, row_weights
from evaluation.metrics import METRICS, create_metrics

RADIANCE = {".exr", ".hdr"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", *RADIANCE}
MOST_OPEN = 2.5  # of open_ends, for a picture that closes
GROUPS = {
    "panorama": "Panoramas",
    "treated": "Panoramas with what is done to them",
    "nearly": "Nearly panoramas",
    "part": "Parts of panoramas",
    "stretched": "Perspective pictures stretched to 2:1",
    "mirrored": "Perspective pictures mirrored, so that their ends meet",
}
#: The title of what is written into a page; what stands above it is left alone.
MEASURED = "## Measured"

Row = dict[str, Any]


def metric_names() -> list[str]:
    """Metrics of end continuity that take pixels only, is_360 and field_of_view, in the registry's order."""
    found = [
        name
        for name in METRICS.names()
        if METRICS.get(name).criterion == "end_continuity" and cost_of(METRICS.get(name).needs) == "pixels"
    ]
    return [*found, "is_360", "field_of_view"]


def pictures_in(folder: Path) -> list[Path]:
    """Pictures, by name.

    Raises:
        PanobenchError: fewer than two: both halves need one.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        kinds = ", ".join(sorted(SUFFIXES))
        raise PanobenchError(f"{folder}: {len(found)} pictures ({kinds}) found, at least 2 are needed")
    return found


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8; radiance is exposed and toned.

    Raises:
        PanobenchError: an EXR without the package that reads it.
    """
    if path.suffix.lower() in RADIANCE:
        return toned(radiance(path))
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def radiance(path: Path) -> np.ndarray:
    """(H, W, 3) float64, linear RGB.

    Raises:
        PanobenchError: see read.
    """
    if path.suffix.lower() == ".hdr":
        return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float64)
    try:
        import OpenEXR  # type: ignore[import-not-found]
    except ImportError:
        raise PanobenchError(
            f"{path}: the package OpenEXR reads it; install that (pip install OpenEXR), or convert the file to .hdr"
        ) from None
    return np.asarray(OpenEXR.File(str(path)).channels()["RGB"].pixels[..., :3], dtype=np.float64)


def toned(linear: np.ndarray) -> np.ndarray:
    """8 bits of (H, W, 3) linear RGB: 95 % of the sphere is exposed to .8 at most; sRGB curve, clipped.

    Args:
        linear: of an equirectangular picture.
    """
    linear = np.clip(np.nan_to_num(linear), 0, None)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    order = np.argsort(luminance, axis=None)
    area = np.cumsum(np.repeat(row_weights(len(linear)), linear.shape[1])[order])
    bright = luminance.flat[order[np.searchsorted(area, 0.95 * area[-1])]]
    exposed = np.clip(0.8 / max(bright, 1e-6) * linear, 0, 1)
    curved = np.where(exposed <= 0.0031308, 12.92 * exposed, 1.055 * exposed ** (1 / 2.4) - 0.055)
    return bytes_of(255 * curved)


def panorama_at(path: Path, height: int) -> np.ndarray:
    """A panorama with at most so many rows, a multiple of 16.

    Raises:
        PanobenchError: it is not 2:1.
    """
    picture = read(path)
    if picture.shape[1] != 2 * picture.shape[0]:
        raise PanobenchError(f"{path}: {picture.shape[1]} x {picture.shape[0]} is not 2:1; a full panorama is")
    rows = min(height, len(picture)) // 16 * 16
    return picture if rows == len(picture) else resized(picture, rows, 2 * rows)


def score(frames: np.ndarray) -> dict[str, float]:
    """Metric -> value; "data_check" 1 if `panobench data` would take it."""
    clip = frames if len(frames) > 1 else np.repeat(frames, 2, axis=0)
    features = extract_features(clip, FPS, set())
    found = {metric.name: metric.measure(features) for metric in create_metrics(dict.fromkeys(metric_names()))}
    small = np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames])
    return {**found, "data_check": float(judge(small, 2.0).accepted)}


def clips_of(path: Path, kind: str, height: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """(group, variant, clip) of everything that is made from one picture."""
    generator = np.random.default_rng(list(path.stem.encode()))
    if kind == "photograph":
        for name, clip in photographs(read(path), height, generator):
            yield _flat_group(name), name, clip
        return
    picture = panorama_at(path, height)
    for group, make in {"panorama": panoramas, "treated": treated, "nearly": nearly, "part": parts}.items():
        for name, clip in make(picture):
            yield group, name, clip
    for name, clip in crops(panorama_at(path, 4 * height), height, generator):
        yield _flat_group(name), name, clip


def _flat_group(name: str) -> str:
    return "mirrored" if "mirrored" in name else "stretched"


def rows_of(job: tuple[Path, str, str], height: int) -> list[Row]:
    """Scores of all clips of one picture; job is (file, kind, half)."""
    torch.set_num_threads(1)
    path, kind, half = job
    return [
        {"picture": path.stem, "half": half, "group": group, "variant": name, **score(clip)}
        for group, name, clip in clips_of(path, kind, height)
    ]


def ordered(better: np.ndarray, worse: np.ndarray, higher: bool) -> float:
    """Share of pairs in which the first reads better; ties count half (area under the ROC curve)."""
    sign = 1 if higher else -1
    order = np.sort(sign * worse)
    below, up_to = np.searchsorted(order, sign * better, "left"), np.searchsorted(order, sign * better, "right")
    return float((below + up_to).mean() / 2 / len(worse))


def variant_table(rows: Sequence[Row], group: str) -> str:
    """Markdown: what passes, in the half that was tuned on and in the other."""
    lines = [
        "| clip | n | is_360: half tuned on | other half | data check: half tuned on | other half | open_ends < 2.5 | "
        "field of view | seam_ratio_grid | discontinuity_ratio | pole_ratio |",
        "|---|" + "---|" * 10,
    ]
    mine = [row for row in rows if row["group"] == group]
    for variant in dict.fromkeys(row["variant"] for row in mine):
        these = [row for row in mine if row["variant"] == variant]
        halves = [[row for row in these if row["half"] == half] for half in ("tuned", "held out")]
        shares = [
            f"{np.mean([row[gate] for row in half]):.0%}" if half else ""
            for gate in ("is_360", "data_check")
            for half in halves
        ]
        open_ends = np.mean([row["open_ends"] < MOST_OPEN for row in these])
        medians = [np.median([row[name] for row in these]) for name in ("seam_ratio_grid", "discontinuity_ratio")]
        lines.append(
            f"| {variant} | {len(these)} | {' | '.join(shares)} | {open_ends:.0%} | "
            f"{np.median([row['field_of_view'] for row in these]):.0f}° | {medians[0]:.2f} | {medians[1]:.2f} | "
            f"{np.median([row['pole_ratio'] for row in these]):.2f} |"
        )
    return "\n".join(lines)


def metric_table(rows: Sequence[Row]) -> str:
    """Markdown: panoramas against stretched pictures, metric by metric."""
    lines = ["| metric | panoramas: median (5 to 95 %) | stretched: median (5 to 95 %) | ordered | other half |"]
    lines.append("|---|---|---|---|---|")
    for name in metric_names():
        metric = METRICS.get(name)
        spans, shares = [], []
        for half in ("tuned", "held out"):
            real, flat = (
                np.array([row[name] for row in rows if row["group"] == group and row["half"] == half])
                for group in ("panorama", "stretched")
            )
            shares.append(f"{ordered(real, flat, metric.direction == 'higher'):.3f}")
        for group in ("panorama", "stretched"):
            low, middle, high = np.percentile([row[name] for row in rows if row["group"] == group], [5, 50, 95])
            spans.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        lines.append(f"| `{name}` | {spans[0]} | {spans[1]} | {shares[0]} | {shares[1]} |")
    return "\n".join(lines)


def summary(rows: Sequence[Row], height: int) -> str:
    """Everything in Markdown, from the title on."""
    pictures = {
        kind: len({row["picture"] for row in rows if row["group"] == kind}) for kind in ("panorama", "stretched")
    }
    photos = pictures["stretched"] - pictures["panorama"]
    text = [
        MEASURED,
        f"{len(rows)} clips from {pictures['panorama']} panoramas and {photos} photographs, {height} rows at most; "
        "written by `python -m benchmarks.real_panoramas`. Shares that pass is_360 and the data check are given "
        "for the half of the pictures on which constants were chosen, and for the other.",
        "### Panoramas against stretched pictures, metric by metric",
        '"Ordered" is the share of pairs of a panorama and a stretched picture in which the panorama reads better.',
        metric_table(rows),
    ]
    for group, title in GROUPS.items():
        text += [f"### {title}", variant_table(rows, group)]
    return "\n\n".join(text) + "\n"


def write_page(page: Path, measured: str) -> None:
    """Put it into a page, below what stands there by hand."""
    above = page.read_text(encoding="utf-8").split(MEASURED)[0].rstrip() + "\n\n" if page.exists() else ""
    write_text(page, above + measured)


@click.command(help=__doc__)
@click.argument("panorama_folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("photo_folder", metavar="PHOTOGRAPHS", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--height", default=256, show_default=True, type=click.IntRange(64), help="Rows of the clips, at most.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--out", default="outputs/benchmarks", show_default=True, type=click.Path(path_type=Path))
@click.option("--page", type=click.Path(path_type=Path), help="Page to put the tables into, below its own text.")
def main(panorama_folder: Path, photo_folder: Path, height: int, workers: int, out: Path, page: Path | None) -> None:
    """Write real-panoramas.json and .md, and print the tables."""
    jobs = [
        (path, kind, "held out" if index % 2 else "tuned")
        for folder, kind in ((panorama_folder, "panorama"), (photo_folder, "photograph"))
        for index, path in enumerate(pictures_in(folder))
    ]
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(rows_of, height=height), jobs)
        rows = [row for some in tqdm(found, total=len(jobs), desc="score", unit="picture") for row in some]
    measured = summary(rows, height)
    write_json(out / "real-panoramas.json", rows)
    write_text(out / "real-panoramas.md", measured)
    if page:
        write_page(page, measured)
    click.echo(measured)


if __name__ == "__main__":
    main()
