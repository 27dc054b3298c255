"""Whether a metric keeps its claims: a verdict from its values on corrupted clips.

Four checks. *Floor*: the median of faultless clips lies where the metric says. *Sensitive*: the mean over clips moves
one way at every step of a claimed corruption, and nearly every clip moves that way at full strength; if the corruption
is wrong as a whole, nearly every clip does so at every strength. *Insensitive*: a corruption that the metric is not
about moves the mean by a small share of what its own corruptions do. *Yaw*: turning the whole video by whole columns
gives the same number to rounding, or one within a small share of the same.
A metric passes if all of its checks do, and if it claims to be sensitive to something at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.metrics.claims import CORRUPTIONS, WHOLE, Claims

#: A corruption that a metric is not about may move its mean by this share of what its own corruptions do.
LEVEL_SHARE = 0.2
#: A step of a curve may go back by this share of the whole way: a metric that has reached its ceiling wavers there.
STEP_SLACK = 0.1
#: Share of clips that must move the claimed way at full strength (one that stays where it is counts half).
CLIPS_MOVED = 0.85
#: Relative difference after a yaw that counts as rounding: sums in another order.
ROUNDING = 1e-9

CLEAN = "clean"


@dataclass
class Values:
    """Values of one metric: one per clip, or one for the whole set.

    Attributes:
        clean: (N,) on the clips as they are.
        curves: corruption -> strength -> (N,).
        yaws: columns -> (N,) after a turn of the video by so many columns.
        rotations: one (N,) per random rotation of the sphere.
        base: (N,) that ``yaws`` are compared with, where it is not ``clean``: metrics that compare with a true video
            read the same of any clip that is its own truth.
    """

    clean: np.ndarray
    curves: dict[str, dict[float, np.ndarray]] = field(default_factory=dict)
    yaws: dict[int, np.ndarray] = field(default_factory=dict)
    rotations: list[np.ndarray] = field(default_factory=list)
    base: np.ndarray | None = None

    @property
    def before(self) -> np.ndarray:
        """What a yaw is compared with."""
        return self.clean if self.base is None else self.base

    def complete(self) -> "Values":
        """Without the clips on which some variant has no value: a caption that places nothing, for example."""
        variants = [self.clean, *self.yaws.values(), *self.rotations, *([] if self.base is None else [self.base])]
        variants += [values for curve in self.curves.values() for values in curve.values()]
        keep = np.isfinite(np.stack(variants)).all(axis=0)
        return Values(
            self.clean[keep],
            {name: {s: values[keep] for s, values in curve.items()} for name, curve in self.curves.items()},
            {columns: values[keep] for columns, values in self.yaws.items()},
            [values[keep] for values in self.rotations],
            None if self.base is None else self.base[keep],
        )

    def change(self, corruption: str, strength: float | None = None) -> float:
        """Mean change from clean; at full strength unless said otherwise."""
        curve = self.curves[corruption]
        return float(curve[max(curve) if strength is None else strength].mean() - self.clean.mean())

    def scale(self, claims: Claims) -> float:
        """Largest mean change by a corruption that the metric claims to see."""
        return max((abs(self.change(name)) for name in claims.rises | claims.falls if name in self.curves), default=0.0)


@dataclass(frozen=True)
class Check:
    """One claim and what came of it."""

    kind: str  # floor, rises, falls, level, yaw, claims
    of: str  # corruption, or the input of the floor
    passed: bool
    note: str


def prove(values: Values, claims: Claims | None) -> list[Check]:
    """All checks of one metric; corruptions that were not run are not checked."""
    if claims is None or not claims.rises | claims.falls:
        return [Check("claims", "", False, "it does not say what it is sensitive to")]
    checks = []
    if claims.floor is not None:
        checks.append(_floor(values, claims))
    for kind, names in (("rises", claims.rises), ("falls", claims.falls)):
        checks += [_sensitive(values, name, kind) for name in CORRUPTIONS if name in names and name in values.curves]
    scale = values.scale(claims)
    checks += [_level(values, name, scale) for name in CORRUPTIONS if name in claims.level and name in values.curves]
    if values.yaws:
        checks.append(_yaw(values, claims, scale))
    return checks


def _floor(values: Values, claims: Claims) -> Check:
    floor = claims.floor
    assert floor is not None
    frozen = values.curves.get("frozen", {}).get(1.0)
    found = frozen if floor.of == "frozen" else values.clean  # a clean clip is its own truth: identical
    if found is None:
        return Check("floor", floor.of, False, "not measured")
    middle = float(np.median(found))
    return Check(
        "floor", floor.of, floor.low <= middle <= floor.high, f"{middle:.4g} in {floor.low:g} to {floor.high:g}"
    )


def _sensitive(values: Values, corruption: str, kind: str) -> Check:
    sign = 1 if kind == "rises" else -1
    curve = values.curves[corruption]
    strengths = sorted(curve)
    means = [float(values.clean.mean()), *(float(curve[strength].mean()) for strength in strengths)]
    steps = sign * np.diff(means)
    total = sign * (means[-1] - means[0])
    moved = [float((np.sign(sign * (curve[strength] - values.clean)) + 1).mean() / 2) for strength in strengths]
    monotone = bool(total > 0 and steps.min() >= -STEP_SLACK * total)
    share = min(moved) if corruption in WHOLE else moved[-1]
    note = " → ".join(f"{mean:.4g}" for mean in means) + f"; {share:.0%} of clips"
    return Check(kind, corruption, (monotone or corruption in WHOLE) and share >= CLIPS_MOVED, note)


def _level(values: Values, corruption: str, scale: float) -> Check:
    largest = max(abs(values.change(corruption, strength)) for strength in values.curves[corruption])
    share = largest / scale if scale else float("inf")
    return Check("level", corruption, share <= LEVEL_SHARE, f"{share:.1%} of its own scale")


def yaw_spread(values: Values) -> float:
    """Root mean square change of a clip's value by a yaw."""
    return float(np.sqrt(np.mean([(turned - values.before) ** 2 for turned in values.yaws.values()])))


