"""The gate: panoramas pass and stretched pictures fail, whatever they show."""

import math
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import erp_directions, rotate_erp, rotation_matrix, view_directions
from evaluation.features import VideoFeatures, row_weights
from evaluation.metrics import create_metrics
from evaluation.metrics.closing import closing_steps, unpacked
from evaluation.metrics.is_360 import closing_ratio, field_of_view, pole_opening, seam_opening
from tests.evaluation.worlds import FPS, broken_seam, still, stretched

H = 64
GATE, VIEW = create_metrics(dict.fromkeys(("is_360", "field_of_view")))
ERP_RAYS = erp_directions(2 * H, 4 * H, dtype=torch.float64).numpy()


def steps_of(frames: np.ndarray) -> np.ndarray:
    return closing_steps(frames, row_weights(frames.shape[1])).mean(axis=0)


def passes(frames: np.ndarray) -> float:
    video = VideoFeatures(np.repeat(frames[:1], 2, axis=0), FPS, row_weights(frames.shape[1]))
    return GATE.measure(video)


def perspective(index: int, fov_deg: float, pitch_deg: float) -> np.ndarray:
    rays = view_directions(2 * H, 4 * H, math.radians(fov_deg), 0.0, math.radians(pitch_deg), dtype=torch.float64)
    return render_clip(sample_scene(1, "test", index), rays.numpy(), [0])


def test_panoramas_of_the_procedural_world_pass():
    found = [render_clip(sample_scene(1, "test", index), ERP_RAYS, [0]) for index in range(12)]
    assert [passes(frames) for frames in found] == [1.0] * 12
    assert np.median([field_of_view(steps_of(frames)) for frames in found]) > 355


@pytest.mark.parametrize("fov_deg", [50, 75, 90, 105, 120])
def test_perspective_clips_stretched_to_2_to_1_fail(fov_deg: int):
    found = [perspective(40 + index, fov_deg, 12 * (index % 3 - 1)) for index in range(6)]
    assert [passes(frames) for frames in found] == [0.0] * 6
    assert np.median([field_of_view(steps_of(frames)) for frames in found]) < 300


@pytest.mark.parametrize("seed", range(4))
def test_any_texture_that_closes_passes_and_any_that_does_not_fails(seed: int):
    assert passes(still(frames=1, seed=seed)) == 1
    assert field_of_view(steps_of(still(frames=1, seed=seed))) > 345
    for fov_deg in (50, 90, 120):
        assert passes(stretched(frames=1, seed=seed, fov_deg=fov_deg)) == 0


@pytest.mark.parametrize("size", [64, 256])
def test_a_photograph_fails_at_any_size(size: int):
    file = Path(matplotlib.__path__[0]) / "mpl-data/sample_data/grace_hopper.jpg"
    with Image.open(file) as photograph:
        frames = np.asarray(photograph.convert("RGB").resize((2 * size, size)))[None]
    assert passes(frames) == 0
    assert field_of_view(steps_of(frames)) < 250


def photographs(count: int, size: int) -> Iterator[np.ndarray]:
    """Crops of two photographs, a temple and a flower, stretched to (1, size, 2 size, 3)."""
    generator = np.random.default_rng(0)
    for index in range(count):
        picture = Image.fromarray(load_sample_images().images[index % 2])
        height = int(picture.height * generator.uniform(0.25, 1))
        width = min(picture.width, int(height * generator.choice([1, 4 / 3, 1.5, 16 / 9])))
        left, top = (generator.integers(0, room + 1) for room in (picture.width - width, picture.height - height))
        crop = picture.crop((left, top, left + width, top + height))
        yield np.asarray(crop.resize((2 * size, size), Image.Resampling.BICUBIC))[None]


def test_photographs_fail_wherever_they_are_cut():
    ends, local = create_metrics({"open_ends": {}, "seam_ratio_local": {"floor_levels": 0.25}})[::-1]
    for frames in photographs(24, 128):
        video = VideoFeatures(np.repeat(frames, 2, axis=0), FPS, row_weights(frames.shape[1]))
        assert (GATE.measure(video), ends.measure(video) > 2.5, local.measure(video) > 2.5) == (0, True, True)


def as_jpeg(frames: np.ndarray, quality: int = 90) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(frames[0]).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))[None]


