"""A rater's way: landing, consent, browser check, instructions, practice, trials, break, done.

Which page is due follows from the database alone.
"""

from pathlib import Path

import streamlit as st

from core.errors import PanobenchError
from study_app.bundle import STUDY_FILE, Bundle, BundleError, find_bundle, load_bundle
from study_app.organiser import closed_at
from study_app.player import NARROWEST, check_browser, show_player
from study_app.session import PRACTICE, session_length
from study_app.store import Full, Rater, Refused, Store, default_database
from study_app.texts import Texts
from study_app.trial import describe, log, report_failure, show_feedback, show_trial

SECONDS_PER_TRIAL = 35
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
        _landing(store, unknown_link=True)
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
        return _landing(store)
    rater = store.rater(token)
    if rater is None:
        return _landing(store, unknown_link=True)
    texts = store.bundle.texts(rater.language or _browser_language(store.bundle))
    if rater.withdrawn:
        return _message(texts.withdraw.title, texts.withdraw.done)
    if not rater.consented:
        return _consent(store, texts, token)
    _due_page(store, texts, token, rater)
    if not rater.completion_code:
        _withdraw(store, texts, token)


def _due_page(store: Store, texts: Texts, token: str, rater: Rater) -> None:
    if not rater.checked:
        return _check(store, texts, token)
    if not rater.instructed:
        return _instructions(store, texts, token, rater)
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


def _browser_language(bundle: Bundle) -> str:
    """What the rater chose on this page, else the browser's language where there are texts in it."""
    wanted = st.session_state.get("language") or (st.context.locale or "").split("-")[0]
    languages = bundle.settings.languages
    return wanted if wanted in languages else languages[0]


def _choose_language(store: Store, token: str | None) -> None:
    bundle = store.bundle
    names = {language: bundle.texts(language).name for language in bundle.settings.languages}
    if len(names) == 1:
        return
    rater = store.rater(token) if token else None
    current = (rater.language if rater else None) or _browser_language(bundle)
    st.selectbox(
        bundle.texts(current).landing.language,
        list(names),
        index=list(names).index(current),
        format_func=names.__getitem__,
        key="language-choice",
        on_change=_speak,
        args=(store, token),
        width=220,
    )


def _speak(store: Store, token: str | None) -> None:
    st.session_state["language"] = st.session_state["language-choice"]
    if token:
        _attempt(lambda: store.speak(token, st.session_state["language"]))


def _landing(store: Store, unknown_link: bool = False) -> None:
    settings = store.bundle.settings
    texts = store.bundle.texts(_browser_language(store.bundle))
    trials = session_length(store.bundle)
    minutes = max(1, round(trials * SECONDS_PER_TRIAL / 60))
    with st.container(key="reading"):
        st.title(settings.title or texts.landing.title, anchor=False)
        if unknown_link:
            st.warning(texts.landing.unknown_link)
        words = texts.landing.text_best if store.bundle.study.mode == "best-of-four" else texts.landing.text
        st.markdown(words.format(trials=trials, minutes=minutes))
        _choose_language(store, None)
        if closed_at(store):
            st.info(texts.landing.over)
        elif settings.open_enrolment:
            st.button(texts.landing.start, type="primary", key="start", on_click=_start, args=(store,))
        elif not unknown_link:
            st.info(texts.landing.closed)
        report_failure(texts.error.not_saved)


def _start(store: Store) -> None:
    language = _browser_language(store.bundle)

    def invite() -> None:
        st.query_params["rater"] = store.invite(source="open", language=language)[0]

    _attempt(invite)


def _consent(store: Store, texts: Texts, token: str) -> None:
    settings, words = store.bundle.settings, texts.consent
    with st.container(key="reading"):
        st.title(words.title, anchor=False)
        points = list(words.points)
        if settings.retention_until:
            points.append(words.retention.format(date=settings.retention_until.isoformat()))
        if settings.contact:
            points.append(words.contact.format(contact=settings.contact))
        st.markdown("\n".join(f"- {point}" for point in points))
        _choose_language(store, token)
        with st.form("consent", border=False):
            st.checkbox(words.agree, key="agree")
            st.form_submit_button(words.button, type="primary", key="consent-go", on_click=_agree, args=(store, token))
        if st.session_state.pop("not_agreed", False):
            st.warning(words.required)
        if st.session_state.pop("full", False):
            st.info(texts.landing.over if closed_at(store) else texts.landing.full)
        report_failure(texts.error.not_saved)


def _agree(store: Store, token: str) -> None:
    if not st.session_state.get("agree"):
        st.session_state["not_agreed"] = True
        return

    def consent() -> None:
        store.consent(token)
        rater = store.rater(token)
        if rater is not None and rater.language is None:
            store.speak(token, _browser_language(store.bundle))

    _attempt(consent)


def _check(store: Store, texts: Texts, token: str) -> None:
    words = texts.check
    with st.container(key="reading"):
        st.title(words.title, anchor=False)
        st.markdown(words.text)
        result = check_browser(store.bundle)
        if result is None:
            st.info(words.running)
        elif result == "good":
            st.success(words.good)
            st.button(words.button, type="primary", key="checked", on_click=_reach, args=(store, token, "checked"))
        else:
            st.error({"webgl": words.webgl, "codec": words.codec, "small": words.small}[result].format(width=NARROWEST))
        report_failure(texts.error.not_saved)


def _instructions(store: Store, texts: Texts, token: str, rater: Rater) -> None:
    words, bundle = texts.instructions, store.bundle
    best = bundle.study.mode == "best-of-four"
    by_id = {criterion.id: criterion for criterion in texts.criteria}
    examples = {control.criterion: control for control in bundle.study.controls if control.use == "example"}
    with st.container(key="wide"):
        st.title(words.title, anchor=False)
        st.markdown(words.text_best if best else words.text)
        criteria = store.criteria(rater)
        chosen = st.radio(
            words.questions,
            criteria,
            index=next((index for index, criterion in enumerate(criteria) if criterion in examples), 0),
            key="example",
            format_func=lambda c: f"**{by_id[c].title}.** {by_id[c].definition}",
        )
        if chosen in examples:
            control = examples[chosen]
            stimuli = (control.sound, *[control.damaged] * (len(bundle.study.methods) - 1 if best else 1))
            st.markdown(f"**{words.example}.** {describe(store, texts, control.kind, stimuli, control.sound)}")
            view = "seam" if control.kind == "broken_seam" else "look"
            show_player(bundle, texts, f"example-{control.criterion}", stimuli, [], view, reveal=False)
        st.markdown(words.forced if best else words.tie)
        st.info(words.link)
        go = (store, token, "instructed")
        st.button(words.button, type="primary", key="begin", on_click=_reach, args=go)
        report_failure(texts.error.not_saved)


def _rest(store: Store, texts: Texts, token: str, done: int, total: int) -> None:
    with st.container(key="reading"):
        st.title(texts.rest.title, anchor=False)
        st.markdown(texts.rest.text.format(done=done, left=total - done))
        st.button(texts.rest.button, type="primary", key="rested", on_click=_reach, args=(store, token, "rested"))
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
            words.button, key="withdraw-go", disabled=not sure, on_click=_attempt, args=(lambda: store.withdraw(token),)
        )


def _reach(store: Store, token: str, step: str) -> None:
    _attempt(lambda: store.reached(token, step))


def _attempt(action) -> None:
    """Run what a click asked for; a failure is told on the page that is drawn next."""
    try:
        action()
    except Full:
        st.session_state["full"] = True
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


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
            words = bundle.texts(_browser_language(bundle)).error
            st.title(words.title, anchor=False)
            st.markdown(words.saved)
