"""Parts of prompts that name a direction, and whether they are seen there."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.nano.render import render_clip
from core.nano.scene import Camera, Thing, sample_scene
from core.sphere import erp_directions
from evaluation.directions import DIRECTIONS, Part, parts_of, view_shares
from evaluation.features import extract_features
from evaluation.judge import load_judge
from evaluation.metrics import create_metrics
from evaluation.metrics.directional_alignment import placed_alignment
from evaluation.networks import Networks
from evaluation.views import VIEW_SETS, ViewSet


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a castle behind the viewer, birds above", [("a castle", "behind"), ("birds", "above")]),
        ("a lake to the left and a forest on the right", [("a lake", "left"), ("a forest", "right")]),
        ("a road straight ahead; behind us a village", [("a road", "ahead"), ("a village", "behind")]),
        ("overhead, a hot air balloon", [("a hot air balloon", "above")]),
        ("a meadow, surrounded by mountains, cloudy sky", [("mountains", "horizon"), ("cloudy sky", "above")]),
        ("mountains at the horizon, clouds in the sky", [("mountains", "horizon"), ("clouds in the sky", "above")]),
        ("A Red Carpet Underfoot", [("a red carpet", "below")]),
        ("a dog in front of me", [("a dog", "ahead")]),
        ("a red balloon above a green meadow", []),
        ("a cat behind a sofa", []),
        ("the left bank of the river", []),
        ("", []),
    ],
)
def test_what_is_bound_to_the_viewers_directions(prompt: str, expected: list):
    assert parts_of(prompt) == [Part(*part) for part in expected]


@pytest.mark.parametrize("name", sorted(VIEW_SETS))
def test_views_of_a_direction_look_there(name: str):
    views = ViewSet(name, 90, 32)
    for direction, goals in DIRECTIONS.items():
        shares = view_shares(direction, views.centres.numpy(), views.weights().numpy())
        assert shares.sum() == pytest.approx(1)
        for (yaw, pitch), share in zip(VIEW_SETS[name], shares, strict=True):
            apart = min(_angle((yaw, pitch), goal) for goal in goals)
            assert share == 0 or apart <= 50


def _angle(a: tuple[float, float], b: tuple[float, float]) -> float:
    (y, p), (v, q) = (tuple(math.radians(x) for x in pair) for pair in (a, b))
    return math.degrees(math.acos(min(1, math.sin(p) * math.sin(q) + math.cos(p) * math.cos(q) * math.cos(y - v))))


def test_the_score_is_the_definition():
    rng = np.random.default_rng(0)
    views, parts = (
        x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (rng.normal(size=(3, 4, 8)), rng.normal(size=(2, 8)))
    )
    shares = np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0]])
    by_hand = [(parts[0] @ f[0] + (parts[1] @ f[1] + parts[1] @ f[2]) / 2) / 2 for f in views]
    np.testing.assert_allclose(placed_alignment(views, parts, shares), by_hand)


def test_a_thing_is_found_where_the_prompt_places_it_and_nowhere_else():
    """The nano judge on scenes with one thing, planted in each direction in turn."""
    judge = load_judge(Path(__file__).parents[2] / "assets/nano/judge")
    metric = create_metrics({"directional_alignment": {}})[0]
    views = ViewSet("sphere12", 90, 64)
    rays = erp_directions(128, 256, dtype=torch.float64).numpy()
    where = {"behind the viewer": 180, "to the left": -90, "to the right": 90, "straight ahead": 0}
    hits = 0
    for azimuth in where.values():
        angle = math.radians(azimuth)
        ball = Thing("ball", "red", (5 * math.sin(angle), 1.8, 5 * math.cos(angle)), 1.8, 0.0, (0.0, 0.0, 0.0))
        scene = replace(sample_scene(1, "test", 3), things=(ball,), camera=Camera(), time="noon", terrain="meadow")
        frames = np.repeat(render_clip(scene, rays, [0]), 2, axis=0)
        scores = {}
        for words, yaw in where.items():
            needs = {"views", "prompt", "prompt_parts"}
            prompt = f"a red ball on a green meadow {words}"
            scores[yaw] = metric.measure(extract_features(frames, 8.0, needs, views, Networks(judge), prompt))
        hits += max(scores, key=lambda yaw: scores[yaw]) == azimuth
    assert hits == 4


def test_a_prompt_that_places_nothing_gives_no_value(judge, tmp_path):
    from core.video import write_video
    from evaluation.manifest import Item
    from evaluation.score import Scorer
    from tests.evaluation.worlds import turning

    write_video(tmp_path / "a.mp4", turning(2.0, frames=3, height=32), 8)
    metrics = create_metrics({"directional_alignment": {}, "clip_alignment": {}})
    scorer = Scorer(metrics, ViewSet("sphere12", 90, 32), Networks(judge))
    for prompt, names in (
        ("a dog", ["clip_alignment"]),
        ("a dog behind us", ["clip_alignment", "directional_alignment"]),
    ):
        measured = scorer.measure(Item("a", "m", "a", prompt, 0, tmp_path / "a.mp4"))
        assert sorted(row["metric"] for row in measured.rows) == names
