"""The organiser's page: closed in every doubt, no results while the study is open, nothing named that must not be."""

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from study_app import admin
from study_app.bundle import Bundle
from study_app.organiser import closed_at, progress
from study_app.store import Store
from tests.study_app.raters import answer, begin, rate_everything
from tests.study_app.small import METHODS

PASSWORD = "correct horse battery"


@pytest.fixture
def organiser(big_bundle: Bundle, votes: Path, monkeypatch: pytest.MonkeyPatch):
    """Open the organiser's page: ``organiser(password of the server)``."""
    monkeypatch.setenv("PANOBENCH_STUDY", str(big_bundle.folder))
    monkeypatch.setenv("PANOBENCH_STUDY_DB", str(votes))

    def _open(password: str | None) -> AppTest:
        monkeypatch.delenv("PANOBENCH_ADMIN_EMAILS", raising=False)
        if password is None:
            monkeypatch.delenv("PANOBENCH_ADMIN_PASSWORD", raising=False)
        else:
            monkeypatch.setenv("PANOBENCH_ADMIN_PASSWORD", password)
        return AppTest.from_string("from study_app import admin; admin.show()", default_timeout=120).run()

    return _open


def log_in(app: AppTest, password: str) -> AppTest:
    app.text_input(key="organiser-password").input(password)
    return press(app, "Enter")


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def shown(app: AppTest) -> str:
    kinds = ("title", "header", "subheader", "markdown", "caption", "error", "info", "success", "code", "metric")
    texts = [str(element.value) for kind in kinds for element in app.get(kind)]
    texts += [frame.value.to_csv() for frame in app.dataframe]
    return "\n".join(texts + [element.label for element in app.get("download_button")])


@pytest.mark.parametrize("password", [None, "", "short", "x" * 11])
def test_without_a_password_worth_the_name_it_is_closed(organiser, password):
    app = organiser(password)
    assert "This page is closed." in shown(app)
    assert not app.text_input
    assert not app.button
    assert "study" not in shown(app).lower()
    app.session_state["organiser-password"] = password or ""
    assert "This page is closed." in shown(app.run())


def test_addresses_without_oidc_leave_it_closed(organiser, monkeypatch: pytest.MonkeyPatch):
    organiser(None)
    monkeypatch.setenv("PANOBENCH_ADMIN_EMAILS", "me@example.org")
    app = AppTest.from_string("from study_app import admin; admin.show()", default_timeout=120).run()
    assert "This page is closed." in shown(app)


@pytest.mark.parametrize(
    ("user", "known"),
    [
        ({"is_logged_in": True, "email": "Me@example.org", "email_verified": True}, True),
        ({"is_logged_in": True, "email": "me@example.org", "email_verified": False}, False),
        ({"is_logged_in": True, "email": "me@example.org"}, False),
        ({"is_logged_in": True, "email": "you@example.org", "email_verified": True}, False),
        ({"is_logged_in": True, "email_verified": True}, False),
        ({"is_logged_in": False, "email": "me@example.org", "email_verified": True}, False),
        ({}, False),
    ],
)
def test_oidc_lets_in_verified_listed_addresses_only(user, known, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin.st, "user", user)
    assert admin._known_user({"me@example.org"}) is known


def test_wrong_passwords_are_refused_and_slowed_down(organiser):
    app = organiser(PASSWORD)
    start = time.monotonic()
    for guess in ("", "correct horse", PASSWORD + " "):
        app = log_in(app, guess)
        assert "That is not the password." in shown(app)
        assert "Invitations" not in shown(app)
    assert time.monotonic() - start > 2 * admin.SECONDS_PER_TRY


def test_results_come_after_closing_and_invitations_work(organiser, big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    done, half = begin(store), begin(store)
    rate_everything(store, done)
    answer(store, half, store.current(half))
    app = log_in(organiser(PASSWORD), PASSWORD)
    page = shown(app)
    assert "Invitations" in page
    assert "28 of 28" in page
    assert "1 of 28" in page
    assert "fast" in page
    assert "Backup" in page
    assert "no results before the study is closed" in page
    assert "Votes as CSV" not in page
    assert not any(method in page for method in METHODS)

    app.number_input(key="invite-count").set_value(3)
    app.text_input(key="invite-label").input("=SUM(A1)")
    app.text_input(key="invite-url").input("https://study.example.org/organiser?x=1")
    app = press(app, "Make links")
    links = app.code[0].value.split()
    assert len(links) == 3
    token = links[0].removeprefix("https://study.example.org/?rater=")
    assert store.rater(token) is not None
    invited = next(row.id for row in progress(store) if row.label == "=SUM(A1)" and row.id == store.rater(token).id)
    app.multiselect(key="revoke-ids").select(invited)
    app = press(app, "Revoke")
    assert store.rater(token) is None

    app = press(app, "Close the study")
    assert closed_at(store)
    assert {"Votes as CSV", "Votes as JSON", "Codebook"} <= set(shown(app).split("\n"))
    assert "no results" not in shown(app)
    app = press(app, "Open the study again")
    assert closed_at(store) is None
    store.close()
