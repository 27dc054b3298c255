"""Sentences that the report writes: only what the intervals support."""

import pytest

from core.errors import PanobenchError
from evaluation.findings import beats, headlines, sentence, standing


def metric(criterion, direction, d, a, difference, p_holm=0.01):
    low, high = difference
    row = {"a": "d", "b": "a", "mean": (low + high) / 2, "low": low, "high": high, "p_holm": p_holm}
    methods = {name: {"mean": sum(ends) / 2, "low": ends[0], "high": ends[1]} for name, ends in (("d", d), ("a", a))}
    return {"criterion": criterion, "direction": direction, "methods": methods, "differences": [row]}


def comparison(**metrics):
    return {
        "methods": [{"name": "a", "label": "A"}, {"name": "d", "label": "D"}],
        "bootstrap": {"level": 0.95},
        "headline": headlines(metrics, {}),
        "metrics": metrics,
    }


SEAM = metric("end_continuity", "lower", (2, 3), (5, 7), (-4, -3))
CONTENT = metric("content_distribution", "lower", (1.0, 1.2), (1.5, 2.0), (-0.8, -0.4))
CLIP = metric("frame_consistency", "higher", (0.6, 0.9), (0.5, 0.7), (0.05, 0.2))
UNCLEAR = metric("graphics_quality", "lower", (1, 3), (2, 4), (-1.5, 0.1))


def test_the_sentence_of_the_issue_is_written_if_it_is_so():
    (found,) = beats(comparison(seam=SEAM, content=CONTENT, unclear=UNCLEAR))
    expected = "D beats A on end continuity and content distribution with intervals that do not overlap."
    assert sentence(found) == expected


def test_overlapping_intervals_are_said_to_overlap():
    (found,) = beats(comparison(seam=SEAM, clip=CLIP))
    assert sentence(found) == (
        "D beats A on end continuity with intervals that do not overlap; "
        "on frame consistency by the paired difference, while the intervals overlap."
    )


def test_nothing_is_said_of_what_is_unclear_undirected_or_untested():
    undirected = metric("motion_pattern", "none", (1, 2), (5, 6), (-4, -3))
    one_prompt = metric("end_continuity", "lower", (2, 3), (5, 7), (-4, -3)) | {
        "differences": [{"a": "d", "b": "a", "mean": -3, "low": None, "high": None, "p_holm": None}]
    }
    assert beats(comparison(unclear=UNCLEAR, motion=undirected, seam=one_prompt)) == []


def test_disjoint_intervals_alone_are_not_enough():
    contradiction = metric("end_continuity", "lower", (2, 3), (5, 7), (-4, 0.1))
    assert beats(comparison(seam=contradiction)) == []


def test_prompts_that_agree_by_chance_are_not_enough():
    four = metric("end_continuity", "lower", (2, 3), (5, 7), (-4, -3))
    four["differences"][0]["p"] = 0.125
    assert beats(comparison(seam=four)) == []
    four["differences"][0]["p"] = 0.03
    assert len(beats(comparison(seam=four))) == 1


def test_a_finding_that_the_correction_takes_back_says_so():
    weak = metric("content_distribution", "lower", (1.0, 1.2), (1.5, 2.0), (-0.8, -0.4), p_holm=0.09)
    (found,) = beats(comparison(seam=SEAM, content=weak))
    assert sentence(found).endswith("(not all of it after Holm's correction for the pairs of methods).")


def test_headlines_are_as_wished_or_the_first_with_a_direction():
    speed = {"criterion": "motion_pattern", "direction": "none"}
    metrics = {"speed": speed, "fit": {**speed, "direction": "lower"}, "seam": SEAM, "step": SEAM}
    assert headlines(metrics, {}) == {"end_continuity": "seam", "motion_pattern": "fit"}
    assert headlines(metrics, {"end_continuity": "step", "motion_pattern": "absent"}) == {
        "end_continuity": "step", "motion_pattern": "fit",
    }  # fmt: skip
    with pytest.raises(PanobenchError, match=r"unknown criterion 'end_continuty'; did you mean 'end_continuity'"):
        headlines(metrics, {"end_continuty": "seam"})
    with pytest.raises(PanobenchError, match=r"report\.headline\.end_continuity: 'speed' stands for motion_pattern"):
        headlines(metrics, {"end_continuity": "speed"})


def difference(a, b, low, high):
    return {"a": a, "b": b, "mean": (low + high) / 2 if low is not None else 0.0, "low": low, "high": high}


@pytest.mark.parametrize(
    ("direction", "differences", "expected"),
    [
        ("higher", [(0.1, 1), (0.1, 2), (0.5, 1)], ("a", "a", [])),
        ("higher", [(-0.1, 1), (0.1, 2), (0.5, 1)], ("a", None, ["b"])),
        ("higher", [(-0.1, 1), (-0.1, 2), (0.5, 1)], ("a", None, [])),
        ("lower", [(0.1, 1), (0.1, 2), (0.5, 1)], ("c", "c", [])),
        ("lower", [(0.1, 1), (0.1, 2), (0.0, 1)], ("c", None, ["b"])),  # touching zero does not exclude it
        ("higher", [(None, None), (None, None), (None, None)], ("a", None, [])),  # one prompt
        ("none", [(0.1, 1), (0.1, 2), (0.5, 1)], (None, None, [])),
    ],
)
def test_best_only_if_every_difference_excludes_zero(direction, differences, expected):
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    rows = [difference(x, y, *ends) for (x, y), ends in zip(pairs, differences, strict=True)]
    found = standing({"a": 3.0, "b": 2.0, "c": 1.0}, rows, direction)
    assert (found["leader"], found["best"], found["tied"]) == expected
