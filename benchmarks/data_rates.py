"""How fast each step of a data set is, what it stores, and how much memory it takes: `python -m benchmarks.data_rates`.

Films scenes of the procedural world as raw footage, runs every step of `panobench data build` on it in a process of its
own, and measures seconds, bytes and peak memory. `--clips 10,1000` shows that memory does not grow with the number of
clips. `--plan HOURS` turns the rates into a plan: storage, core hours and GPU hours for so much footage. Rates are of
this machine, with its CPU or its GPU; the plan says which. `--flops` counts instead what Stable Diffusion's VAE and
BLIP large's vision tower compute for a frame of a clip of the paper's size, which no machine changes.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np

from core.files import write_json, write_text
from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.params import Params, load_params, parse_params
from core.sphere import erp_directions, latitude_weights
from core.video import write_video

STEPS = ("probe", "split", "caption", "flow", "encode", "check")


@dataclass
class Rate:
    """One step over some clips."""

    step: str
    clips: int
    frames: int  # of all clips
    seconds: float  # with the start of the process
    peak_mib: float  # of the process
    stored_mib: float  # what it left


def write_raw(folder: Path, clips: int, frames: int, height: int) -> None:
    """Raw footage of `clips` clips, ten in a file, each a scene of its own; ten renderings serve them all, turned."""
    rays = erp_directions(height, 2 * height).numpy()
    scenes = [render_clip(sample_scene(5, "train", i), rays, range(frames), 1) for i in range(min(clips, 10))]
    for number in range(0, clips, 10):
        # Turned and lit differently, so that no clip is a near-duplicate of another.
        parts = []
        for index in range(number, min(number + 10, clips)):
            waves = np.random.default_rng(index).normal(0, 0.12, (4, 2))
            turns = np.arange(2 * height) / height * np.pi * np.arange(1, 5)[:, None]
            around = (waves[:, :1] * np.cos(turns) + waves[:, 1:] * np.sin(turns)).sum(0)
            light = 1 + (latitude_weights(height).numpy()[:, None] * around)[None, ..., None]
            part = np.roll(scenes[index % len(scenes)], 7 * (index // 10), axis=2) * light
            parts.append(part.clip(0, 255).astype(np.uint8))
        write_video(folder / f"{number:06d}.mp4", np.concatenate(parts), 25, crf=18)


def measure(step: str, params_file: Path, clips: int, frames: int, outputs: Path) -> Rate:
    """Run one step in a process of its own."""
    before, start = stored(outputs), time.perf_counter()
    code = f"import sys, panobench; sys.argv = ['panobench', 'data', {step!r}, '--params', {str(params_file)!r}]\n"
    # Of the process alone: what getrusage calls the peak begins with that of the process that started it.
    code += "try: panobench.main()\nfinally: print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=outputs.parent)
    if done.returncode:
        raise click.ClickException(f"{step} failed: {done.stderr[-2000:]}")
    seconds = time.perf_counter() - start
    peak = float(done.stdout.split("VmHWM:")[1].split()[0]) / 1024
    return Rate(step, clips, clips * frames, round(seconds, 2), round(peak, 1), round(stored(outputs) - before, 3))


def stored(folder: Path) -> float:
    """MiB below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def run(params: Params, clips: int, root: Path) -> list[Rate]:
    """All steps over `clips` clips, in `root`."""
    import yaml

    frames = params.dataset.frames
    write_raw(root / "raw", clips, frames, params.video.height)
    content = params.model_dump(exclude_none=True)
    content["dataset"] |= {"test_share": 0.0, "keep_flagged": True} | dict.fromkeys(
        ("source", "watch"), str(root / "raw")
    )
    if params.caption.captioner == "given":
        from tests.tiny import write_tiny_blip

        content["caption"]["captioner"] = str(write_tiny_blip(root / "blip"))
    content["base"]["model"] = str(Path(params.base.model).resolve())
    (root / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    outputs = root / "outputs"
    outputs.mkdir()
    return [measure(step, root / "params.yaml", clips, frames, outputs) for step in STEPS]


def machine() -> str:
    """What the rates are of."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return (
        f"{os.cpu_count()} cores ({platform.machine()}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')})"
    )


def plan(rates: list[Rate], hours: float, fps: float = 25.0) -> str:
    """What `hours` of footage take, if all of it becomes clips, as a Markdown table."""
    lines = [f"| step | {hours:,.0f} hours: machine hours | stored, TB |", "|---|---|---|"]
    total = hours * 3600 * fps
    for rate in rates:
        per_frame = rate.seconds / rate.frames
        terabytes = total * rate.stored_mib / rate.frames / 2**20
        lines.append(f"| {rate.step} | {total * per_frame / 3600:,.0f} | {terabytes:,.1f} |")
    return "\n".join(lines) + "\n"


def count_flops() -> dict[str, float]:
    """TFLOP a frame of clips of 100 frames of 1024 x 512: of the VAE, and of BLIP's vision tower for five pictures."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BlipVisionConfig, BlipVisionModel

    from benchmarks.random_base import SIZES, random_base

    def count(work: Callable[[], object]) -> float:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops() / 1e12

    vae = random_base(SIZES["paper"], torch.float32, "meta").vae
    large = BlipVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    with torch.device("meta"):
        blip, frame, views = BlipVisionModel(large), torch.empty(1, 3, 512, 1024), torch.empty(5, 3, 384, 384)
    return {"encode": count(lambda: vae.encode(frame)), "caption": count(lambda: blip(views)) / 100}


@click.command(help=__doc__)
@click.option("--params", "params_file", default="params.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--clips", default="10", show_default=True, help="Numbers of clips, such as 10,1000.")
@click.option("--height", type=int, help="Rows of the footage and the clips; default: those of --params.")
@click.option("--frames", type=int, help="Frames of a clip; default: those of --params.")
@click.option("--captioner", help="BLIP folder; default: a random one of the real class at tiny size.")
@click.option("--plan", "hours", type=float, help="Hours of footage to plan for.")
@click.option("--flops", is_flag=True, help="Only count what the two networks compute for a frame.")
@click.option("--out", default="outputs/benchmarks", show_default=True, type=click.Path(path_type=Path))
def main(
    params_file: Path, clips: str, height: int | None, frames: int | None, captioner: str | None, hours: float | None,
    flops: bool, out: Path,
) -> None:  # fmt: skip
    """Write data-rates.json and .md, and print the table."""
    if flops:
        for step, tera in count_flops().items():
            click.echo(f"{step}: {tera:.3f} TFLOP a frame")
        return
    content = load_params(params_file).model_dump()
    if height:
        content["video"] |= {"height": height, "width": 2 * height}
    if frames:
        content["dataset"]["frames"] = frames
    if captioner:
        content["caption"]["captioner"] = captioner
    params = parse_params(content)
    rates: list[Rate] = []
    for count in map(int, clips.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rates += run(params, count, Path(folder))
    lines = [
        f"{params.video.width} x {params.video.height}, {params.dataset.frames} frames a clip, on {machine()}",
        "",
        "| clips | step | seconds | frames per second | peak MiB | stored MiB |",
        "|---|---|---|---|---|---|",
    ]
    for rate in rates:
        speed = rate.frames / rate.seconds
        lines.append(
            f"| {rate.clips} | {rate.step} | {rate.seconds} | {speed:.1f} | {rate.peak_mib} | {rate.stored_mib} |"
        )
    text = "\n".join(lines) + "\n"
    if hours:
        text += "\n" + plan(rates[-len(STEPS) :], hours)
    write_json(out / "data-rates.json", json.loads(json.dumps([asdict(rate) for rate in rates])))
    write_text(out / "data-rates.md", text)
    click.echo(text)


if __name__ == "__main__":
    main()
