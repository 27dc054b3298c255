"""End continuity at the seam, the poles and the edges of the cube, on pictures whose ends are known."""

import math

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import cubemap_to_erp, erp_directions, erp_to_cubemap, view_directions
from evaluation.features import extract_features, row_weights
from evaluation.metrics import create_metrics
from evaluation.metrics.discontinuity import discontinuity_scores
from evaluation.metrics.edges import edge_ratio, edge_steps, pole_ratio, pole_steps
from evaluation.metrics.ssim import ssim_map
from evaluation.pixels import luma
from evaluation.strips import bridged, meridians, squares, strips
from tests.evaluation.worlds import FPS, HEIGHT, broken_seam, still, stretched, turning

WEIGHTS = row_weights(HEIGHT)
SEAM = ("seam_ratio_grid", "seam_row_percentile", "seam_ssim", "discontinuity_score", "discontinuity_ratio")


def value(name: str, frames: np.ndarray) -> float:
    return create_metrics({name: {}})[0].measure(extract_features(frames, FPS, set()))


def blocks(frames: np.ndarray, size: int, strength: float) -> np.ndarray:
    """What a decoder does that draws in blocks: each pixel is drawn towards the mean of its block."""
    f, h, w, c = frames.shape
    means = frames.reshape(f, h // size, size, w // size, size, c).mean(axis=(2, 4), keepdims=True)
    means = np.broadcast_to(means, (f, h // size, size, w // size, size, c)).reshape(frames.shape)
    return (frames + strength * (means - frames)).round().astype(np.uint8)


@pytest.mark.parametrize("name", SEAM)
def test_a_graded_break_moves_every_seam_metric_one_way(name: str):
    values = [value(name, broken_seam(still(), strength)) for strength in (0, 16, 40, 90)]
    if create_metrics({name: {}})[0].direction == "higher":
        values = [-v for v in values]
    assert values == sorted(values)
    assert values[-1] > values[0]


@pytest.mark.parametrize("seed", range(4))
def test_seamless_pictures_pass_and_stretched_ones_fail(seed: int):
    real, flat = still(seed=seed), stretched(seed=seed)
    for name, most in {
        "seam_ratio_grid": 2.0,
        "seam_row_percentile": 80.0,  # a few large smooth shapes: all rows agree
        "discontinuity_ratio": 1.7,
        "pole_ratio": 2.0,
        "open_ends": 2.5,
    }.items():
        assert value(name, real) < most < value(name, flat), name
    assert value("seam_ssim", flat) < value("seam_ssim", real) - 0.01


def test_blocks_of_the_decoder_are_not_taken_for_a_seam():
    """Against all meridians the seam looks broken, since it lies on a block's border; against its like it does not."""
    for size in (2, 4, 8):
        drawn = blocks(still(), size, 0.9)
        assert value("seam_ratio", drawn) > 2
        assert value("seam_ratio_grid", drawn) < 1.6
        assert value("seam_row_percentile", drawn) < 80
        assert value("seam_ratio_grid", broken_seam(drawn, 90)) > 2  # and a break on top of them is


def test_a_turn_of_the_video_measures_another_meridian_with_the_same_outcome():
    video = turning(2.0)
    for pixels in (1, 37, 64):
        turned = np.roll(video, pixels, axis=2)
        assert value("seam_ratio_grid", turned) < 2
        assert value("seam_row_percentile", turned) < 80
        assert value("pole_ratio", turned) == pytest.approx(value("pole_ratio", video), rel=1e-12)
    moved = np.roll(stretched(), 37, axis=2)  # a broken seam that is hidden inside the picture
    assert value("seam_ratio_grid", moved) < 2
    assert value("pole_ratio", moved) == pytest.approx(value("pole_ratio", stretched()), rel=1e-12)


def test_a_photographers_seam_in_a_plain_region_passes():
    video = still().astype(float)
    width = video.shape[2]
    calm = np.clip(1.3 * np.abs(np.arange(width) - width / 2) / (width / 2) - 0.2, 0, 1)[None, None, :, None]
    video = (calm * 128 + (1 - calm) * video).round().astype(np.uint8)
    assert value("seam_ratio_grid", video) < 0.7
    assert value("seam_row_percentile", video) < 55
    assert value("discontinuity_ratio", video) < 1


def test_one_number_tells_panoramas_of_the_nano_world_from_stretched_clips():
    """Rendered scenes, with masts, walls and plain skies; its threshold was set on other scenes."""
    rays = erp_directions(128, 256).numpy()
    real, flat = [], []
    for index in range(8):
        scene = sample_scene(77, "reference", index)
        view = view_directions(128, 256, math.radians(60 + 7 * index)).numpy()
        real.append(value("open_ends", render_clip(scene, rays, [0.0, 1.0])))
        flat.append(value("open_ends", render_clip(scene, view, [0.0, 1.0])))
    assert min(flat) > 2.5
    assert sum(v < 2.5 for v in real) >= 7
    seam, pole = (value(name, still()) for name in ("discontinuity_ratio", "pole_ratio"))
    assert value("open_ends", still()) == pytest.approx(math.sqrt(seam * pole), rel=1e-12)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_plain_video_has_no_edges(level: int):
    video = np.full((2, HEIGHT, 2 * HEIGHT, 3), level, np.uint8)
    for name in ("seam_ratio_grid", "discontinuity_ratio", "pole_ratio", "cube_edge_ratio"):
        assert value(name, video) == pytest.approx(1, abs=1e-4)
    assert value("seam_row_percentile", video) == pytest.approx(50)
    assert value("seam_ssim", video) == pytest.approx(0, abs=1e-6)
    assert value("discontinuity_score", video) == 0


# --- definitions -----------------------------------------------------------------------------------------------------


def test_the_discontinuity_score_is_the_papers():
    """Six columns put together, OpenCV's Scharr filter over them, the formula written out; every meridian alike."""
    frame = turning(2.0, frames=1)[0]
    grey = (frame @ np.array([0.299, 0.587, 0.114])) / 255
    for index, column in enumerate(meridians(2 * HEIGHT)):
        six = np.roll(grey, 3 - column, axis=1)[:, :6]
        filtered = np.abs(cv2.Scharr(six, cv2.CV_64F, 1, 0))[1:-1, 1:-1]  # whole windows only
        a1, a2, a3, a4 = filtered.T
        expected = 0.5 * np.mean(a2 / (a1 + 0.1) + a3 / (a4 + 0.1))
        assert discontinuity_scores(frame[None])[0, index] == pytest.approx(expected, rel=1e-9)


def test_ssim_is_that_of_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 40, 50, generator=generator)
    b = (a + 0.2 * torch.randn(2, 3, 40, 50, generator=generator)).clamp(0, 1)
    theirs = structural_similarity_index_measure(a, b, data_range=1.0)
    around = [torch.nn.functional.pad(x, (5, 5, 5, 5), mode="reflect") for x in (a, b)]  # as torchmetrics does inside
    assert float(ssim_map(*around).mean()) == pytest.approx(float(theirs), abs=1e-5)
    assert float(ssim_map(a, a).min()) == pytest.approx(1, abs=1e-5)


def test_strips_wrap_around_and_bridging_touches_only_the_middle():
    picture = torch.rand(1, 8, 128, generator=torch.Generator().manual_seed(1))
    around = strips(picture)
    assert around.shape == (16, 1, 8, 16)
    torch.testing.assert_close(around[0], torch.cat([picture[..., -8:], picture[..., :8]], dim=-1))
    torch.testing.assert_close(around[5], picture[..., 32:48])
    line = bridged(around)
    torch.testing.assert_close(line[..., :6], around[..., :6])
    torch.testing.assert_close(line[..., 10:], around[..., 10:])
    slopes = line[..., 5:11].diff(dim=-1)
    torch.testing.assert_close(slopes, slopes[..., :1].expand_as(slopes))
    ramp = torch.linspace(0, 1, 8).expand(1, 3, 8)
    torch.testing.assert_close(bridged(ramp), ramp)
    assert squares(torch.zeros(16, 3, 32, 8)).shape == (48, 3, 8, 8)


def test_luma_is_that_of_opencv():
    frame = still(frames=1)[0]
    ours = luma(torch.from_numpy(frame).permute(2, 0, 1).double())
    np.testing.assert_allclose(ours[0].numpy(), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), atol=0.51)


def test_over_the_pole_is_as_far_as_to_the_next_row():
    """A picture that is a linear function of direction: its steps over the pole and beside it are the same."""
    lat = np.pi / 2 - (np.arange(HEIGHT) + 0.5) / HEIGHT * np.pi
    lon = (np.arange(2 * HEIGHT) + 0.5) / HEIGHT * np.pi
    slope = 2000 * np.cos(lat)[:, None] * np.sin(lon)[None, :]  # steep, so that rounding does not count
    steps = pole_steps((slope / 20 + 128).clip(0, 255).round().astype(np.uint8)[None, ..., None].repeat(3, axis=3))[0]
    assert steps[:, 0] == pytest.approx(steps[:, 1], rel=0.1)
    assert pole_ratio(steps, 0.25) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("size", [32, 64])
def test_faces_that_do_not_fit_show_at_the_edges_of_the_cube(size: int):
    """Faces of graded brightness joined to an ERP; the seam ratio does not see them, and turned away they are gone."""
    erp = torch.from_numpy(still(frames=1, height=2 * size)).permute(0, 3, 1, 2).float()
    faces = erp_to_cubemap(erp, size)
    levels = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0, 0.0]).view(1, 6, 1, 1, 1)
    values = []
    for strength in (0, 5, 12, 30):
        joined = cubemap_to_erp(faces + strength * levels, 2 * size, 4 * size)
        frames = joined.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        values.append(edge_ratio(edge_steps(frames).mean(axis=0), 0.25))
    assert values == sorted(values)
    assert values[0] == pytest.approx(1, abs=0.25)
    assert values[-1] > 2
    assert value("seam_ratio_grid", frames.repeat(2, axis=0)) < 2
    turned = np.roll(frames, 2 * size * 45 // 180, axis=2)
    assert edge_ratio(edge_steps(turned).mean(axis=0), 0.25) < math.sqrt(values[-1])


def test_metrics_of_frames_do_not_depend_on_where_a_video_is_cut():
    video = turning(3.0)
    for name in (*SEAM, "pole_ratio", "cube_edge_ratio", "open_ends"):
        metric = create_metrics({name: {}})[0]
        parts = [(0, 3, 0), (2, 6, 1)]
        rows = [metric.update(extract_features(video[a:b], FPS, set(), seen=seen)) for a, b, seen in parts]
        assert metric.compute(np.concatenate(rows)) == metric.measure(extract_features(video, FPS, set()))
