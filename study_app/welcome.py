"""The pages before the first trial: landing, consent, browser check, instructions; and the choice of a language."""

import streamlit as st

from study_app.bundle import Bundle
from study_app.clicks import attempt, reach, report_failure
from study_app.organiser import closed_at
from study_app.player import NARROWEST, check_browser, show_player
from study_app.session import session_length
from study_app.store import Rater, Store
from study_app.texts import Texts
from study_app.trial import describe

SECONDS_PER_TRIAL = 35


def browser_language(bundle: Bundle) -> str:
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
    current = (rater.language if rater else None) or browser_language(bundle)
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
        attempt(lambda: store.speak(token, st.session_state["language"]))


def show_landing(store: Store, unknown_link: bool = False) -> None:
    """What the study is, and the way in where anybody may enter."""
    settings = store.bundle.settings
    texts = store.bundle.texts(browser_language(store.bundle))
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
    language = browser_language(store.bundle)

    def invite() -> None:
        st.query_params["rater"] = store.invite(source="open", language=language)[0]

    attempt(invite)


def show_consent(store: Store, texts: Texts, token: str) -> None:
    """What the rater agrees to."""
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
            store.speak(token, browser_language(store.bundle))

    attempt(consent)


def show_check(store: Store, texts: Texts, token: str) -> None:
    """Whether this browser can show the videos."""
    words = texts.check
    with st.container(key="reading"):
        st.title(words.title, anchor=False)
        st.markdown(words.text)
        result = check_browser(store.bundle)
        if result is None:
            st.info(words.running)
        elif result == "good":
            st.success(words.good)
            st.button(words.button, type="primary", key="checked", on_click=reach, args=(store, token, "checked"))
        else:
            st.error({"webgl": words.webgl, "codec": words.codec, "small": words.small}[result].format(width=NARROWEST))
        report_failure(texts.error.not_saved)


def show_instructions(store: Store, texts: Texts, token: str, rater: Rater) -> None:
    """How the pages work, with an example of each criterion."""
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
        st.button(words.button, type="primary", key="begin", on_click=reach, args=go)
        report_failure(texts.error.not_saved)
