"""A rater's session for any number of methods, prompts and controls: each planned trial once, and controls."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from study_app.bundle import Bundle
from study_app.design import schedule
from study_app.params import Controls
from study_app.session import GOLD, IDENTICAL, PRACTICE, REPEATED, SCORED, expected, practice, session, session_length

WANTED = st.builds(
    Controls,
    gold_every=st.integers(0, 12),
    identical=st.integers(0, 3),
    repeated=st.integers(0, 4),
    practice=st.integers(0, 5),
)


def part(bundle: Bundle, mode: str, methods: int, prompts: int, wanted: Controls) -> Bundle:
    """A study of the first methods and prompts of another one."""
    study = bundle.study
    kept, asked = study.methods[:methods], study.prompts[:prompts]
    ids = {prompt.id for prompt in asked}
    smaller = {
        "mode": mode,
        "methods": kept,
        "prompts": asked,
        "stimuli": [s for s in study.stimuli if s.method in kept and s.prompt in ids],
    }
    controls = bundle.settings.model_copy(update={"controls": wanted})
    return replace(bundle, study=study.model_copy(update=smaller), settings=controls)


@settings(max_examples=60, deadline=None)
@given(
    mode=st.sampled_from(["half", "full", "best-of-four"]),
    methods=st.integers(2, 4),
    prompts=st.integers(1, 8),
    place=st.integers(0, 500),
    wanted=WANTED,
)
def test_a_session_is_the_design_with_controls_among_it(big_bundle: Bundle, mode, methods, prompts, place, wanted):
    bundle = part(big_bundle, mode, methods, prompts, wanted)
    trials = session(bundle, place)
    assert trials == session(bundle, place)
    by_kind = {kind: [trial for trial in trials if trial.kind == kind] for kind in (SCORED, GOLD, IDENTICAL, REPEATED)}
    assert sum(map(len, by_kind.values())) == len(trials)
    even = mode != "half" or methods * (methods - 1) // 2 * prompts % 2 == 0  # else one rater's half is the smaller one
    assert len(trials) == session_length(bundle) if even else len(trials) <= session_length(bundle)

    planned = schedule(bundle.design_key, place, methods, prompts, mode)
    shown = [tuple(bundle.stimulus_at[m, trial.prompt] for m in trial.methods) for trial in planned]
    assert [trial.stimuli for trial in by_kind[SCORED]] == shown
    assert all(count == 1 for count in Counter(by_kind[SCORED]).values())

    for trial in by_kind[REPEATED]:
        first = next(
            i for i, other in enumerate(trials) if other.kind == SCORED and other.stimuli[::-1] == trial.stimuli
        )
        assert trials.index(trial) - first > len(planned) // 3 - 1
    assert all(len(set(trial.stimuli)) == 1 and len(trial.stimuli) == 2 for trial in by_kind[IDENTICAL])
    assert not (by_kind[IDENTICAL] and mode == "best-of-four")
    for trial in (*by_kind[GOLD], *practice(bundle, place)):
        ((_, right),) = expected(bundle, trial.kind, trial.control, trial.stimuli).items()
        control = next(entry for entry in bundle.study.controls if entry.id == trial.control)
        assert control.use == ("example" if trial.kind == PRACTICE else "gold")
        assert (
            trial.stimuli[bundle.choices.index(right) if mode == "best-of-four" else right == "right"] == control.sound
        )
    if wanted.gold_every and len(planned) >= 4:
        assert len(by_kind[GOLD]) == max(1, round(len(planned) / wanted.gold_every))
    if prompts >= 6 and len(trials) - len(planned) <= 4:
        assert all(one.prompt_id != other.prompt_id for one, other in pairwise(trials))
