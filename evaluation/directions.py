"""Which part of a prompt is about which direction: "a castle behind the viewer" is to be seen behind, not in front.

A prompt is cut into clauses at punctuation and at "and", "with", "while". A clause is bound to a direction if it places
something relative to the viewer: "behind", "behind us", "to the left", "ahead", "above", "overhead", "below", "at the
horizon", "surrounded by"; or if it is about the sky. "A balloon above a meadow" places one thing by another and is
bound to nothing.
"""

import re
from dataclasses import dataclass

import numpy as np

# direction -> (yaw, pitch) of its centres, degrees. Views within REACH_DEG of one of them show it.
DIRECTIONS: dict[str, tuple[tuple[float, float], ...]] = {
    "ahead": ((0, 0),),
    "right": ((90, 0),),
    "behind": ((180, 0),),
    "left": ((-90, 0),),
    "above": ((0, 90),),
    "below": ((0, -90),),
    "horizon": tuple((float(yaw), 0.0) for yaw in range(0, 360, 45)),
}
REACH_DEG = 50.0

_VIEWER = r"(?:the viewer|the camera|the observer|you|us|me)"
# Each pattern takes out of a clause the words that place; what is left is what is placed.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("behind", rf"\bbehind(?: {_VIEWER}|\s*$)"),
    ("behind", r"\b(?:at|to|in) the (?:back|rear)\s*$"),
    ("ahead", rf"\b(?:straight |right )?ahead(?: of {_VIEWER})?\s*$|\bin front(?: of {_VIEWER}|\s*$)"),
    ("left", rf"\b(?:(?:to|on|at|from) the left(?:[- ]hand)?(?: side)?|on your left)(?: of {_VIEWER})?\s*$"),
    ("right", rf"\b(?:(?:to|on|at|from) the right(?:[- ]hand)?(?: side)?|on your right)(?: of {_VIEWER})?\s*$"),
    ("above", rf"\b(?:above|over)(?: {_VIEWER})\s*$|\b(?:above|overhead)\s*$"),
    (
        "below",
        rf"\b(?:below|beneath|under)(?: {_VIEWER})\s*$|\b(?:below|beneath|underfoot|at (?:the|your|our) feet)\s*$",
    ),
    ("horizon", r"\b(?:at|on|along|near) the horizon\s*$|^(?:\w+ )?surrounded by\b"),
)
# The same words at the head of a clause: "behind us a castle", "above, a balloon".
_HEADS: tuple[tuple[str, str], ...] = (
    ("behind", rf"^behind {_VIEWER}\b"),
    ("ahead", rf"^(?:ahead|in front)(?: of {_VIEWER})?\b"),
    ("left", r"^(?:to|on) (?:the|your) left(?: side)?\b"),
    ("right", r"^(?:to|on) (?:the|your) right(?: side)?\b"),
    ("above", rf"^(?:above {_VIEWER}|overhead)\b"),
    ("below", rf"^(?:below {_VIEWER}|underfoot)\b"),
    ("horizon", r"^(?:at|on|along) the horizon\b"),
)
_SKY = re.compile(r"\bsk(?:y|ies)\b|\bclouds\b")
_EMPTY = re.compile(r"^(?:and|with|there (?:is|are)|a|an|the)?$")


@dataclass(frozen=True)
class Part:
    """What is to be seen in a direction."""

    text: str
    direction: str


def parts_of(prompt: str) -> list[Part]:
    """The parts of a prompt that are bound to a direction, in its order; empty if none is."""
    parts = []
    held: str | None = None  # a direction that stood alone: "above, a balloon"
    for clause in re.split(r"[,;.:()]|\b(?:and|with|while)\b", prompt.lower()):
        clause = " ".join(clause.split())
        found = _bound(clause)
        if found is None and held and clause:
            parts.append(Part(clause, held))
        elif found and not _EMPTY.match(found.text):
            parts.append(found)
        held = found.direction if found and _EMPTY.match(found.text) else None
    return parts


def _bound(clause: str) -> Part | None:
    for direction, pattern in (*_PATTERNS, *_HEADS):
        placed, count = re.subn(pattern, " ", clause)
        if count:
            return Part(" ".join(placed.split()), direction)
    return Part(clause, "above") if _SKY.search(clause) else None


def view_shares(direction: str, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Solid-angle weights of the views that show a direction, (V,) float64, sum 1; of the nearest view if none does.

    Args:
        direction: key of ``DIRECTIONS``.
        centres: (V, 3) unit directions of the views' centres.
        weights: (V,) solid angles of all views.
    """
    yaw, pitch = np.radians(np.array(DIRECTIONS[direction])).T
    goals = np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], axis=1)
    nearest = (centres.astype(np.float64) @ goals.T).max(axis=1)  # (V,), cosine to the nearest goal
    shown = nearest >= min(np.cos(np.radians(REACH_DEG)), nearest.max() - 1e-6)
    share = weights * shown
    return share / share.sum()
