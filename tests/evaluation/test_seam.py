import numpy as np
import pytest

from evaluation.features import row_weights
from evaluation.metrics import seam
from evaluation.metrics.seam import seam_percentile, seam_ratio, seam_ratio_local
from tests.evaluation.worlds import HEIGHT, broken_seam, still, stretched, turning

FLOOR = 0.25 / 255
WEIGHTS = row_weights(HEIGHT)


def meridian_steps(video: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return seam.meridian_steps(video, weights).mean(axis=0)


def test_steps_are_the_definition():
    video = turning(2.0, frames=2)
    x = video.astype(float) / 255
    for column in (0, 1, 77):  # 0 is the seam
        step = np.abs(x[:, :, column] - x[:, :, column - 1]).mean(axis=(0, 2)) @ WEIGHTS
        assert meridian_steps(video, WEIGHTS)[column] == pytest.approx(step, rel=1e-12)


def test_turning_the_video_turns_the_steps_to_the_bit():
    video = turning(2.0)
    steps = meridian_steps(video, WEIGHTS)
    for pixels in (1, 17, 64):
        np.testing.assert_array_equal(meridian_steps(np.roll(video, pixels, axis=2), WEIGHTS), np.roll(steps, pixels))


@pytest.mark.parametrize("seed", range(5))
def test_a_periodic_texture_has_a_ratio_of_about_one(seed: int):
    steps = meridian_steps(still(seed=seed), WEIGHTS)
    assert 0.6 < seam_ratio(steps, FLOOR) < 1.6
    assert 0.8 < seam_ratio_local(steps, FLOOR, 8) < 1.25


@pytest.mark.parametrize("seed", range(5))
def test_a_stretched_flat_picture_has_a_large_ratio(seed: int):
    steps = meridian_steps(stretched(seed=seed), WEIGHTS)
    assert seam_ratio(steps, FLOOR) > 4
    assert seam_ratio_local(steps, FLOOR, 8) > 4
    assert seam_percentile(steps) == 100
    assert steps[0] * 255 > 10


def test_all_grow_with_a_graded_break():
    found = [meridian_steps(broken_seam(still(), strength), WEIGHTS) for strength in (0, 8, 16, 32, 64)]
    for measure in (
        lambda s: s[0],
        lambda s: seam_ratio(s, FLOOR),
        lambda s: seam_ratio_local(s, FLOOR, 8),
    ):
        values = [measure(steps) for steps in found]
        assert values == sorted(values)
        assert values[-1] > 3 * values[0]
    percentiles = [seam_percentile(steps) for steps in found]
    assert percentiles == sorted(percentiles)
    assert percentiles[-1] == 100


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plain_video_has_no_seam(level: int):
    steps = meridian_steps(np.full((2, HEIGHT, 2 * HEIGHT, 3), level, np.uint8), WEIGHTS)
    assert seam_ratio(steps, FLOOR) == 1
    assert seam_ratio_local(steps, FLOOR, 8) == 1
    assert seam_percentile(steps) == 50
    assert steps[0] == 0


def test_the_local_ratio_sees_a_break_in_a_plain_region():
    # A calm rear (grey) with a slight break, a busy front: a photographer's seam.
    video = still().astype(float)
    width = video.shape[2]
    calm = np.clip(1.2 * np.abs(np.arange(width) - width / 2) / (width / 2) - 0.1, 0, 1)[None, None, :, None]
    video = (calm * 128 + (1 - calm) * video).round().astype(np.uint8)
    steps = meridian_steps(broken_seam(video, 6), WEIGHTS)
    assert seam_ratio_local(steps, FLOOR, 8) > 2 * seam_ratio(steps, FLOOR)
    assert seam_percentile(steps) < 95


def test_the_temporal_ratio_sees_a_seam_that_only_flickers():
    flickering = turning(2.0).copy()
    flickering[::2] = broken_seam(flickering[::2], 30)
    difference = np.diff(flickering.astype(np.int16), axis=0)
    clean = np.diff(turning(2.0).astype(np.int16), axis=0)
    assert seam_ratio(meridian_steps(clean, WEIGHTS), FLOOR) < 2
    assert seam_ratio(meridian_steps(difference, WEIGHTS), FLOOR) > 4
    assert seam_ratio(meridian_steps(np.diff(still().astype(np.int16), axis=0), WEIGHTS), FLOOR) == 1
