"""What a picture of a nano scene shows, in words: several phrasings of the same true attributes.

Captions are true by construction. A view names a thing, the road or the mountains only if enough of its pixels show
them; a panorama shows everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.nano.ground import ROAD_HALF_WIDTH
from core.nano.render import GROUND, SKY, THING, trace
from core.nano.scene import Scene, Terrain, Time

_TERRAIN: dict[Terrain, tuple[str, ...]] = {
    "desert": ("a desert with sand dunes", "sand dunes in the desert", "a sandy desert"),
    "meadow": ("a green meadow", "a grassy field", "a green meadow with grass"),
    "snow": ("a snow covered field", "a snowy plain", "a field covered in snow"),
    "water": ("a body of water", "calm water", "a large lake", "the sea"),
}
_TIME: dict[Time, tuple[str, ...]] = {
    "dawn": ("at dawn", "in the early morning", "at sunrise"),
    "noon": ("on a sunny day", "at noon", "in bright daylight"),
    "sunset": ("at sunset", "in the evening", "with an orange sunset sky"),
    "night": ("at night", "under the night sky", "a night scene"),
}
_SHAPE = {"ball": ("ball",), "balloon": ("hot air balloon", "balloon"), "tower": ("tower",)}
_PLACE = {
    "ball": ("on", "in front of", "rolling over"),
    "balloon": ("over", "above", "floating over"),
    "tower": ("on", "standing on", "in"),
}
_CLOUDS = ("cloudy sky", "clouds in the sky", "under a cloudy sky", "blue cloudy sky")
_CLEAR = ("clear sky", "a clear sky", "")
_MOUNTAINS = ("mountains at the horizon", "mountains in the background", "surrounded by mountains")
_ROAD = ("a road", "a road leading to the horizon", "a road with a dashed line")
_MOTION = {
    "still": ("", "", "the camera stands still"),
    "forward": ("", "the camera moves forward", "moving forward"),
    "pan": ("", "the camera turns", "turning around"),
}


@dataclass(frozen=True)
class Shown:
    """The attributes of a scene that a set of rays can see."""

    time: Time
    terrain: Terrain | None
    things: tuple[int, ...]  # indices into `scene.things`, the largest first
    clouds: bool
    mountains: bool
    road: bool
    sky: bool


def shown_everywhere(scene: Scene) -> Shown:
    """What a panorama shows: everything."""
    things = tuple(range(len(scene.things)))
    return Shown(scene.time, scene.terrain, things, scene.clouds > 0, scene.mountains, scene.road, True)


def shown_in(scene: Scene, directions: np.ndarray, t: float) -> Shown:
    """What rays (h, w, 3) in the camera's frame see at frame `t`; a thing needs 0.8 % of the picture to be named."""
    hits = trace(scene, directions, t)
    share = [float((hits.kind == THING + i).mean()) for i in range(len(scene.things))]
    things = tuple(i for i in np.argsort(share)[::-1].tolist() if share[i] > 0.008)
    ground = hits.kind == GROUND
    above = float((~ground & (hits.kind < THING)).mean())
    low_sky = (hits.kind == SKY) | (hits.kind == SKY + 1)
    elevation = np.arcsin(np.clip(directions[..., 1], -1, 1))
    mountains = scene.mountains and bool((low_sky & (elevation < 0.12)).mean() > 0.02)
    road = False
    if scene.road:
        c, s = np.cos(scene.road_heading), np.sin(scene.road_heading)
        across = np.abs(c * hits.point[..., 0] - s * hits.point[..., 2] - scene.road_offset)
        road = float((ground & (across < ROAD_HALF_WIDTH)).mean()) > 0.03
    return Shown(
        time=scene.time,
        terrain=scene.terrain if ground.mean() > 0.05 else None,
        things=things,
        clouds=scene.clouds > 0 and above > 0.1,
        mountains=mountains,
        road=road,
        sky=above > 0.1,
    )


def caption(scene: Scene, shown: Shown, rng: np.random.Generator, motion: bool = True) -> str:
    """One caption of what is shown, its wording and order drawn from `rng`."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    terrain = pick(_TERRAIN[shown.terrain]) if shown.terrain else "the sky"
    things = []
    for index in shown.things[:2]:
        thing = scene.things[index]
        article = "an" if thing.color == "orange" else "a"
        things.append(f"{article} {thing.color} {pick(_SHAPE[thing.shape])}")
    if things:
        place = pick(_PLACE[scene.things[shown.things[0]].shape]) if shown.terrain else "in"
        head = f"{' and '.join(things)} {place} {terrain}"
    else:
        head = terrain
    tail = []
    if shown.sky:
        tail.append(pick(_CLOUDS) if shown.clouds else pick(_CLEAR))
    if shown.mountains:
        tail.append(pick(_MOUNTAINS))
    if shown.road:
        tail.append(pick(_ROAD))
    if motion:
        tail.append(pick(_MOTION[scene.camera_motion]))
    tail = [part for part in tail if part]
    rng.shuffle(tail)
    time = pick(_TIME[shown.time])
    parts = [time, head, *tail] if rng.random() < 0.25 else [head, *tail, time]
    return ", ".join(parts)
