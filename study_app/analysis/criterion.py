"""What the votes say on one criterion: shares and records with intervals, and how far they rest on single prompts."""

from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from study_app.analysis.agreement import agreement
from study_app.analysis.plan import Plan
from study_app.analysis.resampling import interval, two_way
from study_app.analysis.votes import Votes

#: An interval needs this share of the resamples to be estimable; else leaving the others out would bias it.
ESTIMABLE = 0.95
Ends = tuple[np.ndarray, np.ndarray]  # lower and upper ends of intervals


def criterion_results(votes: Votes, model: ModuleType, criterion: str, plan: Plan, steps: tqdm) -> dict[str, Any]:
    """``estimates``, and besides them places, single prompts, leaving one prompt out, and the raters' agreement."""
    counts = model.tally(votes, criterion)
    total = counts.sum((0, 1))
    found = estimates(votes, model, criterion, plan, steps)
    rates, number = model.per_prompt(counts.sum(0))
    shown = [index for index in range(len(votes.prompts)) if number[index].any()]
    prompts = list(votes.prompts)
    return found | {
        "choices": model.places(total),
        "per_prompt": {prompts[p]: _named(votes, rates[p], number[p]) for p in shown},
        "leave_one_prompt_out": _leave_one_out(votes, model, counts, found),
        "agreement": agreement(votes, criterion),
    }


def estimates(votes: Votes, model: ModuleType, criterion: str, plan: Plan, steps: tqdm) -> dict[str, Any]:
    """Shares, records and the like with intervals, or the sentence that says why there are none.

    Args:
        votes: of all raters, or of those without a flag.
        model: `pairwise` or `bestof`.
        criterion: the question.
        plan: of the resampling, and what methods are called.
        steps: moved on by one.
    """
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
