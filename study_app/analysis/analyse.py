"""Votes to results: shares with intervals, records, tests, agreement; with and without flagged raters.

Where the answers do not determine a number there is None, and a sentence that says why.
"""

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from core.errors import PanobenchError, did_you_mean
from core.significance import holm, sign_flip_totals
from study_app.analysis import bestof, pairwise, paper
from study_app.analysis.criterion import criterion_results, estimates
from study_app.analysis.davidson import RIDGE
from study_app.analysis.plan import Plan
from study_app.analysis.votes import Votes
from study_app.analysis.wording import count
from study_app.session import GOLD, IDENTICAL

SCHEMA = "panobench.study-analysis/1"


def analyse(votes: Votes, plan: Plan) -> dict[str, Any]:
    """Everything that ``analysis.json`` holds.

    Raises:
        PanobenchError: the proposed method is not among the compared ones.
    """
    if plan.proposed is not None and votes.methods and plan.proposed not in votes.methods:
        hint = did_you_mean(plan.proposed, votes.methods)
        raise PanobenchError(
            f"the proposed method '{plan.proposed}' is not among {', '.join(votes.methods)}{hint}; "
            "name it with --proposed"
        )
    model: ModuleType = bestof if votes.best_of else pairwise
    flagged = votes.flagged
    kept = votes.without(flagged)
    criteria = list(votes.titles)
    steps = tqdm(total=len(criteria) * (2 if flagged else 1), desc="resample", unit="criterion", dynamic_ncols=True)
    with steps:
        found = {name: criterion_results(votes, model, name, plan, steps) for name in criteria}
        screened = {name: estimates(kept, model, name, plan, steps) for name in criteria} if flagged else {}
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "status": "ok" if votes.scored else "no votes",
        "study": {
            "id": votes.study_id,
            "mode": "best-of-four" if votes.best_of else "pairs",
            "raters": len(votes.raters),
            "finished": len({row["rater"] for row in votes.scored if row.get("completed_at")}),
            "prompts": len({row["prompt_id"] for row in votes.scored}),
            "trials": len({row["assignment"] for row in votes.scored}),
            "answers": len(votes.scored),
            "control_answers": len(votes.rows) - len(votes.scored),
        },
        "plan": {
            "proposed": plan.proposed,
            "resamples": plan.resamples,
            "level": plan.level,
            "seed": plan.seed,
            "ridge": None if votes.best_of else RIDGE,
        },
        "methods": [{"name": name, "label": plan.label(name)} for name in _in_order(votes.methods, plan)],
        "prompts": votes.prompts,
        "criteria": found,
        "tests": _tests(votes, model, plan),
        "screening": {
            "flagged": flagged,
            "flags": dict(Counter(flag for flags in flagged.values() for flag in flags)),
            "raters_kept": len(kept.raters),
            "criteria": screened,
            "tests": _tests(kept, model, plan)["primary"] if flagged else [],
        },
        "controls": _controls(votes),
        "paper": {"label": paper.LABEL, "methods": paper.METHODS, "percent": paper.percentages()},
    }
    result["statements"] = _statements(result, votes)
    return result


def _in_order(methods: list[str], plan: Plan) -> list[str]:
    """The paper's methods in the paper's order, then the others by label."""
    known = list(paper.METHODS)
    return sorted(methods, key=lambda name: (known.index(name) if name in known else len(known), plan.label(name)))


def _tests(votes: Votes, model: ModuleType, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Exact sign-flip tests over raters: the proposed method against each other one, and all pairs; Holm for each."""
    families: dict[str, list[dict[str, Any]]] = {"primary": [], "exploratory": []}
    for criterion in votes.titles:
        counts = model.tally(votes, criterion)
        total = counts.sum((0, 1))
        records = {(row["a"], row["b"]): row for row in model.against(total, votes.methods)}
        for (a, b), row in records.items():
            families["exploratory"].append(_test(votes, model, counts, criterion, a, b, row))
        proposed = plan.proposed
        for other in votes.methods:
            if proposed is not None and other != proposed:
                row = records.get((proposed, other)) or _swapped(records[other, proposed])
                families["primary"].append(_test(votes, model, counts, criterion, proposed, other, row))
    for tests in families.values():
        raw = np.array([np.nan if test["p"] is None else test["p"] for test in tests])
        for test, adjusted in zip(tests, holm(raw), strict=True):
            test["p_holm"] = None if np.isnan(adjusted) else float(adjusted)
    return families


def _swapped(row: dict[str, Any]) -> dict[str, Any]:
    return {"wins": row["losses"], "losses": row["wins"], "ties": row["ties"]}


def _test(
    votes: Votes, model: ModuleType, counts: np.ndarray, criterion: str, a: str, b: str, row: dict[str, Any]
) -> dict[str, Any]:
    scores = model.scores(counts, votes.methods.index(a), votes.methods.index(b))
    p = sign_flip_totals(scores[None])[0]
    return {
        "criterion": criterion,
        "a": a,
        "b": b,
        **{name: row[name] for name in ("wins", "losses", "ties")},
        "raters": int((scores != 0).sum()),
        "p": None if np.isnan(p) else float(p),
    }


def _controls(votes: Votes) -> dict[str, Any]:
    """How the raters did on the trials that enter no score."""
    gold: dict[str, list[int]] = {}
    identical: Counter[str] = Counter()
    for row in votes.rows:
        if row["kind"] == GOLD and row.get("expected"):
            entry = gold.setdefault(row.get("control") or "gold", [0, 0])
            entry[0] += row["choice"] == row["expected"]
            entry[1] += 1
        elif row["kind"] == IDENTICAL:
            identical[row["choice"]] += 1
    return {
        "gold": {kind: {"right": right, "of": number} for kind, (right, number) in sorted(gold.items())},
        "identical": dict(sorted(identical.items())),
    }


def _statements(result: dict[str, Any], votes: Votes) -> list[str]:
    """What a reader must know before the numbers."""
    if not votes.scored:
        return ["There are no votes yet, so there is nothing to analyse. Run this again when some have come."]
    said = []
    study, plan = result["study"], result["plan"]
    if study["raters"] == 1:
        said.append("One rater: these are one person's answers, without intervals and without tests.")
    elif study["raters"] < 15:
        said.append(f"{study['raters']} raters: ITU-R BT.500 asks for 15 or more; read the intervals with care.")
    if study["prompts"] == 1:
        said.append("One prompt: nothing can be said about other prompts, so there are no intervals.")
    if plan["proposed"] is None:
        said.append("No method is named as the proposed one, so all tests are exploratory.")
    said += [f"{entry['title']}: {entry['statement']}" for entry in result["criteria"].values() if entry["statement"]]
    changed = [
        f"{entry['title']} ({', '.join(prompts)})"
        for entry in result["criteria"].values()
        if (prompts := [row["prompt"] for row in entry["leave_one_prompt_out"] if row["leader_changes"]])
    ]
    if changed:
        said.append(f"Without one prompt another method leads on {'; '.join(changed)}.")
    flagged = result["screening"]["flagged"]
    if flagged:
        kept = result["screening"]["raters_kept"]
        said.append(
            f"{count(len(flagged), 'rater')} with a screening flag: in all numbers, and left out of a second table, "
            + (f"which has {count(kept, 'rater')}." if kept else "which is empty, as nobody is left.")
        )
    return said
