"""What scoring leaves: the long table, the summary and the settings; aggregated once, over all videos of one method.

Files written
    ``scores.parquet``: one row per video and metric (columns ``COLUMNS``), sorted.
    ``metrics.json``: mean and interval per metric; for metrics of the whole set the value, its interval and the
    real-against-real floor, or under ``refused`` why there is none.
    ``sets.parquet``: half-samples behind the intervals of the metrics of the whole set; absent without such a metric.
    ``settings.json``: what produced the numbers: view set, judge and its hash, precision, parameters, reference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.files import atomic_path, write_json
from core.video import VideoInfo
from evaluation.metrics.base import AnyMetric
from evaluation.score import Measured, Scorer
from evaluation.sets import SetScore, score_set, summary_of
from evaluation.statistics import summarise

COLUMNS = (
    "video_id",
    "method",
    "prompt_id",
    "seed",
    "metric",
    "value",
    "unit",
    "direction",
    "criterion",
    "metric_version",
)
SCHEMA = 1
LEVEL = 0.95  # nominal coverage of every interval


def score_sets(scorer: Scorer, measured: Measured, seed: int = 0) -> dict[str, SetScore | str]:
    """The metrics of the whole set, once all videos are gathered: a score, or the line that says why there is none."""
    videos = sorted(measured.prompts)
    prompts = [measured.prompts[video] for video in videos]
    scores = {}
    for metric in scorer.of_sets:
        described = np.stack([measured.described[metric.name][video] for video in videos])
        scores[metric.name] = score_set(metric, described, prompts, scorer.references[metric.name], LEVEL, seed)
    return scores


def table(rows: Sequence[Mapping[str, object]], metrics: Sequence[AnyMetric]) -> pd.DataFrame:
    """The long table in its one order: metrics as listed, then videos by id; however the rows were gathered."""
    order = {metric.name: index for index, metric in enumerate(metrics)}
    ordered = sorted(rows, key=lambda row: (order[str(row["metric"])], str(row["video_id"])))
    return pd.DataFrame(ordered, columns=list(COLUMNS))


def write_scores(
    out: str | Path,
    method: str,
    scores: pd.DataFrame,  # from table(), one method
    settings: Mapping[str, object],  # goes to settings.json as it is
    resamples: int = 2000,
    seed: int = 0,
    sets: Mapping[str, SetScore | str] | None = None,  # from score_sets()
    metrics: Sequence[AnyMetric] = (),  # required for sets
) -> dict[str, Any]:
    """Aggregate once and write the files (module docstring); returns what ``metrics.json`` holds."""
    out = Path(out)
    summary: dict[str, Mapping[str, object]] = dict(summarise(scores, resamples=resamples, level=LEVEL, seed=seed))
    refused = {}
    draws = []
    for metric in metrics:
        score = (sets or {}).get(metric.name)
        if isinstance(score, str):
            refused[metric.name] = score
        elif score is not None:
            summary[metric.name] = summary_of(metric, score)
            draws.append(pd.DataFrame({"metric": metric.name, "draw": range(len(score.draws)), "value": score.draws}))
    record = {"schema": SCHEMA, "method": method, "metrics": summary, "refused": refused}
    with atomic_path(out / "scores.parquet") as path:
        scores.to_parquet(path, index=False)
    (out / "sets.parquet").unlink(missing_ok=True)
    if draws:
        with atomic_path(out / "sets.parquet") as path:
            pd.concat(draws).to_parquet(path, index=False)
    write_json(out / "settings.json", settings)
    write_json(out / "metrics.json", record)
    return record


def settings_of(
    scorer: Scorer, info: VideoInfo, videos: int, reference: Sequence[Path], resamples: int, seed: int
) -> dict[str, object]:
    """What produced the numbers, for the report's methods section; the same inputs give the same record."""
    views, judge = scorer.views, scorer.networks.judge
    return {
        "schema": SCHEMA,
        "videos": {"count": videos, "frames": info.frames, "fps": info.fps, "height": info.height, "width": info.width},
        "resample": scorer.resample.record() if scorer.resample else None,
        "views": {"set": views.name, "fov_deg": views.fov_deg, "size": views.size} if views else None,
        "judge": {"name": judge.name, "sha256": judge.sha256} if judge else None,
        "networks": scorer.networks.record(),
        "precision": scorer.networks.precision,
        "reference_videos": len(reference),
        "bootstrap": {"resamples": resamples, "level": LEVEL, "seed": seed, "interval": "expanded percentile"},
        "metrics": {
            m.name: {"version": m.version, "summary": m.summary, "parameters": m.model_dump()} for m in scorer.metrics
        },
    }