def rotation_spread(values: Values) -> float | None:
    """Standard deviation of a clip's value over random rotations of the sphere, mean square over clips."""
    if len(values.rotations) < 2:
        return None
    return float(np.sqrt(np.stack(values.rotations).var(axis=0, ddof=1).mean()))


def _yaw(values: Values, claims: Claims, scale: float) -> Check:
    spread = yaw_spread(values)
    if claims.yaw == "exact":
        worst = max(float(np.abs(turned - values.before).max()) for turned in values.yaws.values())
        allowed = ROUNDING * max(float(np.abs(values.before).max()), scale)
        return Check("yaw", claims.yaw, worst <= allowed, f"largest difference {worst:.2g}")
    if claims.yaw == "edge":
        middles = [float(np.median(turned)) for turned in values.yaws.values()]
        floor = claims.floor
        passed = floor is not None and all(floor.low <= middle <= floor.high for middle in middles)
        return Check(
            "yaw", claims.yaw, passed, f"medians {min(middles):.4g} to {max(middles):.4g}, spread {spread:.3g}"
        )
    share = spread / scale if scale else float("inf")
    return Check("yaw", claims.yaw, share <= LEVEL_SHARE, f"spread {spread:.3g}, {share:.1%} of its own scale")


def record(values: Mapping[str, Values], metrics: Mapping[str, Any], skipped: Mapping[str, str]) -> dict[str, Any]:
    """The proof as data (``proof.json``).

    Args:
        values: metric -> its values.
        metrics: metric -> its class, for version and claims; all that were asked for.
        skipped: metric -> why it was not run.

    Returns:
        metric -> ``version``, ``passed``, ``checks``, ``means`` (clean, and corruption -> strength -> mean), ``scale``,
        ``yaw_spread``, ``rotation_spread``; or ``version``, ``passed`` (False) and ``skipped``.
    """
    found: dict[str, Any] = {}
    for name, metric in metrics.items():
        if name not in values:
            found[name] = {"version": metric.version, "passed": False, "skipped": skipped[name]}
            continue
        mine = values[name].complete()
        if not len(mine.clean):
            found[name] = {"version": metric.version, "passed": False, "skipped": "no clip has a value"}
            continue
        claims: Claims | None = getattr(metric, "claims", None)
        checks = prove(mine, claims)
        found[name] = {
            "version": metric.version,
            "passed": all(check.passed for check in checks),
            "checks": [vars(check) for check in checks],
            "scale": _short(mine.scale(claims) if claims else 0.0),
            "means": {CLEAN: _short(float(mine.clean.mean()))}
            | {
                corruption: {f"{strength:g}": _short(float(curve[strength].mean())) for strength in sorted(curve)}
                for corruption, curve in mine.curves.items()
            },
            "yaw_spread": _short(yaw_spread(mine)) if mine.yaws else None,
            "rotation_spread": None if (spread := rotation_spread(mine)) is None else _short(spread),
            "between_clips": _short(float(mine.clean.std(ddof=1))) if len(mine.clean) > 1 else None,
        }
    return found


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def unproven(proof: Mapping[str, Any], versions: Mapping[str, int]) -> dict[str, str]:
    """Metric -> why it may not be in the default set; empty if all may.

    Args:
        proof: ``metrics`` of ``proof.json``.
        versions: metric -> its version now, for those of the default set.
    """
    reasons = {}
    for name, version in versions.items():
        entry = proof.get(name)
        if entry is None:
            reasons[name] = "it was never proven"
        elif entry["version"] != version:
            reasons[name] = f"version {entry['version']} was proven, but it is version {version} now"
        elif not entry["passed"]:
            failed = [
                f"{check['kind']} {check['of']}".strip() for check in entry.get("checks", ()) if not check["passed"]
            ]
            reasons[name] = entry.get("skipped") or f"it failed: {', '.join(failed)}"
    return reasons


def failed(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Failed checks in words."""
    return [f"{c['kind']} {c['of']}: {c['note']}" for c in checks if not c["passed"]]
