"""Raters through the pages of the running app, over Streamlit's own protocol: one after the other, and all at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from study_app.bundle import Bundle
from study_app.store import Store
from tests.study_app.accounts import PAGES, check_accounts
from tests.study_app.raters import clicked
from tests.study_app.small import Server
from tests.study_app.visitor import walk


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
