"""Is this a full equirectangular panorama? Judged by the picture itself, with the file's own word heard where it helps.

Every measure compares a picture with itself, so that plain skies, strong exposure steps where two lenses meet, and
logos over a tripod do not decide: what counts is whether the left edge continues at the right one, whether each pole is
one point, and whether two halves show the same scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from core.data.footage import Eye

HEIGHT, WIDTH = 128, 256  # of the pictures that are measured, whatever the size of the footage
_BLACK = 24  # of 255; bars of compressed video are not quite 16

#: Seam gap above which the edges do not continue each other; neighbouring columns have 0, unrelated ones 1.
SEAM_GAP = 0.32
#: Difference of distant columns, less that of neighbours, below which a picture's columns are all alike.
STRUCTURE = 0.3
#: Product of the two measures of a pole above which neither pole is one point; rows of a flat picture have about 1.
POLES = 0.45
#: Change along the rows next to a pole against change across them, below which it surely is one.
POLE_GRAIN = 0.3
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
    (seam, structure), poles, grain = seam_gap(grey), pole_change(grey), pole_grain(grey)
    halves = {"top-bottom": likeness(*np.split(grey, 2, 1)), "left-right": likeness(*np.split(grey, 2, 2))}
    measures = {
        "aspect": aspect,
        "seam_gap": seam,
        "structure": structure,
        "pole_change_top": poles[0],
        "pole_change_bottom": poles[1],
        **{f"pole_grain_{pole}": g for pole, g in zip(("top", "bottom"), grain, strict=True) if not np.isnan(g)},
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
    said = projection == "equirectangular"
    if not said and structure < STRUCTURE and not any(g < POLE_GRAIN for g in grain):
        return verdict(
            "too little structure to tell whether it is a full panorama",
            "if it is one, mark it as equirectangular, as with Google's Spatial Media Metadata Injector",
        )
    return verdict(_flat(seam, poles, grain, said))


def _flat(seam: float, change: tuple[float, float], grain: tuple[float, float], said: bool) -> str:
    """Why the picture is no full sphere, or ""; what the metadata say and what the poles look like weigh in."""
    poles = [g for g in grain if not np.isnan(g)]
    spherical = said or (bool(poles) and max(poles) < POLE_GRAIN)
    edges = "the left and right edge do not continue each other: a perspective or partial picture"
    if seam > (0.65 if spherical else SEAM_GAP):
        return edges
    if min(change) * min(poles, default=1.0) > POLES:
        return "the top and bottom rows are not one point each: no full sphere"
    # Blurred backgrounds change little from edge to edge; then both poles have to look like poles.
    doubtful = seam > 0.18 and max(change) > 0.37 and min(change) > 0.15
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


# --- measures --------------------------------------------------------------------------------------------------------


def seam_gap(grey: np.ndarray) -> tuple[float, float]:
    """How foreign the right edge is to the left one: 0 as neighbouring columns are, 1 as distant ones; `(n,H,W)`.

    On a logarithmic scale, with a constant and a linear difference along the columns taken out first: lenses of one
    camera expose differently. Median over the frames. 0 where the picture is too plain to say; the second number is
    how much further apart distant columns are than neighbours.
    """
    gaps, structure = [], []
    width = grey.shape[2]
    rows = slice(grey.shape[1] // 10, -grey.shape[1] // 10)  # the poles continue everywhere
    for frame in 60 * np.log(grey[:, rows] + 16):
        smooth = cv2.GaussianBlur(frame, (0, 0), sigmaX=0.01, sigmaY=1.0)
        step = lambda a, b: _difference(smooth[:, a], smooth[:, b])  # noqa: E731, B023
        columns = np.arange(4, width - 6, 3)
        # What is usual in the picture, or close to the seam, where that is more: detail is not spread evenly.
        beside = [step(c, c + 1) for c in (*range(2, 9), *range(width - 10, width - 3))]
        near = max(float(np.median([step(c, c + 1) for c in columns])), float(np.quantile(beside, 0.75)))
        far = float(np.median([step(c, (c + width // 3 + 7 * k) % width) for k, c in enumerate(columns)]))
        # Beside the edge itself the columns next to it: one spoilt column of a bad stitch is no end of the picture.
        seam = min(step(-1, 0), step(-2, 1), step(-1, 1), step(-2, 0))
        structure.append(far - near)
        gaps.append((seam - near) / (far - near) if far - near > STRUCTURE else 0.0)
    return float(np.clip(np.median(gaps), 0, 1.5)), float(np.median(structure))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two columns after the best constant and linear change along them is taken out."""
    best = min(
        (_residual(a[2 + shift : len(a) - 2 + shift], b[2:-2]) for shift in (-2, -1, 0, 1, 2)),
    )
    return float(best)


