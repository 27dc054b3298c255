"""Distances between sets: unbiased kernels against the original packages, intervals that cover, floors, refusal."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torchmetrics.image.kid import maximum_mean_discrepancy

from core.video import write_video
from evaluation.comparison import compare, load_scored
from evaluation.metrics import create_metrics
from evaluation.metrics.mmd import ClipMmd, gaussian, mean_kernels, unbiased_mmd
from evaluation.set_difference import set_difference
from evaluation.sets import half_samples, score_set
from panobench import cli
from tests.evaluation.worlds import FPS, turning


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_one_picture_per_video_is_the_textbook_estimate():
    """Unbiased MMD of torchmetrics, with the Gaussian kernel of CMMD, on one feature per video."""
    rng = np.random.default_rng(0)
    a, b = unit(rng, 9, 1, 5), unit(rng, 12, 1, 5)
    kernels = [mean_kernels(x, y, gaussian(0.7)) for x, y in ((a, a), (b, b), (a, b))]
    squared = ((a[:, None, 0] - b[None, :, 0]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(kernels[2], np.exp(-squared / (2 * 0.7**2)), rtol=1e-12)
    m, n = 9, 12
    within = (kernels[0].sum() - np.trace(kernels[0])) / (m * (m - 1))
    within += (kernels[1].sum() - np.trace(kernels[1])) / (n * (n - 1))
    assert unbiased_mmd(*kernels) == pytest.approx(within - 2 * kernels[2].mean(), rel=1e-12)
    square = [torch.tensor(mean_kernels(x, y, gaussian(0.7))) for x, y in ((a, a), (b[:9], b[:9]), (a, b[:9]))]
    expected = maximum_mean_discrepancy(square[0], square[2], square[1])
    assert unbiased_mmd(*(k.numpy() for k in square)) == pytest.approx(float(expected), rel=1e-9)


def test_the_estimate_is_unbiased_over_videos_whose_frames_are_alike():
    """Both sets of one kind: the mean over many small sets is 0, although the frames of a video nearly repeat."""
    rng = np.random.default_rng(1)
    metric = ClipMmd(least=4, width=0.5)
    values = []
    for _ in range(400):
        a, b = (unit(rng, 6, 1, 8).repeat(4, axis=1) for _ in range(2))
        values.append(metric.compare(a + 0.01 * rng.normal(size=a.shape), b))
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(400)
    assert np.std(values) > 0


def test_half_samples_have_the_spread_of_the_whole():
    """For a difference of means the standard error is known: sqrt(s1^2 / n + s2^2 / m)."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=20), 3 * rng.normal(size=40)
    draws = half_samples(lambda i, j: a[i].mean() - b[j].mean(), [np.array([k]) for k in range(20)], 40, 4000, 0)
    assert draws.std() == pytest.approx(np.sqrt(a.var(ddof=1) / 20 + b.var(ddof=1) / 40), rel=0.05)


def test_the_interval_covers_the_true_distance():
    """Two kinds of videos whose distance is known from many, and two of one kind: 0, where the interval is wider."""
    rng = np.random.default_rng(3)
    metric = ClipMmd(least=4, width=1.0, resamples=60)

    def draw(count: int, shift: float) -> np.ndarray:
        x = rng.normal(size=(count, 1, 6))
        x[..., 0] += shift
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    for shift, true in ((2.0, metric.compare(draw(1500, 2.0), draw(1500, 0.0))), (0.0, 0.0)):
        found = [score_set(metric, draw(30, shift), [str(i) for i in range(30)], draw(40, 0.0)) for _ in range(60)]
        assert np.mean([f.low <= true <= f.high for f in found]) > 0.88
        excluded = np.mean([f.low > 0 for f in found])
        assert excluded > 0.95 if shift else excluded < 0.05


def test_videos_of_one_prompt_stay_together():
    """Copies of a video add no certainty: the interval is that of the prompts."""
    rng = np.random.default_rng(4)
    metric = ClipMmd(least=4, width=0.5)
    videos, reference = unit(rng, 10, 1, 4), unit(rng, 20, 1, 4)
    names = [f"p{i}" for i in range(10)]
    once = score_set(metric, videos, names, reference)
    thrice = score_set(metric, videos.repeat(3, axis=0), [n for n in names for _ in range(3)], reference)
    assert (thrice.n, thrice.prompts) == (30, 10)
    assert thrice.high - thrice.low > 0.5 * (once.high - once.low)


def test_the_floor_is_real_against_real():
    rng = np.random.default_rng(5)
    metric = ClipMmd(width=0.5)
    reference = unit(rng, 40, 2, 4)
    found = score_set(metric, unit(rng, 10, 2, 4) * [1, 1, 1, -1], list("abcdefghij"), reference)
    mean, high = found.floor
    assert abs(mean) < high
    assert high > 0


def test_too_few_videos_are_refused_with_the_number_and_the_way_out():
    rng = np.random.default_rng(6)
    few, many = unit(rng, 5, 1, 4), unit(rng, 20, 1, 4)
    for videos, reference in ((few, many), (many, few)):
        line = score_set(ClipMmd(), videos, [str(i) for i in range(len(videos))], reference)
        assert isinstance(line, str)
        assert f"{len(videos)} videos against {len(reference)} reference videos" in line
        assert "scoring.metrics.clip_mmd.least" in line
    assert create_metrics({"clip_mmd": {"least": 5}})[0].least == 5


def test_the_difference_of_two_methods_is_narrower_when_prompts_are_shared():
    """Both methods fail on the same prompts: the difference is sure although each value is not."""
    rng = np.random.default_rng(7)
    metric = ClipMmd(least=4, width=1.0)
    prompt = 2 * rng.normal(size=(20, 1, 6))
    far = np.array([3.0, 0, 0, 0, 0, 0])
    a, b = (prompt + 0.2 * rng.normal(size=prompt.shape) + shift for shift in (0.0, far))
    reference = unit(rng, 40, 1, 6)
    names = [f"p{i:02}" for i in range(20)]
    found = [score_set(metric, x / np.linalg.norm(x, axis=-1, keepdims=True), names, reference) for x in (a, b)]
    paired, apart = (set_difference(found[0].draws, found[1].draws, 20, same) for same in (True, False))
    assert paired < apart
    assert found[1].value - found[0].value > paired


def test_methods_are_compared_by_their_half_samples(tmp_path: Path, judge_folder: Path):
    """Scored by the command line, compared as data: darker clips are farther from the reference, and it says so."""
    for index in range(8):
        for kind, seed, factor in (("real", index, 1), ("light", 50 + index, 1), ("dark", 50 + index, 4)):
            frames = turning(2.0, frames=2, height=32, seed=seed) // factor
            write_video(tmp_path / kind / f"v{index}.mp4", frames, FPS)
    for kind in ("light", "dark"):
        command = ["score", tmp_path / kind, "--reference", tmp_path / "real", "--judge", judge_folder, "--no-cache"]
        command += ["--metrics", "clip_mmd,seam_ratio", "--out", tmp_path / f"scores-{kind}"]
        result = CliRunner().invoke(cli, [str(part) for part in command], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    comparison = compare([load_scored(tmp_path / f"scores-{kind}") for kind in ("light", "dark")], 200, 0, 0.95)
    found = comparison["metrics"]["clip_mmd"]
    (row,) = found["differences"]
    assert (row["a"], row["b"], row["n"], row["prompts"]) == ("light", "dark", 8, 8)
    assert row["high"] < 0
    assert found["best"] == "light"
