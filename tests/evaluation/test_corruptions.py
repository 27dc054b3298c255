"""Corruptions of panoramas: graded, repeatable, and each damaging the one thing it is about."""

import math

import numpy as np
import pytest
import torch

from core.sphere import rotation_matrix
from evaluation.corruptions import MAKERS, Clip, corrupt, random_rotation, rotated, wrong_caption, yawed
from evaluation.features import row_weights
from evaluation.metrics.claims import CORRUPTIONS, Claims
from evaluation.metrics.flicker import frame_difference
from evaluation.metrics.seam import meridian_steps
from tests.evaluation.worlds import FPS, stretched, turning

CLIP = Clip("meadow", turning(2.0, frames=8, height=64, seed=4), FPS, "a meadow, at noon, clear sky")
WIDTH = 128


def steps(clip: Clip) -> np.ndarray:
    rows = meridian_steps(clip.frames, row_weights(64))
    return rows.mean(axis=0) if rows.ndim == 2 else rows


@pytest.mark.parametrize("name", list(MAKERS))
def test_strength_zero_is_nothing_more_is_more_and_the_seed_decides(name):
    assert corrupt(name, CLIP, 0, 1).frames is CLIP.frames
    damage = [np.abs(corrupt(name, CLIP, s, 1).frames.astype(int) - CLIP.frames).mean() for s in (0.25, 0.5, 1.0)]
    assert 0 < damage[0] < damage[1] <= damage[2] * 1.25
    again = corrupt(name, CLIP, 0.5, 1).frames
    np.testing.assert_array_equal(again, corrupt(name, CLIP, 0.5, 1).frames)
    assert again.dtype == np.uint8
    assert again.shape == CLIP.frames.shape


@pytest.mark.parametrize("name", ["flicker", "shuffled", "frozen", "pan", "blur", "noise", "cube_edges"])
def test_what_is_not_about_the_seam_leaves_it_closed(name):
    damaged = steps(corrupt(name, CLIP, 1, 0))
    assert damaged[0] < 1.6 * np.median(damaged)


@pytest.mark.parametrize("name", ["broken_seam", "misaligned_seam"])
def test_a_broken_seam_is_broken_there_alone(name):
    before, after = steps(CLIP), steps(corrupt(name, CLIP, 1, 0))
    assert after[0] > 2 * before[0]
    assert np.median(np.abs(after[1:] - before[1:])) < 0.15 * np.median(before)


def test_the_narrow_view_is_a_perspective_picture():
    """At full strength it is what a pinhole camera sees; the world is analytic, so the truth is rendered directly."""
    still = Clip("x", turning(0.0, frames=3, height=64, seed=2), FPS)
    truth = stretched(frames=3, height=64, seed=2, fov_deg=60.0)
    assert np.abs(corrupt("perspective", still, 1, 0).frames.astype(int) - truth).mean() < 1.5


def test_frozen_and_shuffled_hold_the_frames_of_the_clip():
    frozen = corrupt("frozen", CLIP, 1, 0).frames
    assert (frozen == CLIP.frames[0]).all()
    half = corrupt("frozen", CLIP, 0.5, 0).frames
    np.testing.assert_array_equal(half[:4], CLIP.frames[:4])
    assert (frame_difference(half, row_weights(64))[4:] == 0).all()
    shuffled = corrupt("shuffled", CLIP, 1, 0).frames
    as_set = lambda frames: sorted(frame.tobytes() for frame in frames)  # noqa: E731
    assert as_set(shuffled) == as_set(CLIP.frames)
    assert not np.array_equal(shuffled, CLIP.frames)


def test_the_pan_is_one_straight_vector_for_all_pixels():
    panned = corrupt("pan", CLIP, 1, 0).frames
    step = WIDTH // 64
    np.testing.assert_array_equal(panned[1:, step:], np.roll(panned[:-1], step, axis=2)[:, :-step])


def test_captions_lose_their_parts_one_by_one():
    other = "a desert, at night"
    assert wrong_caption("a meadow, at noon, clear sky", other, 0) == "a meadow, at noon, clear sky"
    assert wrong_caption("a meadow, at noon, clear sky", other, 0.3) == "a desert, at noon, clear sky"
    assert wrong_caption("a meadow, at noon, clear sky", other, 0.6) == "a desert, at night, clear sky"
    assert wrong_caption("a meadow, at noon, clear sky", other, 1) == other
    damaged = corrupt("wrong_caption", CLIP, 1, 0, Clip("dunes", CLIP.frames, FPS, other))
    assert damaged.prompt == other
    assert damaged.frames is CLIP.frames


def test_rotations_are_uniform_and_turn_the_picture():
    generator = np.random.default_rng(0)
    turns = torch.stack([random_rotation(generator) for _ in range(4000)])
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(turns @ turns.transpose(1, 2), identity.expand_as(turns), atol=1e-12, rtol=0)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(4000, dtype=torch.float64))
    assert turns.mean(dim=0).abs().max() < 4 / math.sqrt(4000)  # every entry has mean 0 and variance 1/3
    assert (turns**2).mean(dim=0).sub(1 / 3).abs().max() < 0.03
    assert turns[0].shape == rotation_matrix().shape
    turned = rotated(CLIP, np.random.default_rng(1)).frames
    assert not np.array_equal(turned, CLIP.frames)
    assert steps(Clip("x", turned, FPS))[0] < 2 * np.median(steps(Clip("x", turned, FPS)))
    np.testing.assert_array_equal(yawed(CLIP, 5).frames[:, :, 5:], CLIP.frames[:, :, :-5])


def test_claims_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="broken_seem"):
        Claims(rises=frozenset({"broken_seem"}))
    with pytest.raises(ValueError, match="twice"):
        Claims(rises=frozenset({"blur"}), level=frozenset({"blur"}))
    assert set(MAKERS) | {"wrong_caption"} == set(CORRUPTIONS)
