"""Training steps and a video, beside diffusers' own AnimateDiff: `python -m benchmarks.diffusion`.

Random weights at the paper's size (16 x 512 x 1024, Stable Diffusion 1.5, motion modules, 360-Adapter). Each row is the
median of `--repeats` runs after one that is not counted; the rivals take turns, so that a machine that grows warm is
fair to all.

Utilisation is model FLOPs per second over what a large matrix product of the same type reaches in the same run. Model
FLOPs are counted on the meta device from the networks alone: activations that gradient checkpointing computes twice
count once.
"""

from __future__ import annotations

import copy
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import diffusers
import torch
from diffusers import AnimateDiffPipeline
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks.random_base import SIZES, RandomClips, Size, random_adapter, random_base
from core.device import default_device
from core.files import write_json, write_text
from core.model.adapter import inject_features
from core.model.pipeline import Pipeline360
from core.params_schema import AdapterTraining
from core.train.adapter import adapter_loss
from core.train.loop import LoopSettings, fit

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass
class Result:
    """One row of the table."""

    what: str
    seconds: float | None  # median; lower is better; None: out of memory
    peak_gib: float | None  # of GPU memory; None on a CPU
    tflop: float  # of the model
    utilisation: float | None  # of what a matrix product reaches, 0 to 1; higher is better


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP per second of a large square matrix product."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = min(_timed(lambda: a @ b, device)[0] for _ in range(10))
    return 2 * n**3 / seconds


def count_flops(size: Size, steps: int) -> dict[str, float]:
    """Model FLOPs of a guided video without and with the adapter, and of a training step of one clip."""
    base, adapter = random_base(size, torch.float32, "meta"), random_adapter(size, torch.float32, "meta")
    with torch.device("meta"):
        unet = base.motion_unet()

    def predict(batch: int, features: list[Tensor] | None = None) -> Tensor:
        text = torch.empty(batch * size.frames, size.tokens, size.text_width, device="meta")
        latents = torch.empty(batch, *size.latents, device="meta")
        with inject_features(unet, features):
            return unet(latents, torch.empty(batch, device="meta"), encoder_hidden_states=text, return_dict=False)[0]

    def condition() -> Tensor:
        return torch.empty(1, size.frames, 3, size.height, 2 * size.height, device="meta")

    def count(work: Callable[[], Any]) -> float:
        with FlopCounterMode(display=False) as counter:
            work()
        return float(counter.get_total_flops())

    with torch.no_grad():
        video = steps * count(lambda: predict(2))
        one_frame = torch.empty(1, 4, *size.latents[2:], device="meta")
        video += size.frames * count(lambda: base.vae.decode(one_frame))
        features = count(lambda: adapter(condition()))  # kept per rotation: four quarters of a turn
    return {
        "video": video,
        "video_adapter": video + min(4, steps) * features,
        "training": count(lambda: predict(1, adapter(condition())).sum().backward()),
    }


