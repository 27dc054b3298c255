"""A small reproduction with real files: three methods and four prompts, really scored, and traces of two trainings."""

import json
import math
from pathlib import Path

import numpy as np
import yaml

from core.files import sha256
from core.video import write_video
from evaluation.manifest import read_videos
from evaluation.metrics import create_metrics
from evaluation.records import settings_of, table, write_scores
from evaluation.rules import check_videos
from evaluation.score import Scorer, score_videos
from tests.evaluation.worlds import FPS, stretched, turning

HEIGHT, FRAMES = 32, 4
PROMPTS = {"p0": "a <b>red</b> ball & a lake", "p1": "dunes at noon", "p2": "snow at night", "p3": "a quiet meadow"}
PROMPTS |= {"p4": "a tower at dusk", "p5": "the sea"}
METRICS = ("seam_ratio", "seam_step", "flicker", "motion_speed")
LABELS = {"flat": "A: Flat picture", "round": "B: Panorama", "shaky": "C: Shaky panorama"}


def clip(method: str, seed: int) -> np.ndarray:
    if method == "flat":  # a seam, no motion
        return stretched(FRAMES, HEIGHT, seed)
    frames = turning(2.0, frames=FRAMES, height=HEIGHT, seed=seed)
    if method == "shaky":  # no seam, flicker
        noise = np.random.default_rng(seed).normal(0, 12, (FRAMES, 1, 1, 1))
        frames = (frames + noise).clip(0, 255).round().astype(np.uint8)
    return frames


def write_videos(folder: Path, method: str, prompts: dict[str, str] = PROMPTS, height_factor: int = 1) -> None:
    motion = "still" if method == "shaky" else None
    generator = {"steps": 16, "motion": motion, "negative_prompt": "", "code_sha256": "ab" * 32}
    rows = []
    for number, (prompt_id, prompt) in enumerate(prompts.items()):
        frames = clip(method, number).repeat(height_factor, 1).repeat(height_factor, 2)
        path = folder / f"{prompt_id}-0.mp4"
        write_video(path, frames, FPS)
        rows.append(
            {
                "id": path.stem,
                "method": method,
                "prompt_id": prompt_id,
                "prompt": prompt,
                "seed": 0,
                "path": path.name,
                "frames": FRAMES,
                "fps": FPS,
                "height": frames.shape[1],
                "width": frames.shape[2],
                "sha256": sha256(path),
                "provenance": {"recipe_sha256": "ab" * 32, "git_commit": "0" * 40, "generator": generator},
            }
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_scored(videos: Path, out: Path, metrics: tuple[str, ...] = METRICS) -> None:
    """Score as `panobench score` does, without a judge."""
    found = read_videos(videos)
    items, problems, info = check_videos(found)
    assert info is not None
    assert not problems
    scorer = Scorer(create_metrics(dict.fromkeys(metrics)))
    rows = score_videos(items, scorer).rows
    scores = table(rows, scorer.metrics)
    write_scores(out, found.method, scores, settings_of(scorer, info, len(items), [], 400, 7), 400, 7)


def write_reproduction(root: Path) -> Path:
    """``outputs/nano`` under ``root``, and a params.yaml beside it; returns ``outputs/nano``."""
    outputs = root / "outputs" / "nano"
    for method in LABELS:
        write_videos(outputs / "videos" / method, method)
        write_scored(outputs / "videos" / method, outputs / "scores" / method)
        recipe = {"method": method, "rotation": method != "flat", "weights": {"base/unet": "cd" * 32}, "lora": None}
        (outputs / "recipes").mkdir(exist_ok=True)
        (outputs / "recipes" / f"{method}.json").write_text(json.dumps(recipe), encoding="utf-8")
    for number, model in enumerate(("small_lora", "small_adapter")):
        folder = outputs / "models" / model
        folder.mkdir(parents=True)
        training = {"model": model, "training": {"learning_rate": 5e-4, "steps": 30}, "seed": 3}
        (folder / "training.json").write_text(json.dumps(training), encoding="utf-8")
        lines = [f"{s},{math.exp(-s / 9) + 0.1 * number:.6f},0.0005,{s * 0.5}" for s in range(1, 31)]
        (folder / "history.csv").write_text("step,loss,lr,seconds\n" + "\n".join(lines) + "\n", encoding="utf-8")
    params = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    params["methods"] = {name: {"label": label} for name, label in LABELS.items()}
    params["training"] = {"small_lora": {**_LORA}, "small_adapter": {**_ADAPTER}}
    params["run"] = {"models": ["small_lora", "small_adapter"], "methods": list(LABELS)}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return outputs


_LORA = {"kind": "lora", "steps": 30, "batch": 2, "learning_rate": 0.0005, "rank": 4, "trigger": "a 360 panorama of"}
_ADAPTER = {"kind": "adapter", "steps": 30, "batch": 2, "learning_rate": 0.0005}
