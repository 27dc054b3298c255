"""Votes with planted truths, as rows of an export."""

from collections.abc import Callable, Iterable
from math import exp

import numpy as np

from study_app.analysis.votes import Votes, from_rows
from study_app.design import schedule

METHODS = ("animatediff", "panorama_lora", "enhanced_360", "360dvd")
OUTCOMES = ("left", "right", "tie")
Chooser = Callable[[int, int, int, int], str]  # rater, prompt, left method, right method -> choice


def row(rater: int, trial: int, prompt: int, shown: Iterable[int], criterion: str, choice: str, **more: str) -> dict:
    names = [METHODS[index] for index in shown]
    favoured = dict(zip(("left", "right") if choice in OUTCOMES else ("a", "b", "c", "d"), names, strict=False))
    values = {
        "study_id": "planted", "rater": f"r{rater:03d}", "assignment": f"{rater}-{trial}", "prompt_id": f"p{prompt}",
        "prompt": f"prompt {prompt}", "methods": "|".join(names), "criterion": criterion, "choice": choice,
        "preferred": favoured.get(choice, "tie"), "kind": "scored", "flags": "",
    }  # fmt: skip
    return values | more


def paired(
    choose: Chooser, raters: int = 31, prompts: int = 8, criteria: Iterable[str] = ("graphics",), mode: str = "half"
) -> list[dict]:
    """The rows of a study by the app's own design."""
    return [
        row(
            rater,
            number,
            trial.prompt,
            (trial.left, trial.right),
            criterion,
            choose(rater, trial.prompt, *trial.methods),
        )
        for rater in range(raters)
        for number, trial in enumerate(schedule(b"k" * 32, rater, len(METHODS), prompts, mode))
        for criterion in criteria
    ]


def planted(
    seed: int,
    strengths: np.ndarray,
    side: float = 0.0,
    ties: float = 0.4,
    rater_sd: float = 0.0,
    prompt_sd: float = 0.0,
) -> Chooser:
    """Answers drawn from Davidson's model; raters and prompts have strengths of their own around the common ones."""
    rng = np.random.default_rng(seed)
    of_rater, of_prompt = (rng.normal(0, sd, (500, len(strengths))) for sd in (rater_sd, prompt_sd))

    def choose(rater: int, prompt: int, left: int, right: int) -> str:
        own = strengths + of_rater[rater] + of_prompt[prompt]
        half = exp((own[left] - own[right] + side) / 2)
        weights = (half, 1 / half, ties)
        drawn = rng.random() * sum(weights)
        return OUTCOMES[(drawn >= weights[0]) + (drawn >= weights[0] + weights[1])]

    return choose


def votes(rows: list[dict]) -> Votes:
    return from_rows(rows, source="planted")
