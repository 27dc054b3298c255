"""Flow for measuring, against the exact flow of the procedural world."""

import numpy as np
import pytest
import torch

from core.flow import estimate_flow, flow_to_directions
from core.nano.flow import erp_flow
from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import angle_between, erp_directions, erp_lonlat
from evaluation.sphere_flow import spherical_flow
from tests.evaluation.worlds import turning

H = 64


def film(index: int, frames: int = 2) -> np.ndarray:
    rays = erp_directions(2 * H, 4 * H, dtype=torch.float64).numpy()
    return render_clip(sample_scene(1, "test", index), rays, range(frames))


def test_views_at_the_poles_follow_what_an_erp_loses():
    """Mean error, degrees, of one pair of eight scenes; most of the motion of a travelling camera is at its feet."""
    latitude = erp_lonlat(H, 1)[0].rad2deg()
    weights = latitude.deg2rad().cos() / latitude.deg2rad().cos().sum()
    plain, ours = [], []
    for index in range(8):
        frames = film(index)
        rays = erp_directions(H, 2 * H, dtype=torch.float64)
        true = flow_to_directions(
            torch.from_numpy(erp_flow(sample_scene(1, "test", index), rays.numpy(), 0))[None].double()
        )
        for found, flow in ((plain, estimate_flow(frames)), (ours, spherical_flow(frames))):
            found.append(
                angle_between(flow_to_directions(torch.from_numpy(flow).double()), true).rad2deg().mean(dim=(0, 2))
            )
    erp, views = (torch.stack(found).mean(dim=0) for found in (plain, ours))
    ground, below = latitude < -60, latitude.abs() < 35
    assert views[ground].mean() < 0.45 * erp[ground].mean()
    assert torch.allclose(views[below], erp[below], atol=0.02)  # the turn to the brightest column changes a trace
    assert (views @ weights.to(views)) < (erp @ weights.to(erp))


@pytest.mark.parametrize("pixels", [1, 31, 64])
def test_a_yaw_of_the_video_turns_the_flow_to_the_bit(pixels: int):
    frames = film(0, 3)
    np.testing.assert_array_equal(
        spherical_flow(np.roll(frames, pixels, axis=2)), np.roll(spherical_flow(frames), pixels, axis=3)
    )


def test_a_pair_does_not_know_its_neighbours():
    frames = turning(1.5, "pitch", frames=4)
    whole = spherical_flow(frames)
    np.testing.assert_array_equal(whole[2], spherical_flow(frames[2:])[0])
    assert whole.shape == (3, 2, H, 2 * H)
    assert whole.dtype == np.float32
