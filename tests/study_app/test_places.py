"""Places that raters leave, quotas, withdrawal, revoking, flags, backups and imports, and the migrations."""

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from core.errors import PanobenchError
from study_app import database as db
from study_app.bundle import Bundle, load_key
from study_app.export import as_csv, as_json, export, table
from study_app.export import votes as stored
from study_app.organiser import balance, progress, revoke, set_closed
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.screening import flags
from study_app.session import GOLD, SCORED, expected, session
from study_app.store import Full, Refused, Store
from study_app.transfer import backup, import_votes, restore_backup
from tests.study_app.raters import answer, answers, begin, clicked, enter, rate_everything, raw
from tests.study_app.small import PLAIN, ROOT, noise, write_method


@pytest.fixture
def short_bundle(tmp_path: Path) -> Bundle:
    """Three methods on two prompts, everybody sees everything, three places that are kept for an hour."""
    prompts = {"p0": "a ball", "p1": "a tower"}
    manifests = [write_method(tmp_path / name, name, prompts, noise) for name in ("alpha", "beta", "gamma")]
    params = StudyParams(mode="full", controls=PLAIN, quota={"raters": 3, "lease_hours": 1})
    return prepare(manifests, tmp_path / "study", params)


def leave(store: Store, *numbers: int) -> None:
    """Let the leases of these raters run out."""
    with store.write() as connection:
        raters = sa.select(db.rater.c.id).where(db.rater.c.number.in_(numbers))
        connection.execute(db.place.update().where(db.place.c.rater_id.in_(raters)).values(leased_until="2000"))


def cells(store: Store) -> Counter:
    return Counter(
        (row.prompt_id, frozenset(row.stimuli.split())) for row in stored(store) if row.criterion == "motion"
    )


def test_what_a_rater_leaves_is_answered_by_the_next_one(short_bundle: Bundle, database: str):
    store = Store(short_bundle, database)
    tokens = [begin(store) for _ in range(3)]
    with pytest.raises(Full, match="all 3 places are taken"):
        begin(store)
    for token in tokens[1:]:
        rate_everything(store, token)
    for _ in range(2):
        answer(store, tokens[0], store.current(tokens[0]))
    left = store.current(tokens[0])
    leave(store, 0)
    answer(store, tokens[0], store.current(tokens[0]))  # back before anybody took the place: it is theirs again
    with pytest.raises(Full):
        begin(store)
    leave(store, 0, 1, 2)  # who has finished has not left
    follower = begin(store)
    taken = store.current(follower)
    assert taken.total == 3
    assert taken.id != left.id
    assert store.current(tokens[0]) is None
    assert store.rater(tokens[0]).completion_code is None
    with pytest.raises(Refused, match="does not belong"):
        store.submit(tokens[0], taken.id, answers(store, taken.id))
    assert rate_everything(store, follower) == 3
    assert set(cells(store).values()) == {3}
    with pytest.raises(Full):
        begin(store)
    store.close()


def test_many_who_come_at_once_share_out_the_places_that_were_left(short_bundle: Bundle, database: str):
    store = Store(short_bundle, database)
    for token in [begin(store) for _ in range(3)]:
        answer(store, token, store.current(token))
    leave(store, 0, 1, 2)

    def come(_: int) -> str | None:
        try:
            return begin(store)
        except Full:
            return None

    with ThreadPoolExecutor(8) as pool:
        came = [token for token in pool.map(come, range(8)) if token]
    assert len(came) == 3
    assert [rate_everything(store, token) for token in came] == [5, 5, 5]
    assert set(cells(store).values()) == {3}
    store.close()


def test_withdrawal_deletes_every_answer_and_frees_the_place(short_bundle: Bundle, database: str):
    store = Store(short_bundle, database)
    stays, goes = begin(store), begin(store)
    rate_everything(store, stays)
    rate_everything(store, goes)
    trial = raw(database, "select a.id from assignment a join rater r on r.id = rater_id where number = 1")[0][0]
    store.withdraw(goes)
    assert {row.rater_number for row in stored(store)} == {0}
    assert store.rater(goes).withdrawn
    for attempt in (
        lambda: store.submit(goes, trial, answers(store, trial)),
        lambda: store.seen(goes, trial),
        lambda: store.consent(goes),
        lambda: store.current(goes),
    ):
        with pytest.raises(Refused, match="has left the study"):
            attempt()
    assert raw(database, "select completion_code, label from rater where number = 1") == [(None, None)]
    follower = begin(store)
    assert rate_everything(store, follower) == 6
    assert set(cells(store).values()) == {2}
    store.close()


