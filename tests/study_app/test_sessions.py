"""Raters through the pages of the running app, over Streamlit's own protocol: one after the other, and all at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from study_app.bundle import Bundle
from study_app.store import Store
from tests.study_app.accounts import PAGES, check_accounts
from tests.study_app.raters import begin, clicked, raw
from tests.study_app.small import Server
from tests.study_app.visitor import Visitor, fill, look, walk


def rate(bundle: Bundle, database: str, folder: Path, raters: int, at_once: int) -> None:
    """Raters through the app, half of them by invitation and half by the open door; then the accounts."""
    store = Store(bundle, database)
    invited = store.invite(raters // 2)
    queries = [f"rater={token}" for token in invited] + [""] * (raters - len(invited))
    running = Server(bundle.folder, database, folder / "server.log")
    running.start()
    try:
        with ThreadPoolExecutor(at_once) as pool:
            walks = list(
                pool.map(lambda query: walk(running.url, bundle, lambda *of: clicked(store, *of), query), queries)
            )
    finally:
        running.kill()
    assert "Traceback" not in running.log.read_text()
    assert all(len(one.seconds) == 2 + PAGES for one in walks)  # with two trials of practice
    assert {one.pauses for one in walks} == {3}  # the feedback of each, and the break
    assert [one.token for one in walks[: len(invited)]] == invited
    assert len({one.code for one in walks}) == raters
    assert all(store.rater(one.token).completion_code == one.code for one in walks)
    check_accounts(store, database, folder, raters)
    store.close()


def test_three_raters_at_once(big_bundle: Bundle, votes: Path, tmp_path: Path):
    rate(big_bundle, str(votes), tmp_path, raters=3, at_once=3)


@pytest.mark.slow
def test_31_raters_one_after_the_other(big_bundle: Bundle, votes: Path, tmp_path: Path):
    rate(big_bundle, str(votes), tmp_path, raters=31, at_once=1)


@pytest.mark.slow
def test_31_raters_at_once(big_bundle: Bundle, database: str, tmp_path: Path):
    rate(big_bundle, database, tmp_path, raters=31, at_once=31)


def test_what_no_page_would_send_changes_nothing(big_bundle: Bundle, votes: Path, tmp_path: Path):
    """Messages by hand: trials not looked at, answers that do not exist, another rater's trial, replay, wrong links."""
    database, texts = str(votes), big_bundle.texts()
    everything = "select * from answer order by assignment_id, criterion"
    seen = "select count(*) from assignment where seen_at is not null and kind != 'practice'"
    store = Store(big_bundle, database)
    running = Server(big_bundle.folder, votes, tmp_path / "server.log")
    running.start()
    try:
        mine, theirs = (Visitor(running.url, f"rater={begin(store)}") for _ in range(2))
        before = raw(database, everything)
        save = mine.page.button(texts.trial.submit)
        trial, other = mine.page.trial, theirs.page.trial

        fill(mine, big_bundle, lambda _: "left")
        mine.send(save.id)  # the button is closed: the videos have not been seen
        mine.wait(lambda page: True)
        for claim in (other, [trial], {"trial": trial}, "' or 1=1 --", True):
            mine.report("panobench_player", seen=claim)
            assert mine.wait(lambda page: True).button(texts.trial.submit).disabled
        assert raw(database, seen) == [(0,)]

        look(mine, texts)
        look(theirs, texts)
        for radio in mine.page.all("radio")[1:]:
            mine.set(radio, string_value="left'); drop table answer; --")
        mine.press(texts.trial.submit)
        assert texts.error.not_saved in mine.wait(lambda page: bool(page.all("alert"))).text
        fill(theirs, big_bundle, lambda _: "right")
        mine.states |= theirs.states  # another rater's answers, and their button
        mine.send(theirs.page.button(texts.trial.submit).id)
        assert mine.wait(lambda page: True).trial == trial
        assert raw(database, everything) == before

        fill(mine, big_bundle, lambda _: "tie")
        message = mine.press(texts.trial.submit)
        mine.wait(lambda page: page.trial != trial)
        saved = raw(database, everything)
        assert len(saved) == len(before) + 5
        theirs.resend(message)  # it holds my link, so they see what I see, and no more
        assert theirs.wait(lambda page: True).trial == mine.page.trial
        for text in ("x" * 100_000, "<script>alert(1)</script>", "\0", "..%2f..%2fkey.json"):
            with Visitor(running.url, f"rater={text}") as stranger:
                assert texts.landing.unknown_link in stranger.page.text
        assert raw(database, everything) == saved
    finally:
        running.kill()
    store.close()
