"""A rater's way: landing, consent, instructions, trials, done. Which page is due follows from the database alone."""

from pathlib import Path

import streamlit as st

from core.errors import PanobenchError
from study_app.bundle import STUDY_FILE, Bundle, BundleError, find_bundle, load_bundle
from study_app.design import trials_per_rater
from study_app.player import show_player
from study_app.store import Assignment, Rater, Refused, Store, default_database
from study_app.texts import CHOICES

SECONDS_PER_TRIAL = 35
_HERE = Path(__file__).parent
_CSS = (_HERE / "page.css").read_text(encoding="utf-8")


def show() -> None:
    """Draw the page that is due for whoever opened it."""
    st.set_page_config(page_title="360° video study", page_icon=str(_HERE / "icon.svg"), layout="wide")
    st.html(f"<style>{_CSS}</style>")
    try:
        store = _open()
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


def _open() -> Store:
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
    if not rater.consented:
        return _consent(store, token)
    if not rater.instructed:
        return _instructions(store, token, rater)
    trial = store.current(token)
    if trial is None:
        return _done(store.bundle, rater)
    _trial(store, token, rater, trial)


def _landing(store: Store, unknown_link: bool = False) -> None:
    study = store.bundle.study
    texts = study.texts.landing
    trials = trials_per_rater(len(study.methods), len(study.prompts), study.mode)
    minutes = max(1, round(trials * SECONDS_PER_TRIAL / 60))
    with st.container(key="reading"):
        st.title(study.title, anchor=False)
        if unknown_link:
            st.warning(texts.unknown_link)
        st.markdown(texts.text.format(trials=trials, minutes=minutes))
        if study.open_enrolment:
            st.button(texts.start, type="primary", key="start", on_click=_start, args=(store,))
        elif not unknown_link:
            st.info(texts.closed)
        _report_failure(study.texts.error.not_saved)


def _start(store: Store) -> None:
    try:
        st.query_params["rater"] = store.invite(source="open")[0]
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


def _consent(store: Store, token: str) -> None:
    study = store.bundle.study
    texts = study.texts.consent
    with st.container(key="reading"):
        st.title(texts.title, anchor=False)
        points = list(texts.points)
        if study.contact:
            points.append(texts.contact.format(contact=study.contact))
        st.markdown("\n".join(f"- {point}" for point in points))
        with st.form("consent", border=False):
            st.checkbox(texts.agree, key="agree")
            st.form_submit_button(texts.button, type="primary", key="consent-go", on_click=_agree, args=(store, token))
        if st.session_state.pop("not_agreed", False):
            st.warning(texts.required)
        _report_failure(study.texts.error.not_saved)


def _agree(store: Store, token: str) -> None:
    if not st.session_state.get("agree"):
        st.session_state["not_agreed"] = True
        return
    try:
        store.consent(token)
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


def _instructions(store: Store, token: str, rater: Rater) -> None:
    texts = store.bundle.study.texts
    with st.container(key="reading"):
        st.title(texts.instructions.title, anchor=False)
        st.markdown(texts.instructions.text)
        st.markdown(texts.instructions.questions)
        by_id = {criterion.id: criterion for criterion in texts.criteria}
        st.markdown("\n".join(f"- **{by_id[c].title}.** {by_id[c].definition}" for c in store.criteria(rater)))
        st.markdown(texts.instructions.tie)
        st.info(texts.instructions.link)
        st.button(texts.instructions.button, type="primary", key="begin", on_click=_begin, args=(store, token))
        _report_failure(texts.error.not_saved)


def _begin(store: Store, token: str) -> None:
    try:
        store.instructed(token)
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


def _trial(store: Store, token: str, rater: Rater, trial: Assignment) -> None:
    study = store.bundle.study
    texts = study.texts
    number, total = trial.position + 1, trial.total
    prompt = next(prompt.text for prompt in study.prompts if prompt.id == trial.prompt_id)
    with st.container(key="trial"):
        st.progress(trial.position / total, text=texts.trial.progress.format(number=number, total=total))
        with st.container(key="prompt"):
            st.text(f"{texts.trial.prompt}: {prompt}")
        show_player(study, trial, store.following(trial))
        _questions(store, token, rater, trial)


def _questions(store: Store, token: str, rater: Rater, trial: Assignment) -> None:
    """The form. Every widget's key holds the trial's id, so that no answer is carried into the next trial."""
    texts = store.bundle.study.texts
    criteria = store.criteria(rater)
    by_id = {criterion.id: criterion for criterion in texts.criteria}
    keys = {criterion: f"{trial.id}-{criterion}" for criterion in criteria}
    with st.form(f"form-{trial.id}"):
        for criterion in criteria:
            question, answer = st.columns([11, 9], vertical_alignment="center")
            question.markdown(f"**{by_id[criterion].title}.** {by_id[criterion].definition}")
            answer.radio(
                by_id[criterion].title,
                CHOICES,
                index=None,
                key=keys[criterion],
                format_func=lambda choice: getattr(texts.choices, choice),
                horizontal=True,
                label_visibility="collapsed",
                width="stretch",
            )
        missing = st.session_state.pop("missing", [])
        if missing:
            st.warning(texts.trial.missing.format(missing=", ".join(by_id[c].title for c in missing)))
        _report_failure(texts.error.not_saved)
        arguments = (store, token, trial.id, keys)
        st.form_submit_button(
            texts.trial.submit, type="primary", key=f"{trial.id}-submit", on_click=_submit, args=arguments
        )


def _submit(store: Store, token: str, assignment_id: str, keys: dict[str, str]) -> None:
    """Save one trial. The page moves on only because the database then says that the trial is answered."""
    answers = {criterion: st.session_state.get(key) for criterion, key in keys.items()}
    missing = [criterion for criterion, choice in answers.items() if choice is None]
    if missing:
        st.session_state["missing"] = missing
        return
    try:
        store.submit(token, assignment_id, {criterion: str(choice) for criterion, choice in answers.items()})
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


def _done(bundle: Bundle, rater: Rater) -> None:
    texts = bundle.study.texts.done
    with st.container(key="reading"):
        st.title(texts.title, anchor=False)
        st.markdown(texts.text)
        st.markdown(texts.code)
        st.code(rater.completion_code, language=None)


def _report_failure(message: str) -> None:
    """Tell the rater that the last click was not saved; the reason is for the organiser's log."""
    reason = st.session_state.pop("failed", None)
    if reason:
        _log(reason)
        st.error(message)


def _no_study(error: BundleError) -> None:
    """Nobody but the organiser sees this page: it names the file and the command."""
    _log(str(error))
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
    _log(str(error))
    with st.container(key="reading"):
        if bundle is None:
            st.title("The study is not available right now", anchor=False)
            st.text(str(error))
        else:
            st.title(bundle.study.texts.error.title, anchor=False)
            st.markdown(bundle.study.texts.error.saved)


def _log(reason: str) -> None:
    from streamlit.logger import get_logger

    get_logger("panobench.study").error("panobench: error: %s", reason)
