import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.flow import forward_backward_mask
from core.flow.planes import angles, moved_planes
from core.nano.flow import erp_flow
from core.nano.render import render_clip
from core.nano.scene import Camera, sample_scene
from core.sphere import angle_between, directions_to_lonlat, erp_directions, erp_lonlat, rotation_matrix
from evaluation.features import extract_features, row_weights
from evaluation.metrics import METRICS, create_metrics
from evaluation.metrics.motion_decomposition import Decomposition, decompose, decomposition_of
from evaluation.metrics.motion_speed import global_rotations, mean_angle, rotation_angles
from evaluation.metrics.warping_error import warped_difference, warping_error
from tests.evaluation.worlds import FPS, HEIGHT, still, turning

WEIGHTS = row_weights(HEIGHT)
WIDTH = 2 * HEIGHT
SPEEDS = create_metrics(dict.fromkeys(("motion_speed", "rotation_speed", "translation_speed", "residual_speed")))
MOTION = [m for m in create_metrics(dict.fromkeys(METRICS.names())) if m.needs == {"flow"}]


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


def measured(video: np.ndarray) -> dict[str, float]:
    features = extract_features(video, FPS, {"flow"})
    return {metric.name: metric.measure(features) for metric in MOTION}


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("degrees", [0.001, 1.0, 20.0])
def test_true_flow_of_a_turn_reads_its_rate_about_any_axis(axis: str, degrees: float):
    before, after = moved_planes(exact_flow(degrees, axis))
    rotations = global_rotations(before, after, WEIGHTS)
    assert float(rotation_angles(rotations)) == pytest.approx(degrees, rel=1e-6)
    # The mean of sin(angle to the axis) over the sphere is pi / 4.
    assert mean_angle(before, after, WEIGHTS) == pytest.approx(degrees * math.pi / 4, rel=5e-3)
    turned = torch.einsum("tij,jhw->ithw", rotations, before)
    assert float(angles(turned, after).max()) < 1e-6


def test_the_fitted_rotation_is_the_turn():
    before, after = moved_planes(exact_flow(10, "yaw"))
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


def test_motion_does_not_depend_on_yaw():
    video = turning(2.0, "pitch", frames=3)
    here, there = (measured(v) for v in (video, np.roll(video, 31, axis=2)))
    assert there == pytest.approx(here, rel=1e-4, abs=1e-6)


def test_an_object_moves_the_residual_and_hardly_the_rotation():
    video = np.array(still(frames=4))
    for t in range(4):
        video[t, 24:40, 40 + 3 * t : 56 + 3 * t] = (255, 60, 0)
    # A lone thing that moves may as well be near, and the still rest far away, while the camera travels past.
    speeds = speeds_of(video)
    assert speeds["residual_speed"] + speeds["translation_speed"] > 1
    assert speeds["rotation_speed"] < 0.1


# --- the camera's turn and travel, planted in the procedural world ---------------------------------------------------


def planted(velocity: tuple[float, float, float], yaw_rate: float, exact: bool, index: int = 1) -> Decomposition:
    """Of two pairs of frames of a test scene whose camera moves like this; by its true flow, or by estimation."""
    camera = Camera((0.0, 2.0, 0.0), velocity, yaw_rate=math.radians(yaw_rate))
    scene = replace(sample_scene(1, "test", index), camera=camera)
    rays = erp_directions(HEIGHT, WIDTH, dtype=torch.float64)
    if not exact:
        fine = erp_directions(2 * HEIGHT, 2 * WIDTH, dtype=torch.float64).numpy()
        return decomposition_of(extract_features(render_clip(scene, fine, range(3)), FPS, {"flow"}))
    flow = np.stack([erp_flow(scene, rays.numpy(), t) for t in (0, 1)])
    before, after = moved_planes(torch.from_numpy(flow).double())
    everywhere = torch.ones(after.shape[1:], dtype=torch.bool)
    return decompose(before, after, WEIGHTS, global_rotations(before, after, WEIGHTS), everywhere)


