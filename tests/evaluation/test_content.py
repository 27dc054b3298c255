"""Metrics of text, content and consistency that need no flow: proven on cases with a known answer."""

import numpy as np
import pytest
import torch

from core.errors import PanobenchError
from core.sphere import erp_directions
from evaluation.features import VideoFeatures, extract_features, row_weights
from evaluation.judge import Judge
from evaluation.metrics.clip_alignment import weighted_alignment
from evaluation.metrics.clip_consistency import frame_consistency, weighted_frames
from evaluation.metrics.content_distribution import (
    ContentDistribution,
    band_means,
    band_statistics,
    distance_to_reference,
    shrunk_covariance,
)
from evaluation.metrics.flicker import frame_difference
from evaluation.metrics.pole_spread import row_spread
from evaluation.networks import Networks
from evaluation.views import ViewSet
from tests.evaluation.worlds import FPS, HEIGHT, colour, still, stretched, turning

WEIGHTS = row_weights(HEIGHT)


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_row_weights_are_areas():
    exact = np.sin(np.linspace(np.pi / 2, -np.pi / 2, HEIGHT + 1))  # area between parallels
    np.testing.assert_allclose(WEIGHTS, -np.diff(exact) / 2, rtol=2e-3)
    assert WEIGHTS.sum() == pytest.approx(1, abs=1e-15)


# --- CLIP ------------------------------------------------------------------------------------------------------------


def test_alignment_of_the_text_itself_is_one_and_weights_count():
    text = unit(16)
    views = np.broadcast_to(text, (3, 4, 16)).copy()
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    assert weighted_alignment(views, text, weights) == pytest.approx([1] * 3, abs=1e-6)
    views[:, 0] = -text
    assert weighted_alignment(views, text, weights) == pytest.approx([1 - 2 * 0.4] * 3, abs=1e-6)


def test_consistency_of_a_still_video_is_one():
    views = np.repeat(unit(1, 4, 16), 5, axis=0)
    assert frame_consistency(weighted_frames(views, np.full(4, 0.25))) == pytest.approx(1, abs=1e-15)


def test_consistency_is_the_definition():
    a, b, c = unit(3, 16)
    value = frame_consistency(weighted_frames(np.stack([a, b, c])[:, None], np.ones(1)))
    assert value == pytest.approx(((a @ b + a @ b) / 2 + (b @ c + a @ c) / 2) / 2, abs=1e-6)


def test_consistency_falls_as_frames_differ_more():
    start, other = unit(2, 1, 4, 16)
    weights = np.full(4, 0.25)
    values = []
    for mix in (0.0, 0.2, 0.4, 0.8):
        views = np.concatenate([start, (1 - mix) * start + mix * other])
        values.append(frame_consistency(weighted_frames(views, weights)))
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_view_metrics_do_not_depend_on_a_quarter_turn_and_little_on_others(judge: Judge):
    views = ViewSet("sphere12", 90, judge.image_size)
    video = turning(4.0)
    values = {}
    for pixels in (0, 32, 7):
        features = extract_features(
            np.roll(video, pixels, axis=2), FPS, {"views", "prompt"}, views, Networks(judge), "a ball"
        )
        values[pixels] = (
            weighted_alignment(features.view_embeddings, features.text_embedding, features.view_weights).mean(),
            frame_consistency(weighted_frames(features.view_embeddings, features.view_weights)),
        )
    assert values[32] == pytest.approx(values[0], abs=1e-5)
    # A random network, so this is a loose bound: the spread of a trained judge is reported, not asserted.
    assert values[7] == pytest.approx(values[0], abs=0.05)


# --- flicker, poles --------------------------------------------------------------------------------------------------


def test_a_still_video_does_not_flicker_and_flicker_is_its_amplitude():
    assert not frame_difference(still(), WEIGHTS).any()
    video = np.full((4, HEIGHT, 2 * HEIGHT, 3), 100, np.uint8)
    values = []
    for amplitude in (0, 1, 5, 20):
        flickering = video.copy()
        flickering[::2] += np.uint8(amplitude)
        values.append(frame_difference(flickering, WEIGHTS).mean())
    assert values == pytest.approx([0, 1, 5, 20])


