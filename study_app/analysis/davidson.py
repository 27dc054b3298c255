"""Paired comparisons with ties and a left-side effect: Davidson's model, many data sets at a time.

    P(left) : P(right) : P(tie) = pi_L e^g : pi_R : nu sqrt(pi_L e^g pi_R)

(Davidson 1970; Davidson & Beaver 1977 for the effect of the place.) With d = log pi_L - log pi_R + g and eta = log nu
the three logits are d/2, -d/2 and eta, so the likelihood is that of a multinomial logit: concave, and Newton's method
finds its maximum. The headline is Luce's share pi_i / sum pi, the probability of being picked as the best of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Precision of a normal prior on every strength and on the side effect. It keeps resamples finite in which one method
#: wins everything; against hundreds of votes it weighs nothing.
RIDGE = 0.01
LEFT, RIGHT, TIE = 0, 1, 2
_NO_TIES = -40.0  # log nu where no answer is a tie: nu = 0 but for rounding
_STEPS, _TOLERANCE, _SMALLEST = 100, 1e-9, 1e-6


@dataclass(frozen=True)
class Fit:
    """Estimates of B data sets.

    Attributes:
        strengths: (B, M) log pi, mean zero.
        side: (B,) g; above zero where the left one is favoured.
        ties: (B,) nu; 0 where there are no ties.
    """

    strengths: np.ndarray
    side: np.ndarray
    ties: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """(B, M) Luce shares in [0, 1]; each row sums to one."""
        raised = np.exp(self.strengths - self.strengths.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)


def fit(counts: np.ndarray, *, ridge: float = RIDGE, side: bool = True) -> Fit:
    """Maximise the likelihood less ridge / 2 (|log pi|^2 + g^2).

    Args:
        counts: (B, M, M, 3) answers: left method, right method, outcome (left, right, tie). Weights may be fractions.
        ridge: 0 gives plain maximum likelihood, which is finite only if ``study_app.analysis.obstacles`` finds none.
        side: False fixes g at zero.
    """
    counts = np.asarray(counts, dtype=np.float64)
    sets, methods = counts.shape[:2]
    shown = np.flatnonzero(counts.sum((0, 3)).ravel())  # ordered pairs that occur at all
    answers = counts.reshape(sets, methods * methods, 3)[:, shown]
    design = _design(shown, methods, side)
    outer = np.einsum("ki,kj->kij", design, design).reshape(len(shown), -1)
    width = design.shape[1]
    tied = answers[..., TIE].sum(1) > 0
    penalty = np.append(np.full(width, max(ridge, 1e-10)), 0.0)  # 1e-10 holds the free level of the strengths only
    values = np.zeros((sets, width + 1))
    values[:, -1] = np.where(tied, 0.0, _NO_TIES)
    goal = _goal(values, answers, design, penalty)
    todo = np.arange(sets)
    for _ in range(_STEPS):
        step = _newton(values[todo], answers[todo], design, outer, penalty, tied[todo])
        length = np.ones(len(todo))
        for _ in range(40):  # halve the steps that do not climb
            tried = values[todo] + length[:, None] * step
            reached = _goal(tried, answers[todo], design, penalty)
            lower = reached < goal[todo] - 1e-9 * np.abs(goal[todo])
            if not lower.any():
                break
            length = np.where(lower, length / 2, length)
        values[todo], goal[todo] = tried, reached
        todo = todo[np.abs(length[:, None] * step).max(1) > _TOLERANCE]
        if not len(todo):
            break
    strengths = values[:, :methods] - values[:, :methods].mean(1, keepdims=True)
    ties = np.where(tied, np.exp(values[:, -1]), 0.0)
    return Fit(strengths, values[:, methods] if side else np.zeros(sets), ties)


def probabilities(strengths: np.ndarray, side: float | np.ndarray, ties: float | np.ndarray) -> np.ndarray:
    """Probability of each outcome.

    Args:
        strengths: (..., M) log pi.
        side: (...) g.
        ties: (...) nu.

    Returns:
        (..., M, M, 3): left method, right method, outcome; the diagonal is a method against itself.
    """
    difference = strengths[..., :, None] - strengths[..., None, :] + np.asarray(side)[..., None, None]
    nu = np.broadcast_to(np.asarray(ties)[..., None, None], difference.shape)
    raised = np.stack([np.exp(difference / 2), np.exp(-difference / 2), nu], axis=-1)
    return raised / raised.sum(-1, keepdims=True)


def ordered_pairs(shown: Sequence[int] | np.ndarray, methods: int) -> tuple[np.ndarray, np.ndarray]:
    """Left and right method of flat indices into an (M, M) table."""
    return np.divmod(np.asarray(shown), methods)


def _design(shown: np.ndarray, methods: int, side: bool) -> np.ndarray:
    """(K, M [+ 1]): d of each ordered pair from log pi and g."""
    left, right = ordered_pairs(shown, methods)
    design = np.zeros((len(shown), methods + side))
    design[np.arange(len(shown)), left] += 1
    design[np.arange(len(shown)), right] -= 1
    if side:
        design[:, methods] = 1
    return design


def _outcomes(values: np.ndarray, design: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The values d (B, K), the log of the normalising sum, and P(left), P(right)."""
    d = values[:, :-1] @ design.T
    eta = values[:, -1:]
    top = np.maximum(np.abs(d) / 2, eta)
    total = np.exp(d / 2 - top) + np.exp(-d / 2 - top) + np.exp(eta - top)
    return d, top + np.log(total), np.exp(d / 2 - top) / total, np.exp(-d / 2 - top) / total


def _goal(values: np.ndarray, answers: np.ndarray, design: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    d, logs, _, _ = _outcomes(values, design)
    won = (answers[..., LEFT] - answers[..., RIGHT]) * d / 2 + answers[..., TIE] * values[:, -1:]
    return (won - answers.sum(-1) * logs).sum(1) - (penalty * values**2).sum(1) / 2


def _newton(
    values: np.ndarray,
    answers: np.ndarray,
    design: np.ndarray,
    outer: np.ndarray,
    penalty: np.ndarray,
    tied: np.ndarray,
) -> np.ndarray:
    """The Newton step of each data set, (B, P)."""
    sets, width = len(values), design.shape[1]
    _, _, left, right = _outcomes(values, design)
    tie = 1 - left - right
    number = answers.sum(-1)
    slope = np.empty_like(values)
    slope[:, :-1] = ((answers[..., LEFT] - answers[..., RIGHT] - number * (left - right)) / 2) @ design
    slope[:, -1] = np.where(tied, (answers[..., TIE] - number * tie).sum(1), 0.0)
    slope -= penalty * values * np.append(np.ones(width), 0.0)
    curve = np.zeros((sets, width + 1, width + 1))
    curve[:, :-1, :-1] = ((number * (left + right - (left - right) ** 2) / 4) @ outer).reshape(sets, width, width)
    mixed = -(number * (left - right) * tie / 2) @ design * tied[:, None]
    curve[:, :-1, -1] = curve[:, -1, :-1] = mixed
    curve[:, -1, -1] = np.where(tied, (number * tie * (1 - tie)).sum(1) + _SMALLEST, 1.0)
    curve[:, np.arange(width), np.arange(width)] += penalty[:-1]
    step = np.linalg.solve(curve, slope[..., None])[..., 0]
    return np.clip(step, -5, 5)
