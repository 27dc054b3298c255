"""The distribution of motion per latitude: its distance between sets whose motion is known."""

import math

import numpy as np
import pytest
import torch

from core.sphere import erp_directions, rotation_matrix
from evaluation.features import extract_features
from evaluation.metrics import create_metrics
from evaluation.metrics.motion_distribution import compressed_velocities, projected_histograms, sliced_distance
from evaluation.sets import score_set
from tests.evaluation.worlds import FPS, still, turning

H = 32
METRIC = create_metrics({"motion_distribution": {}})[0]


def velocities_of(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """Of one pair, from directions (H, W, 3)."""
    return compressed_velocities(before.movedim(-1, 0), after.movedim(-1, 0)[:, None], FPS)


def turn(degrees: float, axis: str = "yaw") -> np.ndarray:
    """Histograms (bands, A, B) of a viewer who turns, from true flow."""
    before = erp_directions(H, 2 * H, dtype=torch.float64)
    rotation = rotation_matrix(**{axis: math.radians(degrees)}, dtype=torch.float64)
    return projected_histograms(velocities_of(before, before @ rotation)).mean(axis=0)


def test_velocities_are_east_and_north_by_the_logarithm_of_speed():
    before = erp_directions(H, 2 * H, dtype=torch.float64)
    after = before @ rotation_matrix(yaw=math.radians(1.0), dtype=torch.float64)  # everything moves west
    velocities = velocities_of(before, after)[0]
    latitude = np.radians(90 - (np.arange(H) + 0.5) * 180 / H)
    expected = -np.log1p(FPS * np.degrees(2 * np.arcsin(np.cos(latitude) * np.sin(np.radians(0.5)))) / 2)
    np.testing.assert_allclose(velocities[..., 0], np.repeat(expected[:, None], 2 * H, axis=1), atol=2e-3)
    assert np.abs(velocities[H // 4 : -H // 4, :, 1]).max() < 0.02


def test_the_histogram_is_a_distribution_and_does_not_depend_on_yaw():
    flow_before = erp_directions(H, 2 * H, dtype=torch.float64)
    velocities = velocities_of(flow_before, flow_before @ rotation_matrix(pitch=0.02, dtype=torch.float64))
    found = projected_histograms(velocities)
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    np.testing.assert_array_equal(projected_histograms(np.roll(velocities, 9, axis=2)), found)


def test_distance_is_zero_for_the_same_motion_grows_with_speed_and_knows_no_left_and_right():
    slow = turn(1.0)
    assert sliced_distance(slow, slow) == 0
    assert sliced_distance(turn(-1.0), slow) < 1e-12
    values = [sliced_distance(turn(degrees), slow) for degrees in (1, 2, 4, 8, 16)]
    assert values == sorted(values)
    frozen = sliced_distance(turn(0.0), slow)
    assert frozen > values[1]
    assert sliced_distance(turn(1.0, "pitch"), slow) > 0.2  # as fast, another pattern


def test_a_factor_of_two_in_speed_is_its_logarithm_as_far_as_directions_agree():
    """Everything moves east at the equator's speed: the projections see |cos| of it, 2/pi on average."""
    field = np.zeros((1, H, 2 * H, 2))
    histograms = []
    for speed in (100.0, 200.0):
        field[..., 0] = np.log1p(speed / 2)
        histograms.append(projected_histograms(field).mean(axis=0))
    expected = (np.log1p(100) - np.log1p(50)) * 2 / math.pi
    assert sliced_distance(*histograms) == pytest.approx(expected, rel=0.15)


def test_a_set_that_moves_as_the_reference_is_within_the_floor_and_a_frozen_one_is_not():
    def described(speeds: list[float]) -> np.ndarray:
        videos = [
            still(2, H, seed) if s == 0 else turning(s, frames=2, height=H, seed=seed) for seed, s in enumerate(speeds)
        ]
        return np.stack([METRIC.describe(extract_features(video, FPS, {"flow"})) for video in videos])

    rng = np.random.default_rng(0)
    reference, alike = described(list(rng.uniform(0.5, 4, 12))), described(list(rng.uniform(0.5, 4, 8)))
    frozen = described([0.0] * 8)
    prompts = [f"p{n}" for n in range(8)]
    like, unlike = (score_set(METRIC, videos, prompts, reference) for videos in (alike, frozen))
    assert like.value < like.floor[1]
    assert unlike.low > unlike.floor[1]
