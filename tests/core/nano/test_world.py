"""The procedural world against itself: what it says about motion, views and words must hold in its pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PanobenchError
from core.nano.captions import caption, shown_everywhere, shown_in
from core.nano.flow import carry, erp_flow, view_flow
from core.nano.render import GROUND, SKY, THING, render_clip, render_frame, trace
from core.nano.scene import Camera, Scene, face, sample_scene
from core.sphere import erp_directions, erp_to_view, rotation_matrix, sample_erp, view_directions


def moving_scenes(count: int) -> list[Scene]:
    """Scenes with a thing in them and a camera that moves."""
    scenes = (sample_scene(5, "train", i) for i in range(200))
    return [s for s in scenes if s.things and s.camera_motion != "still"][:count]


def test_scenes_are_reproducible_and_splits_differ() -> None:
    assert sample_scene(1, "train", 3) == sample_scene(1, "train", 3)
    seeds = {
        split: {sample_scene(1, split, i).texture_seed for i in range(200)} for split in ("train", "reference", "test")
    }
    assert not seeds["train"] & seeds["reference"]
    assert not seeds["train"] & seeds["test"]
    assert not seeds["reference"] & seeds["test"]
    with pytest.raises(PanobenchError, match="unknown split 'validation'"):
        sample_scene(1, "validation", 0)  # type: ignore[arg-type]


@given(index=st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_camera_never_enters_a_thing(index: int) -> None:
    scene = sample_scene(2, "train", index)
    for t in range(24):
        for thing in scene.things:
            apart = (thing.center_at(t) - scene.camera.position_at(t))[[0, 2]]
            assert np.linalg.norm(apart) > thing.radius + 1.0


@pytest.mark.parametrize("scene", moving_scenes(6), ids=lambda s: s.scene_id)
def test_flow_lands_on_the_same_surface_point(scene: Scene) -> None:
    """Re-render the point that a pixel saw: looking along the predicted direction one frame later meets it again."""
    directions = erp_directions(64, 128).numpy()
    hits = trace(scene, directions, 2.0)
    again = trace(scene, carry(scene, hits, 2.0), 3.0)
    visible = again.kind == hits.kind  # else another thing has moved in front
    assert visible.mean() > 0.97
    velocity = np.zeros_like(hits.point)
    for number, thing in enumerate(scene.things):
        velocity[hits.kind == THING + number] = thing.velocity
    surfaces = visible & ((hits.kind == GROUND) | (hits.kind >= THING))
    # Shallow rays meet the ground far away, where float32 rays are good to a few centimetres.
    near = surfaces & (np.linalg.norm(hits.point - scene.camera.position_at(2.0), axis=-1) < 40.0)
    error = np.linalg.norm(again.point - (hits.point + velocity), axis=-1)[near]
    assert np.quantile(error, 0.99) < 0.01
    assert np.allclose(again.point[visible & (hits.kind == SKY)], hits.point[visible & (hits.kind == SKY)], atol=1e-5)


def test_flow_matches_finite_differences_of_the_picture() -> None:
    """Brightness constancy: the next frame warped back by the flow explains the change, by its opposite it does not."""
    h, w = 256, 512
    columns, rows = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    directions = erp_directions(h, w).numpy()

    def change(flow: np.ndarray) -> float:
        lon = torch.from_numpy((columns + flow[0]) / w * 2 * np.pi - np.pi)
        lat = torch.from_numpy(0.5 * np.pi - (rows + flow[1]) / h * np.pi)
        target = torch.stack([lat.cos() * lon.sin(), lat.sin(), lat.cos() * lon.cos()], -1).float()
        warped = sample_erp(torch.from_numpy(after).movedim(-1, 0)[None], target)[0].movedim(0, -1).numpy()
        return float(np.abs(warped - before)[stays].mean())

    for scene in moving_scenes(3):
        before, after = (render_frame(scene, directions, t) for t in (0.0, 1.0))
        hits = trace(scene, directions, 0.0)
        stays = trace(scene, carry(scene, hits, 0.0), 1.0).kind == hits.kind
        flow = erp_flow(scene, directions, 0.0)
        assert change(flow) < 0.6 * change(np.zeros_like(flow))
        assert change(-flow) > change(np.zeros_like(flow))


def test_pan_moves_every_pixel_alike() -> None:
    """A turning camera shifts an ERP by whole columns: an analytic case of flow and of rendering."""
    step = 2 * np.pi / 128 * 2
    scene = sample_scene(3, "train", 0)
    scene = Scene(**{**scene.__dict__, "things": (), "wind": (0.0, 0.0), "camera": Camera(yaw_rate=step)})
    directions = erp_directions(64, 128).numpy()
    u, v = erp_flow(scene, directions, 0.0)
    assert np.allclose(u, -2.0, atol=1e-3)
    assert np.allclose(v, 0.0, atol=1e-3)
    first, second = (render_frame(scene, directions, t) for t in (0.0, 1.0))
    assert np.abs(np.roll(first, -2, axis=1) - second).mean() < 1e-3


def test_view_flow_agrees_with_erp_flow() -> None:
    """One motion seen by two projections: the view's flow, sent through the sphere, is the ERP's."""
    scene = moving_scenes(1)[0]
    fov, yaw, pitch = np.deg2rad(80.0), 0.7, 0.1
    view = view_directions(48, 48, float(fov), yaw, pitch, 0.0).numpy()
    rotation = rotation_matrix(yaw, pitch, 0.0).numpy()
    flow = view_flow(scene, view, 1.0, rotation, float(fov))
    seen = carry(scene, trace(scene, view, 1.0), 1.0)
    focal = 24.0 / np.tan(fov / 2)
    columns, rows = np.meshgrid(np.arange(48) + 0.5, np.arange(48) + 0.5)
    local = np.stack([(columns + flow[0] - 24) / focal, -(rows + flow[1] - 24) / focal, np.ones((48, 48))], -1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    assert np.allclose(local @ rotation.T, seen, atol=1e-5)


@pytest.mark.parametrize("yaw", [0.0, 1.5, np.pi])
def test_views_of_a_panorama_agree_with_rendered_views(yaw: float) -> None:
    """ERP and perspective renders of one scene agree through core.sphere to one grey level in the mean."""
    for scene in moving_scenes(2):
        panorama = render_clip(scene, erp_directions(1024, 2048).numpy(), [0.0], 2)[0]
        expected = render_clip(scene, view_directions(256, 256, 1.5, yaw, 0.1, 0.0).numpy(), [0.0], 2)[0]
        image = torch.from_numpy(panorama).movedim(-1, 0)[None].float()
        got = erp_to_view(image, 128, 128, 1.5, yaw, 0.1, 0.0)[0].movedim(0, -1).numpy()
        assert np.abs(got - expected).mean() < 1.0


def test_captions_are_true() -> None:
    rng = np.random.default_rng(0)
    for index in range(100):
        scene = sample_scene(4, "train", index)
        words = caption(scene, shown_everywhere(scene), rng)
        for thing in scene.things:
            assert f"{thing.color} " in words
            assert thing.shape in words
        # A view away from every thing names none.
        if len(scene.things) == 1:
            x, _, z = scene.things[0].center_at(0.0)
            away = face(scene, float(np.arctan2(x, z) + np.pi))
            view = view_directions(64, 64, 1.2, 0.0, 0.0, 0.0).numpy()
            assert scene.things[0].shape not in caption(away, shown_in(away, view, 0.0), rng)
