"""Is this a full equirectangular panorama? Judged by the picture itself, with the file's own word heard where it helps.

Every measure compares a picture with itself, so that plain skies, strong exposure steps where two lenses meet, and
logos over a tripod do not decide: what counts is whether the left edge continues at the right one, whether each pole is
one point, and whether two halves show the same scene, or one the mirror image of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.data.closing import STRUCTURE, mirror_gap, pole_change, pole_grain, pole_step, seam_gap
from core.data.footage import Eye
from core.data.layouts import cubemap, fisheye, letterbox, likeness

HEIGHT, WIDTH = 128, 256  # of the pictures that are measured, whatever the size of the footage

#: Seam gap above which the edges do not continue each other; neighbouring columns have 0, unrelated ones 1.
SEAM_GAP = 0.32
#: Product of change along the row of a pole and its grain, above which it may be no point; flat pictures have about 1.
POLES = 0.25
#: Step over a pole against steps along the meridians, above which nothing goes on there; panoramas have about 1.
POLE_STEP = 1.4
#: Change along the row of a pole, above which it surely is no point.
POINT = 0.37
#: Change along the rows next to a pole against change across them, below which it surely is one.
POLE_GRAIN = 0.3
#: Mirror gap below which a picture was folded to make its ends meet; panoramas have 1 and more.
MIRRORED = 0.5
#: Share of a picture with detail, from which on no nature makes each the mirror image of another.
DETAILED = 0.25
#: Correlation of the two halves of a stereo pair.
STEREO_LIKENESS = 0.75


@dataclass(frozen=True)
class Verdict:
    """Why a picture is no full panorama, or that it is one."""

    reason: str  # "" if it is a full equirectangular panorama
    measures: dict[str, float]
    hint: str = ""  # what can be done about it

    @property
    def accepted(self) -> bool:
        """Whether it is a full panorama."""
        return not self.reason


def judge(
    frames: np.ndarray,  # (n,128,256,3) uint8, frames of one file, whatever their aspect squeezed to this
    aspect: float,  # of the shown picture, width / height
    projection: str | None = None,  # the file's metadata: "equirectangular", "cubemap", "mesh"
    stereo: str | None = None,  # the file's metadata: "top-bottom", "left-right", "mono"
    eye: Eye | None = None,  # the frames are one half of a stereo file already
) -> Verdict:
    """The first thing that is wrong with a file, from the surest to the least sure.

    Args:
        frames: see above; what several frames agree on counts.
        aspect: see above.
        projection: see above.
        stereo: see above.
        eye: see above.
    """
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(np.float32)
    (seam, structure), poles, grain, step = seam_gap(grey), pole_change(grey), pole_grain(grey), pole_step(grey)
    mirrored, detailed = mirror_gap(grey)
    halves = {"top-bottom": likeness(*np.split(grey, 2, 1)), "left-right": likeness(*np.split(grey, 2, 2))}
    measures = {
        "aspect": aspect,
        "seam_gap": seam,
        "structure": structure,
        "pole_change_top": poles[0],
        "pole_change_bottom": poles[1],
        **{f"pole_grain_{pole}": g for pole, g in zip(("top", "bottom"), grain, strict=True) if not np.isnan(g)},
        "pole_step_top": step[0],
        "pole_step_bottom": step[1],
        "mirror_gap": mirrored,
        "detailed": detailed,
        **{f"{name}_likeness": value for name, value in halves.items()},
    }

    def verdict(reason: str, hint: str = "") -> Verdict:
        return Verdict(reason, {name: round(value, 3) for name, value in measures.items()}, hint)

    if projection not in (None, "equirectangular"):
        return verdict(f"{projection}: its metadata say so", "convert it to equirectangular, as with ffmpeg's v360")
    if (circles := fisheye(grey, aspect)) is not None:
        return verdict(circles, "stitch it with the camera's own program")
    bars = letterbox(grey)
    if eye is None:
        layout = stereo if stereo in halves else _stereo_layout(halves, aspect)
        if layout and (stereo in halves or bars is None):
            return verdict(
                f"stereo {layout}: two pictures of one scene", f"--crop-eye {layout.split('-')[0]} keeps one"
            )
    if bars is not None:
        return verdict(*bars)
    # A panorama has a horizon where the faces of a cube map end, half way up; only its seam tells the two apart.
    if (faces := cubemap(grey, aspect)) is not None and (abs(aspect / 2 - 1) > 0.02 or seam > SEAM_GAP):
        return verdict(faces, "convert it to equirectangular, as with ffmpeg's v360")
    # Eyes are packed at full size or squeezed; both are stretched to 2:1.
    if eye is None and abs(aspect / 2 - 1) > 0.02:
        return verdict(f"not 2:1 (aspect {aspect:.2f}): a full equirectangular picture is twice as wide as high")
    # What is plain may be symmetric by nature, as a clear sky round the sun; but then its poles are points.
    if mirrored < MIRRORED and (detailed > DETAILED or max(poles) > POINT):
        return verdict("mirrored: one half is the mirror image of the other, which only makes the edges meet")
    said = projection == "equirectangular"
    if not said and structure < STRUCTURE and not any(g < POLE_GRAIN for g in grain):
        return verdict(
            "too little structure to tell whether it is a full panorama",
            "if it is one, mark it as equirectangular, as with Google's Spatial Media Metadata Injector",
        )
    return verdict(_flat(seam, poles, grain, step, said))


def _flat(
    seam: float,
    change: tuple[float, float],  # of both poles, as all below
    grain: tuple[float, float],
    step: tuple[float, float],
    said: bool,
) -> str:
    """Why the picture is no full sphere, or ""; what the metadata say and what the poles look like weigh in."""
    poles = [g for g in grain if not np.isnan(g)]
    spherical = said or (bool(poles) and max(poles) < POLE_GRAIN)
    edges = "the left and right edge do not continue each other: a perspective or partial picture"
    if seam > (0.65 if spherical else SEAM_GAP):
        return edges
    open_poles = [
        c * (1.0 if np.isnan(g) else g) > POLES and s > POLE_STEP for c, g, s in zip(change, grain, step, strict=True)
    ]
    if all(open_poles):  # one that is spoilt by a tripod, or by what was done about it, proves nothing
        return "the top and bottom rows are not one point each: no full sphere"
    # Blurred backgrounds change little from edge to edge; then both poles have to look like poles.
    doubtful = seam > 0.18 and max(change) > POINT and min(change) > 0.15
    if not spherical and doubtful and poles and min(poles) > 2 * POLE_GRAIN:
        return edges
    return ""


def _stereo_layout(halves: dict[str, float], aspect: float) -> str:
    """Which halves show the same scene, if any; an aspect far from what such files have rules a layout out."""
    fits = {"top-bottom": (1, 2), "left-right": (2, 4)}
    likely = {
        name: value
        for name, value in halves.items()
        if value > STEREO_LIKENESS and any(abs(aspect / a - 1) < 0.03 for a in fits[name])
    }
    return max(likely, key=likely.__getitem__, default="")
