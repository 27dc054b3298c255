"""Flow on the sphere, against motion that is known: turned panoramas, the procedural world, closed formulas."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PanobenchError
from core.flow import (
    ENCODINGS,
    condition_maps,
    decode_flow,
    encode_flow,
    estimate_flow,
    flow_condition,
    flow_to_directions,
    forward_backward_mask,
    mirror_maps,
    spherical_displacement,
    warp_erp,
)
from core.nano.flow import erp_flow
from core.nano.render import render_clip
from core.nano.scene import sample_scene
from core.sphere import angle_between, erp_directions, erp_lonlat, latitude_weights, rotate_erp, rotation_matrix

HEIGHT, WIDTH = 64, 128


def textured(seed: int = 0, height: int = HEIGHT) -> np.ndarray:
    """A seamless textured panorama, uint8 ``(H, 2H, 3)``."""
    noise = np.random.default_rng(seed).standard_normal((height, 2 * height, 3)).astype(np.float32)
    wide = np.pad(noise, ((0, 0), (16, 16), (0, 0)), mode="wrap")
    smooth = cv2.GaussianBlur(wide, (0, 0), 1.5)[:, 16:-16]
    return (128 + 45 * smooth / smooth.std()).clip(0, 255).round().astype(np.uint8)


def turning(shift: int, frames: int = 3) -> np.ndarray:
    return np.stack([np.roll(textured(), shift * t, axis=1) for t in range(frames)])


def edges(flow: np.ndarray, columns: int = 6) -> np.ndarray:
    return np.concatenate((flow[..., :columns], flow[..., -columns:]), axis=-1)


def yaw_flow(degrees: float, height: int = HEIGHT) -> torch.Tensor:
    """Content moves right by this much: u constant."""
    flow = torch.zeros(1, 2, height, 2 * height, dtype=torch.float64)
    flow[:, 0] = degrees / 360 * 2 * height
    return flow


def rotation_flow(rotation: torch.Tensor, height: int) -> torch.Tensor:
    """Exact flow of a scene at infinity when every direction d goes to R d; ``(1, 2, H, W)`` float64."""
    directions = erp_directions(height, 2 * height, dtype=torch.float64)
    moved = directions @ rotation.double().T
    lat, lon = erp_lonlat(height, 2 * height, dtype=torch.float64)
    turn = torch.remainder(torch.atan2(moved[..., 0], moved[..., 2]) - lon + math.pi, 2 * math.pi) - math.pi
    climb = torch.asin(moved[..., 1].clamp(-1, 1)) - lat[:, None]
    return torch.stack((turn * height / math.pi, -climb * height / math.pi))[None]


# --- estimation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [1, 3, -4])
def test_turning_panorama_across_the_seam(shift):
    flow = estimate_flow(turning(shift))
    assert flow.shape == (2, 2, HEIGHT, WIDTH)
    assert flow.dtype == np.float32
    truth = np.array([shift, 0], np.float32)[None, :, None, None]
    error = np.abs(flow - truth)
    assert np.median(error) < 0.05
    assert edges(error).mean() < 0.15  # at the seam as good as elsewhere
    assert edges(error).mean() < error.mean() + 0.05
    plane = np.abs(estimate_flow(turning(shift), cyclic=False) - truth)
    assert edges(plane).mean() > 2 * edges(error).mean()


def test_static_video_has_no_flow():
    np.testing.assert_array_equal(estimate_flow(turning(0)), 0)


def test_no_signed_bias():
    """The released merge, the signed minimum, reads noise as motion to the left and up; length does not."""
    rng = np.random.default_rng(1)
    frames = np.stack([textured().astype(float) + rng.normal(0, 12, (HEIGHT, WIDTH, 3)) for _ in range(5)])
    flow = estimate_flow(frames.clip(0, 255).astype(np.uint8))
    assert np.abs(flow.mean((0, 2, 3))).max() < 0.02


def test_yaw_of_the_video_turns_its_flow():
    clip = turning(2)
    flow = estimate_flow(clip)
    np.testing.assert_allclose(estimate_flow(np.roll(clip, WIDTH // 2, 2)), np.roll(flow, WIDTH // 2, 3), atol=1e-5)


def test_procedural_world_cyclic_beats_planar_at_the_seam():
    """Mean great-circle error against the exact flow of rendered scenes."""
    rays = erp_directions(HEIGHT * 2, WIDTH * 2).numpy()
    errors = {True: [], False: []}
    for index in range(4):
        scene = sample_scene(1, "reference", index)
        clip = render_clip(scene, rays, range(3))
        truth = np.stack([erp_flow(scene, erp_directions(HEIGHT, WIDTH).numpy(), t) for t in range(2)])
        end = flow_to_directions(torch.as_tensor(truth).double())
        for cyclic in errors:
            found = flow_to_directions(torch.as_tensor(estimate_flow(clip, cyclic=cyclic)).double())
            errors[cyclic].append(angle_between(found, end).rad2deg().numpy())
    weights = latitude_weights(HEIGHT).numpy()[:, None]
    seam = {cyclic: (edges(np.stack(e)) * weights).mean() / weights.mean() for cyclic, e in errors.items()}
    everywhere = {cyclic: (np.stack(e) * weights).mean() / weights.mean() for cyclic, e in errors.items()}
    assert seam[True] < 0.9 * seam[False]
    assert everywhere[True] < everywhere[False]
    assert everywhere[True] < 0.5


@pytest.mark.parametrize("threads", [1, 4])
def test_same_on_any_number_of_threads(threads):
    clip, before = turning(2, frames=2), cv2.getNumThreads()
    expected = estimate_flow(clip)
    try:
        cv2.setNumThreads(threads)
        np.testing.assert_array_equal(estimate_flow(clip), expected)
    finally:
        cv2.setNumThreads(before)


def test_one_frame_has_no_flow():
    assert estimate_flow(turning(0, frames=1)).shape == (0, 2, HEIGHT, WIDTH)


def test_wrong_input_is_named():
    with pytest.raises(PanobenchError, match="unknown 'diss'; known: dis, raft, panoflow; did you mean 'dis'"):
        estimate_flow(turning(0), backend="diss")
    with pytest.raises(ValueError, match="uint8 frames"):
        estimate_flow(turning(0).astype(np.float32))
    with pytest.raises(ValueError, match="uint8 frames"):
        estimate_flow(turning(0)[:, :, :100])
    with pytest.raises(ValueError, match="flow field is"):
        spherical_displacement(torch.zeros(2, 8, 16))


# --- on the sphere ---------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(degrees=st.floats(-90, 90))
def test_displacement_of_a_yaw(degrees):
    """The turn itself at the equator, shrinking to the poles as the circles of latitude do."""
    lat = erp_lonlat(32, 64, dtype=torch.float64)[0]
    expected = 2 * torch.asin(lat.cos() * math.sin(math.radians(abs(degrees)) / 2)).rad2deg()
    found = spherical_displacement(yaw_flow(degrees, 32))[0]
    torch.testing.assert_close(found, expected[:, None].expand(32, 64), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("angles", [(0.02, 0.0, 0.0), (0.0, 0.02, 0.0), (0.01, -0.02, 0.015)])
def test_displacement_of_any_rotation_is_bounded_by_its_angle(angles):
    """A pitch of 1.1 degrees is dozens of pixels at the poles; on the sphere no point moves more than 1.1 degrees."""
    rotation = rotation_matrix(*angles, dtype=torch.float64)
    angle = math.degrees(math.acos((float(rotation.trace()) - 1) / 2))
    degrees = spherical_displacement(rotation_flow(rotation, 64))
    assert float(degrees.max()) == pytest.approx(angle, rel=1e-3)


@pytest.mark.parametrize("rotation", [(0.3, 0.0, 0.0), (0.0, 0.1, 0.0), (0.05, 0.04, -0.06)])
def test_warp_is_the_inverse_of_the_motion(rotation):
    """frame1(R d) = frame0(d): warping frame 1 along the flow gives frame 0 back, poles and seam included."""
    matrix = rotation_matrix(*rotation, dtype=torch.float64)
    directions = erp_directions(64, 128)
    first = (0.5 + 0.25 * torch.sin(3 * directions) + 0.25 * torch.cos(2 * directions[..., [1, 2, 0]])).permute(2, 0, 1)
    second = rotate_erp(first[None], matrix.T)
    back = warp_erp(second, rotation_flow(matrix, 64).float())
    assert (back - first).abs().max() < 5e-3


def test_warp_by_whole_pixels_is_a_roll():
    image = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(1, 2, 16, 32)
    flow[:, 0] = 5
    torch.testing.assert_close(warp_erp(image, flow), torch.roll(image, -5, 3), atol=1e-4, rtol=0)


def test_warp_follows_vectors_over_the_pole():
    """One row up from the top row is the top row, half a turn away."""
    image = torch.rand(1, 1, 16, 32, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(1, 2, 16, 32)
    flow[:, 1] = -1
    torch.testing.assert_close(warp_erp(image, flow)[0, 0, 0], torch.roll(image[0, 0, 0], 16), atol=1e-4, rtol=0)


def test_warp_passes_gradients():
    image = torch.rand(1, 1, 4, 8, dtype=torch.float64, requires_grad=True)
    flow = (torch.rand(1, 2, 4, 8, dtype=torch.float64) * 0.4).requires_grad_()
    assert torch.autograd.gradcheck(warp_erp, (image, flow))


def test_mask_keeps_what_comes_home_and_drops_the_rest():
    matrix = rotation_matrix(0.3, 0.1, -0.2, dtype=torch.float64)
    forward, backward = rotation_flow(matrix, 64), rotation_flow(matrix.T, 64)
    assert forward_backward_mask(forward, backward).all()
    broken = backward.clone()
    broken[:, 0, 28:36, 60:68] += 6
    mask = forward_backward_mask(forward, broken)[0]
    assert 30 < int((~mask).sum()) < 100


# --- as pictures -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), height=st.sampled_from([4, 32, 512]))
def test_own_encoding_keeps_all_flow_that_the_sphere_has(seed, height):
    """To an eighth of a pixel at the paper's size, poles included, where vectors are as long as half a turn."""
    flow = np.random.default_rng(seed).uniform(-height, height, (2, 2, 4, 2 * height)).astype(np.float32)
    flow[..., :2] *= 0.01
    maps = encode_flow(flow)
    assert maps.shape == (3, 4, 2 * height, 3)
    assert maps.dtype == np.uint8
    decoded = decode_flow(maps)
    half_a_unit = 2 * height / 8192
    assert half_a_unit <= 0.125
    assert np.abs(decoded[:2] - flow).max() <= max(half_a_unit * 1.001, flow.max() - height + 2 * half_a_unit)
    np.testing.assert_array_equal(decoded[2], decoded[1])
    np.testing.assert_array_equal(decode_flow(encode_flow(np.zeros_like(flow))), 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_released_encoding_decodes_to_half_a_pixel(seed):
    rng = np.random.default_rng(seed)
    length, angle = rng.uniform(0, 24.9, (2, 8, 16)), rng.uniform(-np.pi, np.pi, (2, 8, 16))
    flow = np.stack((length * np.cos(angle), length * np.sin(angle)), axis=1).astype(np.float32)
    decoded = decode_flow(encode_flow(flow, "released"), "released")[:2]
    assert np.hypot(*(decoded - flow).transpose(1, 0, 2, 3)).max() < 0.5
    far = decode_flow(encode_flow(4 * flow / np.hypot(flow[:, :1], flow[:, 1:]) * 25, "released"), "released")[:2]
    assert np.abs(np.hypot(far[:, 0], far[:, 1]) - 25).max() < 0.01
    cosine = (far * flow).sum(1) / np.hypot(far[:, 0], far[:, 1]) / np.hypot(flow[:, 0], flow[:, 1])
    assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 2


@pytest.mark.parametrize(
    ("flow", "rgb"),
    [
        ((0, 0), (0, 0, 0)),  # the wheel's white, inverted
        # To the left by 25: atan2(-v, -u) = 0, half way around the wheel, place 27: between cyan (25) and blue (36) by
        # 2 of 11 steps: (0, 255 - 46, 255), inverted (255, 46, 0), red and blue swapped.
        ((-24.99, 0), (0, 46, 255)),
        # To the right: -pi, place 0: red, inverted (0, 255, 255), swapped.
        ((24.99, 0), (255, 255, 0)),
        # Beyond 25: three quarters of red, 191, inverted 64; what was dark stays dark.
        ((60, 0), (255, 255, 64)),
        # Upwards by 12.5: pi/2, place 40.5, saturation .5^1.1 = .4665 of a violet between blue and magenta.
        ((0, -12.5), (0, 118, 77)),
    ],
)
def test_released_encoding_of_known_vectors(flow, rgb):
    """Worked out by hand from the published colour wheel and `video2flow.py`."""
    picture = encode_flow(np.array(flow, np.float32).reshape(1, 2, 1, 1), "released")
    assert picture[0, 0, 0].tolist() == pytest.approx(rgb, abs=1)


def test_condition_of_still_far_and_mirrored():
    flow = np.zeros((1, 2, 1, 16), np.float32)

    def maps_of(field):
        return condition_maps(encode_flow(field), "panobench", 2.0)

    assert maps_of(flow)[0, 0, 0].tolist() == [128, 128, 0]
    condition = flow_condition(torch.from_numpy(maps_of(flow)).permute(0, 3, 1, 2))
    assert condition[0, :, 0, 0].tolist() == [0.0, 0.0, -1.0]
    flow[0, :, 0, 0] = (-8, 4)  # four times too long: the direction stays
    maps = maps_of(flow)
    assert maps[0, 0, 0].tolist() == [1, 192, 255]
    mirrored = maps_of(flow * np.array([-1, 1], np.float32)[None, :, None, None])
    assert mirrored[0, 0, 0].tolist() == [255, 192, 255]
    assert (flow_condition(torch.from_numpy(maps).permute(0, 3, 1, 2)).abs() <= 1).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_mirrored_maps_are_those_of_the_mirrored_flow(encoding):
    flow = np.random.default_rng(0).uniform(-6, 6, (3, 2, 8, 16)).astype(np.float32)
    maps = condition_maps(encode_flow(flow, encoding), encoding, 8.0)
    there = mirror_maps(torch.from_numpy(maps).permute(0, 3, 1, 2), encoding)
    back = flow[..., ::-1] * np.array([-1, 1], np.float32)[:, None, None]
    expected = condition_maps(encode_flow(np.ascontiguousarray(back), encoding), encoding, 8.0)
    assert np.abs(there.permute(0, 2, 3, 1).numpy().astype(int) - expected).max() <= (
        1 if encoding == "panobench" else 9
    )


def test_bad_flow_is_refused():
    with pytest.raises(ValueError, match="range_px"):
        condition_maps(encode_flow(np.zeros((1, 2, 4, 8), np.float32)), "panobench", 0)
    with pytest.raises(ValueError, match="at least two frames"):
        encode_flow(np.zeros((0, 2, 4, 8), np.float32))
    with pytest.raises(PanobenchError, match="known: panobench, released"):
        encode_flow(np.zeros((1, 2, 4, 8), np.float32), "middlebury")
