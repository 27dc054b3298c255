"""One clip scored beside the original packages: `python -m benchmarks.evaluation --page docs/speed.md`.

A clip of 16 x 512 x 1024 is scored with panobench's default metrics (those that are proven and need neither reference
nor true video, and LPIPS, whose proof waits for weights), and with what people call today for the same questions, one
after another over the same twelve views of every frame (benchmarks/evaluation_peers.py). Networks have their full size
and random weights: time depends on neither.

Same machine, same run, taking turns; seconds are the median of ``--repeats``, of the clock and of the processor: on a
machine that does other work too the second is the one to read. Then it is shown how cost grows: longer clips, and more
of them, each in a process of its own, with its peak memory.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import torch

from benchmarks.evaluation_peers import (
    FLOWS,
    MEAN,
    PEERS,
    PROMPT,
    SIZES,
    STD,
    Size,
    Work,
    load,
    raft_of_a_pair,
    write_clip,
)
from core.files import write_json, write_text
from evaluation.features import takes_truth
from evaluation.judge import Judge
from evaluation.manifest import Item
from evaluation.metrics import METRICS, create_metrics
from evaluation.metrics.proven import PROVEN
from evaluation.networks import Networks
from evaluation.perceptual import JudgeLpips, Lpips
from evaluation.score import Scorer
from evaluation.views import ViewOptions

_MUST_BE = 3.0
_RAFT_ROWS = 128  # it takes no smaller pictures


def default_metrics() -> list[str]:
    """The default set as far as it takes nothing but a video and its prompt, and LPIPS on views."""
    needs = {name: METRICS.get(name).needs for name in METRICS.names()}
    alone = [name for name in PROVEN if "reference" not in needs[name] and not takes_truth(needs[name])]
    return [name for name in METRICS.names() if name in alone or name == "tlpips"]


def panobench(work: Work, clips: int = 1) -> dict[str, float]:
    """Every default metric of the clip; of ``clips`` of them, one after another."""
    judge = Judge(work.model, work.tokenizer, work.side, MEAN, STD)
    metrics = create_metrics(dict.fromkeys(default_metrics()))
    views = ViewOptions().view_set(2 * work.size.height)
    networks = Networks(judge=judge, judge_lpips=JudgeLpips(judge), lpips=Lpips(work.trunk))
    scorer = Scorer(metrics, views, networks)
    for number in range(clips):
        measured = scorer.measure(Item(f"clip{number}", "m", "clip", PROMPT, 0, work.file))
    return {str(row["metric"]): float(str(row["value"])) for row in measured.rows}


# --- measuring -------------------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one call: of the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def compare(work: Work, repeats: int) -> dict[str, list[float]]:
    """Median seconds, of the clock and of the processor, of panobench and of every peer; they take turns."""
    calls: dict[str, Callable[[], Any]] = {"panobench": lambda: panobench(work)}
    calls |= {name: lambda peer=peer: peer(work) for name, peer in PEERS.items()}  # type: ignore[misc]
    runs = [{name: seconds_of(call) for name, call in calls.items()} for _ in range(repeats)]
    return {name: [statistics.median(run[name][kind] for run in runs) for kind in (0, 1)] for name in calls}


def grown(size: Size, frames: int, clips: int) -> dict[str, float]:
    """Seconds and peak memory in MiB of a fresh process that scores so many clips of so many frames."""
    code = f"from benchmarks.evaluation import child; child({size.height}, {frames}, {size.clip!r}, {clips})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"frames": frames, "clips": clips, **found}


def child(height: int, frames: int, clip: str | None, clips: int) -> None:
    """Score clips, and print what it took."""
    cv2.setNumThreads(torch.get_num_threads())
    size = Size(height, frames, clip)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_clip(file, size)
        work = load(size, file)
        clock, processor = seconds_of(lambda: panobench(work, clips))
    print(json.dumps({"clock": clock, "processor": processor, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Peak memory of this process; not of the one that it was forked from, which getrusage reports on Linux."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status does not say VmHWM")


@click.command()
@click.option("--size", "name", type=click.Choice(list(SIZES)), default="paper", show_default=True)
@click.option("--clip", "clip", help="Another model of open_clip, for example ViT-L-14.")
@click.option("--repeats", default=1, show_default=True)
@click.option("--growth/--no-growth", default=True, help="Also time and weigh longer clips and more of them.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("outputs/benchmarks"), show_default=True)
@click.option("--page", type=click.Path(path_type=Path), help="Also write the tables to this page.")
def main(name: str, clip: str | None, repeats: int, growth: bool, out: Path, page: Path | None) -> None:
    """Time panobench's default metrics beside the original packages."""
    cv2.setNumThreads(torch.get_num_threads())
    size = SIZES[name] if clip is None else Size(SIZES[name].height, SIZES[name].frames, clip)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_clip(file, size)
        work = load(size, file)
        seconds = compare(work, repeats)
        raft = seconds_of(lambda: raft_of_a_pair(work))[1] if size.height >= _RAFT_ROWS else None
    ours = seconds.pop("panobench")
    half = max(size.frames // 2, 2)
    record = {
        "size": {"height": size.height, "frames": size.frames, "clip": size.clip or "tiny"},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores",
        "metrics": default_metrics(),
        "panobench": ours,
        "peers": seconds,
        "ratio": [sum(pair[kind] for pair in seconds.values()) / ours[kind] for kind in (0, 1)],
        "raft": raft,
        "longer": [grown(size, frames, 1) for frames in (half, 2 * half, 4 * half, 8 * half)] if growth else [],
        "more": [grown(size, half, clips) for clips in (1, 2, 4)] if growth else [],
    }
    write_json(out / f"evaluation-{name}.json", record)
    text = report(record)
    write_text(out / f"evaluation-{name}.md", text)
    if page:
        command = " ".join(["python -m benchmarks.evaluation", *sys.argv[1:]])
        about = f"Written by `{command}`; what is compared with what, and why, is said in its two files."
        write_text(page, f"# The cost of scoring\n\n{about}\n\n{text}")
    click.echo(text)


def report(record: dict[str, Any]) -> str:
    """Markdown."""
    size, ours = record["size"], record["panobench"]
    total = [sum(pair[kind] for pair in record["peers"].values()) for kind in (0, 1)]
    lines = [
        f"A clip of {size['frames']} x {size['height']} x {2 * size['height']}, {size['clip']}, {record['machine']}.",
        "",
        "| | seconds | of the processor | in units of panobench's |",
        "|---|---:|---:|---:|",
        *(f"| {peer} | {s:.1f} | {cpu:.1f} | {cpu / ours[1]:.2f} |" for peer, (s, cpu) in record["peers"].items()),
        f"| all of them | {total[0]:.1f} | {total[1]:.1f} | **{record['ratio'][1]:.1f}** |",
        f"| panobench, {len(record['metrics'])} metrics | {ours[0]:.1f} | {ours[1]:.1f} | 1 |",
        "",
        f"By the clock the ratio is {record['ratio'][0]:.1f}, by the processor {record['ratio'][1]:.1f}; "
        f"the aim is {_MUST_BE:.0f}.",
    ]
    if record["raft"]:
        flows = FLOWS * (size["frames"] - 1)
        with_raft = (total[1] + flows * record["raft"]) / ours[1]
        lines += [
            "",
            "The flow of all is OpenCV's. With RAFT, which VBench and EvalCrafter follow, a pair takes "
            f"{record['raft']:.1f} s of the processor; three of these tools ask for {flows}, which would make "
            f"the ratio {with_raft:.0f}.",
        ]
    for title, rows in (("Longer clips", record["longer"]), ("More clips", record["more"])):
        if rows:
            lines += ["", f"{title}, each line a process of its own:", ""]
            lines += [
                "| clips | frames | seconds | of the processor | a frame | peak MiB |",
                "|---:|---:|---:|---:|---:|---:|",
            ]
            lines += [
                f"| {row['clips']} | {row['frames']} | {row['clock']:.1f} | {row['processor']:.1f} | "
                f"{row['processor'] / row['clips'] / row['frames']:.2f} | {row['peak_mib']:.0f} |"
                for row in rows
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
