"""One clip scored beside the original packages: `python -m benchmarks.evaluation`.

A clip of 16 x 512 x 1024 is scored with panobench's default metrics (those of params.yaml that need no reference, and
LPIPS), and with what people call today for the same questions, one after another over the same twelve views of every
frame: open_clip on views cut by py360convert, the `lpips` package, torchmetrics, OpenCV's flow. Every peer decodes the
clip and cuts its views itself, as separate tools do. What has no peer (seam, poles, gate, motion on the sphere) costs
panobench time and the peers nothing. Networks have their full size and random weights: time depends on neither.

Same machine, same run, taking turns; seconds are the median of `--repeats`. Peak memory is that of a fresh process.
"""

from __future__ import annotations

import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import click
import cv2
import lpips
import numpy as np
import open_clip
import py360convert
import torch
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from core.files import write_json, write_text
from core.params import load_params
from core.video import write_video
from evaluation.judge import Judge
from evaluation.manifest import Item
from evaluation.metrics import METRICS, create_metrics
from evaluation.networks import Networks
from evaluation.perceptual import Lpips
from evaluation.score import Scorer
from evaluation.views import VIEW_SETS, ViewOptions

PROMPT = "a castle behind the viewer, a meadow, a cloudy sky"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Size:
    """What is scored, and with which CLIP (a name of open_clip, or None for a tiny one)."""

    height: int
    frames: int
    clip: str | None


SIZES = {"paper": Size(512, 16, "ViT-B-32"), "tiny": Size(64, 4, None)}


@dataclass(frozen=True)
class Work:
    """Networks and a clip, the same for everybody."""

    model: Any
    tokenizer: Any
    side: int
    trunk: Any  # lpips.LPIPS
    file: Path
    size: Size

    @property
    def view_side(self) -> int:
        """Pixels of a view."""
        return ViewOptions().view_set(2 * self.size.height).size


