"""One clip scored beside the original packages: `python -m benchmarks.evaluation --page docs/speed.md`.

A clip of 16 x 512 x 1024 is scored with panobench's default metrics (those that are proven and need neither reference
nor true video, and LPIPS, whose proof waits for weights), and with what people call today for some of these questions,
one after another over the same twelve views of every frame (benchmarks/evaluation_peers.py); then with only those
metrics that answer what the peers are asked, and with networks in bfloat16. Networks have their full size and random
weights: time depends on neither.

Same machine, same run, taking turns, and everybody has all cores, as the packages do unless they are told otherwise.
Seconds are the median of ``--repeats``: by the clock, which is what a user waits, and of the processor, all cores
together, which is what counts where other work fills the cores. Then how far bfloat16 moves each metric of that clip,
also with the judge of the nano profile, which is trained; and how cost grows: longer clips, and more of them, each in a
process of its own, with its peak memory.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
import cv2
import torch

from benchmarks.evaluation_peers import (
    FLOWS,
    MEAN,
    PEERS,
    PROMPT,
    SAME_QUESTIONS,
    SIZES,
    STD,
    Size,
    Work,
    load,
    raft_of_a_pair,
    write_clip,
)
from core.files import write_json, write_text
from evaluation.features import roles_of, takes_truth
from evaluation.judge import Judge, load_judge
from evaluation.manifest import Item
from evaluation.metrics import METRICS, create_metrics
from evaluation.metrics.proven import PROVEN
from evaluation.networks import Networks
from evaluation.perceptual import JudgeLpips, Lpips
from evaluation.precision import Precision
from evaluation.score import Scorer
from evaluation.views import ViewOptions

_MUST_BE = 3.0
NANO_JUDGE = Path(__file__).parents[1] / "assets" / "nano" / "judge"
_RAFT_ROWS = 128  # it takes no smaller pictures


def default_metrics() -> list[str]:
    """The default set as far as it takes nothing but a video and its prompt, and LPIPS on views."""
    needs = {name: METRICS.get(name).needs for name in METRICS.names()}
    alone = [name for name in PROVEN if "reference" not in needs[name] and not takes_truth(needs[name])]
    return [name for name in METRICS.names() if name in alone or name == "tlpips"]


def panobench(
    work: Work, names: Sequence[str] | None = None, clips: int = 1, judge: Judge | None = None
) -> dict[str, float]:
    """These metrics of the clip, by default the default set; of ``clips`` of them, one after another."""
    judge = judge or Judge(work.model, work.tokenizer, work.side, MEAN, STD)
    metrics = create_metrics(dict.fromkeys(names or default_metrics()))
    views = ViewOptions().view_set(2 * work.size.height)
    asked = roles_of(set[str]().union(*(metric.needs for metric in metrics)))
    judge_lpips = JudgeLpips(judge) if "judge_lpips" in asked else None
    scorer = Scorer(metrics, views, Networks(judge=judge, judge_lpips=judge_lpips, lpips=Lpips(work.trunk)))
    for number in range(clips):
        measured = scorer.measure(Item(f"clip{number}", "m", "clip", PROMPT, 0, work.file))
    return {str(row["metric"]): float(str(row["value"])) for row in measured.rows}


# --- measuring -------------------------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of one call: of the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def compare(work: Work, coarse: Work, repeats: int) -> dict[str, list[float]]:
    """Median seconds, of the clock and of the processor, of panobench and of every peer; they take turns.

    Args:
        work: in float32, for all.
        coarse: the same in bfloat16.
        repeats: turns.
    """
    calls: dict[str, Callable[[], Any]] = {
        "default": lambda: panobench(work),
        "same questions": lambda: panobench(work, SAME_QUESTIONS),
        "default, bf16": lambda: panobench(coarse),
        "same questions, bf16": lambda: panobench(coarse, SAME_QUESTIONS),
    }
    calls |= {name: lambda peer=peer: peer(work) for name, peer in PEERS.items()}  # type: ignore[misc]
    runs = [{name: seconds_of(call) for name, call in calls.items()} for _ in range(repeats)]
    return {name: [statistics.median(run[name][kind] for run in runs) for kind in (0, 1)] for name in calls}


def drift(fine: Mapping[str, float], coarse: Mapping[str, float]) -> dict[str, list[float]]:
    """Metric -> its value in float32 and in bfloat16, where the two differ."""
    return {name: [value, coarse[name]] for name, value in fine.items() if coarse[name] != value}


def drifts(work: Work, coarse: Work) -> dict[str, dict[str, list[float]]]:
    """Judge -> ``drift``: of the random one of the run, and of the trained one of the nano profile."""
    fine_judge, coarse_judge = (load_judge(NANO_JUDGE, precision=precision) for precision in get_args(Precision))
    names = [name for name in default_metrics() if name != "tlpips"]  # it does not ask the judge
    return {
        f"{work.size.clip or 'tiny'}, random": drift(panobench(work), panobench(coarse)),
        "nano judge, trained": drift(
            panobench(work, names, judge=fine_judge), panobench(coarse, names, judge=coarse_judge)
        ),
    }


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
        clock, processor = seconds_of(lambda: panobench(work, clips=clips))
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
        work, coarse = (load(size, file, precision) for precision in get_args(Precision))
        seconds = compare(work, coarse, repeats)
        moved = drifts(work, coarse)
        raft = seconds_of(lambda: raft_of_a_pair(work))[1] if size.height >= _RAFT_ROWS else None
    ours = {name: seconds.pop(name) for name in list(seconds) if name not in PEERS}
    peers = [sum(pair[kind] for pair in seconds.values()) for kind in (0, 1)]
    half = max(size.frames // 2, 2)
    record = {
        "size": {"height": size.height, "frames": size.frames, "clip": size.clip or "tiny"},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} of its {os.cpu_count()} cores",
        "metrics": default_metrics(),
        "panobench": ours,
        "peers": seconds,
        "ratio": {name: [peers[kind] / pair[kind] for kind in (0, 1)] for name, pair in ours.items()},
        "drift": moved,
        "raft": raft,
        "longer": [grown(size, frames, 1) for frames in (half, 2 * half, 4 * half, 8 * half, 16 * half)]
        if growth
        else [],
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


def report(record: Mapping[str, Any]) -> str:
    """Markdown."""
    size, ratio = record["size"], record["ratio"]
    gain = ratio["default, bf16"][0] / ratio["default"][0]
    lines = [
        f"A clip of {size['frames']} x {size['height']} x {2 * size['height']}, {size['clip']}, {record['machine']}.",
        "",
        *_seconds_table(record),
        "",
        *_raft(record),
        "## Networks in bfloat16",
        "",
        "`panobench score --precision bf16` lets the judge and LPIPS count in bfloat16. It is not the default. On this "
        f"processor the default set is {gain:.1f} times as fast with it; on one without instructions for it, it may be "
        "slower. What it moves on this clip, relative to the value (metrics that ask neither network stay as they are, "
        "to the bit):",
        "",
        *_drift_table(record["drift"]),
    ]
    if record["longer"]:
        lines += ["", "## How it grows", ""]
    for title, rows in (("Longer clips", record["longer"]), ("More clips", record["more"])):
        if rows:
            lines += [f"{title}, each line a process of its own:", "", *_growth_table(rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _seconds_table(record: Mapping[str, Any]) -> list[str]:
    peers = record["peers"].values()
    total = [sum(pair[kind] for pair in peers) for kind in (0, 1)]
    clock, processor = record["ratio"]["default"]
    said = {
        "default": f"panobench, the default set: {len(record['metrics'])} metrics",
        "same questions": f"panobench, the {len(SAME_QUESTIONS)} metrics that answer what the peers do",
        "default, bf16": "panobench, the default set, networks in bfloat16",
        "same questions, bf16": f"panobench, these {len(SAME_QUESTIONS)}, networks in bfloat16",
    }
    return [
        "| | seconds | the peers take so many times as much | of the processor | so many times as much |",
        "|---|---:|---:|---:|---:|",
        *(f"| {peer} | {s:.1f} | | {cpu:.1f} | |" for peer, (s, cpu) in record["peers"].items()),
        f"| all of them | {total[0]:.1f} | 1 | {total[1]:.1f} | 1 |",
        *(
            f"| {said[name]} | {s:.1f} | **{record['ratio'][name][0]:.1f}** | {cpu:.1f} | "
            f"{record['ratio'][name][1]:.1f} |"
            for name, (s, cpu) in record["panobench"].items()
        ),
        "",
        f"The default set is {clock:.1f} times as fast as the peers by the clock; the aim is {_MUST_BE:.0f}. Of the "
        f"processor, all cores together, the peers take {processor:.1f} times as much. The rest is cores that they "
        "leave idle while Pillow and py360convert cut and resize one view after another: panobench looks at one frame "
        "on each.",
    ]


def _raft(record: Mapping[str, Any]) -> list[str]:
    """What RAFT would make of it, if it was timed."""
    if not record["raft"]:
        return []
    flows = FLOWS * (record["size"]["frames"] - 1)
    total = sum(processor for _, processor in record["peers"].values()) + flows * record["raft"]
    return [
        "The flow of all is OpenCV's. With RAFT, which VBench and EvalCrafter follow, a pair takes "
        f"{record['raft']:.1f} s of the processor; three of these tools ask for {flows}, which would make the ratio of "
        f"processor time {total / record['panobench']['default'][1]:.0f}.",
        "",
    ]


def _drift_table(drifts: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    lines = ["| metric | judge | float32 | bfloat16 | moved by |", "|---|---|---:|---:|---:|"]
    return lines + [
        f"| {name} | {judge} | {fine:.5g} | {coarse:.5g} | {abs(coarse - fine) / abs(fine):.2%} |"
        for judge, moved in drifts.items()
        for name, (fine, coarse) in moved.items()
    ]


def _growth_table(rows: Sequence[Mapping[str, float]]) -> list[str]:
    lines = [
        "| clips | frames | seconds | of the processor | a frame | peak MiB |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {row['clips']} | {row['frames']} | {row['clock']:.1f} | {row['processor']:.1f} | "
        f"{row['processor'] / row['clips'] / row['frames']:.2f} | {row['peak_mib']:.0f} |"
        for row in rows
    ]


if __name__ == "__main__":
    main()
