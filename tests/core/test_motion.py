"""Synthetic motions against geometry on the sphere, and flow tensors from files."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.errors import PanobenchError
from core.flow import flow_to_directions, spherical_displacement
from core.motion import SYNTHETIC, is_synthetic, read_flow_tensor, synthetic_flow
from core.sphere import angle_between, erp_directions, rotation_matrix

HEIGHT, WIDTH = 64, 128
START = erp_directions(HEIGHT, WIDTH)


def seen(motion: str) -> torch.Tensor:
    """Where each pixel's content is seen in the next frame, unit directions (H, W, 3)."""
    flow = synthetic_flow(motion, 3, HEIGHT, WIDTH)
    assert flow.shape == (2, 2, HEIGHT, WIDTH)
    assert flow.dtype == np.float32
    assert (flow[0] == flow[1]).all()
    return flow_to_directions(torch.from_numpy(flow))[0]


@pytest.mark.parametrize(("name", "sign"), [("yaw-left", 1), ("yaw-right", -1)])
def test_a_turn_of_the_camera_is_a_rotation_of_the_sphere(name, sign):
    """The viewer turns by d: content goes the other way, at every latitude."""
    turned = rotation_matrix(yaw=sign * math.radians(3))  # content of a viewer who turns left moves right
    expected = START @ turned.T
    assert angle_between(seen(f"{name}@3"), expected).max() < 1e-4
    flow = synthetic_flow(f"{name}@3", 2, HEIGHT, WIDTH)[0]
    assert np.allclose(flow[0], sign * 3 / 360 * WIDTH)
    assert np.allclose(flow[1], 0)


@pytest.mark.parametrize(("name", "sign"), [("drift-forward", 1), ("drift-backward", -1)])
def test_a_moving_camera_sees_its_way_open_and_close(name, sign):
    """Directions leave the point ahead along great circles, fastest at right angles to it: atan of the step there."""
    there = seen(f"{name}@4")
    ahead = torch.tensor([0.0, 0.0, 1.0])
    before, after = angle_between(START, ahead.expand_as(START)), angle_between(there, ahead.expand_as(there))
    assert ((after - before) * sign > 0).all()
    across = (before - math.pi / 2).abs() < 0.02
    assert torch.allclose((after - before)[across] * sign, torch.tensor(math.radians(4)), atol=2e-3)
    # In the plane of the point ahead and the start: neither leaves the great circle through both.
    normal = torch.linalg.cross(START, ahead.expand_as(START))
    assert (there * normal).sum(-1).abs().max() < 1e-4
    speed = spherical_displacement(torch.from_numpy(synthetic_flow(f"{name}@4", 2, HEIGHT, WIDTH)))[0]
    assert speed[HEIGHT // 2, WIDTH // 2] < 0.2
    assert speed[HEIGHT // 2, 0] < 0.2  # behind


def test_sky_and_ground_move_alone():
    latitude = torch.asin(START[..., 1])
    for name, region in (("sky-only", latitude), ("ground-only", -latitude)):
        speed = spherical_displacement(torch.from_numpy(synthetic_flow(f"{name}@3", 2, HEIGHT, WIDTH)))[0]
        assert speed[region < 0].max() < 1e-3
        assert (
            speed[(region > math.radians(15)) & (region < math.radians(60)) & (START[..., 0].abs() > 0.4)] > 0.5
        ).all()
    sky = synthetic_flow("sky-only@3", 2, HEIGHT, WIDTH)[0]
    assert (sky[0] >= 0).all()  # to the right
    ground, forward = (synthetic_flow(f"{name}@3", 2, HEIGHT, WIDTH)[0] for name in ("ground-only", "drift-forward"))
    low = (latitude < -math.radians(11)).numpy()
    assert (ground[:, low] == forward[:, low]).all()


def test_names_speeds_and_what_is_neither():
    assert np.abs(synthetic_flow("still", 4, HEIGHT, WIDTH)).max() == 0
    assert np.allclose(synthetic_flow("yaw-left", 2, HEIGHT, WIDTH)[0, 0], 2 / 360 * WIDTH)
    assert {"drift-forward", "yaw-left", "sky-only", "ground-only"} <= set(SYNTHETIC)
    assert [is_synthetic(text) for text in ("sky-only", "yaw-left@0.5", "flows/a.mp4", "a.npy")] == [
        True,
        True,
        False,
        False,
    ]
    for motion, message in (
        ("sky-onyl", "unknown motion 'sky-onyl'; did you mean 'sky-only'"),
        ("sky-only@fast", "'fast' is not between 0 and 45 degrees"),
        ("sky-only@nan", "is not between"),
        ("sky-only@90", "is not between"),
    ):
        with pytest.raises(PanobenchError, match=message):
            synthetic_flow(motion, 3, HEIGHT, WIDTH)


def test_flow_tensors_of_three_kinds(tmp_path):
    flow = torch.randn(5, 2, 8, 16, dtype=torch.float64)
    np.save(tmp_path / "a.npy", flow.numpy())
    torch.save(flow, tmp_path / "a.pt")
    save_file({"flow": flow, "other": torch.ones(1)}, tmp_path / "a.safetensors")
    for suffix in ("npy", "pt", "safetensors"):
        found = read_flow_tensor(tmp_path / f"a.{suffix}", 4, 8, 16)
        assert found.dtype == np.float32
        assert np.array_equal(found, flow[:3].float().numpy())
        for frames, height, width, message in (
            (7, 8, 16, "for 7 frames has 6 fields or more, found 5"),
            (4, 16, 32, r"must be \(T, 2, 16, 32\), found \(5, 2, 8, 16\)"),
        ):
            with pytest.raises(PanobenchError, match=message):
                read_flow_tensor(tmp_path / f"a.{suffix}", frames, height, width)
        (tmp_path / f"bad.{suffix}").write_bytes(b"nothing at all here")
        with pytest.raises(PanobenchError, match="not a readable flow tensor"):
            read_flow_tensor(tmp_path / f"bad.{suffix}", 4, 8, 16)
    np.save(tmp_path / "nan.npy", np.full((5, 2, 8, 16), np.nan))
    with pytest.raises(PanobenchError, match="not finite"):
        read_flow_tensor(tmp_path / "nan.npy", 4, 8, 16)
    with pytest.raises(PanobenchError, match="no such flow; a motion is one of still, drift-forward"):
        read_flow_tensor(tmp_path / "no.npy", 4, 8, 16)
