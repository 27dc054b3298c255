"""The app without a browser: the whole way of a rater, its errors, its routes, what it imports and how it refuses."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from study_app.bundle import Bundle
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.store import Store
from tests.study_app.raters import begin
from tests.study_app.small import PLAIN, ROOT, Server, noise, write_method


@pytest.fixture
def visit(seam_bundle: Bundle, votes: Path, monkeypatch: pytest.MonkeyPatch):
    """Open the app as a browser would: ``visit(token)``."""
    monkeypatch.setenv("PANOBENCH_STUDY", str(seam_bundle.folder))
    monkeypatch.setenv("PANOBENCH_STUDY_DB", str(votes))

    def _visit(token: str | None = None) -> AppTest:
        app = AppTest.from_file(str(ROOT / "study_app" / "main.py"), default_timeout=120)
        if token is not None:
            app.query_params["rater"] = token
        return app.run()

    return _visit


def shown(app: AppTest) -> str:
    """All text on the page."""
    kinds = ("title", "markdown", "text", "warning", "error", "info", "code")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def reach_trials(store: Store) -> str:
    """A rater at the first trial, with all videos looked at; what a browser reports, these tests tell the database."""
    token = begin(store)
    look(store, token)
    return token


def look(store: Store, token: str) -> None:
    store.seen(token, store.current(token).id)


def answer(app: AppTest, choices: list[str]) -> AppTest:
    for radio, choice in zip(app.radio, choices, strict=True):
        radio.set_value(choice)
    return press(app, "Save and go on")


def stored(votes: Path) -> list[tuple]:
    connection = sqlite3.connect(votes)
    try:
        query = "select position, criterion, choice from answer join assignment on id = assignment_id order by 1, 2"
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_a_rater_walks_from_the_landing_page_to_the_completion_code(visit, votes: Path, seam_bundle: Bundle):
    app = visit()
    assert "There are 2 pairs" in shown(app)
    app = press(app, "Start")
    token = app.query_params["rater"]
    token = token if isinstance(token, str) else token[0]

    app = press(app, "Continue")
    assert "Please tick the box" in shown(app)
    app.checkbox[0].check()
    app = press(app, "Continue")
    assert "Checking" in shown(app)
    store = Store(seam_bundle, str(votes))
    store.reached(token, "checked")  # what the browser reports
    app = app.run()
    criteria = seam_bundle.texts().criteria
    assert all(any(criterion.definition in option for option in app.radio[0].options) for criterion in criteria)
    app.radio[0].set_value("continuity").run()
    assert "is broken behind you" in shown(app)
    app = press(app, "Practise")

    save = next(button for button in app.button if button.label == "Save and go on")
    assert save.disabled
    look(store, token)
    app = app.run()
    assert [radio.value for radio in app.radio] == [None] * 5
    assert all(radio.options == ["Left", "No difference", "Right"] for radio in app.radio)
    titles = [radio.label for radio in app.radio]
    app.radio[0].set_value("left")
    app = press(app, "Save and go on")
    assert f"Still open: {', '.join(titles[1:])}" in shown(app)
    assert stored(votes) == []

    choices = ["left", "right", "tie", "left", "right"]
    app = answer(app, choices)
    assert [radio.value for radio in app.radio] == [None] * 5  # nothing is carried over
    by_title = {criterion.title: criterion.id for criterion in seam_bundle.texts().criteria}
    expected = sorted((0, by_title[title], choice) for title, choice in zip(titles, choices, strict=True))
    assert stored(votes) == expected

    look(store, token)
    app = visit(token)  # a reload, or another device
    assert [radio.label for radio in app.radio] == titles
    app = answer(app, ["tie"] * 5)
    assert len(stored(votes)) == 10
    code = store.rater(token).completion_code
    assert app.code[0].value == code
    assert len(code) == 8
    assert visit(token).code[0].value == code


def test_two_tabs_of_one_rater_give_one_set_of_answers(visit, votes: Path, seam_bundle: Bundle):
    store = Store(seam_bundle, str(votes))
    token = reach_trials(store)
    first, second = visit(token), visit(token)
    answer(first, ["left"] * 5)
    second = answer(second, ["right"] * 5)
    assert {row[2] for row in stored(votes)} == {"left"}
    assert [radio.value for radio in second.radio] == [None] * 5
    assert store.current(token).position == 1


def test_links_that_are_not_valid_lead_nowhere(visit):
    for token in ("guessed", "' or 1=1 -- <script>alert(1)</script>"):
        app = visit(token)
        assert "not valid" in shown(app)
        assert not app.radio


def test_without_open_enrolment_only_links_work(tmp_path: Path, votes: Path, monkeypatch: pytest.MonkeyPatch):
    prompts = {"p0": "a *bold* <b>ball</b>", "p1": "a tower"}
    manifests = [write_method(tmp_path / name, f"{name}method", prompts, noise) for name in ("alpha", "beta")]
    bundle = prepare(manifests, tmp_path / "study", StudyParams(mode="full", open_enrolment=False, controls=PLAIN))
    monkeypatch.setenv("PANOBENCH_STUDY", str(bundle.folder))
    monkeypatch.setenv("PANOBENCH_STUDY_DB", str(votes))
    app = AppTest.from_file(str(ROOT / "study_app" / "main.py"), default_timeout=120).run()
    assert "by invitation" in shown(app)
    assert not app.button
    token = reach_trials(Store(bundle, str(votes)))
    app.query_params["rater"] = token
    assert any(f"Description: {prompt}" in shown(app.run()) for prompt in prompts.values())


def test_without_a_bundle_the_page_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PANOBENCH_STUDY", str(tmp_path))
    app = AppTest.from_file(str(ROOT / "study_app" / "main.py"), default_timeout=120).run()
    assert not app.exception
    assert "panobench study prepare" in shown(app)


def test_a_damaged_bundle_is_named_and_a_mended_one_is_shown(
    visit, seam_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    copy = Path(shutil.copytree(seam_bundle.folder, tmp_path / "study"))
    video = next((copy / "media").iterdir())
    content = video.read_bytes()
    video.write_bytes(content[:50])
    monkeypatch.setenv("PANOBENCH_STUDY", str(copy))
    app = visit()
    assert f"{video.name}: damaged" in shown(app)
    video.write_bytes(content)
    assert "There are 2 pairs" in shown(app.run())


def test_a_failed_save_says_so_and_keeps_the_answers(visit, votes: Path, seam_bundle: Bundle, monkeypatch):
    monkeypatch.setattr(Store.__init__, "__defaults__", (None, 0.1))  # seconds to wait for the lock
    token = reach_trials(Store(seam_bundle, str(votes)))
    app = visit(token)
    blocker = sqlite3.connect(votes)
    blocker.execute("begin immediate")
    app = answer(app, ["left"] * 5)
    assert "could not be saved" in shown(app)
    assert [radio.value for radio in app.radio] == ["left"] * 5
    blocker.rollback()
    press(app, "Save and go on")
    assert [row[2] for row in stored(votes)] == ["left"] * 5


def fetch(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as response:
            return response.status, response.read(), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_media_are_served_by_id_and_range_only(server: Server, seam_bundle: Bundle):
    stimulus = seam_bundle.study.stimuli[0]
    url = f"{server.url}/stimulus/{stimulus.id}.mp4"
    content = seam_bundle.files[stimulus.id].read_bytes()
    status, body, headers = fetch(url)
    assert (status, body, headers["content-type"]) == (200, content, "video/mp4")
    assert "1970" in headers["last-modified"]
    status, body, headers = fetch(url, Range="bytes=10-19")
    assert (status, body) == (206, content[10:20])
    assert headers["content-range"] == f"bytes 10-19/{len(content)}"
    for name in ("key.json", "0" * 24 + ".mp4", stimulus.id):
        assert fetch(f"{server.url}/stimulus/{name}")[0] == 404
    for path in ("../key.json", "..%2fkey.json", "%2e%2e/study.json", "../../study.json", "", "//key.json"):
        status, body, _ = fetch(f"{server.url}/stimulus/{path}")
        assert status in (400, 404) or body.startswith(b"<!")  # Streamlit answers unknown addresses with its page
        assert b"periodicworld" not in body
        assert b"panobench.study" not in body


def test_nothing_can_be_uploaded(server: Server):
    url = f"{server.url}/_stcore/upload_file/session/file"
    request = urllib.request.Request(url, data=b"x" * 3_000_000, method="PUT", headers={"Content-Type": "text/plain"})
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request)
    assert not isinstance(caught.value, urllib.error.HTTPError) or caught.value.code >= 400


def test_the_organisers_page_of_a_server_without_password_tells_nothing(server: Server):
    status, body, headers = fetch(f"{server.url}/organiser")
    assert status == 200  # Streamlit's empty shell; what it shows is in test_admin.py
    assert b"periodicworld" not in body
    assert "periodicworld" not in repr(headers)


def test_the_app_imports_no_torch_and_is_quick():
    code = (
        "import sys, time; import study_app.pages, study_app.admin, study_app.media, study_app.cli; "
        "heavy = {'torch', 'diffusers', 'cv2', 'av', 'scipy', 'matplotlib', 'study_app.analysis.analyse'}; "
        "print(sorted(heavy & set(sys.modules)), time.process_time())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found, seconds = out.rsplit(" ", 1)
    assert found == "[]"
    assert float(seconds) < 3


def test_serving_on_a_port_in_use_is_one_clear_line(seam_bundle: Bundle, votes: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [
            sys.executable,
            "panobench.py",
            "study",
            "serve",
            "--bundle",
            str(seam_bundle.folder),
            "--port",
            port,
        ]
        names = {"PANOBENCH_STUDY_DB": str(votes)}
        done = subprocess.run(command, cwd=ROOT, env=os.environ | names, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"panobench: error: 127.0.0.1:{port} cannot be used")
    assert "Traceback" not in done.stderr