def _residual(a: np.ndarray, b: np.ndarray) -> float:
    difference = a - b
    place = np.linspace(-1, 1, len(difference))
    difference = difference - difference.mean()
    slope = float((difference * place).sum() / (place * place).sum())
    return float(np.quantile(np.abs(difference - slope * place), 0.65))


def pole_change(grey: np.ndarray) -> tuple[float, float]:
    """Change along the top and along the bottom row against that of all rows: 0 for a point, about 1 for any row.

    Rows are smoothed along the longitude first, so that noise and the texture round a pole do not count, and what all
    rows share may be taken out: lenses of one camera expose differently.
    """
    logs = 60 * np.log(grey.reshape(*grey.shape[:2], 32, -1).mean(-1) + 16)
    logs -= logs.mean(axis=2, keepdims=True)
    shares = []
    for smooth in (logs, logs - np.median(logs, axis=1, keepdims=True)):  # with and without what all rows share
        change = np.median(smooth.std(axis=2), axis=0)
        usual = float(np.mean(change[len(change) // 4 : -len(change) // 4])) + 0.5
        shares.append((float(change[:2].mean() / usual), float(change[-2:].mean() / usual)))
    return min(share[0] for share in shares), min(share[1] for share in shares)


def pole_grain(grey: np.ndarray) -> tuple[float, float]:
    """Change along the rows against change across them, next to the top and to the bottom; NaN where it is too plain.

    Next to a pole a panorama is drawn out along its rows, 1 / cos(latitude) times: about .1; a perspective picture has
    no such grain: about 1.
    """
    found = []
    for rows in (grey[:, :5], grey[:, :-6:-1]):
        smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in rows])
        along, across = np.abs(np.diff(smooth, axis=2)).mean((1, 2)), np.abs(np.diff(smooth, axis=1)).mean((1, 2))
        found.append(float(np.median(along / (across + 1e-6))) if np.median(along + across) > 0.4 else float("nan"))
    return found[0], found[1]


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures `(n,h,w)` in their detail, best of small horizontal shifts, median of the frames.

    Broad gradients and the mean of each row are taken out: sky over ground is what most halves have in common.
    """

    def detail(frames: np.ndarray) -> np.ndarray:
        bands = np.stack([cv2.GaussianBlur(f, (0, 0), 1.0) - cv2.GaussianBlur(f, (0, 0), 8.0) for f in frames])
        return bands - bands.mean(axis=2, keepdims=True)

    first, second = detail(a), detail(b)
    first, second = (part[:, 4:-4, 4:-4] for part in (first, second))
    best = []
    for x, y in zip(first, second, strict=True):
        shifted = (np.roll(y, shift, axis=1) for shift in range(-4, 5))
        best.append(max(float((x * s).sum() / np.sqrt((x * x).sum() * (s * s).sum() + 1e-6)) for s in shifted))
    plain = min(float(np.abs(first).mean()), float(np.abs(second).mean())) < 0.5
    return 0.0 if plain else float(np.median(best))


def letterbox(grey: np.ndarray) -> tuple[str, str] | None:
    """Black bars on two opposite sides, the same in every frame, or a wide one below or above; reason and hint."""
    brightest = np.percentile(grey.max(axis=0), 98, axis=1), np.percentile(grey.max(axis=0), 98, axis=0)
    if max(brightest[0].max(), brightest[1].max()) < 2 * _BLACK:
        return None  # all dark: no bars in the night
    top, bottom = _edges(brightest[0] < _BLACK)
    left, right = _edges(brightest[1] < _BLACK)
    crop = "cut the bars off first, as with ffmpeg's cropdetect and crop"
    if min(left, right) >= 2 and max(left, right) < 2.5 * min(left, right):
        return f"letterboxed: black bars at the left and right, {left / WIDTH:.0%} and {right / WIDTH:.0%}", crop
    even = max(top, bottom) < 1.5 * min(top, bottom) + 2
    if min(top, bottom) >= 2 and even and _sharp(grey, top, bottom):
        return f"letterboxed: black bars at the top and bottom, {top / HEIGHT:.0%} and {bottom / HEIGHT:.0%}", crop
    if max(top, bottom) > 0.15 * HEIGHT and _sharp(grey, top, bottom):
        side, share = ("top", top) if top > bottom else ("bottom", bottom)
        return f"covers only part of the sphere: the {side} {share / HEIGHT:.0%} of the picture are black", ""
    return None


def _edges(dark: np.ndarray) -> tuple[int, int]:
    """Length of the dark runs at either end."""
    lit = np.flatnonzero(~dark)
    return int(lit[0]), int(len(dark) - 1 - lit[-1])


def _sharp(grey: np.ndarray, top: int, bottom: int) -> bool:
    """Whether the picture begins at once where the bars end: night skies fade."""
    mean = np.median(grey, axis=(0, 2))
    jumps = []
    if top:
        jumps.append(mean[min(top + 2, HEIGHT - 1)] - mean[top - 1])
    if bottom:
        jumps.append(mean[max(HEIGHT - bottom - 3, 0)] - mean[HEIGHT - bottom])
    return bool(jumps) and min(jumps) > 8


def fisheye(grey: np.ndarray, aspect: float) -> str | None:
    """One or two circles with black round them."""
    count = {1: 1, 2: 2}.get(round(aspect)) if abs(aspect - round(aspect)) < 0.05 else 1 if aspect < 2 else None
    if count is None:
        return None
    lens_width = WIDTH // count if abs(aspect - count) < 0.05 else round(WIDTH / aspect)
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    across = (column % lens_width if count == 2 else column - (WIDTH - lens_width) // 2) + 0.5
    radius = np.hypot(across / lens_width - 0.5, (row + 0.5) / HEIGHT - 0.5)
    brightest = grey.max(axis=0)
    outside, inside = brightest[radius > 0.56], grey.mean(axis=0)[radius < 0.4]
    if (outside < _BLACK).mean() > 0.95 and (inside > 1.5 * _BLACK).mean() > 0.4:
        return f"fisheye: {'two circles' if count == 2 else 'a circle'} on black"
    return None


def cubemap(grey: np.ndarray, aspect: float) -> str | None:
    """Faces side by side: hard steps along the face borders of the layout that has this aspect, or of 3 x 2."""
    layouts = {(3, 2): 1.5, (2, 3): 2 / 3, (6, 1): 6.0, (1, 6): 1 / 6, (4, 3): 4 / 3}
    near = [shape for shape, ratio in layouts.items() if abs(aspect / ratio - 1) < 0.03]
    for across, down in near or [(3, 2)]:
        if (across, down) == (4, 3):
            mean = grey.max(axis=0)
            blocks = [mean[y * HEIGHT // 3 + 4 : (y + 1) * HEIGHT // 3 - 4, 72:] for y in (0, 2)]
            if all((block[:, 64:] < _BLACK).mean() > 0.9 for block in blocks):
                return "cubemap: six faces as a cross"
            continue
        steps = _borders(grey, across, down)
        if (np.array(steps) > 2.5).mean() >= (0.4 if near else 0.7):
            return f"cubemap: six faces, {across} x {down}"
    return None


def _borders(grey: np.ndarray, across: int, down: int) -> list[float]:
    """Steps across every border between two faces."""
    height, width = HEIGHT // down, WIDTH // across
    steps = []
    for row in range(down):
        strip = grey[:, row * height + 3 : (row + 1) * height - 3]
        steps += [_border(strip, round(k * WIDTH / across), 2) for k in range(1, across)]
    for column in range(across):
        strip = grey[:, :, column * width + 3 : (column + 1) * width - 3]
        steps += [_border(strip, round(k * HEIGHT / down), 1) for k in range(1, down)]
    return steps


def _border(grey: np.ndarray, place: int, axis: int) -> float:
    """Step across a line against the usual step between its neighbours, median of the frames."""
    steps = np.abs(np.diff(grey, axis=axis)).mean(axis=3 - axis)  # (n, lines - 1)
    around = np.delete(steps[:, place - 9 : place + 8], slice(6, 11), axis=1)
    return float(np.median(steps[:, place - 3 : place + 2].max(axis=1) / (np.median(around, axis=1) + 0.5)))