@pytest.mark.parametrize("exact", [True, False], ids=["true flow", "estimated flow"])
@pytest.mark.parametrize("yaw_rate", [0.0, 3.0, -4.0])
@pytest.mark.parametrize(
    "velocity", [(0.0, 0.0, 0.3), (0.3, 0.0, 0.0), (0.0, 0.2, 0.0)], ids=["forward", "right", "up"]
)
def test_turn_and_travel_of_a_camera_are_told_apart(velocity: tuple, yaw_rate: float, exact: bool):
    found = planted(velocity, yaw_rate, exact)
    turn = rotation_angles(found.rotations).mean()
    assert turn == pytest.approx(abs(yaw_rate), abs=0.15 if exact else 0.6)
    # The focus, in the axes of the second frame of each pair.
    for pair, focus in enumerate(found.foci):
        heading = rotation_matrix(yaw=math.radians((pair + 1) * yaw_rate), dtype=torch.float64)
        goal = torch.tensor(velocity, dtype=torch.float64) @ heading
        angle = angle_between(focus, goal / goal.norm()).rad2deg()
        assert angle < (1 if exact else 6)
    explained = 1 - found.residual.sum() / found.total.sum()
    assert explained > (0.9 if exact else 0.75)
    travel = (found.unturned - found.residual).mean()
    assert travel == pytest.approx(planted(velocity, 0.0, exact=True).total.mean(), rel=0.2)


def test_nothing_is_explained_where_nothing_can_be_followed():
    noise = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    values = measured(noise)
    assert values["motion_explained"] < 10
    assert values["coherent_motion"] < 0.05
    assert values["motion_speed"] > 20


def test_only_moving_video_that_keeps_its_look_wins_the_joint_score():
    """The consistency metrics put the frozen clip first; the joint score puts it last."""
    moving = turning(1.5, frames=5)
    frozen = np.repeat(moving[:1], 5, axis=0)
    stuttering = moving[[0, 0, 1, 1, 2]]
    flickering = moving.astype(int)
    flickering[::2] += 12
    videos = {"moving": moving, "frozen": frozen, "stuttering": stuttering, "flickering": flickering}
    found = {name: measured(np.clip(video, 0, 255).astype(np.uint8)) for name, video in videos.items()}
    for name in ("warping_error", "flicker_compensated"):
        assert min(found, key=lambda key: found[key][name]) == "frozen"
        assert found["frozen"][name] == pytest.approx(0, abs=1e-4)
    joint = {key: values["coherent_motion"] for key, values in found.items()}
    assert joint["frozen"] == 0
    assert joint["moving"] > 0.6
    assert joint["stuttering"] == pytest.approx(joint["moving"] / 2, rel=0.05)
    assert joint["flickering"] < 0.6 * joint["moving"]


def test_flicker_along_the_motion_is_its_amplitude_and_motion_alone_is_little():
    moving = turning(1.5, frames=4)
    values = []
    for amplitude in (0, 4, 8, 16):
        flickering = np.clip(moving.astype(int), 0, 239)
        flickering[::2] += amplitude
        values.append(measured(flickering.astype(np.uint8))["flicker_compensated"])
    assert values[0] < 1
    assert values == sorted(values)
    assert values[3] == pytest.approx(16, rel=0.25)


# --- warping error ---------------------------------------------------------------------------------------------------


def warping(video: np.ndarray) -> float:
    return create_metrics({"warping_error": {}})[0].measure(extract_features(video, FPS, {"flow"}))


def error_along(video: np.ndarray, flow: torch.Tensor, back: torch.Tensor) -> float:
    return warping_error(warped_difference(video, flow, forward_backward_mask(flow, back), WEIGHTS))


def test_a_still_video_has_no_warping_error():
    assert warping(still()) < 0.01


def test_whole_pixels_of_true_flow_cancel_exactly_also_at_the_seam():
    video = np.stack([np.roll(still(frames=1)[0], 3 * t, axis=1) for t in range(3)])
    flow = torch.zeros(2, 2, HEIGHT, WIDTH)
    flow[:, 0] = 3
    assert error_along(video, flow, -flow) < 0.01
    assert error_along(video, 0 * flow, 0 * flow) > 5


def test_what_is_hidden_does_not_count():
    video = np.full((2, HEIGHT, WIDTH, 3), 100, np.uint8)
    video[1, 20:30, 20:30] = 200
    flow = torch.zeros(1, 2, HEIGHT, WIDTH)
    back = flow.clone()
    back[:, 0, 20:30, 20:30] = 8  # says: this came from elsewhere
    assert error_along(video, flow, flow) > 1
    assert error_along(video, flow, back) < 0.01


def test_contradicting_flow_everywhere_counts_everything():
    video = np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in (100, 110)])
    flow = torch.full((1, 2, HEIGHT, WIDTH), 9.0)
    flow[:, 1] = 0
    assert error_along(video, flow, flow) == pytest.approx(10, abs=0.01)


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
    assert warping(np.roll(video, 31, axis=2)) == pytest.approx(warping(video), rel=1e-4)
