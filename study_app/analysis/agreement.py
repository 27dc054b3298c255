"""Whether raters agree with each other, and with themselves."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from study_app.analysis.votes import Votes
from study_app.session import REPEATED

Units = Mapping[Hashable, Sequence[Hashable]]


def alpha(units: Units) -> float | None:
    """Krippendorff's alpha for nominal data: 1 is agreement, 0 is chance (Krippendorff 2011).

    Args:
        units: what was judged -> the values that its raters gave; units with fewer than two are left out.

    Returns:
        None if nothing was judged twice, or all values are one, where chance itself agrees and alpha is 0 / 0.
    """
    coincidences: dict[tuple[Hashable, Hashable], float] = defaultdict(float)
    for values in units.values():
        counts = Counter(values)
        number = len(values)
        if number < 2:
            continue
        for one, first in counts.items():
            for other, second in counts.items():
                coincidences[one, other] += first * (second - (one == other)) / (number - 1)
    margins: dict[Hashable, float] = defaultdict(float)
    for (one, _), weight in coincidences.items():
        margins[one] += weight
    total = sum(margins.values())
    observed = sum(weight for (one, other), weight in coincidences.items() if one != other)
    expected = total**2 - sum(margin**2 for margin in margins.values())
    return 1 - (total - 1) * observed / expected if expected > 1e-12 else None


def raw(units: Units) -> tuple[float | None, int]:
    """Share of equal answers among all pairs of raters of a unit, and how many such pairs there are."""
    equal = pairs = 0
    for values in units.values():
        equal += sum(count * (count - 1) // 2 for count in Counter(values).values())
        pairs += len(values) * (len(values) - 1) // 2
    return (equal / pairs if pairs else None), pairs


def agreement(votes: Votes, criterion: str) -> dict[str, Any]:
    """Between raters on the scored answers, and within raters on the pairs that they saw again with swapped sides."""
    units: dict[Hashable, list[Hashable]] = defaultdict(list)
    for row in votes.of(criterion):
        units[_unit(row)].append(row["preferred"])
    share, pairs = raw(units)
    same = list(_same_again(votes, criterion))
    return {
        "alpha": alpha(units),
        "raw": share,
        "rater_pairs": pairs,
        "repeated": len(same),
        "repeated_same": sum(same),
    }


def _unit(row: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    return row["prompt_id"], frozenset(row["methods"].split("|"))


def _same_again(votes: Votes, criterion: str) -> Iterable[bool]:
    first = {(row["rater"], _unit(row)): row["preferred"] for row in votes.of(criterion)}
    for row in votes.rows:
        if row["kind"] == REPEATED and row["criterion"] == criterion and (row["rater"], _unit(row)) in first:
            yield first[row["rater"], _unit(row)] == row["preferred"]
