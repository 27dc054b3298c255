"""Votes to results: shares with intervals, records, tests, agreement; with and without flagged raters.

Where the answers do not determine a number there is None, and a sentence that says why.
"""

from collections import Counter
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from core.errors import PanobenchError, did_you_mean
from core.significance import holm, sign_flip_totals
from study_app.analysis import bestof, pairwise, paper
from study_app.analysis.agreement import agreement
from study_app.analysis.davidson import RIDGE
from study_app.analysis.resampling import interval, two_way
from study_app.analysis.votes import Votes
from study_app.analysis.wording import count
from study_app.session import GOLD, IDENTICAL

SCHEMA = "panobench.study-analysis/1"
#: An interval needs this share of the resamples to be estimable; else leaving the others out would bias it.
ESTIMABLE = 0.95
Ends = tuple[np.ndarray, np.ndarray]  # lower and upper ends of intervals


@dataclass(frozen=True)
class Plan:
    """What is decided before the votes are looked at.

    Attributes:
        proposed: the method whose comparisons are the primary tests; None: all tests are exploratory.
        resamples: behind every interval.
        level: nominal coverage of the intervals, 0 to 1.
        seed: of the resampling.
        labels: method -> what the report calls it.
    """

    proposed: str | None = None
    resamples: int = 2000
    level: float = 0.95
    seed: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    def label(self, method: str) -> str:
        """What a method is called."""
        return dict(self.labels).get(method, method)


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
        found = {name: _criterion(votes, model, name, plan, steps) for name in criteria}
        screened = {name: _estimates(kept, model, name, plan, steps) for name in criteria} if flagged else {}
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


# --- one criterion ----------------------------------------------------------------------------------------------------


def _criterion(votes: Votes, model: ModuleType, criterion: str, plan: Plan, steps: tqdm) -> dict[str, Any]:
    counts = model.tally(votes, criterion)
    total = counts.sum((0, 1))
    found = _estimates(votes, model, criterion, plan, steps)
    rates, number = model.per_prompt(counts.sum(0))
    shown = [index for index in range(len(votes.prompts)) if number[index].any()]
    prompts = list(votes.prompts)
    return found | {
        "choices": model.places(total),
        "per_prompt": {prompts[p]: _named(votes, rates[p], number[p]) for p in shown},
        "leave_one_prompt_out": _leave_one_out(votes, model, counts, found),
        "agreement": agreement(votes, criterion),
    }


def _estimates(votes: Votes, model: ModuleType, criterion: str, plan: Plan, steps: tqdm) -> dict[str, Any]:
    """Shares, records and the like with intervals, or the sentence that says why there are none."""
    counts = model.tally(votes, criterion)
    total = counts.sum((0, 1))
    names = [plan.label(name) for name in votes.methods]
    problem = model.obstacle(total, names)
    resampled, why = _resample(model, counts, plan)
    steps.update()
    ends = {} if resampled is None else _ends(model, resampled, plan.level)
    estimate = {} if problem else {name: value[0] for name, value in model.estimate(total[None]).items()}
    status, sentence = problem or ("ok", None)
    result: dict[str, Any] = {
        "title": votes.titles[criterion],
        "status": status,
        "statement": sentence,
        "answers": int(total.sum()),
        "no_interval": None if problem else why,
        "shares": {
            method: _with_ends(estimate.get("shares"), ends.get("shares"), index)
            for index, method in enumerate(votes.methods)
        },
        "limit": None,
        "pairs": _pairs(votes, model, total, ends.get("rates")),
    }
    if status == "separated" and (limit := model.limit(total)):
        result["limit"] = dict(zip(votes.methods, limit, strict=True))
    for name in ("side", "ties") if not votes.best_of else ():
        result[name] = _with_ends(estimate.get(name), ends.get(name))
    return result


def _resample(model: ModuleType, counts: np.ndarray, plan: Plan) -> tuple[np.ndarray | None, str | None]:
    """Resampled counts (B, ...), or None and the reason."""
    answers = counts.sum(tuple(range(2, counts.ndim)))
    counts = counts[answers.sum(1) > 0][:, answers.sum(0) > 0]
    for number, what in zip(counts.shape, ("rater", "prompt"), strict=False):
        if number == 0:
            return None, "No answers, so there is no interval."
        if number == 1:
            return None, f"One {what}: nothing can be said about other {what}s, so there is no interval."
    resampled = two_way(counts, plan.resamples, plan.seed)
    good = model.estimable(resampled)
    if good.mean() < ESTIMABLE:
        return None, (
            f"{np.count_nonzero(~good)} of {plan.resamples} resamples leave the methods without a comparison: too few "
            "raters or prompts for an interval."
        )
    return resampled[good], None


def _ends(model: ModuleType, resampled: np.ndarray, level: float) -> dict[str, Ends]:
    ends = {name: interval(values, level) for name, values in model.estimate(resampled).items()}
    rates = model.rates(resampled)
    met = np.isfinite(rates).mean(0) >= ESTIMABLE
    low, high = interval(np.where(np.isfinite(rates), rates, 0.5), level)
    return ends | {"rates": (np.where(met, low, np.nan), np.where(met, high, np.nan))}


def _with_ends(values: np.ndarray | None, ends: Ends | None, at: Any = ()) -> dict[str, float | None]:
    """An estimate with its interval. Where every resample gives one value there is none: all votes went one way."""
    if values is None:
        return {"value": None, "low": None, "high": None}
    low, high = (float(end[at]) for end in ends) if ends else (np.nan, np.nan)
    if not high - low > 1e-9:
        return {"value": float(values[at]), "low": None, "high": None}
    return {"value": float(values[at]), "low": low, "high": high}


def _pairs(votes: Votes, model: ModuleType, total: np.ndarray, ends: Ends | None) -> list[dict[str, Any]]:
    rates = model.rates(total)
    rows = []
    for row in model.against(total, votes.methods):
        at = votes.methods.index(row["a"]), votes.methods.index(row["b"])
        rate = None if np.isnan(rates[at]) else rates
        rows.append(row | {"rate": _with_ends(rate, ends, at)})
    return rows


def _named(votes: Votes, rates: np.ndarray, number: np.ndarray) -> dict[str, dict[str, Any]]:
    return {
        method: {"rate": None if np.isnan(rates[index]) else float(rates[index]), "answers": int(number[index])}
        for index, method in enumerate(votes.methods)
    }


def _leave_one_out(votes: Votes, model: ModuleType, counts: np.ndarray, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The shares without each prompt in turn, and whether another method leads then."""
    by_prompt = counts.sum(0)
    names = votes.methods
    leader = _leader({name: share["value"] for name, share in found["shares"].items()})
    rows = []
    for index, prompt in enumerate(votes.prompts):
        if not by_prompt[index].any():
            continue
        rest = by_prompt.sum(0) - by_prompt[index]
        problem = model.obstacle(rest, names)
        shares = None if problem else model.estimate(rest[None])["shares"][0]
        named = {name: None if shares is None else float(shares[at]) for at, name in enumerate(names)}
        changed = None if problem or leader is None else _leader(named) != leader
        rows.append(
            {"prompt": prompt, "status": problem[0] if problem else "ok", "shares": named, "leader_changes": changed}
        )
    return rows


def _leader(shares: dict[str, float | None]) -> str | None:
    known = {name: share for name, share in shares.items() if share is not None}
    return max(known, key=known.__getitem__) if known else None


# --- all criteria -----------------------------------------------------------------------------------------------------


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
