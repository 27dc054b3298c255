"""Reconstruction metrics on cases with a known answer."""

import numpy as np
import pytest

from evaluation.features import row_weights
from evaluation.metrics.paired import psnr, weighted_squares
from tests.evaluation.worlds import HEIGHT, still, turning

WEIGHTS = row_weights(HEIGHT)


def test_identical_frames_read_the_most():
    assert psnr(weighted_squares(still(), still(), WEIGHTS)) == 100


def test_a_constant_difference_has_the_plain_psnr():
    truth = np.full((3, HEIGHT, 2 * HEIGHT, 3), 100, np.uint8)
    squares = weighted_squares(truth + np.uint8(5), truth, WEIGHTS)
    np.testing.assert_allclose(squares, 25)
    assert psnr(squares) == pytest.approx(10 * np.log10(255**2 / 25))


def test_a_difference_counts_by_area():
    """The cap above 45 degrees is (1 - sin 45) / 2 of the sphere."""
    truth = np.zeros((1, HEIGHT, 2 * HEIGHT, 3), np.uint8)
    video = truth.copy()
    video[:, : HEIGHT // 4] = 10
    assert weighted_squares(video, truth, WEIGHTS)[0] == pytest.approx(100 * (1 - np.sqrt(0.5)) / 2, rel=1e-3)


def test_a_yaw_of_both_changes_nothing():
    a, b = turning(2.0), turning(2.0, seed=1)
    turned = (np.roll(x, 29, axis=2) for x in (a, b))
    np.testing.assert_allclose(weighted_squares(*turned, WEIGHTS), weighted_squares(a, b, WEIGHTS), rtol=1e-12)
