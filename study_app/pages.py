"""A rater's way: landing, consent, browser check, instructions, practice, trials, break, done.

Which page is due follows from the database alone.
"""

from pathlib import Path

import streamlit as st

from core.errors import PanobenchError
from study_app.bundle import STUDY_FILE, Bundle, BundleError, load_bundle
from study_app.clicks import attempt, log, reach, report_failure
from study_app.locate import default_database, find_bundle
from study_app.session import PRACTICE
from study_app.store import Rater, Refused, Store
from study_app.texts import Texts
from study_app.trial import show_feedback, show_trial
from study_app.welcome import browser_language, show_check, show_consent, show_instructions, show_landing

_HERE = Path(__file__).parent
_CSS = (_HERE / "page.css").read_text(encoding="utf-8")


def show() -> None:
    """Draw the page that is due for whoever opened it."""
    frame_page("360° video study")
    try:
        store = open_store()
    except BundleError as error:
        return _no_study(error)
    except PanobenchError as error:
        return _unavailable(error)
    try:
        _route(store)
    except Refused:
        show_landing(store, unknown_link=True)
    except PanobenchError as error:
        _unavailable(error, store.bundle)


def frame_page(title: str) -> None:
    """Title, icon and style of a page."""
    st.set_page_config(page_title=title, page_icon=str(_HERE / "icon.svg"), layout="wide")
    st.html(f"<style>{_CSS}</style>")


def open_store() -> Store:
    """The votes of the bundle that is to be shown; one of each for all sessions.

    Raises:
        PanobenchError: there is no bundle, or it or the database cannot be used.
    """
    folder = find_bundle()
    try:
        changed = (folder / STUDY_FILE).stat().st_mtime_ns
    except OSError:
        changed = 0
    bundle = _bundle(folder, changed)
    return _store(folder, changed, default_database(bundle))


@st.cache_resource(show_spinner=False, max_entries=4)
def _bundle(folder: Path, changed: int) -> Bundle:
    """One verified bundle for all sessions; ``changed`` makes a bundle that was prepared anew be read anew."""
    return load_bundle(folder)


@st.cache_resource(show_spinner=False, max_entries=4)
def _store(folder: Path, changed: int, url: str) -> Store:
    return Store(_bundle(folder, changed), url)


def _route(store: Store) -> None:
    token = st.query_params.get("rater", "")
    if not token:
        return show_landing(store)
    rater = store.rater(token)
    if rater is None:
        return show_landing(store, unknown_link=True)
    texts = store.bundle.texts(rater.language or browser_language(store.bundle))
    if rater.withdrawn:
        return _message(texts.withdraw.title, texts.withdraw.done)
    if not rater.consented:
        return show_consent(store, texts, token)
    _due_page(store, texts, token, rater)
    if not rater.completion_code:
        _withdraw(store, texts, token)


def _due_page(store: Store, texts: Texts, token: str, rater: Rater) -> None:
    if not rater.checked:
        return show_check(store, texts, token)
    if not rater.instructed:
        return show_instructions(store, texts, token, rater)
    if "feedback" in st.session_state:
        return show_feedback(store, texts, *st.session_state["feedback"])
    trial = store.current(token)
    if trial is None:
        return _done(texts, store.rater(token) or rater)
    breaks = store.bundle.settings.controls.break_from
    half_way = trial.kind != PRACTICE and trial.position == trial.total // 2
    if breaks and trial.total >= breaks and half_way and not rater.rested:
        return _rest(store, texts, token, trial.position, trial.total)
    show_trial(store, texts, token, rater, trial)


def _rest(store: Store, texts: Texts, token: str, done: int, total: int) -> None:
    with st.container(key="reading"):
        st.title(texts.rest.title, anchor=False)
        st.markdown(texts.rest.text.format(done=done, left=total - done))
        st.button(texts.rest.button, type="primary", key="rested", on_click=reach, args=(store, token, "rested"))
        report_failure(texts.error.not_saved)


def _done(texts: Texts, rater: Rater) -> None:
    if not rater.completion_code:
        return _message(texts.done.title, texts.withdraw.ended)
    with st.container(key="reading"):
        st.title(texts.done.title, anchor=False)
        st.markdown(texts.done.text)
        st.markdown(texts.done.code)
        with st.container(key="code"):
            st.code(rater.completion_code, language=None)


def _withdraw(store: Store, texts: Texts, token: str) -> None:
    words = texts.withdraw
    with st.expander(words.open, key="withdraw"):
        st.markdown(words.text)
        sure = st.checkbox(words.confirm, key="withdraw-sure")
        st.button(
            words.button, key="withdraw-go", disabled=not sure, on_click=attempt, args=(lambda: store.withdraw(token),)
        )


def _message(title: str, text: str) -> None:
    with st.container(key="reading"):
        st.title(title, anchor=False)
        st.markdown(text)


def _no_study(error: BundleError) -> None:
    """Nobody but the organiser sees this page: it names the file and the command."""
    log(str(error))
    with st.container(key="reading"):
        st.title("There is no study to show yet", anchor=False)
        st.text(str(error))
        st.markdown("A study is made from the videos of two or more methods:")
        st.code(
            "make repro        # everything, with the nano study at the end\n"
            "panobench study prepare MANIFEST... --out DIR",
            language="bash",
        )
        st.markdown(
            "Then reload this page. `PANOBENCH_STUDY=DIR` chooses a bundle; otherwise the newest one in "
            "`outputs/*/study` is shown."
        )


def _unavailable(error: PanobenchError, bundle: Bundle | None = None) -> None:
    log(str(error))
    with st.container(key="reading"):
        if bundle is None:
            st.title("The study is not available right now", anchor=False)
            st.text(str(error))
        else:
            words = bundle.texts(browser_language(bundle)).error
            st.title(words.title, anchor=False)
            st.markdown(words.saved)
