import math

import numpy as np
import pytest
import torch

from core.errors import PanobenchError
from core.sphere import erp_directions, erp_to_view
from evaluation.views import VIEW_SETS, ViewOptions, ViewSet
from tests.evaluation.worlds import turning


def pixels(video: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(video).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("name", sorted(VIEW_SETS))
def test_weights_are_the_solid_angles_nearest_to_each_view(name: str):
    views = ViewSet(name, 90, 32)
    weights = views.weights()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    # Monte Carlo: directions drawn evenly over the sphere.
    points = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    nearest = (points @ views.centres.T).argmax(dim=1)
    share = torch.bincount(nearest, minlength=len(weights)) / len(points)
    torch.testing.assert_close(share.double(), weights, atol=0.004, rtol=0)


def test_cube_faces_weigh_the_same():
    torch.testing.assert_close(ViewSet("cube6", 90, 32).weights(), torch.full((6,), 1 / 6).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", sorted(VIEW_SETS))
def test_the_views_together_see_the_whole_sphere(name: str):
    views = ViewSet(name, 90, 32)
    angle = (erp_directions(32, 64).reshape(-1, 3) @ views.centres.T).amax(dim=1).clamp(-1, 1).acos()
    # Within the corner of the nearest face of a cube, which is the farthest that a 90-degree view reaches.
    assert float(angle.max()) <= math.acos(1 / math.sqrt(3)) + 1e-3


def test_views_in_one_pass_are_the_single_views():
    frames = pixels(turning(3.0, frames=2))
    views = ViewSet("sphere12", 90, 64).extract(frames)
    assert views.shape == (2, 12, 3, 64, 64)
    for index in (0, 5, 11):
        yaw, pitch = (math.radians(angle) for angle in VIEW_SETS["sphere12"][index])
        alone = erp_to_view(frames, 64, 64, math.pi / 2, yaw, pitch)
        torch.testing.assert_close(views[:, index], alone, atol=1e-5, rtol=0)


def test_a_quarter_turn_permutes_the_views():
    frames = pixels(turning(0.0, frames=1))
    views = ViewSet("sphere12", 90, 32)
    before, after = views.extract(frames)[0], views.extract(torch.roll(frames, 32, dims=-1))[0]
    distance = (before[:, None] - after[None]).abs().amax(dim=(2, 3, 4))
    assert sorted(distance.argmin(dim=1).tolist()) == list(range(12))
    assert float(distance.amin(dim=1).max()) < 1e-3


def test_fine_texture_is_averaged_not_aliased():
    checkerboard = torch.zeros(1, 3, 128, 256)
    checkerboard[..., ::2, ::2] = checkerboard[..., 1::2, 1::2] = 1
    views = ViewSet("cube6", 90, 16).extract(checkerboard)
    assert float((views[:, :4] - 0.5).abs().mean()) < 0.1


def test_unknown_names_and_values_are_one_clear_line():
    with pytest.raises(PanobenchError, match="did you mean 'sphere12'"):
        ViewSet("sphere21", 90, 32)
    with pytest.raises(PanobenchError, match="between 1 and 170"):
        ViewSet("cube6", 190, 32)
    with pytest.raises(PanobenchError, match="did you mean 'fov_deg'"):
        ViewOptions.parse({"fov": 90})
    with pytest.raises(PanobenchError, match="expected a number"):
        ViewOptions.parse({"fov_deg": "wide"})
