"""The projection core against analytic directions, py360convert, and the symmetries of the sphere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sphere_error import BOUND_PX, measure
from core import sphere

ANGLES = st.floats(-math.pi, math.pi)


def smooth_erp(height: int, seed: int = 0, channels: int = 3) -> torch.Tensor:
    """A picture of low spherical frequencies, ``(1, C, H, 2H)`` in [0, 1]: no seam, no pole, gently sloped."""
    generator = torch.Generator().manual_seed(seed)
    directions = sphere.erp_directions(height, 2 * height, dtype=torch.float64)
    waves = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    phases = torch.rand(channels, 8, generator=generator, dtype=torch.float64) * 6.28
    picture = torch.cos(directions @ waves.T + phases[:, None, None]).mean(-1)
    return (picture / 2 + 0.5).float()[None]


def direction_image(height: int) -> torch.Tensor:
    return sphere.erp_directions(height, 2 * height).permute(2, 0, 1)[None]


def error_px(found: torch.Tensor, true: torch.Tensor, height: int) -> float:
    """Largest angle between sampled ``(1, 3, h, w)`` and true ``(h, w, 3)`` directions, in ERP pixels."""
    found = torch.nn.functional.normalize(found[0].permute(1, 2, 0), dim=-1)
    return float(sphere.angle_between(found, true).max() / math.pi * height)


# --- conventions -----------------------------------------------------------------------------------------------------


def test_pixel_centres_and_axes():
    lat, lon = sphere.erp_lonlat(2, 4)
    assert lat.tolist() == pytest.approx([math.pi / 4, -math.pi / 4])
    assert lon.tolist() == pytest.approx([-3 * math.pi / 4, -math.pi / 4, math.pi / 4, 3 * math.pi / 4])
    forward = sphere.lonlat_to_directions(torch.tensor(0.0), torch.tensor(0.0))
    right = sphere.lonlat_to_directions(torch.tensor(math.pi / 2), torch.tensor(0.0))
    up = sphere.lonlat_to_directions(torch.tensor(1.0), torch.tensor(math.pi / 2))
    torch.testing.assert_close(torch.stack((right, up, forward)), torch.eye(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("angles", "axis", "expected"),
    [
        ({"yaw": 0.3}, 2, (math.sin(0.3), 0.0, math.cos(0.3))),  # forward turns right
        ({"pitch": 0.3}, 2, (0.0, math.sin(0.3), math.cos(0.3))),  # forward rises
        ({"roll": 0.3}, 0, (math.cos(0.3), -math.sin(0.3), 0.0)),  # the right side sinks
    ],
)
def test_signs_of_the_angles(angles, axis, expected):
    matrix = sphere.rotation_matrix(**angles, dtype=torch.float64)
    torch.testing.assert_close(matrix[:, axis], torch.tensor(expected, dtype=torch.float64))
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0)


def test_directions_round_trip_at_the_poles():
    lon = torch.linspace(-3, 3, 7, dtype=torch.float64)
    lat = torch.tensor([math.pi / 2 - 1e-7, -math.pi / 2 + 1e-7, 0.5, 0.0, -0.5, 1.0, -1.0], dtype=torch.float64)
    lon_back, lat_back = sphere.directions_to_lonlat(3.0 * sphere.lonlat_to_directions(lon, lat))
    torch.testing.assert_close(lon_back, lon, atol=1e-7, rtol=0)
    torch.testing.assert_close(lat_back, lat, atol=1e-12, rtol=0)


def test_angle_between_resolves_tiny_angles():
    a = torch.tensor([1.0, 0.0, 0.0])
    b = torch.tensor([1.0, 1e-5, 0.0])
    assert float(sphere.angle_between(a, b)) == pytest.approx(1e-5, rel=1e-3)
    assert float(sphere.angle_between(a, -a)) == pytest.approx(math.pi)


def test_latitude_weights_are_the_area_of_rows():
    weights = sphere.latitude_weights(64, dtype=torch.float64)
    edges = torch.linspace(math.pi / 2, -math.pi / 2, 65, dtype=torch.float64)
    area = edges[:-1].sin() - edges[1:].sin()  # exact area of each band, up to 2 pi
    torch.testing.assert_close(weights / weights.sum(), area / area.sum(), atol=1e-12, rtol=1e-9)


# --- the published error bound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [128, 512])
def test_every_projection_keeps_the_published_bound(height: int):
    """What `python -m benchmarks.sphere_error` prints, at 1024 x 512 and smaller."""
    found = measure(height, draws=100)
    assert len(found) == 8
    assert max(found.values()) < BOUND_PX


@pytest.mark.gpu
def test_the_bound_holds_on_a_gpu(device):
    assert max(measure(512, device).values()) < BOUND_PX


def test_sampling_error_below_a_hundredth_of_a_pixel():
    """1024 x 512, random directions plus the seam and both poles, against the directions themselves."""
    generator = torch.Generator().manual_seed(0)
    everywhere = torch.nn.functional.normalize(torch.randn(300, 300, 3, generator=generator), dim=-1)
    spread = torch.rand(300, 300, generator=generator) * 2 - 1
    seam = sphere.lonlat_to_directions(math.pi + spread * 0.01, torch.rand(300, 300, generator=generator) * 3 - 1.5)
    poles = torch.stack((spread * 0.01, torch.sign(spread).roll(7, 0), spread.T * 0.01), dim=-1)
    picture = direction_image(512)
    for rays in (everywhere, seam, torch.nn.functional.normalize(poles, dim=-1)):
        assert error_px(sphere.sample_erp(picture, rays), rays, 512) < 0.01


@pytest.mark.parametrize("height", [64, 512])
def test_own_pixel_centres_are_exact(height):
    picture = torch.rand(1, 3, height, 2 * height, generator=torch.Generator().manual_seed(0))
    found = sphere.sample_erp(picture, sphere.erp_directions(height, 2 * height))
    torch.testing.assert_close(found, picture, atol=2e-4, rtol=0)


# --- py360convert as the oracle --------------------------------------------------------------------------------------

# py360convert puts the first and the last pixel of a view on its edges (a corner-aligned grid), this project half a
# pixel inside: the same rays come from a narrower field of view there. It also rounds positions to 1/32 px (OpenCV).


@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (180, 0, 0), (170, 40, 0), (-60, 90, 0), (20, -75, 0), (75, 30, 25)])
def test_view_matches_py360convert(angles_deg):
    import py360convert

    yaw, pitch, roll = angles_deg
    height, width, fov = 96, 128, math.radians(100)
    erp = smooth_erp(256)
    tan_x = math.tan(fov / 2) * (width - 1) / width
    tan_y = math.tan(fov / 2) * (height - 1) / width
    oracle = py360convert.e2p(
        erp[0].permute(1, 2, 0).numpy(),
        (math.degrees(2 * math.atan(tan_x)), math.degrees(2 * math.atan(tan_y))),
        yaw,
        pitch,
        (height, width),
        in_rot_deg=roll,
    )
    view = sphere.erp_to_view(erp, height, width, fov, *(math.radians(a) for a in angles_deg))
    np.testing.assert_allclose(view[0].permute(1, 2, 0).numpy(), oracle, atol=1e-3)


def test_cubemap_matches_py360convert():
    import py360convert

    erp, face = smooth_erp(128), 64
    oracle = py360convert.e2c(erp[0].permute(1, 2, 0).numpy(), face, cube_format="dict")
    corner_aligned = 2 * math.atan(face / (face - 1))
    for name, (yaw, pitch) in zip(sphere.CUBE_FACES, sphere._CUBE_ANGLES, strict=True):
        view = sphere.erp_to_view(erp, face, face, corner_aligned, yaw, pitch)
        np.testing.assert_allclose(view[0].permute(1, 2, 0).numpy(), oracle[name[0].upper()], atol=1e-3)
    faces = sphere.erp_to_cubemap(erp, face)
    torch.testing.assert_close(faces[:, 1], sphere.erp_to_view(erp, face, face, math.pi / 2, math.pi / 2))


# --- padding ---------------------------------------------------------------------------------------------------------


def test_padding_continues_the_sphere():
    """Padded pixels carry the direction that their continued longitude and latitude name."""
    padded = sphere.pad_sphere(direction_image(16), lon=5, lat=3)
    lat = math.pi / 2 - (torch.arange(-3, 19) + 0.5) / 16 * math.pi
    lon = (torch.arange(-5, 37) + 0.5) / 32 * 2 * math.pi - math.pi
    expected = sphere.lonlat_to_directions(lon[None, :], lat[:, None]).permute(2, 0, 1)[None]
    torch.testing.assert_close(padded, expected, atol=1e-6, rtol=0)


def test_pad_wrap_beyond_a_full_turn():
    x = torch.arange(4)
    assert sphere.pad_wrap(x, 5, 6).tolist() == [3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


# --- symmetries ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(pixels=st.integers(-200, 200), seed=st.integers(0, 9))
def test_yaw_by_whole_pixels_is_a_roll(pixels, seed):
    erp = torch.rand(1, 2, 32, 64, generator=torch.Generator().manual_seed(seed))
    turned = sphere.rotate_erp(erp, sphere.rotation_matrix(yaw=2 * math.pi * pixels / 64, dtype=torch.float64))
    torch.testing.assert_close(turned, sphere.roll_erp(erp, -pixels), atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(yaw=ANGLES, pitch=ANGLES, roll=ANGLES)
def test_rotation_then_inverse(yaw, pitch, roll):
    erp = smooth_erp(64)
    matrix = sphere.rotation_matrix(yaw, pitch, roll, dtype=torch.float64)
    back = sphere.rotate_erp(sphere.rotate_erp(erp, matrix), matrix.T)
    assert (back - erp).abs().max() < 5e-3


@settings(max_examples=15, deadline=None)
@given(yaw=ANGLES, pitch=ANGLES, roll=ANGLES)
def test_rotation_of_directions_is_exact(yaw, pitch, roll):
    matrix = sphere.rotation_matrix(yaw, pitch, roll)
    found = sphere.rotate_erp(direction_image(128), matrix)
    assert error_px(found, sphere.erp_directions(128, 256) @ matrix.T, 128) < 0.01


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_cubemap_round_trip(seed):
    erp = smooth_erp(64, seed)
    back = sphere.cubemap_to_erp(sphere.erp_to_cubemap(erp, 64), 64, 128)
    assert (back - erp).abs().max() < 3e-3


def test_cubemap_round_trip_keeps_directions_across_the_edges():
    faces = sphere.erp_to_cubemap(direction_image(256), 256)
    back = sphere.cubemap_to_erp(faces, 256, 512)
    assert error_px(back, sphere.erp_directions(256, 512), 256) < 0.02


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (math.pi, 0.0, 0.0), (1.0, math.pi / 2, 0.0), (2.0, -0.5, 0.7)])
def test_view_to_erp_inverts_erp_to_view(angles):
    erp = smooth_erp(128)
    view = sphere.erp_to_view(erp, 200, 300, 1.5, *angles)
    pasted, mask = sphere.view_to_erp(view, 128, 256, 1.5, *angles)
    assert ((pasted - erp).abs() * mask).max() < 5e-3
    assert (pasted * ~mask).abs().max() == 0
    # The mask is the solid angle of the pinhole frustum: 4 asin(sin a sin b) with the half angles a, b of its axes.
    a, b = 0.75, math.atan(math.tan(0.75) * 200 / 300)
    fraction = 4 * math.asin(math.sin(a) * math.sin(b)) / (4 * math.pi)
    weights = sphere.latitude_weights(128)[:, None].expand(128, 256)
    assert float((mask * weights).sum() / weights.sum()) == pytest.approx(fraction, rel=0.02)


# --- tensors ---------------------------------------------------------------------------------------------------------


def test_gradients_in_pixels_and_directions():
    erp = torch.rand(1, 1, 4, 8, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(1))
    rays = sphere.view_directions(2, 3, 1.2, 3.0, 0.3, 0.1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda e, r: sphere.sample_erp(e, r), (erp, rays))
    view = torch.rand(1, 1, 3, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(2))
    faces = torch.rand(1, 6, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    turn = sphere.rotation_matrix(0.7, 0.3, 0.2, dtype=torch.float64)
    for function, x in (
        (lambda v: sphere.view_to_erp(v, 4, 8, 1.5, 3.0, 0.2)[0], view),
        (lambda f: sphere.cubemap_to_erp(f, 4, 8), faces),
        (lambda e: sphere.erp_to_cubemap(e, 3), erp),
        (lambda e: sphere.rotate_erp(e, turn), erp),
        (lambda e: sphere.pad_sphere(e, 3, 2), erp),
    ):
        assert torch.autograd.gradcheck(function, (x,))
    sphere.cubemap_to_erp(sphere.erp_to_cubemap(erp, 4), 4, 8).sum().backward()
    assert erp.grad is not None
    assert (erp.grad != 0).all()


def test_gradient_exists_at_the_pole():
    erp = smooth_erp(8)
    pole = torch.tensor([[[0.0, 1.0, 0.0]]], requires_grad=True)
    sphere.sample_erp(erp, pole).sum().backward()
    assert torch.isfinite(pole.grad).all()


def test_batches_and_precision():
    erp = torch.cat((smooth_erp(32, 0), smooth_erp(32, 1)))
    rays = torch.stack((sphere.view_directions(8, 8, 1.0), sphere.view_directions(8, 8, 1.0, yaw=2.0)))
    both = sphere.sample_erp(erp, rays)
    torch.testing.assert_close(both[1:], sphere.erp_to_view(erp[1:], 8, 8, 1.0, yaw=2.0))
    half = sphere.sample_erp(erp.half(), rays)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), both, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sphere.sample_erp(torch.zeros(1, 3, 9, 16), torch.ones(1, 1, 3)), "twice as wide as high.*16 x 9"),
        (lambda: sphere.sample_erp(torch.zeros(1, 3, 8, 16, dtype=torch.uint8), torch.ones(1, 1, 3)), "floating"),
        (lambda: sphere.view_directions(8, 8, math.pi), "field of view"),
        (lambda: sphere.view_to_erp(torch.zeros(1, 3, 8, 8), 8, 16, 4.0), "field of view"),
        (lambda: sphere.pad_sphere(torch.zeros(4, 8), 0, 5), "5 rows over a pole"),
        (lambda: sphere.cubemap_to_erp(torch.zeros(1, 5, 3, 8, 8), 8, 16), "cube map"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
