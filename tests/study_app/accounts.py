"""The accounts of a study in half mode with 4 methods and 8 prompts: what was planned is there, once, and balanced."""

import csv
from collections import Counter
from itertools import pairwise
from pathlib import Path

from study_app.bundle import load_key
from study_app.design import schedule
from study_app.export import export
from study_app.session import SCORED, session_length
from study_app.store import Store
from tests.study_app.raters import clicked, raw
from tests.study_app.small import METHODS

PAGES = 28  # 24 scored pairs, two gold, one identical, one repeated


def check_accounts(store: Store, database: str, folder: Path, raters: int) -> list[dict[str, str]]:
    """Hold what ``raters`` finished raters answered, as `clicked` says, against the plan; returns the exported rows."""
    assert session_length(store.bundle) == PAGES
    rows = raw(
        database, "select kind, assignment_id, criterion, choice from answer join assignment on id = assignment_id"
    )
    assert len(rows) == len({row[1:3] for row in rows})
    assert sum(kind != "practice" for kind, *_ in rows) == raters * PAGES * 5
    assert all(choice == clicked(store, assignment, criterion) for _, assignment, criterion, choice in rows)
    assert sorted(row[0] for row in raw(database, "select number from rater")) == list(range(raters))
    assert len({row[0] for row in raw(database, "select completion_code from rater")} - {None}) == raters
    if database.endswith(".sqlite"):
        assert raw(database, "pragma integrity_check") == [("ok",)]

    key = load_key(store.bundle.folder / "key.json", store.bundle.study.study_id)
    count, _ = export(store, key, folder / "votes.csv")
    with open(folder / "votes.csv", encoding="utf-8", newline="") as file:
        everything = list(csv.DictReader(file))
    assert count == len(everything) == raters * PAGES * 5
    check_balance(store, [row for row in everything if row["kind"] == SCORED], raters)
    for rater in {row["rater"] for row in everything}:
        shown = [row for row in everything if row["rater"] == rater and row["criterion"] == "motion"]
        prompts = [row["prompt_id"] for row in sorted(shown, key=lambda row: int(row["position"]))]
        assert all(a != b for a, b in pairwise(prompts))
    return everything


def check_balance(store: Store, scored: list[dict[str, str]], raters: int) -> None:
    """The planned counts of each pair, prompt, criterion and side; sides within one in each cell and for each rater."""
    study = store.bundle.study
    known = load_key(store.bundle.folder / "key.json", study.study_id).stimuli
    planned: Counter[tuple[str, ...]] = Counter()
    for place in range(raters):
        for trial in schedule(store.bundle.design_key, place, 4, 8, "half"):
            left, right = (known[store.bundle.stimulus_at[side, trial.prompt]].method for side in trial.methods)
            planned.update((left, right, study.prompts[trial.prompt].id, c) for c in store.bundle.criteria)
    cells = Counter((row["method_left"], row["method_right"], row["prompt_id"], row["criterion"]) for row in scored)
    assert cells == planned

    pairs = Counter((frozenset((row["method_left"], row["method_right"])), row["criterion"]) for row in scored)
    assert len(pairs) == 6 * 5
    assert set(pairs.values()) == {4 * raters}
    for (left, right, prompt, criterion), count in cells.items():
        mirrored = cells[right, left, prompt, criterion]
        assert abs(count - mirrored) <= 1
        assert count + mirrored in (raters // 2, raters - raters // 2)
    for rater in {row["rater"] for row in scored}:
        mine = [row for row in scored if row["rater"] == rater and row["criterion"] == "motion"]
        for name in METHODS:
            assert abs(sum((row["method_left"] == name) - (row["method_right"] == name) for row in mine)) <= 1