@pytest.mark.parametrize("index", range(3))
def test_what_photographers_do_to_a_panorama_does_not_fail_it(index: int):
    clean = render_clip(sample_scene(1, "test", index), ERP_RAYS, [0])
    rows = np.arange(H)[:, None]
    tripod, flat, sun = (clean.copy() for _ in range(3))
    tripod[:, -H // 15 :] = 0
    flat[:, : H // 8] = flat[:, : H // 8].mean(axis=(1, 2), keepdims=True)
    glow = np.exp(-(((rows - H // 3) ** 2 + (np.arange(2 * H) - 2 * H + 2) ** 2) / (H / 20) ** 2))
    sun[:] = np.clip(sun + 400 * (glow + np.roll(glow[:, ::-1], -3, axis=1))[None, ..., None], 0, 255)
    for changed in (clean, tripod, flat, sun):
        assert passes(as_jpeg(changed)) == 1


def ramp(frames: np.ndarray, percent: float) -> np.ndarray:
    """Exposure grows evenly from the left edge to the right, so that it steps at the seam and over both poles."""
    gain = 1 + percent / 100 * (np.arange(frames.shape[2]) / (frames.shape[2] - 1) - 0.5)
    return np.clip(frames * gain[:, None], 0, 255).round().astype(np.uint8)


def two_lenses(frames: np.ndarray, percent: float) -> np.ndarray:
    """One half is exposed longer: it steps at the seam, ahead and over both poles."""
    half = frames.astype(float)
    half[:, :, frames.shape[2] // 2 :] *= 1 + percent / 100
    return np.clip(half, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("percent", [2, 6, 10])
@pytest.mark.parametrize("expose", [ramp, two_lenses])
def test_lenses_of_different_exposure_do_not_fail_a_panorama(expose, percent: float):
    textures = [(0.75 * still(frames=1, height=128, seed=seed)).astype(np.uint8) for seed in range(4)]
    assert [passes(expose(frames, percent)) for frames in textures] == [1.0] * 4
    assert [passes(expose(stretched(frames=1, seed=seed), percent)) for seed in range(4)] == [0.0] * 4


@pytest.mark.parametrize("quality", [None, 75])
def test_a_smeared_nadir_does_not_fail_a_panorama(quality: int | None):
    """Columns drawn out over what the lens did not see: the rows around the nadir are no point at all."""
    for seed in range(4):
        smeared = still(frames=1, height=128, seed=seed)[..., :1].repeat(3, axis=3)
        smeared[:, -10:] = smeared[:, -11:-10]
        assert passes(smeared if quality is None else as_jpeg(smeared, quality)) == 1


def test_panoramas_survive_coarse_jpeg():
    found = [as_jpeg(render_clip(sample_scene(1, "test", index), ERP_RAYS, [0]), 60) for index in range(12)]
    assert [passes(frames) for frames in found] == [1.0] * 12


@pytest.mark.parametrize("degrees", [180, 270])
def test_part_of_a_panorama_is_none(degrees: int):
    """Both poles close, but to the right of the picture comes nothing of it."""
    for seed in range(4):
        whole = still(frames=1, height=128, seed=seed)[0]
        part = Image.fromarray(whole[:, : 256 * degrees // 360]).resize((256, 128), Image.Resampling.BICUBIC)
        assert passes(np.asarray(part)[None]) == 0


def mirrored(frames: np.ndarray) -> np.ndarray:
    half = Image.fromarray(frames[0]).resize((frames.shape[2] // 2, frames.shape[1]), Image.Resampling.BICUBIC)
    return np.concatenate([np.asarray(half), np.asarray(half)[:, ::-1]], axis=1)[None]


def test_a_picture_that_was_mirrored_to_close_is_none():
    """Its ends meet better than any: seam metrics are content, and the fold gives it away."""
    for frames in [*photographs(12, 128), *(stretched(frames=1, seed=seed) for seed in range(4))]:
        folded = mirrored(frames)
        assert passes(folded) == 0
        ends, _ = unpacked(steps_of(folded))
        assert seam_opening(ends) > seam_opening(ends._replace(facing=ends.as_far))


def test_a_texture_without_a_place_in_it_is_none():
    """Gravel, grass, stars: they step as much over an edge as anywhere, but no polar row of theirs is a point."""
    generator = np.random.default_rng(0)
    for grain in (1, 2, 4):
        picture = Image.fromarray(generator.integers(0, 256, (64 // grain, 128 // grain, 3), dtype=np.uint8))
        frames = np.asarray(picture.resize((128, 64), Image.Resampling.NEAREST))[None]
        assert passes(frames) == 0
        ends, _ = unpacked(steps_of(frames))
        assert pole_opening(ends) > 3
        assert grain > 1 or seam_opening(ends) < 1.3


def test_a_corner_of_a_wall_at_the_seam_does_not_fail_a_panorama():
    for seed in range(4):
        frames = still(frames=1, height=128, seed=seed)
        frames[:, 60:80, :64] = frames[:, 60:80, :64] // 2  # a dark wall begins at the seam and ends a quarter on
        assert passes(frames) == 1


def test_what_covers_the_tripod_does_not_narrow_the_view():
    generator = np.random.default_rng(1)
    frames = still(frames=1, height=128)
    frames[:, -8:] = generator.integers(0, 2, (1, 8, 16, 1), dtype=np.uint8).repeat(16, axis=2) * 255  # letters
    assert passes(frames) == 1
    assert field_of_view(steps_of(frames)) > 345


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
def test_a_turned_panorama_still_closes_and_a_turned_photograph_shows_its_edges_elsewhere(axis: str):
    panorama = torch.from_numpy(still(frames=1, height=H)).permute(0, 3, 1, 2).float()
    turned = rotate_erp(panorama, rotation_matrix(**{axis: 1.0})).round().byte().permute(0, 2, 3, 1).numpy()
    assert passes(turned) == 1


def test_each_of_the_three_ways_out_counts():
    whole = still(frames=1)
    cut = whole.copy()
    cut[:, :6] = np.roll(stretched(frames=1, seed=3)[:, :6], 20, axis=2)  # another picture's edge as the top
    ratios = [closing_ratio(steps_of(video)) for video in (whole, broken_seam(whole, 60), cut)]
    assert ratios[0] < 1.2
    assert min(ratios[1:]) > 1.3 * ratios[0]


def test_the_ratio_grows_with_a_graded_break_and_the_field_of_view_shrinks():
    found = [steps_of(broken_seam(still(frames=1), strength)) for strength in (0, 10, 20, 40, 80)]
    ratios, views = [closing_ratio(s) for s in found], [field_of_view(s) for s in found]
    assert ratios == sorted(ratios)
    assert views == sorted(views, reverse=True)
    assert views[-1] < views[0] - 5


def test_noise_and_blur_do_not_open_a_panorama():
    panorama = still(frames=1).astype(float)
    noise = np.random.default_rng(0).normal(scale=20, size=panorama.shape)
    assert passes(np.clip(panorama + noise, 0, 255).astype(np.uint8)) == 1
    assert passes(np.full((1, H, 2 * H, 3), 128, np.uint8)) == 1  # blank videos are refused before they come here
