"""One trial: the players, the questions, saving; and the feedback after a practice trial."""

from dataclasses import replace

import streamlit as st

from core.errors import PanobenchError
from study_app.clicks import report_failure
from study_app.player import labels, show_player
from study_app.session import PRACTICE
from study_app.store import Assignment, Rater, Store
from study_app.texts import Texts


def show_trial(store: Store, texts: Texts, token: str, rater: Rater, trial: Assignment) -> None:
    """The page of a trial that is open."""
    practice = trial.kind == PRACTICE
    with st.container(key="trial"):
        best = store.bundle.study.mode == "best-of-four"
        words = texts.trial.progress_best if best else texts.trial.progress
        words = texts.practice.progress if practice else words
        progress = words.format(number=trial.position + 1, total=trial.total)
        st.progress(trial.position / trial.total, text=progress)
        with st.container(key="prompt"):
            st.text(f"{texts.trial.prompt}: {store.bundle.prompts[trial.prompt_id]}")
        reported = show_player(store.bundle, texts, trial.id, trial.stimuli, store.following(trial))
        if reported and not trial.seen:
            store.seen(token, trial.id)
            trial = replace(trial, seen=True)
        _questions(store, texts, token, rater, trial)


def _questions(store: Store, texts: Texts, token: str, rater: Rater, trial: Assignment) -> None:
    """The form. Every widget's key holds the trial's id, so that no answer is carried into the next trial."""
    names = labels(store.bundle, texts, len(trial.stimuli))
    if "tie" in store.bundle.choices:
        names = {choice: getattr(texts.choices, choice) for choice in store.bundle.choices}
    criteria = store.criteria(rater)
    by_id = {criterion.id: criterion for criterion in texts.criteria}
    keys = {criterion: f"{trial.id}-{criterion}" for criterion in criteria}
    with st.form(f"form-{trial.id}"):
        for criterion in criteria:
            question, answer = st.columns([11, 9], vertical_alignment="center")
            question.markdown(f"**{by_id[criterion].title}.** {by_id[criterion].definition}")
            answer.radio(
                by_id[criterion].title,
                list(names),
                index=None,
                key=keys[criterion],
                format_func=names.__getitem__,
                horizontal=True,
                label_visibility="collapsed",
                width="stretch",
            )
        missing = st.session_state.pop("missing", [])
        if missing:
            st.warning(texts.trial.missing.format(missing=", ".join(by_id[c].title for c in missing)))
        report_failure(texts.error.not_saved)
        st.form_submit_button(
            texts.trial.submit,
            type="primary",
            key=f"{trial.id}-submit",
            disabled=not trial.seen,
            on_click=_submit,
            args=(store, token, trial, keys),
        )
        st.caption(texts.trial.seen if trial.seen else texts.trial.look)


def _submit(store: Store, token: str, trial: Assignment, keys: dict[str, str]) -> None:
    """Save one trial. The page moves on only because the database then says that the trial is answered."""
    given = {criterion: st.session_state.get(key) for criterion, key in keys.items()}
    missing = [criterion for criterion, choice in given.items() if choice is None]
    if missing:
        st.session_state["missing"] = missing
        return
    answers = {criterion: str(choice) for criterion, choice in given.items()}
    # A second click may end this run at any use of the session, so what has to follow the saving is noted before it.
    if trial.kind == PRACTICE:
        st.session_state["feedback"] = (trial, all(store.judged(trial, answers).values()))
    try:
        store.submit(token, trial.id, answers)
    except PanobenchError as error:
        st.session_state.pop("feedback", None)
        st.session_state["failed"] = str(error)


def show_feedback(store: Store, texts: Texts, trial: Assignment, right: bool) -> None:
    """What was to be seen in a practice trial that has just been answered, with its videos once more."""
    control = next(entry for entry in store.bundle.study.controls if entry.id == trial.control)
    with st.container(key="trial"):
        message = (texts.practice.right if right else texts.practice.wrong).format(
            answer=describe(store, texts, control.kind, trial.stimuli, control.sound)
        )
        (st.success if right else st.warning)(message)
        view = "seam" if control.kind == "broken_seam" else "look"
        show_player(store.bundle, texts, f"{trial.id}-feedback", trial.stimuli, [], view)
        if trial.position + 1 == trial.total:
            st.info(texts.practice.last)
        st.button(texts.practice.button, type="primary", key="feedback-go", on_click=_drop_feedback)


def describe(store: Store, texts: Texts, kind: str, stimuli: tuple[str, ...], sound: str) -> str:
    """Which video is damaged, and which one is better."""
    names = list(labels(store.bundle, texts, len(stimuli)).values())
    bad = ", ".join(name for name, stimulus in zip(names, stimuli, strict=True) if stimulus != sound)
    return texts.instructions.examples[kind].format(good=names[stimuli.index(sound)], bad=bad)


def _drop_feedback() -> None:
    st.session_state.pop("feedback", None)
