"""Reconstruction metrics on cases with a known answer."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from evaluation.features import extract_features, row_weights
from evaluation.metrics import create_metrics
from evaluation.metrics.paired import end_point_errors, psnr, sphere_shares, weighted_squares, weighted_ssim
from tests.evaluation.worlds import FPS, HEIGHT, still, turning

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


def tensor(video: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255


def noisy(video: np.ndarray, strength: float) -> np.ndarray:
    noise = strength * np.random.default_rng(0).normal(size=video.shape)
    return np.clip(video + noise, 0, 255).round().astype(np.uint8)


def test_with_equal_weights_psnr_is_torchmetrics():
    truth, video = turning(2.0, frames=2), noisy(turning(2.0, frames=2), 20)
    found = weighted_squares(video, truth, np.full(HEIGHT, 1 / HEIGHT))
    theirs = [
        float(peak_signal_noise_ratio(tensor(video[i : i + 1]), tensor(truth[i : i + 1]), data_range=1.0))
        for i in range(2)
    ]
    assert psnr(found) == pytest.approx(np.mean(theirs), rel=1e-6)


def test_with_equal_weights_ssim_is_torchmetrics_inside_the_picture():
    """torchmetrics mirrors the picture at its edges, this project goes around the sphere: compared where neither."""
    truth = turning(2.0, frames=1)
    video = noisy(truth, 20)
    grey = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    _, full = structural_similarity_index_measure(
        *(torch.from_numpy(x.astype(np.float32) / 255 @ grey)[:, None] for x in (video, truth)),
        data_range=1.0,
        return_full_image=True,
    )
    weights = np.zeros(HEIGHT)
    weights[HEIGHT // 2] = 1
    row = float(full[0, 0, HEIGHT // 2, 5:-5].mean())
    assert weighted_ssim(video, truth, weights)[0] == pytest.approx(row, abs=0.005)
    assert weighted_ssim(truth, truth, WEIGHTS)[0] == pytest.approx(1, abs=1e-5)


def test_a_yaw_of_both_changes_no_paired_number():
    truth = turning(3.0)
    video = noisy(truth, 15)
    for name, slack in {"ws_psnr": 1e-9, "ws_ssim": 1e-5, "s_psnr": 0.02}.items():
        metric = create_metrics({name: {}})[0]
        values = [
            metric.measure(
                extract_features(np.roll(video, p, axis=2), FPS, metric.needs, truth=np.roll(truth, p, axis=2))
            )
            for p in (0, 1, 29)
        ]
        assert values[1] == pytest.approx(values[0], abs=slack)
        assert values[2] == pytest.approx(values[0], abs=slack)


def test_points_of_s_psnr_are_even_over_the_sphere():
    shares = sphere_shares(64)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares.sum(axis=1), WEIGHTS, rtol=0.01)
    np.testing.assert_allclose(shares.sum(axis=0), 1 / 128, rtol=0.01)


def test_end_point_error_of_known_turns():
    """A yaw of a against one of b pixels: the ends are |a - b| pixels apart on their parallel, in great circles."""
    a, b = (torch.zeros(1, 2, HEIGHT, 2 * HEIGHT) for _ in range(2))
    a[:, 0], b[:, 0] = 3.0, -1.5
    error = float(end_point_errors(a, b, WEIGHTS)[0])
    angle = 4.5 / (2 * HEIGHT) * 360
    latitude = np.pi / 2 - (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    chord = 2 * np.arcsin(np.cos(latitude) * math.sin(math.radians(angle / 2)))
    assert error == pytest.approx(np.degrees(chord) @ WEIGHTS, rel=1e-6)
    assert end_point_errors(a, a, WEIGHTS)[0] == 0


def test_end_point_error_grows_with_the_difference_of_motion():
    metric = create_metrics({"end_point_error": {}})[0]
    truth = turning(4.0, frames=3)
    values = [
        metric.measure(extract_features(turning(d, frames=3), FPS, metric.needs, truth=truth)) for d in (4.0, 3.0, 0.0)
    ]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[2] == pytest.approx(4 * math.pi / 4, rel=0.2)  # a turn of 4 degrees, averaged over the sphere