def load(size: Size, file: Path) -> Work:
    """Random weights, the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if size.clip:
            model, side = open_clip.create_model(size.clip), 224
            tokenizer = open_clip.get_tokenizer(size.clip)
        else:
            side = 32
            vision = {"image_size": side, "patch_size": 16, "width": 32, "layers": 3, "head_width": 16}
            text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
            model, tokenizer = open_clip.CLIP(16, vision, text), open_clip.SimpleTokenizer()
        trunk = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    return Work(model.eval(), tokenizer, side, trunk.eval(), file, size)


def write_clip(file: Path, size: Size) -> None:
    """Drifting smooth texture that closes at the seam."""
    coarse = np.random.default_rng(0).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    picture = cv2.resize(np.tile(coarse, (1, 3, 1)), (6 * size.height, size.height), interpolation=cv2.INTER_CUBIC)
    picture = picture[:, 2 * size.height : 4 * size.height]
    write_video(file, (np.roll(picture, 3 * t, axis=1) for t in range(size.frames)), 8.0)


# --- panobench -------------------------------------------------------------------------------------------------------


def default_metrics() -> list[str]:
    """Those of params.yaml that need no reference, and LPIPS on views."""
    names = load_params("params.yaml").scoring.metrics
    return [n for n in METRICS.names() if (n in names and "reference" not in METRICS.get(n).needs) or n == "tlpips"]


def panobench(work: Work) -> dict[str, float]:
    """Every default metric of the clip."""
    judge = Judge(work.model, work.tokenizer, work.side, MEAN, STD)
    metrics = create_metrics(dict.fromkeys(default_metrics()))
    views = ViewOptions().view_set(2 * work.size.height)
    networks = Networks(judge=judge, lpips=Lpips(work.trunk))
    measured = Scorer(metrics, views, networks).measure(Item("clip", "m", "clip", PROMPT, 0, work.file))
    return {str(row["metric"]): float(str(row["value"])) for row in measured.rows}


# --- the original packages -------------------------------------------------------------------------------------------


def decode(work: Work) -> np.ndarray:
    """(F, H, W, 3) uint8."""
    with av.open(str(work.file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def cut_views(work: Work, frames: np.ndarray) -> list[list[np.ndarray]]:
    """The same twelve views of every frame, by py360convert."""
    side = work.view_side
    return [
        [
            py360convert.e2p(frame, (90, 90), yaw if yaw <= 180 else yaw - 360, pitch, (side, side), mode="bilinear")
            for yaw, pitch in VIEW_SETS["sphere12"]
        ]
        for frame in frames
    ]


@torch.inference_mode()
def clip_embeddings(work: Work, frames: np.ndarray) -> torch.Tensor:
    """(F, V, D) by open_clip and its own preprocessing."""
    from PIL import Image

    preprocess = open_clip.image_transform(work.side, is_train=False, mean=MEAN, std=STD)
    found = []
    for views in cut_views(work, frames):
        pictures = torch.stack([preprocess(Image.fromarray(view)) for view in views])
        found.append(work.model.encode_image(pictures, normalize=True))
    return torch.stack(found)


@torch.inference_mode()
def peer_alignment(work: Work) -> float:
    """CLIP score of all views."""
    text = work.model.encode_text(work.tokenizer([PROMPT]), normalize=True)[0]
    return float((clip_embeddings(work, decode(work)) @ text).mean())


@torch.inference_mode()
def peer_directional(work: Work) -> float:
    """CLIP score of the parts of the prompt; a tool of its own sees all views and picks."""
    parts = work.model.encode_text(work.tokenizer(["a castle", "a cloudy sky"]), normalize=True)
    embeddings = clip_embeddings(work, decode(work))
    return float(((embeddings[:, 2] @ parts[0]).mean() + (embeddings[:, 4:8] @ parts[1]).mean()) / 2)


def peer_consistency(work: Work) -> float:
    """CLIP similarity to the previous and the first frame (VBench)."""
    x = clip_embeddings(work, decode(work))
    return float((((x[1:] * x[:-1]).sum(-1) + (x[1:] * x[:1]).sum(-1)) / 2).mean())


@torch.inference_mode()
def peer_lpips(work: Work) -> float:
    """LPIPS of consecutive views, by the lpips package."""
    views = torch.from_numpy(np.array(cut_views(work, decode(work)))).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return float(torch.stack([work.trunk(a, b).mean() for a, b in itertools.pairwise(views)]).mean())


@torch.inference_mode()
def peer_ssim(work: Work) -> float:
    """SSIM of consecutive views, by torchmetrics: flicker as VBench-like suites measure it."""
    views = torch.from_numpy(np.array(cut_views(work, decode(work)))).permute(0, 1, 4, 2, 3).float() / 255
    return float(torch.stack([ssim(a, b, data_range=1.0) for a, b in itertools.pairwise(views)]).mean())


def _planar_flow(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b)]
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)  # type: ignore[call-overload]


def peer_warping(work: Work) -> float:
    """Warping error (Lai et al. 2018), planar, both directions of flow."""
    frames = decode(work)
    height, width = frames.shape[1:3]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    errors = []
    for a, b in itertools.pairwise(frames):
        flow, back = _planar_flow(a, b), _planar_flow(b, a)
        at = columns + flow[..., 0], rows + flow[..., 1]
        warped, home = (cv2.remap(x, *at, cv2.INTER_LINEAR) for x in (b, back))
        seen = np.square(flow + home).sum(-1) < 0.01 * (np.square(flow) + np.square(home)).sum(-1) + 0.5
        errors.append(np.abs(a.astype(float) - warped)[seen].mean())
    return float(np.mean(errors))


def peer_motion(work: Work) -> float:
    """Mean length of planar flow: the dynamic degree of VBench."""
    frames = decode(work)
    return float(np.mean([np.linalg.norm(_planar_flow(a, b), axis=-1).mean() for a, b in itertools.pairwise(frames)]))


PEERS: dict[str, Callable[[Work], float]] = {
    "CLIP alignment (open_clip)": peer_alignment,
    "directional alignment (open_clip)": peer_directional,
    "CLIP frame consistency (open_clip)": peer_consistency,
    "tLPIPS (lpips)": peer_lpips,
    "SSIM of views (torchmetrics)": peer_ssim,
    "warping error (OpenCV)": peer_warping,
    "motion (OpenCV)": peer_motion,
}


# --- measuring -------------------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_of(size: str, frames: int, clip: bool) -> float:
    """Peak memory in MiB of a fresh process that scores one clip; ``clip``: with networks."""
    code = f"from benchmarks.evaluation import child; child({size!r}, {frames}, {clip})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def child(name: str, frames: int, clip: bool) -> None:
    """Score one clip of so many frames, and print the process's peak memory in MiB."""
    size = Size(SIZES[name].height, frames, SIZES[name].clip)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_clip(file, size)
        if clip:
            panobench(load(size, file))
        else:
            score_pixels(file)
    print(json.dumps(peak_mib()))


