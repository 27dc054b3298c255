"""What a rater may meet besides the trials: practice, the break, another language, leaving, a full study, attacks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from study_app.bundle import Bundle
from study_app.organiser import progress, set_closed
from study_app.params import StudyParams
from study_app.prepare import prepare
from study_app.session import PRACTICE, expected
from study_app.store import Store
from tests.study_app.raters import answer, begin, rate_everything
from tests.study_app.small import PLAIN, ROOT, noise, write_method

Open = Callable[..., AppTest]


@pytest.fixture
def opened(votes: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """``opened(bundle, token)`` is the app as a browser would open it."""
    monkeypatch.setenv("PANOBENCH_STUDY_DB", str(votes))

    def _open(bundle: Bundle, token: str | None = None) -> AppTest:
        monkeypatch.setenv("PANOBENCH_STUDY", str(bundle.folder))
        app = AppTest.from_file(str(ROOT / "study_app" / "main.py"), default_timeout=120)
        if token is not None:
            app.query_params["rater"] = token
        return app.run()

    return _open


def small_bundle(folder: Path, **params) -> Bundle:
    prompts = {"p0": "a ball", "p1": "a tower"}
    manifests = [write_method(folder / name, f"{name}method", prompts, noise) for name in ("alpha", "beta")]
    return prepare(manifests, folder / "study", StudyParams(mode="full", **{"controls": PLAIN} | params))


def shown(app: AppTest) -> str:
    kinds = ("title", "markdown", "text", "warning", "error", "info", "success", "code", "caption")
    return "\n".join(str(element.value) for kind in kinds for element in app.get(kind))


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def fill(app: AppTest, values: dict[str, str], store: Store) -> AppTest:
    by_title = {criterion.title: criterion.id for criterion in store.bundle.texts().criteria}
    for radio in app.radio:
        radio.set_value(values[by_title[radio.label]])
    return press(app, "Save and go on")


def test_practice_tells_what_was_to_be_seen_and_enters_no_table(opened: Open, big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    (token,) = store.invite()
    store.consent(token)
    for step in ("checked", "instructed"):
        store.reached(token, step)
    for number, right in ((1, True), (2, False)):
        trial = store.current(token)
        assert trial.kind == PRACTICE
        store.seen(token, trial.id)
        app = opened(big_bundle, token)
        assert len(app.radio) == 5
        wanted = expected(big_bundle, trial.kind, trial.control, trial.stimuli)
        if not right:
            wanted = {c: {"left": "right", "right": "left"}[side] for c, side in wanted.items()}
        app = fill(app, dict.fromkeys(big_bundle.criteria, "tie") | wanted, store)
        control = next(entry for entry in big_bundle.study.controls if entry.id == trial.control)
        better = ("Left", "Right")[trial.stimuli.index(control.sound)]
        assert ("Well seen" in shown(app)) is right
        assert ("Not quite" in shown(app)) is not right
        assert f"“{better}” is better here" in shown(app)
        assert ("there is no feedback any more" in shown(app)) is (number == 2)
        app = press(app, "Go on")
        assert len(app.radio) == 5
    assert store.current(token).kind != PRACTICE
    assert progress(store)[0].answered == 0
    store.close()


def test_a_break_is_offered_half_way_once(opened: Open, big_bundle: Bundle, votes: Path):
    store = Store(big_bundle, str(votes))
    token = begin(store)
    for _ in range(14):
        answer(store, token, store.current(token))
    app = opened(big_bundle, token)
    assert "14 are done, 14 are left" in shown(app)
    assert not app.radio
    app = press(app, "Go on")
    assert len(app.radio) == 5
    assert len(opened(big_bundle, token).radio) == 5
    store.close()


def test_the_study_speaks_german_to_who_wants_it(opened: Open, seam_bundle: Bundle, votes: Path):
    app = opened(seam_bundle)
    app.selectbox[0].set_value("de").run()
    assert "Sie sehen Paare kurzer 360°-Videos" in shown(app)
    app = press(app, "Anfangen")
    app.checkbox[0].check()
    app = press(app, "Weiter")
    token = app.query_params["rater"]
    token = token if isinstance(token, str) else token[0]
    store = Store(seam_bundle, str(votes))
    assert store.rater(token).language == "de"
    for step in ("checked", "instructed"):
        store.reached(token, step)
    app = opened(seam_bundle, token)  # another device
    assert app.radio[0].options == ["Links", "Kein Unterschied", "Rechts"]
    english = {text.definition for text in seam_bundle.texts("en").criteria}
    assert not any(definition in shown(app) for definition in english)
    store.close()


def test_leaving_deletes_everything_after_one_question(opened: Open, seam_bundle: Bundle, votes: Path):
    store = Store(seam_bundle, str(votes))
    token = begin(store)
    answer(store, token, store.current(token))
    app = opened(seam_bundle, token)
    go = next(button for button in app.button if button.label == "Withdraw now")
    assert go.disabled
    app.checkbox(key="withdraw-sure").check().run()
    app = press(app, "Withdraw now")
    assert "All your answers are deleted" in shown(app)
    assert "All your answers are deleted" in shown(opened(seam_bundle, token))
    with store.read() as connection:
        assert connection.exec_driver_sql("select count(*) from answer").scalar() == 0
    store.close()


def test_a_full_or_closed_study_says_so(opened: Open, tmp_path: Path, votes: Path):
    bundle = small_bundle(tmp_path, quota={"raters": 1})
    store = Store(bundle, str(votes))
    rate_everything(store, begin(store))
    app = press(opened(bundle), "Start")
    app.checkbox[0].check()
    app = press(app, "Continue")
    assert "All places of this study are taken" in shown(app)
    set_closed(store, True)
    app = opened(bundle)
    assert "This study is over" in shown(app)
    assert not app.button
    store.close()


def test_consent_names_the_date_the_contact_and_the_version(opened: Open, tmp_path: Path, votes: Path):
    bundle = small_bundle(tmp_path, retention_until="2030-12-31", contact="me@example.org", consent_version="7")
    store = Store(bundle, str(votes))
    (token,) = store.invite()
    page = shown(opened(bundle, token))
    assert "deleted after 2030-12-31" in page
    assert "me@example.org" in page
    store.consent(token)
    with store.read() as connection:
        assert connection.exec_driver_sql("select consent_version from rater").scalar() == "7"
    store.close()


def test_best_of_four_asks_for_one_of_four(opened: Open, four_methods: list[Path], tmp_path: Path, votes: Path):
    bundle = prepare(four_methods, tmp_path / "study", StudyParams(mode="best-of-four"))
    store = Store(bundle, str(votes))
    token = begin(store)
    trial = store.current(token)
    store.seen(token, trial.id)
    app = opened(bundle, token)
    assert [radio.options for radio in app.radio] == [["A", "B", "C", "D"]] * 5
    fill(app, dict.fromkeys(bundle.criteria, "c"), store)
    assert store.current(token).position == 1
    store.close()


def test_hostile_text_is_shown_as_text(opened: Open, tmp_path: Path, votes: Path):
    """Prompts come from files of others: script, markup and SQL in them are letters."""
    hostile = "<script>alert(1)</script> **x** $y$ '; drop table answer; -- "
    manifests = [write_method(tmp_path / name, f"{name}method", {"p'0": hostile}, noise) for name in ("alpha", "beta")]
    bundle = prepare(manifests, tmp_path / "study", StudyParams(mode="full", controls=PLAIN))
    store = Store(bundle, str(votes))
    (token,) = store.invite(label="'; drop table rater; --")
    store.consent(token)
    for step in ("checked", "instructed"):
        store.reached(token, step)
    app = opened(bundle, token)
    assert [element.value for element in app.text] == [f"Description: {hostile}".strip()]  # st.text draws no markup
    assert rate_everything(store, token) == 1
    for attack in ("' or '1'='1", "x'; drop table answer; --", "\0", "\ud800", "a" * 10_000):
        assert store.rater(attack) is None
    assert [row.label for row in progress(store)] == ["'; drop table rater; --"]
    store.close()
