"""What a click does: one change of the database, whose failure is told on the page that is drawn next."""

from collections.abc import Callable

import streamlit as st

from core.errors import PanobenchError
from study_app.store import Full, Store


def reach(store: Store, token: str, step: str) -> None:
    """The rater has passed a page."""
    attempt(lambda: store.reached(token, step))


def attempt(action: Callable[[], None]) -> None:
    """Run what a click asked for; a failure is told on the page that is drawn next."""
    try:
        action()
    except Full:
        st.session_state["full"] = True
    except PanobenchError as error:
        st.session_state["failed"] = str(error)


def report_failure(message: str) -> None:
    """Tell the rater that the last click was not saved; the reason is for the organiser's log."""
    reason = st.session_state.pop("failed", None)
    if reason:
        log(reason)
        st.error(message)


def log(reason: str) -> None:
    """A line for the organiser on the server's standard error."""
    from streamlit.logger import get_logger

    get_logger("panobench.study").error("panobench: error: %s", reason)