def test_a_revoked_link_and_a_closed_study_let_nobody_in(short_bundle: Bundle, votes: Path):
    store = Store(short_bundle, str(votes))
    first, second = store.invite(2, label="batch 1")
    enter(store, first)
    answer(store, first, store.current(first))
    (known,) = [row.id for row in progress(store) if row.number == 0]
    assert revoke(store, [known, "nobody"]) == 1
    assert revoke(store, [known]) == 0
    assert store.rater(first) is None
    with pytest.raises(Refused, match="not valid"):
        store.current(first)
    set_closed(store, True)
    with pytest.raises(Full, match="closed"):
        store.consent(second)
    set_closed(store, False)
    enter(store, second)
    assert rate_everything(store, second) == 5  # what the first one had not answered
    counted = balance(store)
    assert sum(row["answered"] for row in counted) == 6
    assert not any(name in json.dumps(counted) for name in ("alpha", "beta", "gamma"))
    store.close()


def test_careless_raters_are_flagged_and_careful_ones_are_not(big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    policies = {
        "careful": lambda trial, right, c: right.get(c, favourite(trial)),
        "wrong": lambda trial, right, c: {"left": "right", "right": "left"}.get(right.get(c), favourite(trial)),
        "always left": lambda trial, right, c: "left",
    }
    for policy in policies.values():
        token = begin(store)
        while (trial := store.current(token)) is not None:
            right = expected(big_bundle, trial.kind, trial.control, trial.stimuli)
            store.seen(token, trial.id)
            store.submit(token, trial.id, {c: policy(trial, right, c) for c in big_bundle.criteria})
    with store.write() as connection:  # nobody was quicker than a minute
        connection.execute(db.assignment.update().values(shown_at="2026-01-01T00:00:00Z"))
        connection.execute(db.assignment.update().values(submitted_at="2026-01-01T00:01:00Z"))
    found = flags(big_bundle, stored(store))
    careful, wrong, left = ([*found[row.id]] for row in progress(store))
    assert careful == []
    assert "gold" in wrong
    assert {"same", "side", "contradiction", "identical"} <= set(left)
    store.close()


def favourite(trial) -> str:
    """The side of the same clip, whichever side it stands on: a careful rater does not contradict themselves."""
    return ("left", "right")[trial.stimuli.index(min(trial.stimuli))]


def test_gold_asks_for_the_undamaged_clip(big_bundle: Bundle):
    key = load_key(big_bundle.folder / "key.json", big_bundle.study.study_id)
    kinds = Counter()
    for place in range(31):
        for trial in session(big_bundle, place):
            right = expected(big_bundle, trial.kind, trial.control, trial.stimuli)
            assert bool(right) == (trial.kind in (GOLD, "identical"))
            if trial.kind == GOLD:
                ((criterion, side),) = right.items()
                good, bad = trial.stimuli if side == "left" else trial.stimuli[::-1]
                assert key.stimuli[good].damage is None
                kinds[key.stimuli[bad].damage, criterion] += 1
    assert len(kinds) == 5
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_best_of_four_through_to_the_table(four_methods: list[Path], tmp_path: Path, database: str):
    bundle = prepare(four_methods, tmp_path / "study", StudyParams(mode="best-of-four"))
    store = Store(bundle, database)
    token = begin(store)
    with pytest.raises(Refused, match="a, b, c, d"):
        store.submit(token, store.current(token).id, dict.fromkeys(bundle.criteria, "left"))
    assert rate_everything(store, token) == 10
    rows = table(store, load_key(tmp_path / "study" / "key.json", bundle.study.study_id))
    scored = [row for row in rows if row["kind"] == SCORED]
    assert len(scored) == 8 * 5
    for row in scored:
        assert row["choice"] == clicked(store, row["assignment"], row["criterion"])
        assert row["preferred"] == row["methods"].split("|")["abcd".index(row["choice"])]
        assert len(set(row["methods"].split("|"))) == 4
    store.close()


def test_an_import_gives_the_same_table_and_a_backup_gives_everything(
    big_bundle: Bundle, tmp_path: Path, database: str
):
    """The original is in SQLite; what is read back is compared on SQLite and on PostgreSQL."""
    store, key = Store(big_bundle, str(tmp_path / "first.sqlite")), load_key(
        big_bundle.folder / "key.json", big_bundle.study.study_id
    )  # fmt: skip
    done, half = begin(store), begin(store)
    rate_everything(store, done)
    for _ in range(5):
        answer(store, half, store.current(half))
    rows = table(store, key)
    assert len(rows) == (28 + 5) * 5
    for suffix in ("csv", "json"):
        export(store, key, tmp_path / f"votes.{suffix}")
        copy = Store(big_bundle, str(tmp_path / f"{suffix}.sqlite"))
        assert import_votes(copy, tmp_path / f"votes.{suffix}") == len(rows)
        assert table(copy, key) == rows
        with pytest.raises(PanobenchError, match="already holds raters"):
            import_votes(copy, tmp_path / f"votes.{suffix}")
        copy.close()
    backup(store, tmp_path / "backup.json")
    other = Store(big_bundle, database)
    restore_backup(other, tmp_path / "backup.json")
    assert as_csv(table(other, key)) == as_csv(rows)
    assert as_json(table(other, key)) == as_json(rows)
    assert other.current(half) == store.current(half)
    assert other.rater(done) == store.rater(done)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for file in ("bad.csv", "backup.json"):
        with pytest.raises(PanobenchError, match=file):
            import_votes(Store(big_bundle, str(tmp_path / "third.sqlite")), tmp_path / file)
    store.close()
    other.close()


def test_the_migrations_end_at_the_tables_of_the_code(database: str, big_bundle: Bundle):
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "study_app" / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [db.HEAD]
    store = Store(big_bundle, database)
    engine = sa.create_engine(store.url)
    found = sa.inspect(engine)
    for made in db.metadata.tables.values():
        columns = {column["name"]: column for column in found.get_columns(made.name)}
        assert set(columns) == set(made.columns.keys())
        for column in made.columns:
            assert columns[column.name]["nullable"] == column.nullable, (made.name, column.name)
    engine.dispose()
    store.close()


def test_votes_of_the_first_version_are_kept(big_bundle: Bundle, database: str):
    """A database as the first version made it, without alembic's table: its answers are in the export afterwards."""
    left, right = (s.id for s in big_bundle.study.stimuli[:2])
    prompt = big_bundle.study.stimuli[0].prompt
    script = f"""
    create table meta (name varchar primary key, value varchar not null);
    insert into meta values ('schema_version', '1');
    create table rater (id varchar primary key, study_id varchar not null, token_hash varchar not null unique,
      source varchar not null, label varchar, number integer, created_at varchar not null, consent_version varchar,
      consented_at varchar, instructed_at varchar, completed_at varchar, completion_code varchar,
      unique (study_id, number));
    create table assignment (id varchar primary key, rater_id varchar not null references rater (id),
      position integer not null, prompt_id varchar not null, "left" varchar not null, "right" varchar not null,
      shown_at varchar, submitted_at varchar, unique (rater_id, position));
    create table answer (assignment_id varchar not null references assignment (id), criterion varchar not null,
      choice varchar not null, bundle_sha256 varchar not null, answered_at varchar not null,
      primary key (assignment_id, criterion));
    insert into rater values ('r', '{big_bundle.study.study_id}', 'hash', 'open', null, 0, 'then', '1', 'then', 'then',
      null, null);
    insert into assignment values ('a', 'r', 0, '{prompt}', '{left}', '{right}', null, 'now');
    insert into answer values ('a', 'motion', 'right', 'sha', 'now')
    """
    engine = sa.create_engine(db.as_url(database))
    with engine.begin() as connection:
        for statement in script.split(";"):
            connection.execute(sa.text(statement))
    engine.dispose()
    store = Store(big_bundle, database)
    (row,) = table(store, load_key(big_bundle.folder / "key.json", big_bundle.study.study_id))
    assert (row["stimuli"], row["choice"], row["kind"], row["place"]) == (f"{left} {right}", "right", SCORED, 0)
    Store(big_bundle, database).close()  # once more: nothing to do
    store.close()


CHILD = """
import sys
from study_app.bundle import load_bundle
from study_app.store import Store
store = Store(load_bundle(sys.argv[1]), sys.argv[2])
while (trial := store.current(sys.argv[3])) is not None:
    store.seen(sys.argv[3], trial.id)
    print("next", trial.id, *trial.stimuli, flush=True)
    store.submit(sys.argv[3], trial.id, dict.fromkeys(store.bundle.criteria, "left"))
    print("saved", trial.id, flush=True)
"""


@pytest.mark.slow
def test_killed_ten_times_in_the_middle_of_submits(four_methods, tmp_path: Path, database: str):
    bundle = prepare(four_methods, tmp_path / "long", StudyParams(mode="full", controls=PLAIN))
    store = Store(bundle, database)
    token = begin(store)
    said: list[str] = []
    interrupted: tuple[str, ...] | None = None
    for round_ in range(10):
        command = [sys.executable, "-c", CHILD, str(bundle.folder), database, token]
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        first = child.stdout.readline().split()
        if interrupted is not None and interrupted[1] not in said:
            state = raw(database, f"select submitted_at from assignment where id = '{interrupted[1]}'")
            if state == [(None,)]:
                assert tuple(first) == interrupted, "another trial, or other sides, after the kill"
        lines = [first]
        for _ in range(round_ % 4 + 1):
            lines.append(child.stdout.readline().split())
        child.kill()
        lines += [line.split() for line in child.stdout.read().splitlines()]
        child.wait()
        said += [line[1] for line in lines if line[0] == "saved"]
        interrupted = tuple(next(line for line in reversed(lines) if line[0] == "next"))
    counts = Counter(row[0] for row in raw(database, "select assignment_id from answer"))
    assert set(counts.values()) == {5}
    assert set(said) <= set(counts)
    assert len(said) == len(set(said)) >= 10
    assert rate_everything(store, token) == 48 - len(counts)
    store.close()
