"""What one rater meets, from practice to the last pair: the design's trials with the controls among them."""

import random
from dataclasses import dataclass, replace

from study_app.bundle import Bundle, Control
from study_app.design import schedule, seeded, trials_per_rater

#: The kinds of trials. Only the first one is scored.
SCORED, GOLD, IDENTICAL, REPEATED, PRACTICE = "scored", "gold", "identical", "repeated", "practice"


@dataclass(frozen=True)
class Planned:
    """A trial of a session: stimulus ids from left to right. ``control`` names the control of gold and practice."""

    kind: str
    prompt_id: str
    stimuli: tuple[str, ...]
    control: str | None = None


def practice(bundle: Bundle, place: int) -> list[Planned]:
    """The trials with feedback, before the others."""
    rng = seeded(bundle.design_key, f"practice/{place}")
    examples = [control for control in bundle.study.controls if control.use == "example"]
    chosen = rng.sample(examples, min(len(examples), bundle.settings.controls.practice))
    return [_controlled(bundle, rng, PRACTICE, control) for control in chosen]


def session(bundle: Bundle, place: int) -> list[Planned]:
    """The trials of a place in the design, in order: the scored ones as `study_app.design` draws them, and controls.

    Gold trials are spread evenly, a repeated pair stands at least a third of the session after its first showing, and
    no prompt comes twice running where that can be had.
    """
    study = bundle.study
    rng = seeded(bundle.design_key, f"controls/{place}")
    trials = schedule(bundle.design_key, place, len(study.methods), len(study.prompts), study.mode)
    planned = [
        Planned(
            SCORED, study.prompts[trial.prompt].id, tuple(bundle.stimulus_at[m, trial.prompt] for m in trial.methods)
        )
        for trial in trials
    ]
    gold, identical, repeated = _numbers(bundle, len(planned))
    count = len(planned)
    early = planned[: max(1, count // 3)]
    again = rng.sample(early, min(repeated, len(early)))
    inserts = [
        *((first, replace(first, kind=REPEATED, stimuli=first.stimuli[::-1])) for first in again),
        *((None, _same_twice(bundle, rng)) for _ in range(identical)),
    ]
    for first, trial in inserts:
        earliest = planned.index(first) + max(1, count // 3) if first else 1
        _insert(rng, planned, trial, earliest, len(planned))
    controls = [control for control in study.controls if control.use == "gold"]
    if gold:
        start = seeded(bundle.design_key, "gold").randrange(len(controls)) + place * gold
        for index in range(gold):
            trial = _controlled(bundle, rng, GOLD, controls[(start + index) % len(controls)])
            _insert(rng, planned, trial, index * len(planned) // gold + 1, (index + 1) * len(planned) // gold)
    return planned


def session_length(bundle: Bundle) -> int:
    """How many trials a rater meets, without practice."""
    study = bundle.study
    scored = trials_per_rater(len(study.methods), len(study.prompts), study.mode)
    return scored + sum(_numbers(bundle, scored))


def expected(bundle: Bundle, kind: str, control: str | None, stimuli: tuple[str, ...]) -> dict[str, str]:
    """The right answers of a control trial by criterion; empty where every answer is one's own opinion."""
    if kind == IDENTICAL:
        return dict.fromkeys(bundle.criteria, "tie")
    if control is None:
        return {}
    found = next(entry for entry in bundle.study.controls if entry.id == control)
    best = bundle.study.mode == "best-of-four"
    place = stimuli.index(found.sound)
    return {found.criterion: bundle.choices[place] if best else ("left", "right")[place]}


def _numbers(bundle: Bundle, scored: int) -> tuple[int, int, int]:
    """How many gold, identical and repeated trials a session with so many scored ones has."""
    wanted = bundle.settings.controls
    there = any(control.use == "gold" for control in bundle.study.controls)
    gold = max(1, round(scored / wanted.gold_every)) if wanted.gold_every and there and scored >= 4 else 0
    identical = (
        wanted.identical if bundle.study.mode != "best-of-four" and scored >= 4 else 0
    )  # there are no ties there
    return gold, identical, min(wanted.repeated, scored // 3)


def _controlled(bundle: Bundle, rng: random.Random, kind: str, control: Control) -> Planned:
    count = len(bundle.study.methods) if bundle.study.mode == "best-of-four" else 2
    stimuli = [control.sound] + [control.damaged] * (count - 1)
    rng.shuffle(stimuli)
    return Planned(kind, control.prompt, tuple(stimuli), control.id)


def _same_twice(bundle: Bundle, rng: random.Random) -> Planned:
    stimulus = rng.choice(bundle.study.stimuli)
    return Planned(IDENTICAL, stimulus.prompt, (stimulus.id, stimulus.id))


def _insert(rng: random.Random, planned: list[Planned], trial: Planned, first: int, last: int) -> None:
    """Put a trial somewhere from place ``first`` to ``last``, beside other prompts where there is such a place."""

    def apart(place: int) -> bool:
        return all(other.prompt_id != trial.prompt_id for other in planned[max(0, place - 1) : place + 1])

    places = list(range(min(first, len(planned)), min(last, len(planned)) + 1)) or [len(planned)]
    planned.insert(rng.choice([place for place in places if apart(place)] or places), trial)
