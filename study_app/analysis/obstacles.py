"""What keeps a model from having an estimate, in words: nothing is reported that the answers do not determine."""

from collections.abc import Sequence

import numpy as np

from study_app.analysis.davidson import LEFT, RIGHT, TIE


def obstacle(counts: np.ndarray, names: Sequence[str]) -> tuple[str, str] | None:
    """Why Davidson's model has no maximum-likelihood estimate on these answers.

    Args:
        counts: (M, M, 3) answers: left method, right method, outcome (left, right, tie).
        names: what the methods are called.

    Returns:
        A short name (no votes, disconnected, all ties, confounded, separated) and a sentence; None if there is one.
    """
    counts = np.asarray(counts)
    if not counts.sum():
        return "no votes", "Nobody has answered this question."
    groups = components(counts.sum(2) + counts.sum(2).T > 0)
    if len(groups) > 1:
        parts = " | ".join(_listed([names[i] for i in group]) for group in groups)
        return "disconnected", f"No answer compares these groups of methods with each other: {parts}."
    if not counts[..., :TIE].sum():
        return "all ties", f"All {int(counts.sum())} answers are ties: no method was preferred to another."
    if _confounded(counts):
        return "confounded", "The side cannot be told from the methods: they always stood on the same sides."
    ahead = unbeaten(counts)
    if ahead is not None:
        others = _listed([names[i] for i in range(len(names)) if i not in ahead])
        never = "never lost and never tied" if len(ahead) == 1 else "lost and tied among themselves alone,"
        return "separated", (
            f"{_listed([names[i] for i in ahead])} {never} against {others}: "
            "the strengths have no finite estimate, and no interval."
        )
    if _separated(counts):
        return "separated", (
            "The side and the methods together foretell every answer that is not balanced by another: "
            "the strengths have no finite estimate, and no interval."
        )
    return None


def components(linked: np.ndarray) -> list[list[int]]:
    """Connected groups of an (M, M) symmetric graph, in the order of their first members."""
    from scipy.sparse.csgraph import connected_components

    number, group = connected_components(linked, directed=False)
    return sorted([np.flatnonzero(group == index).tolist() for index in range(number)])


def unbeaten(counts: np.ndarray) -> list[int] | None:
    """The methods that never lost to, and never tied with, any of the others; None if there are none such.

    Without them the graph of wins (a tie counts for both) is strongly connected, which is Ford's (1957) condition.
    """
    from scipy.sparse.csgraph import connected_components

    won = counts[..., LEFT] + counts[..., RIGHT].T + counts[..., TIE] + counts[..., TIE].T > 0
    np.fill_diagonal(won, False)
    number, group = connected_components(won, directed=True, connection="strong")
    if number == 1:
        return None
    for index in range(number):
        inside = group == index
        if not won[~inside][:, inside].any():  # nobody outside has beaten one inside
            return np.flatnonzero(inside).tolist()
    return None


def limit(counts: np.ndarray) -> list[float] | None:
    """The shares towards which the likelihood rises without end, where they are plain.

    One method has won against every other one from either side, so that the side cannot have been the reason.

    Returns:
        1 for that method and 0 for the others; None in every other case.
    """
    ahead = unbeaten(counts)
    if ahead is None or len(ahead) != 1:
        return None
    best = ahead[0]
    number = counts.sum(2)
    if any(not (number[best, other] and number[other, best]) for other in range(len(counts)) if other != best):
        return None
    return [float(index == best) for index in range(len(counts))]


def _confounded(counts: np.ndarray) -> bool:
    """Whether a constant on the left can be made up from the methods' strengths."""
    methods = len(counts)
    left, right = np.nonzero(counts.sum(2))
    design = np.zeros((len(left), methods + 1))
    design[np.arange(len(left)), left] += 1
    design[np.arange(len(left)), right] -= 1
    design[:, methods] = 1
    return bool(np.linalg.matrix_rank(design) < methods)  # M - 1 free strengths and the side


def _separated(counts: np.ndarray) -> bool:
    """Whether some direction of the parameters makes every answer at least as likely, and one more so, without end.

    The linear programme of Konis (2007) for the condition of Albert & Anderson (1984), on the logits d/2, -d/2, eta.
    """
    from scipy.optimize import linprog

    methods = len(counts)
    ties = counts[..., TIE].sum() > 0
    rows = []
    for left, right in zip(*np.nonzero(counts.sum(2)), strict=True):
        d = np.zeros(methods + 2)
        d[left] += 0.5
        d[right] -= 0.5
        d[methods] = 0.5
        logits = [d, -d]
        if ties:
            logits.append(np.eye(methods + 2)[-1])
        for chosen in np.flatnonzero(counts[left, right, : len(logits)]):
            rows += [logits[chosen] - other for index, other in enumerate(logits) if index != chosen]
    gains = np.array(rows)
    bounds = [(-1, 1)] * (methods + 2)
    found = linprog(-gains.sum(0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=bounds, method="highs")
    return bool(found.status == 0 and gains.sum(0) @ found.x > 1e-7)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
