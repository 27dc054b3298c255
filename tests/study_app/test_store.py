"""Votes: 31 raters with every submit sent twice, resuming, refusals, a locked and a full database, and the export."""

import csv
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import event

from core.errors import PanobenchError
from study_app.bundle import Bundle, load_key
from study_app.cli import study
from study_app.database import StoreError
from study_app.export import COLUMNS, export, neutralise, restore
from study_app.organiser import progress
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.session import SCORED
from study_app.store import Refused, Store
from tests.study_app.accounts import PAGES, check_accounts
from tests.study_app.raters import answer, answers, begin, enter, rate_everything, raw
from tests.study_app.small import METHODS, noise, write_method

RATERS = 31


def test_31_raters_at_once_none_lost_none_doubled(store: Store, tmp_path: Path, database: str):
    with ThreadPoolExecutor(RATERS) as pool:
        tokens = list(pool.map(lambda _: begin(store), range(RATERS)))
        new = list(pool.map(lambda token: rate_everything(store, token), tokens))
    assert new == [PAGES] * RATERS
    everything = check_accounts(store, database, tmp_path, RATERS)
    table = [row for row in everything if row["kind"] == SCORED]
    assert len(table) == RATERS * 24 * 5
    for row in table:
        assert (
            row["preferred"] == {"left": row["method_left"], "right": row["method_right"], "tie": "tie"}[row["choice"]]
        )
    assert {row["settings_sha256"] for row in everything} == {store.bundle.study.settings_sha256}
    book = json.loads((tmp_path / "votes.codebook.json").read_text())
    assert list(book["columns"]) == list(everything[0]) == list(COLUMNS)
    assert book["methods"] == sorted(METHODS)
    assert {criterion["id"] for criterion in book["criteria"]} == {row["criterion"] for row in table}


def test_a_rater_resumes_on_the_same_trial_with_the_same_sides(store: Store, big_bundle: Bundle, database: str):
    token = begin(store)
    first = store.current(token)
    answer(store, token, first)
    second = store.current(token)
    store.consent(token)  # a resent click changes nothing
    store.close()
    reopened = Store(big_bundle, database)
    assert reopened.current(token) == second
    assert second.position == 1
    assert reopened.following(second) != reopened.following(first)
    reopened.close()


