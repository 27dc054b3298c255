"""Mirrored pictures are refused as such, symmetric worlds are not; the measures on cases whose answer is known."""

import cv2
import numpy as np
import pytest
import torch

from core.data.closing import mirror_gap, pole_step, seam_gap
from core.data.projection import HEIGHT, MIRRORED, POLE_STEP, SEAM_GAP, WIDTH, judge
from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import erp_directions
from core.video import read_video, write_video
from tests.evaluation.worlds import colour, turning
from tests.footage import SCENES, perspective

RAYS = erp_directions(HEIGHT, WIDTH)


def small(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames])


def grey(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(np.float32)


def mirrored(frames: np.ndarray) -> np.ndarray:
    """The left half, and its mirror image in the right."""
    left = frames[:, :, : frames.shape[2] // 2]
    return np.concatenate([left, left[:, :, ::-1]], axis=2)


def photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_image

    return [np.array(load_sample_image(name))[None, 50:370] for name in ("china.jpg", "flower.jpg")]


# --- folded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", [*(perspective(scene, 2) for scene in SCENES), *photographs()])
def test_mirrored_pictures_are_refused_as_such(picture):
    verdict = judge(small(mirrored(picture)), 2.0)
    assert verdict.reason.startswith("mirrored: ")
    assert verdict.measures["mirror_gap"] < 0.1
    assert "mirrored" not in judge(small(picture), 2.0).reason
    said = judge(small(mirrored(picture)), 2.0, projection="equirectangular")
    assert said.reason.startswith("mirrored: ")


@pytest.mark.parametrize("change", ["turned", "on a column", "noise", "H.264", "logo", "panning"])
def test_what_is_done_to_a_mirrored_picture_does_not_hide_it(change, tmp_path):
    for picture in photographs():
        folded = mirrored(picture)[:, :, ::2][:, : picture.shape[2] // 4]
        if change == "turned":  # the fold is neither at the seam nor in the middle
            folded = np.roll(folded, 77, axis=2)
        elif change == "on a column":
            left = picture[:, :, : picture.shape[2] // 2]
            folded = np.concatenate([left, left[:, :, -2:0:-1]], axis=2)
        elif change == "noise":
            noise = np.random.default_rng(0).normal(0, 5, folded.shape)
            folded = (folded + noise).clip(0, 255).round().astype(np.uint8)
        elif change == "H.264":
            write_video(tmp_path / "folded.mp4", np.repeat(small(folded), 3, axis=0), 8, crf=28)
            folded = read_video(tmp_path / "folded.mp4").frames
        elif change == "logo":
            folded = small(folded)
            folded[:, -16:-4, -40:-8] = 255
        elif change == "panning":
            folded = np.concatenate([np.roll(folded, 9 * t, axis=2) for t in range(3)])
        assert judge(small(folded), 2.0).reason.startswith("mirrored: "), change


def test_worlds_are_not_taken_for_mirrored():
    """Among them roads that run straight from horizon to horizon, under plain skies."""
    gaps = []
    for scene in range(60):
        frames = render_clip(sample_scene(7, "train", scene), RAYS.numpy(), range(1), 1)
        gaps.append(mirror_gap(grey(frames))[0])
    for seed in range(6):
        gaps.append(mirror_gap(grey(turning(3.0, frames=2, height=HEIGHT, seed=seed)))[0])
    assert min(gaps) > 1.5 * MIRRORED


def symmetric(unlike: float) -> np.ndarray:
    """A world whose left is like its right at large, with texture of its own: uint8 (1, H, W, 3)."""
    x, y, z = RAYS.unbind(-1)
    both = colour(torch.stack([x.abs(), y, z], dim=-1), seed=1, frequency=6.0).astype(float)
    own = colour(RAYS, seed=2, frequency=30.0).astype(float) - 127.5
    return (both + unlike * own).clip(0, 255).round().astype(np.uint8)[None]


def test_a_symmetric_world_is_a_panorama_unless_every_detail_has_its_mirror_image():
    assert judge(symmetric(0.3), 2.0).reason == ""
    assert judge(symmetric(0.0), 2.0).reason.startswith("mirrored: ")


def test_one_thing_that_has_no_mirror_image_tells():
    world = symmetric(0.0)
    world[:, 50:84, 60:90] = 255 - world[:, 50:84, 60:90]
    assert mirror_gap(grey(world))[0] > MIRRORED


@pytest.mark.parametrize("noise", [0, 1, 2])
def test_a_clear_sky_is_symmetric_and_nobody_mirrored_it(noise):
    """The sun with its glow over a calm sea, symmetric to the last bit, and a column before it."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    far = np.hypot(row - 40, column - 100)
    sky = np.where(row < 64, 120 + row, 90 - 0.5 * (row - 64)) + 90 * np.exp(-far / 30)
    sky[(far < 4) | ((abs(column - 100) < 3) & (abs(row - 70) < 12))] = 255
    frames = np.repeat(sky[None, ..., None], 3, axis=3) + np.random.default_rng(0).normal(0, noise, (1, *sky.shape, 3))
    verdict = judge(frames.clip(0, 255).round().astype(np.uint8), 2.0)
    assert verdict.measures["mirror_gap"] < MIRRORED
    assert "mirrored" not in verdict.reason


# --- poles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_cylinders_are_no_full_spheres(seed):
    """Exact: colour is a function of direction; a cylinder, and latitudes up to 45 degrees stretched to the height."""
    longitude = np.broadcast_to((np.arange(WIDTH) + 0.5) / WIDTH * 2 * np.pi, (HEIGHT, WIDTH))
    up = np.linspace(1, -1, HEIGHT)[:, None]
    whole = colour(RAYS, seed)[None]
    assert judge(whole, 2.0).reason == ""
    for latitude in (np.arctan(up * np.tan(np.pi / 4)), up * np.pi / 4):
        high = np.broadcast_to(latitude, longitude.shape)
        rays = [np.cos(high) * np.sin(longitude), -np.sin(high), np.cos(high) * np.cos(longitude)]
        part = colour(torch.from_numpy(np.stack(rays, axis=-1)), seed)[None]
        assert judge(part, 2.0).reason == "the top and bottom rows are not one point each: no full sphere"


def test_a_pole_goes_on_half_a_turn_away():
    whole = grey(colour(RAYS, 1)[None])
    assert max(pole_step(whole)) < 1.2
    assert min(pole_step(whole[:, 32:-32])) > 2
    assert pole_step(whole[:, :-32])[0] == pole_step(whole)[0]


def test_a_smeared_nadir_spoils_one_pole_only():
    real = colour(RAYS, 2)[None]
    real[:, 116:] = real[:, 115:116]
    verdict = judge(real, 2.0)
    assert verdict.measures["pole_step_bottom"] > POLE_STEP
    assert verdict.reason == ""


# --- seam ------------------------------------------------------------------------------------------------------------


def test_the_seam_is_seen_through_exposure_and_a_shift_of_the_halves():
    real = grey(turning(0.0, frames=1, height=HEIGHT, seed=3))
    closed, structure = seam_gap(real)
    assert closed < 0.1
    assert structure > 1
    ramp = np.linspace(0.85, 1.15, WIDTH)
    assert seam_gap(real * ramp.astype(np.float32))[0] < 0.2
    low = real.copy()
    low[..., WIDTH // 2 :] = np.roll(low[..., WIDTH // 2 :], 2, axis=1)
    assert seam_gap(low)[0] < 0.2
    assert seam_gap(real[..., : WIDTH * 3 // 4])[0] > SEAM_GAP
    assert seam_gap(np.broadcast_to(np.linspace(40, 200, HEIGHT, dtype=np.float32)[:, None], real.shape))[0] == 0
