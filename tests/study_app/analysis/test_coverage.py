"""How often the intervals hold the truth, by simulation of whole studies."""

import numpy as np
import pytest

from study_app.analysis.davidson import fit, probabilities
from study_app.analysis.pairwise import estimate, tally
from study_app.analysis.resampling import interval, two_way
from tests.study_app.analysis.ballots import METHODS, paired, planted, votes

SHARES = np.array([0.113, 0.141, 0.23, 0.516])
SIDE, TIES, SD = 0.2, 0.4, 0.5


def truth() -> np.ndarray:
    """The shares that infinitely many raters and prompts would give: a fit to the expected answers.

    In the order of the votes' methods, which are sorted by name.
    """
    rng = np.random.default_rng(0)
    own = np.log(SHARES) + rng.normal(0, SD, (200_000, 4)) + rng.normal(0, SD, (200_000, 4))
    chances = probabilities(own, SIDE, TIES).mean(0)
    chances[range(4), range(4)] = 0
    return fit(1e4 * chances[None]).shares[0][np.argsort(METHODS)]


def covered(intervals: list[tuple[np.ndarray, np.ndarray]]) -> float:
    shares = truth()
    return float(np.mean([(low <= shares) & (shares <= high) for low, high in intervals]))


@pytest.mark.slow
def test_two_way_intervals_cover_and_those_from_votes_or_raters_alone_do_not(record_property):
    """31 raters, 8 prompts, half mode, as in the study; nominal 95 %."""
    both, raters, prompts = [], [], []
    for study in range(200):
        counts = tally(votes(paired(planted(study, np.log(SHARES), SIDE, TIES, SD, SD))), "graphics")
        both.append(interval(estimate(two_way(counts, 500, study))["shares"], 0.95))
        alone = counts.sum(1, keepdims=True)  # one prompt, so that only raters are drawn
        raters.append(interval(estimate(two_way(alone, 300, study))["shares"], 0.95))
        alone = counts.sum(0, keepdims=True)
        prompts.append(interval(estimate(two_way(alone, 300, study))["shares"], 0.95))
    found = {"two-way": covered(both), "raters only": covered(raters), "prompts only": covered(prompts)}
    for name, value in found.items():
        print(f"coverage of nominal 95 %, {name}: {100 * value:.1f} %")
        record_property(name, value)
    assert found["two-way"] >= 0.90
    assert found["raters only"] < found["two-way"] - 0.05
