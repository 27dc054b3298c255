"""Votes of the study as duels: who was preferred to whom, on which prompt, by which rater, for which criterion."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import PanobenchError
from core.files import read_json
from evaluation.findings import CRITERIA

#: Criteria as the study names them -> as the metrics name them.
OF_STUDY = {
    "graphics": "graphics_quality",
    "consistency": "frame_consistency",
    "continuity": "end_continuity",
    "content": "content_distribution",
    "motion": "motion_pattern",
}
_COLUMNS = ("rater", "prompt_id", "criterion", "kind", "preferred", "methods")

#: Columns of a duel: ``a`` < ``b`` in the alphabet, ``y`` is 1 if a was preferred, 0 if b, .5 for a tie.
DUELS = ("criterion", "rater", "prompt_id", "a", "b", "y")


def read_votes(path: str | Path, drop_flagged: bool = False) -> pd.DataFrame:
    """Duels (``DUELS``) of a study's export, CSV or JSON; controls are left out, as they are no opinion of a method.

    In best-of-four mode a vote is a duel won against each of the others.

    Args:
        path: what `panobench study export` wrote.
        drop_flagged: leave out raters with screening flags.

    Raises:
        PanobenchError: unreadable, a column is missing, or no scored vote of a known criterion is in it.
    """
    path = Path(path)
    table = _read(path)
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise PanobenchError(
            f"{path}: no column '{missing[0]}'; give the table that `panobench study export --out {path.name}` writes"
        )
    table = table[table["kind"] == "scored"]
    if drop_flagged and "flags" in table:
        table = table[table["flags"] == ""]
    if table.empty:
        raise PanobenchError(f"{path}: no scored votes in it" + (" of raters without flags" if drop_flagged else ""))
    table = table.assign(criterion=table["criterion"].map(lambda name: OF_STUDY.get(name, name)))
    known = table[table["criterion"].isin(list(CRITERIA))]
    if known.empty:
        found = ", ".join(sorted(table["criterion"].unique()))
        raise PanobenchError(f"{path}: votes on {found}, but metrics stand for {', '.join(OF_STUDY)}")
    rows = [duel for vote in known.itertuples() for duel in _duels(vote, path)]
    return pd.DataFrame(rows, columns=list(DUELS))


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".json":
        return pd.DataFrame(read_json(path), dtype=str).fillna("")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such file; `panobench study export --out {path}` writes it") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise PanobenchError(f"{path}: not a readable CSV file ({str(error).splitlines()[0]})") from error
    # The export guards cells that a spreadsheet would run as formulas with one apostrophe.
    return table.map(lambda cell: cell.removeprefix("'"))


def _duels(vote: Any, path: Path) -> list[tuple[object, ...]]:
    shown = vote.methods.split("|")
    preferred = vote.preferred
    if preferred != "tie" and preferred not in shown:
        raise PanobenchError(f"{path}: '{preferred}' is preferred among {', '.join(shown)}; the table is damaged")
    found: list[tuple[object, ...]] = []
    for one, other in combinations(sorted(shown), 2):
        if preferred == "tie" or preferred in (one, other):
            y = 0.5 if preferred == "tie" else float(preferred == one)
            found.append((vote.criterion, vote.rater, vote.prompt_id, one, other, y))
    return found
