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
from evaluation.metrics.is_360 import closing_ratio, closing_steps, field_of_view
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
