import math

import numpy as np
import pytest
import torch

from core.sphere import angle_between, directions_to_lonlat, erp_directions, erp_lonlat, rotation_matrix
from evaluation.features import extract_features, row_weights
from evaluation.metrics import create_metrics
from evaluation.metrics.motion_speed import global_rotations, mean_angle, moved_directions, rotation_angles
from evaluation.metrics.warping_error import warped_difference, warping_error
from tests.evaluation.worlds import FPS, HEIGHT, still, turning

WEIGHTS = row_weights(HEIGHT)
WIDTH = 2 * HEIGHT
SPEEDS = create_metrics(dict.fromkeys(("motion_speed", "rotation_speed", "residual_speed")))


def exact_flow(degrees: float, axis: str) -> torch.Tensor:
    """Flow (1, 2, H, W) in pixels of a viewer who turns by ``degrees`` between two frames: the world turns back."""
    turn = rotation_matrix(**{axis: math.radians(degrees)}, dtype=torch.float64)
    lon, lat = directions_to_lonlat(erp_directions(HEIGHT, WIDTH, dtype=torch.float64) @ turn)  # R^T d
    lat0, lon0 = erp_lonlat(HEIGHT, WIDTH, dtype=torch.float64)
    across = (lon - lon0 + math.pi) % (2 * math.pi) - math.pi
    down = lat0[:, None] - lat
    return torch.stack([across * WIDTH / (2 * math.pi), down * HEIGHT / math.pi])[None]


def speeds_of(video: np.ndarray) -> dict[str, float]:
    features = extract_features(video, FPS, {"flow"})
    return {metric.name: metric.measure(features) for metric in SPEEDS}


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("degrees", [0.001, 1.0, 20.0])
def test_true_flow_of_a_turn_reads_its_rate_about_any_axis(axis: str, degrees: float):
    before, after = moved_directions(exact_flow(degrees, axis))
    rotations = global_rotations(before, after, WEIGHTS)
    assert float(rotation_angles(rotations)) == pytest.approx(degrees, rel=1e-6)
    # The mean of sin(angle to the axis) over the sphere is pi / 4.
    assert mean_angle(before, after, WEIGHTS) == pytest.approx(degrees * math.pi / 4, rel=5e-3)
    turned = torch.einsum("tij,hwj->thwi", rotations, before)
    assert float(angle_between(turned, after).max()) < 1e-6


def test_the_fitted_rotation_is_the_turn():
    before, after = moved_directions(exact_flow(10, "yaw"))
    rotation = global_rotations(before, after, WEIGHTS)[0]
    torch.testing.assert_close(rotation, rotation_matrix(yaw=math.radians(-10), dtype=torch.float64), atol=1e-9, rtol=0)


# The estimated flow falls short where a tilt crosses the poles; the same video with its true flow is exact (above).
@pytest.mark.parametrize(("axis", "tolerance"), [("yaw", 0.02), ("pitch", 0.1), ("roll", 0.05)])
def test_a_video_that_turns_by_one_degree_per_frame_reads_fps_degrees_per_second(axis: str, tolerance: float):
    speeds = speeds_of(turning(1.0, axis))
    assert speeds["rotation_speed"] == pytest.approx(FPS, rel=tolerance)
    assert speeds["motion_speed"] == pytest.approx(FPS * math.pi / 4, rel=tolerance)
    assert speeds["residual_speed"] < 0.1 * FPS


def test_a_still_video_does_not_move():
    assert speeds_of(still()) == pytest.approx({metric.name: 0 for metric in SPEEDS}, abs=1e-6)


def test_speed_grows_with_speed():
    found = [speeds_of(turning(degrees, frames=3)) for degrees in (0, 0.5, 1, 2, 4)]
    for name in ("motion_speed", "rotation_speed"):
        values = [speeds[name] for speeds in found]
        assert values == sorted(values)


def test_speeds_do_not_depend_on_yaw():
    # DIS works on a grid of patches, so the estimate, not the metric, may change by a trace; true flow shows that.
    flow = exact_flow(3, "pitch")
    rolled = flow.roll(31, dims=-1)
    for one, other in zip(moved_directions(flow), moved_directions(rolled), strict=True):
        assert mean_angle(*moved_directions(flow), WEIGHTS) == pytest.approx(
            mean_angle(*moved_directions(rolled), WEIGHTS), rel=1e-9
        )
        assert one.shape == other.shape
    video = turning(2.0, "pitch", frames=3)
    here, there = speeds_of(video), speeds_of(np.roll(video, 31, axis=2))
    assert there["rotation_speed"] == pytest.approx(here["rotation_speed"], rel=0.03)
    assert there["motion_speed"] == pytest.approx(here["motion_speed"], rel=0.03)


def test_an_object_moves_the_residual_and_hardly_the_rotation():
    video = np.array(still(frames=4))
    for t in range(4):
        video[t, 24:40, 40 + 3 * t : 56 + 3 * t] = (255, 60, 0)
    speeds = speeds_of(video)
    assert speeds["residual_speed"] > 1
    assert speeds["rotation_speed"] < 0.1 * speeds["residual_speed"]


# --- warping error ---------------------------------------------------------------------------------------------------


def warping(video: np.ndarray) -> float:
    return create_metrics({"warping_error": {}})[0].measure(extract_features(video, FPS, {"flow"}))


def test_a_still_video_has_no_warping_error():
    assert warping(still()) < 0.01


def test_whole_pixels_of_true_flow_cancel_exactly_also_at_the_seam():
    video = np.stack([np.roll(still(frames=1)[0], 3 * t, axis=1) for t in range(3)])
    flow = torch.zeros(2, 2, HEIGHT, WIDTH)
    flow[:, 0] = 3
    assert warping_error(warped_difference(video, flow, -flow, WEIGHTS)) < 0.01
    assert warping_error(warped_difference(video, 0 * flow, 0 * flow, WEIGHTS)) > 5


def test_what_is_hidden_does_not_count():
    video = np.full((2, HEIGHT, WIDTH, 3), 100, np.uint8)
    video[1, 20:30, 20:30] = 200
    flow = torch.zeros(1, 2, HEIGHT, WIDTH)
    back = flow.clone()
    back[:, 0, 20:30, 20:30] = 8  # says: this came from elsewhere
    assert warping_error(warped_difference(video, flow, flow, WEIGHTS)) > 1
    assert warping_error(warped_difference(video, flow, back, WEIGHTS)) < 0.01


def test_contradicting_flow_everywhere_counts_everything():
    video = np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in (100, 110)])
    flow = torch.full((1, 2, HEIGHT, WIDTH), 9.0)
    flow[:, 1] = 0
    assert warping_error(warped_difference(video, flow, flow, WEIGHTS)) == pytest.approx(10, abs=0.01)


def test_warping_error_grows_with_flicker_but_not_with_motion():
    moving = turning(1.5)
    values = []
    for amplitude in (0, 4, 8, 16):
        flickering = moving.astype(int)
        flickering[::2] += amplitude
        values.append(warping(np.clip(flickering, 0, 255).astype(np.uint8)))
    assert values == sorted(values)
    assert values[-1] > 3 * values[0]
    plain = np.abs(np.diff(moving.astype(int), axis=0)).mean(axis=(0, 2, 3)) @ WEIGHTS
    assert values[0] < 0.4 * plain


def test_warping_error_does_not_depend_on_yaw():
    video = turning(1.5, frames=3)
    assert warping(np.roll(video, 31, axis=2)) == pytest.approx(warping(video), rel=0.05)
