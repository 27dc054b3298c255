"""Optical flow of panoramas against the procedural world's exact flow: `python -m benchmarks.flow_accuracy`.

Clips of the world are taken whose true motion crosses the seam. The error is the spherical end-point error: the angle
between where a point goes and where the flow says it goes, in degrees, mean over the area. It is given by latitude,
over all longitudes and within a sixteenth of the circle of the seam, for one estimator used three ways: once on the
plane; cyclically (PanoFlow's CFE, the shorter vector wins, pictures continued around the sphere); and cyclically with
views of the poles, which is what `panobench data flow` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from tqdm import tqdm

from core.files import write_json, write_text
from core.flow import estimate_flow, flow_to_directions, make_estimator
from core.nano.flow import erp_flow
from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import angle_between, erp_directions, erp_lonlat, latitude_weights

BANDS = ((60, 90), (30, 60), (0, 30), (-30, 0), (-60, -30), (-90, -60))  # degrees of latitude
WAYS = {
    "planar": {"cyclic": False, "tangent": False},
    "cyclic": {"cyclic": True, "tangent": False},
    "cyclic and poles": {"cyclic": True, "tangent": True},
}


@dataclass(frozen=True)
class Clip:
    """A rendered clip and its exact flow."""

    frames: np.ndarray  # (F,H,2H,3) uint8
    truth: np.ndarray  # (F-1,2,H,2H) float32, pixels


def crossing_clips(count: int, height: int, frames: int, seed: int) -> Iterator[Clip]:
    """Clips of the reference stream whose flow leads over the seam by half a pixel or more, in the mean."""
    rays = erp_directions(2 * height, 4 * height).numpy()
    directions = erp_directions(height, 2 * height).numpy()
    found = index = 0
    while found < count:
        scene = sample_scene(seed, "reference", index)
        index += 1
        truth = np.stack([erp_flow(scene, directions, t) for t in range(frames - 1)])
        if np.abs(truth[:, 0, :, [0, -1]]).mean() < 0.5:
            continue
        found += 1
        yield Clip(render_clip(scene, rays, [float(t) for t in range(frames)], 2), truth)


def errors_of(clip: Clip, flow: np.ndarray) -> np.ndarray:
    """Angle in degrees between true and estimated end points, (F-1,H,2H)."""
    ends = (flow_to_directions(torch.from_numpy(part).double()) for part in (clip.truth, flow))
    return angle_between(*ends).rad2deg().numpy()


def by_band(errors: np.ndarray, columns: np.ndarray) -> list[float]:
    """Area-weighted mean of (F-1,H,2H) in each of BANDS, in some columns, and over all of them last."""
    height = errors.shape[1]
    latitude = erp_lonlat(height, 1, dtype=torch.float64)[0].rad2deg().numpy()
    weights = latitude_weights(height).numpy()
    rows = errors[:, :, columns].mean(axis=(0, 2))
    means = []
    for low, high in (*BANDS, (-90, 90)):
        inside = (latitude >= low) & (latitude <= high)
        means.append(float((rows[inside] * weights[inside]).sum() / weights[inside].sum()))
    return means


def measure(
    clips: int, height: int, frames: int, backend: str, weights: str | None, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Place -> way -> errors in degrees, by band and overall, means over the clips."""
    estimator = make_estimator(backend, weights)
    seam = np.r_[0 : height // 8, 2 * height - height // 8 : 2 * height]
    places = {"all longitudes": np.arange(2 * height), "at the seam": seam}
    sums = {place: {way: np.zeros(len(BANDS) + 1) for way in WAYS} for place in places}
    for clip in tqdm(crossing_clips(clips, height, frames, seed), total=clips, desc="flow", unit="clip"):
        for way, options in WAYS.items():
            errors = errors_of(clip, estimate_flow(clip.frames, estimator, **options))
            for place, columns in places.items():
                sums[place][way] += by_band(errors, columns)
    return {place: {way: (total / clips).tolist() for way, total in ways.items()} for place, ways in sums.items()}


def table(result: dict[str, dict[str, list[float]]]) -> str:
    """Markdown."""
    names = [f"{low} to {high}" for low, high in BANDS]
    lines = [f"| degrees, by latitude | {' | '.join(names)} | all |", "|---|" + "---|" * (len(BANDS) + 1)]
    for place, ways in result.items():
        for way, values in ways.items():
            lines.append(f"| {place}, {way} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--clips", default=64, show_default=True, type=click.IntRange(1))
@click.option("--height", default=128, show_default=True, type=click.IntRange(32), help="Rows of the panoramas.")
@click.option("--frames", default=3, show_default=True, type=click.IntRange(2))
@click.option("--seed", default=11, show_default=True, help="Of the scenes.")
@click.option("--backend", default="dis", show_default=True, type=click.Choice(["dis", "raft", "panoflow"]))
@click.option("--weights", help="Checkpoint of raft or panoflow.")
@click.option("--out", default="outputs/benchmarks", show_default=True, type=click.Path(path_type=Path))
def main(clips: int, height: int, frames: int, seed: int, backend: str, weights: str | None, out: Path) -> None:
    """Write flow-BACKEND.json and .md, and print the table."""
    result = measure(clips, height, frames, backend, weights, seed)
    settings = {"clips": clips, "height": height, "frames": frames, "seed": seed, "backend": backend}
    write_json(out / f"flow-{backend}.json", {"settings": settings, "bands": BANDS, "degrees": result})
    write_text(out / f"flow-{backend}.md", table(result))
    click.echo(table(result))


if __name__ == "__main__":
    main()
