"""What a metric promises about graded corruptions of real clips; `panobench validate` holds it to its word."""

from dataclasses import dataclass
from typing import Literal

#: Corruptions by name, in the order of tables (evaluation/corruptions.py makes them).
CORRUPTIONS = (
    "broken_seam",
    "misaligned_seam",
    "perspective",
    "wrong_caption",
    "flicker",
    "shuffled",
    "frozen",
    "pan",
    "blur",
    "noise",
    "cube_edges",
)

#: Wrong as a whole at every strength: a narrow view is no panorama, and a narrower one has ends that are more alike. So
#: a metric has to tell every strength from the clean clip, but not one strength from the other.
WHOLE = frozenset({"perspective"})

Yaw = Literal["exact", "spread", "edge"]


@dataclass(frozen=True)
class Floor:
    """The value on an input that has no fault of the metric's kind.

    Attributes:
        of: the input: "clean" clips, the same clips "frozen", or clips "identical" to their paired reference.
        low: least median over the clips.
        high: greatest median over the clips.
    """

    of: Literal["clean", "frozen", "identical"]
    low: float
    high: float


@dataclass(frozen=True)
class Claims:
    """How the value moves as a clip gets worse. What is not named is not promised either way; the table shows it.

    Attributes:
        rises: corruptions that raise the value, the more the stronger.
        falls: corruptions that lower it, the more the stronger.
        level: corruptions that the metric is not about, and hardly sees (LEVEL_SHARE in evaluation/proof.py).
        floor: its zero.
        yaw: what a turn of the whole video by whole pixels does. "exact": the same number to rounding. "spread": it
            looks through views, or follows estimated flow, which then look elsewhere: the number moves within a spread
            that is stated. "edge": the metric asks where the ends of the picture meet, and measures another meridian
            after a turn; on seamless clips its floor holds there too.
    """

    rises: frozenset[str] = frozenset()
    falls: frozenset[str] = frozenset()
    level: frozenset[str] = frozenset()
    floor: Floor | None = None
    yaw: Yaw = "exact"

    def __post_init__(self) -> None:
        named = [*self.rises, *self.falls, *self.level]
        unknown = set(named) - set(CORRUPTIONS)
        if unknown or len(set(named)) != len(named):
            raise ValueError(f"claims: unknown or named twice: {sorted(unknown) or sorted(named)}")


def claims(
    rises: str = "",
    falls: str = "",
    level: str = "",
    floor: Floor | None = None,
    yaw: Yaw = "exact",
) -> Claims:
    """Claims from names with spaces between."""
    return Claims(frozenset(rises.split()), frozenset(falls.split()), frozenset(level.split()), floor, yaw)
