"""The scenes of the nano world as plain parameters: what is there, where it stands, how it moves.

A scene is data. `core.nano.render` turns it into pictures and exact optical flow for any set of rays, and
`core.nano.captions` into words. World frame: x right, y up, z forward, the ground is the plane y = 0, lengths in
metres, time in frames. Train, reference and test scenes come from disjoint random streams: a scene of one split can
never be drawn in another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from core.errors import PanobenchError

Time = Literal["dawn", "noon", "sunset", "night"]
Terrain = Literal["desert", "meadow", "snow", "water"]
Shape = Literal["ball", "balloon", "tower"]
Color = Literal["red", "orange", "yellow", "green", "blue", "purple", "white"]
Split = Literal["train", "reference", "test"]

TIMES: tuple[Time, ...] = ("dawn", "noon", "sunset", "night")
TERRAINS: tuple[Terrain, ...] = ("desert", "meadow", "snow", "water")
SHAPES: tuple[Shape, ...] = ("ball", "balloon", "tower")
COLORS: tuple[Color, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "white")

# Each split draws from its own stream of the seed sequence; the number is part of the world's definition.
_STREAM: dict[str, int] = {"train": 1, "reference": 2, "test": 3}

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Thing:
    """A coloured object. `center` is its position on the ground plane at frame 0 plus its height above ground."""

    shape: Shape
    color: Color
    center: Vector
    radius: float
    height: float  # of a tower; the centre height for balls and balloons is in `center`
    velocity: Vector  # metres per frame

    def center_at(self, t: float) -> np.ndarray:
        """Centre at frame `t`, (3,) float64."""
        return np.asarray(self.center) + t * np.asarray(self.velocity)


@dataclass(frozen=True)
class Camera:
    """A viewpoint that moves on a straight line and turns at a constant rate."""

    position: Vector = (0.0, 2.0, 0.0)
    velocity: Vector = (0.0, 0.0, 0.0)  # metres per frame
    yaw: float = 0.0  # radians at frame 0
    yaw_rate: float = 0.0  # radians per frame

    def position_at(self, t: float) -> np.ndarray:
        """Position at frame `t`, (3,) float64."""
        return np.asarray(self.position) + t * np.asarray(self.velocity)

    def yaw_at(self, t: float) -> float:
        """Heading at frame `t`, radians."""
        return self.yaw + t * self.yaw_rate


@dataclass(frozen=True)
class Scene:
    """Everything that the renderer and the captions need to know; nothing is drawn at random after this."""

    scene_id: str
    time: Time
    terrain: Terrain
    clouds: float  # 0 is a clear sky, about .5 a cloudy one
    mountains: bool
    road: bool
    road_heading: float  # radians
    road_offset: float  # metres from the origin to the middle of the road
    sun_azimuth: float
    sun_elevation: float
    wind: tuple[float, float]  # clouds, metres per frame
    things: tuple[Thing, ...]
    camera: Camera
    texture_seed: int

    @property
    def camera_motion(self) -> Literal["still", "forward", "pan"]:
        """The kind of camera motion, as the captions name it."""
        if self.camera.yaw_rate != 0.0:
            return "pan"
        return "forward" if any(self.camera.velocity) else "still"


def sample_scene(seed: int, split: Split, index: int) -> Scene:
    """Scene number `index` of a split; the same three arguments always give the same scene."""
    if split not in _STREAM:
        raise PanobenchError(f"unknown split '{split}' of the nano world, expected one of {', '.join(_STREAM)}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, _STREAM[split], index]))
    time: Time = TIMES[rng.integers(4)]
    terrain: Terrain = TERRAINS[rng.integers(4)]
    elevation = {"dawn": (6.0, 14.0), "noon": (45.0, 65.0), "sunset": (4.0, 10.0), "night": (25.0, 45.0)}[time]
    road = terrain != "water" and rng.random() < 0.35
    camera = _sample_camera(rng)
    count = rng.choice([0, 1, 2], p=[0.1, 0.65, 0.25])
    things: list[Thing] = []
    for _ in range(count):
        thing = _sample_thing(rng, camera, things)
        if thing is not None:
            things.append(thing)
    return Scene(
        scene_id=f"{split}_{index:05d}",
        time=time,
        terrain=terrain,
        clouds=float(rng.uniform(0.4, 0.6)) if rng.random() < 0.5 else 0.0,
        mountains=bool(rng.random() < 0.45),
        road=bool(road),
        road_heading=float(rng.uniform(0, 2 * np.pi)),
        road_offset=float(rng.uniform(-2.5, 2.5)),
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        sun_elevation=float(np.deg2rad(rng.uniform(*elevation))),
        wind=(float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.6, 0.6))),
        things=tuple(things),
        camera=camera,
        texture_seed=int(rng.integers(2**31)),
    )


def _sample_camera(rng: np.random.Generator) -> Camera:
    kind = rng.choice(["still", "forward", "pan"], p=[0.3, 0.5, 0.2])
    height = float(rng.uniform(1.6, 2.6))
    yaw = float(rng.uniform(-np.pi, np.pi))
    if kind == "pan":
        rate = float(np.deg2rad(rng.uniform(2.0, 5.0)) * rng.choice([-1.0, 1.0]))
        return Camera((0.0, height, 0.0), yaw=yaw, yaw_rate=rate)
    speed = float(rng.uniform(0.15, 0.4)) if kind == "forward" else 0.0
    velocity = (speed * float(np.sin(yaw)), 0.0, speed * float(np.cos(yaw)))
    return Camera((0.0, height, 0.0), velocity, yaw=yaw)


def _sample_thing(rng: np.random.Generator, camera: Camera, others: list[Thing]) -> Thing | None:
    """A thing that neither the camera's path nor another thing comes close to; None if 20 tries found no room."""
    for _ in range(20):
        shape: Shape = SHAPES[rng.integers(3)]
        color: Color = COLORS[rng.integers(7)]
        azimuth = rng.uniform(-np.pi, np.pi)
        drift = rng.uniform(0.08, 0.3) if rng.random() < 0.5 else 0.0
        course = rng.uniform(-np.pi, np.pi)
        velocity = (float(drift * np.sin(course)), 0.0, float(drift * np.cos(course)))
        if shape == "ball":
            radius, distance = rng.uniform(1.2, 2.0), rng.uniform(5.0, 7.5)
            center_height, height = radius, 0.0
        elif shape == "balloon":
            radius, distance = rng.uniform(2.4, 3.4), rng.uniform(8.0, 12.0)
            center_height, height = rng.uniform(5.0, 7.0), 0.0
        else:
            radius, distance = rng.uniform(1.2, 1.8), rng.uniform(7.0, 11.0)
            center_height, height = 0.0, rng.uniform(6.0, 9.0)
            velocity = (0.0, 0.0, 0.0)
        center = (float(distance * np.sin(azimuth)), float(center_height), float(distance * np.cos(azimuth)))
        thing = Thing(shape, color, center, float(radius), float(height), velocity)
        frames = np.arange(0, 25, 4.0)
        path = np.stack([thing.center_at(t) - camera.position_at(t) for t in frames])[:, [0, 2]]
        clear = np.linalg.norm(path, axis=1).min() > radius + 2.0
        apart = all(
            np.linalg.norm((thing.center_at(t) - other.center_at(t))[[0, 2]]) > radius + other.radius + 1.0
            for other in others
            for t in frames
        )
        if clear and apart:
            return thing
    return None


def face(scene: Scene, yaw: float) -> Scene:
    """The same scene filmed with the camera's heading at frame 0 set to `yaw`, moving that way if it moves forward."""
    camera = scene.camera
    speed = float(np.hypot(camera.velocity[0], camera.velocity[2]))
    velocity = (speed * float(np.sin(yaw)), 0.0, speed * float(np.cos(yaw)))
    return replace(scene, camera=replace(camera, yaw=yaw, velocity=velocity))