def _timed(work: Callable[[], Any], device: torch.device) -> tuple[float, float | None]:
    """Seconds and peak GPU memory in GiB of one run."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start, None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start, torch.cuda.max_memory_allocated(device) / 2**30


def rivals(size: Size, steps: int, dtype: torch.dtype, device: torch.device) -> dict[str, tuple[str, Callable]]:
    """What samples a video: label -> kind of FLOPs, and the work. One U-Net and one VAE serve all."""
    base, adapter = random_base(size, dtype, device), random_adapter(size, dtype, device).eval()
    ours, theirs = Pipeline360.from_base(base, adapter), Pipeline360.from_base(base)
    theirs.unet = ours.unet
    peer = AnimateDiffPipeline(
        vae=base.vae, text_encoder=base.text_encoder, tokenizer=None, unet=ours.unet, motion_adapter=None,
        scheduler=copy.deepcopy(base.scheduler),
    )  # fmt: skip
    for pipe in (ours, theirs, peer):
        pipe.set_progress_bar_config(disable=True)
    text = torch.randn(2, 1, size.tokens, size.text_width, generator=torch.Generator().manual_seed(2)).to(device, dtype)
    noise = torch.randn(1, *size.latents, generator=torch.Generator().manual_seed(3))
    common = {"height": size.height, "width": 2 * size.height, "guidance_scale": 7.5}

    def sample(pipe: Pipeline360, enhanced: bool) -> Any:
        return pipe(
            "", seeds=[0], frames=size.frames, steps=steps, latents=noise, prompt_embeddings=text[0],
            negative_embeddings=text[1], rotation=enhanced, circular_padding=enhanced, output_type="pt", **common,
        ).frames  # fmt: skip

    def sample_peer() -> Any:
        return peer(
            num_frames=size.frames, num_inference_steps=steps, latents=noise.to(device, dtype), prompt_embeds=text[0],
            negative_prompt_embeds=text[1], output_type="pt", **common,
        ).frames  # fmt: skip

    return {
        "diffusers AnimateDiffPipeline": ("video", sample_peer),
        "panobench A, AnimateDiff": ("video", lambda: sample(theirs, False)),
        "panobench D, 360DVD": ("video_adapter", lambda: sample(ours, True)),
    }


def training_step(size: Size, precision: str, checkpointing: bool, device: torch.device, repeats: int) -> list[Any]:
    """Seconds and peak memory of each training step of the 360-Adapter on one clip, in the real loop."""
    base, adapter = random_base(size, torch.float32, device), random_adapter(size, torch.float32, device)
    settings = AdapterTraining(kind="adapter", steps=repeats + 1, batch=1, learning_rate=1e-5, motion_dropout=0.0)
    unet = base.motion_unet()
    if checkpointing:
        unet.enable_gradient_checkpointing()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        losses = adapter_loss(base, unet, adapter, RandomClips(size), settings, size.frames, 0, stack)
        loop = LoopSettings(repeats + 1, 1e-5, precision=precision, checkpoint_every=10**9)
        rows = fit(adapter, losses, loop, Path(folder) / "last.pt", "benchmark", "training steps").rows
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    ends = [row.seconds for row in rows]
    return [(b - a, peak) for a, b in pairwise(ends)]


def measure(size: Size, steps: int, precision: str, repeats: int) -> tuple[list[Result], float]:
    """All rows, and the FLOP per second of a matrix product."""
    device, dtype = default_device(), _TYPES[precision]
    flops, rate = count_flops(size, steps), matmul_rate(dtype, device)
    runs: dict[str, list[Any]] = {}
    works = rivals(size, steps, dtype, device)
    for repeat in tqdm(range(repeats + 1), desc="videos", unit="round"):
        for label, (_, work) in works.items():
            found = _timed(work, device)
            if repeat:
                runs.setdefault(label, []).append(found)
    kinds = {label: kind for label, (kind, _) in works.items()}
    del works, work
    for checkpointing in (False, True):
        label = "panobench training step" + (", gradient checkpointing" if checkpointing else "")
        kinds[label] = "training"
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            runs[label] = training_step(size, precision, checkpointing, device, repeats)
        except torch.OutOfMemoryError:
            runs[label] = []
    return [_result(label, found, flops[kinds[label]], rate) for label, found in runs.items()], rate


def _result(label: str, runs: list[tuple[float, float | None]], flops: float, rate: float) -> Result:
    if not runs:
        return Result(label, None, None, flops / 1e12, None)
    seconds, peaks = statistics.median(run[0] for run in runs), [run[1] for run in runs if run[1] is not None]
    return Result(label, seconds, max(peaks, default=None), flops / 1e12, flops / seconds / rate)


def table(results: list[Result]) -> str:
    """The rows in Markdown."""
    lines = ["| | seconds | peak GPU memory (GiB) | model TFLOP | utilisation |", "|---|---:|---:|---:|---:|"]
    for row in results:
        peak = "-" if row.peak_gib is None else f"{row.peak_gib:.1f}"
        seconds = "out of memory" if row.seconds is None else f"{row.seconds:.3g}"
        share = "-" if row.utilisation is None else f"{row.utilisation:.1%}"
        lines.append(f"| {row.what} | {seconds} | {peak} | {row.tflop:.4g} | {share} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--size", type=click.Choice(list(SIZES)), default="paper", show_default=True, help="tiny: a smoke test.")
@click.option("--steps", type=click.IntRange(1), default=25, show_default=True, help="DDIM steps of the video.")
@click.option("--precision", type=click.Choice(list(_TYPES)), default="bf16", show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("outputs/benchmarks"), show_default=True)
def main(size: str, steps: int, precision: str, repeats: int, out: Path) -> None:
    """Time a training step and a video with random weights, beside diffusers' AnimateDiffPipeline in the same run.

    The training step is timed without and with gradient checkpointing; one that does not fit is said to be out of
    memory. Nothing is downloaded.
    """
    diffusers.utils.logging.set_verbosity_error()  # warns of every cast of a module
    device = default_device()
    if device.type != "cuda" and size == "paper":
        raise click.UsageError("no CUDA device here; the paper's size would take hours on a CPU (--size tiny works)")
    results, rate = measure(SIZES[size], steps, precision, repeats)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    shape = f"{SIZES[size].frames} x {SIZES[size].height} x {2 * SIZES[size].height}"
    heading = (
        f"{name}, {shape}, {steps} steps, {precision}, torch {torch.__version__}, diffusers {diffusers.__version__}; "
        f"a matrix product reaches {rate / 1e12:.4g} TFLOP/s."
    )
    write_text(out / f"diffusion-{size}.md", f"{heading}\n\n{table(results)}")
    write_json(out / f"diffusion-{size}.json", {"about": heading, "rows": [asdict(row) for row in results]})
    click.echo(f"{heading}\n\n{table(results)}")


if __name__ == "__main__":
    main()
