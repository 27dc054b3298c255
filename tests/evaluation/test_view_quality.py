"""Sharpness, noise and contrast of views, on pictures whose blur and noise are known."""

import cv2
import numpy as np
import pytest
import torch

from evaluation.features import extract_features
from evaluation.metrics import create_metrics
from evaluation.metrics.view_quality import blur_effect
from evaluation.pixels import view_statistics
from evaluation.views import ViewSet
from tests.evaluation.worlds import FPS, turning

VIEWS = ViewSet("sphere12", 90, 41)


def value(name: str, frames: np.ndarray) -> float:
    metric = create_metrics({name: {}})[0]
    return metric.measure(extract_features(frames, FPS, metric.needs, VIEWS))


def textured(frames: int = 2, height: int = 64, noise: float = 0.0, blur: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    video = turning(0.0, frames=frames, height=height) * 0.5 + 40 * rng.random((1, height, 2 * height, 1)) + 40
    if blur:
        video = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in video])
    return np.clip(video + noise * rng.normal(size=video.shape), 0, 255).round().astype(np.uint8)


def original_blur(grey: np.ndarray) -> float:
    """The blur effect written as in the paper: filters, differences, sums; the greater of both directions."""
    found = []
    for kernel, axis in ((np.ones((9, 1)) / 9, 0), (np.ones((1, 9)) / 9, 1)):
        blurred = cv2.filter2D(grey, cv2.CV_64F, kernel, borderType=cv2.BORDER_REPLICATE)
        variation, remaining = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        lost = np.maximum(0, variation - remaining)
        found.append((variation.sum() - lost.sum()) / variation.sum())
    return max(found)


def test_blur_is_the_papers():
    picture = textured(1)[0][:, :64]
    grey = picture.astype(np.float64) @ [0.299, 0.587, 0.114]
    statistics = view_statistics(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255)[0]
    assert blur_effect(statistics.double().numpy()) == pytest.approx(original_blur(grey), rel=1e-4)


def test_white_noise_is_read_in_grey_levels_and_slopes_are_not_noise():
    """Immerkaer's filter on a ramp with noise of known standard deviation."""
    ramp = np.broadcast_to(np.linspace(60, 180, 200), (200, 200))
    for sigma in (0.0, 3.0, 10.0):
        noisy = ramp + sigma * np.random.default_rng(1).normal(size=ramp.shape)
        picture = torch.tensor(noisy / 255).float().expand(1, 3, 200, 200)
        measured = float(np.sqrt(np.pi / 2) / 6 * view_statistics(picture)[0, 4])
        assert measured == pytest.approx(sigma, rel=0.02, abs=0.01)
    assert float(view_statistics(picture)[0, 5]) == pytest.approx(noisy.std(), rel=1e-3)


def test_blur_rises_with_blur_and_noise_with_noise():
    blurs = [value("view_blur", textured(blur=b)) for b in (0, 0.7, 1.5, 3)]
    noises = [value("view_noise", textured(noise=n)) for n in (0, 5, 15, 40)]
    contrasts = [value("view_contrast", (textured() * c).astype(np.uint8)) for c in (0.25, 0.5, 1)]
    for values in (blurs, noises, contrasts):
        assert values == sorted(values)
        assert values[-1] > 1.5 * values[0]
    assert value("view_noise", textured(blur=2)) < 0.2 * value("view_noise", textured())


def test_a_yaw_by_a_quarter_changes_nothing_and_others_little():
    video = textured()
    for name in ("view_blur", "view_noise", "view_contrast"):
        still = value(name, video)
        assert value(name, np.roll(video, 32, axis=2)) == pytest.approx(still, rel=1e-3)
        assert value(name, np.roll(video, 13, axis=2)) == pytest.approx(still, rel=0.06)


def test_a_plain_video_has_no_noise_and_no_contrast():
    plain = np.full((2, 32, 64, 3), 120, np.uint8)
    assert value("view_noise", plain) == pytest.approx(0, abs=1e-3)
    assert value("view_contrast", plain) == pytest.approx(0, abs=1e-2)
    assert value("view_blur", plain) == pytest.approx(1, abs=1e-3)