def peak_mib() -> float:
    """Peak memory of this process; not of the one that it was forked from, which getrusage reports on Linux."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status does not say VmHWM")


def score_pixels(file: Path) -> None:
    """The default metrics that need no network."""
    names = [n for n in default_metrics() if METRICS.get(n).needs <= {"flow"}]
    metrics = create_metrics(dict.fromkeys(names))
    Scorer(metrics).measure(Item("clip", "m", "clip", None, 0, file))


@click.command()
@click.option("--size", "name", type=click.Choice(list(SIZES)), default="paper", show_default=True)
@click.option("--clip", "clip", help="Another model of open_clip, for example ViT-L-14.")
@click.option("--repeats", default=1, show_default=True)
@click.option("--growth/--no-growth", default=True, help="Also time and weigh longer clips and more of them.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("outputs/benchmarks"), show_default=True)
def main(name: str, clip: str | None, repeats: int, growth: bool, out: Path) -> None:
    """Time panobench's default metrics beside the original packages."""
    size = SIZES[name] if clip is None else Size(SIZES[name].height, SIZES[name].frames, clip)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_clip(file, size)
        work = load(size, file)
        ours: list[float] = []
        theirs: dict[str, list[float]] = {peer: [] for peer in PEERS}
        for _ in range(repeats):
            ours.append(seconds_of(lambda: panobench(work)))
            for peer, call in PEERS.items():
                theirs[peer].append(seconds_of(lambda call=call: call(work)))  # type: ignore[misc]
        grown = _growth(name, size, Path(folder)) if growth else {}
    median = {peer: statistics.median(values) for peer, values in theirs.items()}
    record = {
        "size": {"height": size.height, "frames": size.frames, "clip": size.clip or "tiny"},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "metrics": default_metrics(),
        "panobench": statistics.median(ours),
        "peers": median,
        "ratio": sum(median.values()) / statistics.median(ours),
        **grown,
    }
    write_json(out / f"evaluation-{name}.json", record)
    text = report(record)
    write_text(out / f"evaluation-{name}.md", text)
    click.echo(text)


def _growth(name: str, size: Size, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of longer clips and of more clips, without networks, whose time per view is constant."""
    lengths = [size.frames, 2 * size.frames, 4 * size.frames]
    seconds = []
    for frames in lengths:
        file = folder / f"{frames}.mp4"
        write_clip(file, Size(size.height, frames, None))
        seconds.append(seconds_of(lambda file=file: score_pixels(file)))  # type: ignore[misc]
    file = folder / f"{size.frames}.mp4"
    many = [seconds_of(lambda n=n: [score_pixels(file) for _ in range(n)]) for n in (1, 2, 4)]  # type: ignore[misc]
    return {
        "frames": {"frames": lengths, "seconds": seconds, "peak_mib": [peak_of(name, n, clip=False) for n in lengths]},
        "clips": {"clips": [1, 2, 4], "seconds": many},
        "peak_mib_with_networks": peak_of(name, size.frames, clip=True),
    }


def report(record: dict[str, Any]) -> str:
    """Markdown."""
    size = record["size"]
    lines = [
        f"A clip of {size['frames']} x {size['height']} x {2 * size['height']}, {size['clip']}, {record['machine']}.",
        "",
        "| | seconds | of panobench |",
        "|---|---:|---:|",
        *(f"| {peer} | {s:.1f} | {s / record['panobench']:.2f} |" for peer, s in record["peers"].items()),
        f"| all of them | {sum(record['peers'].values()):.1f} | **{record['ratio']:.1f}** |",
        f"| panobench, {len(record['metrics'])} metrics | {record['panobench']:.1f} | 1 |",
    ]
    if "frames" in record:
        grown, many = record["frames"], record["clips"]
        lines += [
            "",
            "Without networks:",
            "",
            "| frames | seconds | seconds a frame | peak MiB |",
            "|---:|---:|---:|---:|",
        ]
        rows = zip(grown["frames"], grown["seconds"], grown["peak_mib"], strict=True)
        lines += [f"| {n} | {s:.1f} | {s / n:.3f} | {peak:.0f} |" for n, s, peak in rows]
        lines += ["", "| clips | seconds | seconds a clip |", "|---:|---:|---:|"]
        lines += [f"| {n} | {s:.1f} | {s / n:.2f} |" for n, s in zip(many["clips"], many["seconds"], strict=True)]
        lines += ["", f"Peak memory with the networks: {record['peak_mib_with_networks']:.0f} MiB."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