def test_the_token_is_random_and_only_its_hash_is_stored(big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    tokens = store.invite(200)
    assert len(set(tokens)) == 200
    assert min(map(len, tokens)) >= 22  # 128 bits in base 64
    store.close()
    content = votes.read_bytes() + b"".join(p.read_bytes() for p in votes.parent.glob("*-wal"))
    assert not any(token.encode() in content for token in tokens)
    assert store.rater(tokens[0]) is not None
    assert store.rater(tokens[0][:-1]) is None
    assert store.rater("' or 1=1 --") is None


def test_what_does_not_fit_is_refused_and_stores_nothing(store: Store, database: str):
    mine, theirs = begin(store), begin(store)
    trial, other = store.current(mine), store.current(theirs)
    good = answers(store, trial.id)
    with pytest.raises(Refused, match="looked at first"):
        store.submit(mine, trial.id, good)
    for identity in (trial.id, other.id):
        store.seen(mine if identity == trial.id else theirs, identity)
    with pytest.raises(Refused, match="does not belong"):
        store.seen(mine, other.id)
    for token, assignment, choices, message in [
        (mine, trial.id, dict(list(good.items())[:4]), "every question"),
        (mine, trial.id, good | {"motion": "both"}, "every question"),
        (mine, trial.id, good | {"beauty": "left"}, "every question"),
        (mine, other.id, good, "does not belong"),
        (mine, "nothing", good, "does not belong"),
        ("nobody", trial.id, good, "not valid"),
    ]:
        with pytest.raises(Refused, match=message):
            store.submit(token, assignment, choices)
    scored = "select count(*) from answer join assignment on id = assignment_id where kind != 'practice'"
    assert raw(database, scored) == [(0,)]
    rate_everything(store, mine)
    assert store.submit(mine, trial.id, dict.fromkeys(good, "tie")) is False  # an answer after completion
    stored = raw(database, f"select criterion, choice from answer where assignment_id = '{trial.id}'")
    assert dict(stored) == good


def test_an_answer_that_is_already_there_does_not_break_the_rest(big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    token = begin(store)
    trial = store.current(token)
    connection = sqlite3.connect(votes)
    columns = "assignment_id, criterion, choice, bundle_sha256, answered_at"
    values = [trial.id, "motion", "left", "hash", "then"]
    connection.execute(f"insert into answer ({columns}) values (?, ?, ?, ?, ?)", values)
    connection.commit()
    connection.close()
    store.seen(token, trial.id)
    store.submit(token, trial.id, dict.fromkeys(store.bundle.criteria, "right"))
    found = dict(raw(str(votes), f"select criterion, choice from answer where assignment_id = '{trial.id}'"))
    assert found == dict.fromkeys(store.bundle.criteria, "right") | {"motion": "left"}


def test_another_study_in_the_same_database_is_kept_apart(four_methods, big_bundle, tmp_path: Path):
    first = Store(big_bundle, str(tmp_path / "votes.sqlite"))
    other = prepare(four_methods[:2], tmp_path / "other", StudyParams())
    second = Store(other, str(tmp_path / "votes.sqlite"))
    token = begin(first)
    assert second.rater(token) is None
    begin(second)
    assert [rater.number for rater in progress(first)] == [rater.number for rater in progress(second)] == [0]


def test_a_locked_database_is_one_clear_line_and_saves_nothing(big_bundle: Bundle, tmp_path: Path):
    path = tmp_path / "votes.sqlite"
    store = Store(big_bundle, str(path), lock_seconds=0.1)
    token = begin(store)
    trial = store.current(token)
    store.seen(token, trial.id)
    blocker = sqlite3.connect(path)
    blocker.execute("begin exclusive")
    with pytest.raises(StoreError, match=r"votes\.sqlite: the database is locked by another program"):
        store.submit(token, trial.id, answers(store, trial.id))
    blocker.rollback()
    assert store.submit(token, trial.id, answers(store, trial.id))


def test_a_full_disk_is_one_clear_line_and_loses_nothing(big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    token = begin(store)
    answer(store, token, store.current(token))
    before = raw(str(votes), "select count(*) from answer")
    full = True

    @event.listens_for(store._engine, "begin")
    def _limit(connection) -> None:
        pages = connection.exec_driver_sql("pragma page_count").scalar() if full else 1_000_000
        connection.exec_driver_sql(f"pragma max_page_count = {pages}")  # SQLite then fails as on a full disk

    with pytest.raises(StoreError, match=r"votes\.sqlite: the disk is full"):
        store.invite(2000)
    full = False
    assert len(progress(store)) == 1
    assert raw(str(votes), "select count(*) from answer") == before
    assert rate_everything(store, token) == PAGES - 1


def test_what_is_no_database_is_named(big_bundle: Bundle, tmp_path: Path):
    (tmp_path / "votes.sqlite").write_text("These are my holiday notes, not a database. " * 50)
    with pytest.raises(StoreError, match=r"votes\.sqlite: not an SQLite database"):
        Store(big_bundle, str(tmp_path / "votes.sqlite"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the folder cannot be made"):
        Store(big_bundle, str(tmp_path / "file" / "votes.sqlite"))
    store = Store(big_bundle, str(tmp_path / "new.sqlite"))
    store.close()
    connection = sqlite3.connect(tmp_path / "new.sqlite")
    connection.execute("update alembic_version set version_num = '9999'")
    connection.commit()
    with pytest.raises(StoreError, match="votes of database version 9999, this program reads 0"):
        Store(big_bundle, str(tmp_path / "new.sqlite"))


def test_formula_cells_are_neutralised_and_come_back(tmp_path: Path):
    names = {"alpha": "=HYPERLINK(1)", "beta": "@SUM(A1)"}
    prompts = {"+p0": "-1+1 balls", "p1": "'quoted', \"twice\"\nand broken"}
    manifests = [write_method(tmp_path / folder, name, prompts, noise) for folder, name in names.items()]
    store = Store(prepare(manifests, tmp_path / "study", StudyParams(mode="full")), str(tmp_path / "votes.sqlite"))
    rate_everything(store, begin(store))
    key = load_key(tmp_path / "study" / "key.json", store.bundle.study.study_id)
    export(store, key, tmp_path / "votes.csv")
    with open(tmp_path / "votes.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["method_left"] for row in table} <= {"'=HYPERLINK(1)", "'@SUM(A1)"}
    assert any(row["methods"].startswith("'=HYPERLINK(1)|@SUM") for row in table)
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for row in table for cell in row.values())
    export(store, key, tmp_path / "votes.json")
    plain = json.loads((tmp_path / "votes.json").read_text())
    assert [{k: restore(v) for k, v in row.items()} for row in table] == [
        {k: str(v) for k, v in r.items()} for r in plain
    ]
    assert {row["prompt"] for row in plain} == set(prompts.values())


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@a", "\t=1", "\r", "'", "'=1", "plain", ""])
def test_neutralise_is_reversible(cell):
    assert restore(neutralise(cell)) == cell
    assert not neutralise(cell).startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_commands_invite_report_and_export(big_bundle: Bundle, tmp_path: Path):
    def run(*arguments: str):
        options = ["--bundle", str(big_bundle.folder), "--database", str(tmp_path / "votes.sqlite")]
        return CliRunner().invoke(study, [*arguments, *options], catch_exceptions=False)

    links = run("invite", "--count", "3", "--url", "https://study.example.org/").output.split()
    assert len(links) == 3
    token = links[0].removeprefix("https://study.example.org/?rater=")
    store = Store(big_bundle, str(tmp_path / "votes.sqlite"))
    enter(store, token)
    answer(store, token, store.current(token))
    said = run("status").output
    assert "3 links, 1 raters began, 0 finished" in said
    assert "1 of 28 pages" in said
    assert not any(method in said for method in METHODS)
    assert "5 answers in" in run("export", "--out", str(tmp_path / "out.csv")).output
    assert (tmp_path / "out.codebook.json").is_file()
    with pytest.raises(PanobenchError, match=r"out\.xlsx: votes are exported as \.csv or \.json"):
        run("export", "--out", str(tmp_path / "out.xlsx"))
    with pytest.raises(PanobenchError, match="name the study's key with --key"):
        run("export", "--out", str(tmp_path / "out.csv"), "--key", str(tmp_path / "lost.json"))