def test_flicker_counts_area_and_does_not_depend_on_yaw():
    video = np.zeros((2, HEIGHT, 2 * HEIGHT, 3), np.uint8)
    video[1, : HEIGHT // 4] = 80  # the cap above 45 degrees, (1 - sin 45) / 2 of the sphere
    assert frame_difference(video, WEIGHTS) == pytest.approx(80 * (1 - np.sqrt(0.5)) / 2, rel=1e-3)
    moving = turning(2.0)
    np.testing.assert_array_equal(
        frame_difference(np.roll(moving, 13, axis=2), WEIGHTS), frame_difference(moving, WEIGHTS)
    )


def test_poles_close_on_a_sphere_and_not_in_a_flat_picture():
    sphere = max(row_spread(still(seed=s)).max() for s in range(4))
    flat = min(row_spread(stretched(seed=s)).max() for s in range(4))
    assert flat > 3 * sphere
    assert row_spread(np.full((2, 8, 16, 3), 90, np.uint8)).max() == 0


# --- content distribution --------------------------------------------------------------------------------------------


def landscape(seed: int, flat: bool = False) -> np.ndarray:
    """Blue above, green below, plus texture; flat: the same as a 2:1 photograph."""
    rng = np.random.default_rng(100 + seed)
    texture = (stretched if flat else still)(frames=1, seed=seed).astype(float)
    lat = erp_directions(HEIGHT, 2 * HEIGHT)[..., 1].numpy()
    base = np.where(lat[..., None] > 0, (90, 140, 220), (60, 150, 60)) + rng.normal(scale=15, size=3)
    return np.clip(0.75 * base + 0.25 * texture, 0, 255).astype(np.uint8)


def statistics(video: np.ndarray) -> np.ndarray:
    return band_statistics(band_means(video, 8))


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return np.stack([statistics(landscape(seed)) for seed in range(24)])


def test_a_real_panorama_is_about_one_away_and_the_mean_zero(reference: np.ndarray):
    values = [distance_to_reference(statistics(landscape(seed)), reference) for seed in range(50, 56)]
    assert 0.6 < np.mean(values) < 1.6
    assert distance_to_reference(reference.mean(axis=0), reference) == 0


def test_flat_pictures_and_wrong_layouts_are_far(reference: np.ndarray):
    real = max(distance_to_reference(statistics(landscape(s)), reference) for s in range(50, 54))
    flat = min(distance_to_reference(statistics(landscape(s, flat=True)), reference) for s in range(50, 54))
    upside_down = distance_to_reference(statistics(landscape(50)[:, ::-1]), reference)
    assert flat > 1.3 * real  # the nearest flat picture against the farthest panorama
    assert upside_down > 3 * real


def test_distance_grows_with_a_cast_of_colour(reference: np.ndarray):
    video = landscape(50).astype(int)
    values = [
        distance_to_reference(
            statistics(np.clip(video + np.array([cast, 0, -cast]), 0, 255).astype(np.uint8)), reference
        )
        for cast in (0, 30, 60, 90)
    ]
    assert values == sorted(values)


def test_content_does_not_depend_on_yaw():
    video = landscape(3)
    np.testing.assert_allclose(statistics(np.roll(video, 29, axis=2)), statistics(video), rtol=0, atol=1e-12)


def test_any_height_has_bands_but_not_more_than_rows():
    odd = still(frames=1, height=33)
    np.testing.assert_allclose(statistics(odd)[0, :3], odd[0, :5].mean(axis=(0, 1)) / 255)
    features = VideoFeatures(still(frames=2, height=8), FPS, row_weights(8))
    with pytest.raises(PanobenchError, match=r"content_distribution\.bands: 9 for 8 rows"):
        ContentDistribution(bands=9).describe(features)


# --- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 8, 16, 3), np.float32), "uint8"),
        (np.zeros((2, 9, 16, 3), np.uint8), "H x 2H"),
        (np.zeros((1, 8, 16, 3), np.uint8), "at least 2"),
        (np.zeros((2, 8, 16, 4), np.uint8), r"\(F, H, W, 3\)"),
    ],
)
def test_wrong_frames_are_refused(frames: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        extract_features(frames, FPS, set())


def test_what_families_share_is_computed_once():
    calls = []

    def costly(video: VideoFeatures) -> int:
        calls.append(1)
        return len(video.frames)

    features = VideoFeatures(still(frames=2), FPS, WEIGHTS)
    assert [features.once(costly), features.once(costly)] == [2, 2]
    assert len(calls) == 1


def test_the_world_of_these_tests_has_no_seam():
    # Guards the other tests: a picture over directions sampled across the seam is continuous.
    rays = erp_directions(HEIGHT, 2 * HEIGHT, dtype=torch.float64)
    picture = colour(rays).astype(int)
    steps = np.abs(np.diff(np.concatenate([picture, picture[:, :1]], axis=1), axis=1)).mean(axis=(0, 2))
    assert steps[-1] < 1.7 * np.median(steps)


def test_the_shrunk_covariance_is_scikit_learns():
    sklearn = pytest.importorskip("sklearn.covariance")
    samples = np.random.default_rng(0).normal(size=(20, 30)) @ np.random.default_rng(1).normal(size=(30, 30))
    samples -= samples.mean(axis=0)
    expected = sklearn.ledoit_wolf(samples, assume_centered=True)[0]
    np.testing.assert_allclose(shrunk_covariance(samples), expected, rtol=1e-9, atol=1e-9)
