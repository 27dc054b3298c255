import numpy as np
import pandas as pd
import pytest
from scipy import stats

from core.errors import PanobenchError
from evaluation.statistics import bootstrap_mean, paired_difference, resampled_means, summarise


def long_table(method: str, values: dict[tuple[str, int], float], metric: str = "m", version: int = 1) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "video_id": f"{prompt}-{seed}", "method": method, "prompt_id": prompt, "seed": seed, "metric": metric,
                "value": value, "unit": "1", "direction": "lower", "criterion": "end_continuity",
                "metric_version": version,
            }
            for (prompt, seed), value in values.items()
        ]
    )  # fmt: skip


def test_the_plain_interval_is_scipys_percentile_interval():
    values = np.random.default_rng(3).gamma(2.0, size=30)
    ours = bootstrap_mean(values, np.arange(30), resamples=20000, expanded=False)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert ours.mean == pytest.approx(values.mean())
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_for_normal_values_the_expanded_interval_is_students_t():
    n = 8
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    ours = bootstrap_mean(values, np.arange(n), resamples=50000)
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (ours.high - ours.low) == pytest.approx(high - low, rel=0.05)


def test_the_interval_covers_as_it_says():
    # 95 % nominal with eight prompts; the plain percentile interval reaches 88 %.
    rng = np.random.default_rng(0)
    trials = 500
    prompts = np.arange(8)
    hits = 0
    for seed in range(trials):
        interval = bootstrap_mean(rng.normal(size=8), prompts, resamples=300, seed=seed)
        hits += interval.low <= 0 <= interval.high
    assert 0.92 <= hits / trials <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("between", "within"), [(1.0, 0.0), (1.0, 1.0), (0.3, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_over_kinds_of_scores(seeds: int, between: float, within: float, skewed: bool):
    """Eight prompts, nominal 95 %: 92 to 97 % for normal prompts, 90 % or more for exponential ones (800 trials)."""
    rng = np.random.default_rng(7)
    trials, hits = 800, 0
    prompts = np.repeat(np.arange(8), seeds)
    for trial in range(trials):
        effect = rng.exponential(size=8) - 1 if skewed else rng.normal(size=8)
        values = between * effect[prompts] + within * rng.normal(size=prompts.size)
        interval = bootstrap_mean(values, prompts, resamples=400, seed=trial)
        hits += interval.low <= 0 <= interval.high
    assert (0.885 if skewed and between else 0.905) <= hits / trials <= 0.985, hits / trials


def test_resampling_seeds_too_leaves_the_variance_of_the_prompts_means():
    rng = np.random.default_rng(5)
    groups = [effect + rng.normal(size=4) for effect in rng.normal(scale=2, size=12)]
    drawn = resampled_means(groups, 40_000, np.random.default_rng(1))
    means = np.array([group.mean() for group in groups])
    assert drawn.var() == pytest.approx(means.var() / 12, rel=0.03)
    assert drawn.mean() == pytest.approx(means.mean(), abs=0.01)
    assert len(np.unique(drawn.round(9))) > 39_000  # seeds are drawn too, so hardly any resample comes twice


def test_videos_of_one_prompt_are_not_independent_evidence():
    rng = np.random.default_rng(1)
    per_prompt = rng.normal(size=10)
    one = bootstrap_mean(per_prompt, np.arange(10))
    ten_alike = bootstrap_mean(np.repeat(per_prompt, 10), np.repeat(np.arange(10), 10))
    assert ten_alike.low == pytest.approx(one.low)
    assert ten_alike.high == pytest.approx(one.high)
    assert (ten_alike.n, ten_alike.prompts) == (100, 10)


def test_every_prompt_counts_the_same():
    assert bootstrap_mean(np.array([0.0, 0.0, 0.0, 1.0]), np.array(["a", "a", "a", "b"])).mean == 0.5


def test_order_of_rows_changes_nothing_and_the_seed_decides():
    rng = np.random.default_rng(2)
    values, prompts = rng.normal(size=16), np.repeat(list("pqrstuvw"), 2)
    shuffled = rng.permutation(16)
    assert bootstrap_mean(values, prompts) == bootstrap_mean(values, prompts)
    ours, theirs = bootstrap_mean(values, prompts), bootstrap_mean(values[shuffled], prompts[shuffled])
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert bootstrap_mean(values, prompts, seed=1) != bootstrap_mean(values, prompts)


def test_one_prompt_has_no_interval():
    interval = bootstrap_mean(np.array([1.0, 3.0]), np.array(["a", "a"]))
    assert (interval.mean, interval.low, interval.high) == (2.0, None, None)


@pytest.mark.parametrize(("values", "prompts"), [([], []), ([1.0], ["a", "b"]), ([np.nan, 1.0], ["a", "b"])])
def test_unusable_values_are_refused(values: list, prompts: list):
    with pytest.raises(ValueError, match=r"equally long|finite"):
        bootstrap_mean(np.array(values), np.array(prompts))


def test_pairing_removes_the_difficulty_of_the_prompt():
    rng = np.random.default_rng(4)
    difficulty = rng.normal(scale=10, size=8)
    a = long_table("a", {(f"p{i}", 0): d + 1 + rng.normal(scale=0.1) for i, d in enumerate(difficulty)})
    b = long_table("b", {(f"p{i}", 0): d for i, d in enumerate(difficulty)})
    difference = paired_difference(a, b, "m")
    assert difference.mean == pytest.approx(1, abs=0.2)
    assert difference.low > 0.5  # while the separate intervals are several units wide
    swapped = paired_difference(b, a, "m")
    assert swapped.mean == pytest.approx(-difference.mean)


def test_pairs_are_matched_by_prompt_and_seed_not_by_order():
    a = long_table("a", {("p", 0): 1.0, ("p", 1): 5.0, ("q", 0): 9.0, ("q", 1): 2.0})
    b = a.assign(method="b", value=a["value"] - 3).sample(frac=1, random_state=0)
    difference = paired_difference(a, b, "m")
    assert (difference.mean, difference.low, difference.high) == pytest.approx((3, 3, 3))


def test_different_seeds_are_paired_by_the_prompts_mean():
    a = long_table("a", {("p", 0): 1.0, ("q", 0): 2.0})
    b = long_table("b", {("p", 7): 0.0, ("p", 8): 1.0, ("q", 7): 1.0})
    assert paired_difference(a, b, "m").mean == pytest.approx((0.5 + 1) / 2)


@pytest.mark.parametrize(
    ("b", "message"),
    [
        (long_table("b", {("other", 0): 1.0}), "no prompt in common"),
        (long_table("b", {("p", 0): 1.0}, metric="else"), "no values for method b"),
        (long_table("b", {("p", 0): 1.0}, version=2), "different versions"),
    ],
)
def test_incomparable_tables_are_one_clear_line(b: pd.DataFrame, message: str):
    with pytest.raises(PanobenchError, match=message):
        paired_difference(long_table("a", {("p", 0): 1.0}), b, "m")


def test_summary_has_the_published_keys():
    summary = summarise(long_table("a", {("p", 0): 1.0, ("q", 0): 3.0}))
    assert set(summary["m"]) == {
        "mean", "low", "high", "n", "prompts", "unit", "direction", "criterion", "version",
    }  # fmt: skip
    assert summary["m"]["mean"] == 2.0
