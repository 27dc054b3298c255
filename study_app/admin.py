"""The organiser's page at /organiser: closed unless a password or OIDC is configured, and in every doubt.

- `PANOBENCH_ADMIN_PASSWORD`: at least 12 characters.
- OIDC: an `[auth]` section in .streamlit/secrets.toml, and `PANOBENCH_ADMIN_EMAILS` with the addresses that may enter.
"""

import hmac
import json
import os
import statistics
import time

import streamlit as st

from core.errors import PanobenchError
from study_app.bundle import KEY_FILE, load_key
from study_app.export import as_csv, as_json, make_codebook, neutralise, table, votes
from study_app.organiser import balance, closed_at, progress, revoke, seconds_per_trial, set_closed
from study_app.pages import frame_page, open_store
from study_app.screening import flags, meanings
from study_app.store import Store
from study_app.transfer import dump

SHORTEST_PASSWORD = 12
LIVE_SECONDS = 10
SECONDS_PER_TRY = 1.0  # between two tries of the password, by whomever


def show() -> None:
    """Draw the page for whoever may see it, and nothing of the study for anybody else."""
    frame_page("Organiser")
    with st.container(key="wide"):
        if not _admitted():
            return
        try:
            store = open_store()
            _overview(store)
            _invitations(store)
            _raters(store)
            _data(store)
        except PanobenchError as error:
            st.error(str(error))


def _admitted() -> bool:
    if st.session_state.get("organiser") is True:
        return True
    password = os.environ.get("PANOBENCH_ADMIN_PASSWORD", "")
    emails = {email.strip().lower() for email in os.environ.get("PANOBENCH_ADMIN_EMAILS", "").split(",")} - {""}
    oidc = bool(emails) and _oidc_configured()
    st.title("Organiser", anchor=False)
    if oidc and _known_user(emails):
        return True
    if len(password) < SHORTEST_PASSWORD and not oidc:
        st.error("This page is closed.")
        st.markdown(
            f"It opens with `PANOBENCH_ADMIN_PASSWORD` ({SHORTEST_PASSWORD} characters or more) in the server's "
            "environment, or with Streamlit's OIDC and `PANOBENCH_ADMIN_EMAILS`."
        )
        return False
    if oidc:
        st.button("Log in", on_click=st.login, key="oidc")
    if len(password) >= SHORTEST_PASSWORD:
        with st.form("organiser-login", border=False):
            st.text_input("Password", type="password", key="organiser-password", max_chars=200)
            st.form_submit_button("Enter", type="primary", on_click=_enter, args=(password,))
        if st.session_state.pop("refused", False):
            st.error("That is not the password.")
    return False


def _enter(password: str) -> None:
    given = str(st.session_state.get("organiser-password", ""))
    _wait_for_turn()
    if hmac.compare_digest(given.encode(), password.encode()):
        st.session_state["organiser"] = True
    else:
        st.session_state["refused"] = True


@st.cache_resource(show_spinner=False)
def _last_try() -> dict[str, float]:
    return {"at": 0.0}


def _wait_for_turn() -> None:
    """One try a second for the whole server, so that a password cannot be searched for."""
    last = _last_try()
    due = max(time.monotonic(), last["at"] + SECONDS_PER_TRY)
    last["at"] = due
    time.sleep(max(0.0, due - time.monotonic()))


def _oidc_configured() -> bool:
    try:
        return "auth" in st.secrets
    except (FileNotFoundError, OSError, st.errors.StreamlitAPIException):
        return False


def _known_user(emails: set[str]) -> bool:
    user = st.user
    if not user.get("is_logged_in") or user.get("email_verified") is not True:
        return False
    return str(user.get("email", "")).lower() in emails


def _overview(store: Store) -> None:
    closed, until = closed_at(store), store.bundle.settings.retention_until
    st.header(store.bundle.settings.title or store.bundle.texts().landing.title, anchor=False)
    st.caption(
        f"study {store.study_id} · {'closed ' + closed if closed else 'open'} · votes in {store.place}"
        + (f" · single answers are to be deleted after {until}" if until else "")
    )
    _counts(store)
    st.button("Open the study again" if closed else "Close the study", on_click=_set_closed, args=(store, not closed))


@st.fragment(run_every=LIVE_SECONDS)
def _counts(store: Store) -> None:
    """Quota, progress and balance, drawn anew every few seconds."""
    rows, quota = progress(store), store.bundle.settings.quota.raters
    began = [row for row in rows if row.number is not None and row.withdrawn_at is None]
    seconds = [value for values in seconds_per_trial(store).values() for value in values]
    columns = st.columns(4)
    columns[0].metric("Links", len(rows))
    columns[1].metric("Raters who began", f"{len(began)} of {quota}" if quota else len(began))
    columns[2].metric("Finished", sum(row.completed_at is not None for row in began))
    columns[3].metric("Median seconds per trial", f"{statistics.median(seconds):.0f}" if seconds else "none yet")
    with st.expander("Counts per pair and prompt"):
        st.dataframe(balance(store), hide_index=True)


def _set_closed(store: Store, closed: bool) -> None:
    set_closed(store, closed)


def _invitations(store: Store) -> None:
    st.subheader("Invitations", anchor=False)
    with st.form("invite", border=False):
        columns = st.columns([1, 2, 3], vertical_alignment="bottom")
        columns[0].number_input("How many", 1, 1000, 1, key="invite-count")
        columns[1].text_input("Note (no names, please)", key="invite-label", max_chars=100)
        columns[2].text_input("Address of the app as raters see it", _base(st.context.url or ""), key="invite-url")
        st.form_submit_button("Make links", on_click=_invite, args=(store,))
    made = st.session_state.get("links")
    if made:
        st.success("Only the hashes of these links are stored: keep this list.")
        st.code("\n".join(made), language=None)
        st.download_button("Links as CSV", "link\n" + "\n".join(neutralise(x) for x in made) + "\n", "links.csv")


def _base(url: str) -> str:
    """The rater's page beside this one."""
    return url.split("?")[0].rstrip("/").removesuffix("/organiser")


def _invite(store: Store) -> None:
    base = _base(str(st.session_state["invite-url"]))
    label = st.session_state["invite-label"] or None
    tokens = store.invite(int(st.session_state["invite-count"]), label=label)
    st.session_state["links"] = [f"{base}/?rater={token}" for token in tokens]


def _raters(store: Store) -> None:
    st.subheader("Raters", anchor=False)
    flagged, seconds = flags(store.bundle, votes(store)), seconds_per_trial(store)
    rows = [
        {
            "id": row.id,
            "number": row.number,
            "label": neutralise(row.label or ""),  # this table can be downloaded for a spreadsheet
            "source": row.source,
            "answered": f"{row.answered} of {row.trials}" if row.trials else "",
            "seconds per trial": round(statistics.median(seconds[row.id]), 1) if row.id in seconds else None,
            "flags": " ".join(flagged.get(row.id, [])),
            "state": _state(row),
        }
        for row in progress(store)
    ]
    st.dataframe(rows, hide_index=True)
    explained = meanings(store.bundle.settings.screening)
    st.caption("Flags:\n" + "\n".join(f"- **{name}**: {meaning}" for name, meaning in explained.items()))
    with st.form("revoke", border=False):
        st.multiselect("Links to revoke", [row["id"] for row in rows if row["state"] != "revoked"], key="revoke-ids")
        st.form_submit_button("Revoke", on_click=_revoke, args=(store,))


def _state(row) -> str:
    for name, state in (("revoked_at", "revoked"), ("withdrawn_at", "withdrawn"), ("completed_at", "finished")):
        if getattr(row, name):
            return state
    return "invited" if row.number is None else "under way"


def _revoke(store: Store) -> None:
    revoke(store, list(st.session_state["revoke-ids"]))


def _data(store: Store) -> None:
    st.subheader("Data", anchor=False)
    name = f"study-{store.study_id}"
    st.download_button("Backup", lambda: dump(store).encode(), f"{name}.backup.json", key="backup")
    if not closed_at(store):
        st.info("There are no results before the study is closed: who looks early stops early.")
        return
    path = store.bundle.folder / KEY_FILE
    if not path.is_file():
        st.info("The key is kept elsewhere: use `panobench study export --key FILE`.")
        return
    key = load_key(path, store.study_id)
    rows = table(store, key)
    columns = st.columns(3)
    columns[0].download_button("Votes as CSV", as_csv(rows), f"{name}.csv", key="export-csv")
    columns[1].download_button("Votes as JSON", as_json(rows), f"{name}.json", key="export-json")
    codebook = json.dumps(make_codebook(store.bundle, key), indent=2, ensure_ascii=False)
    columns[2].download_button("Codebook", codebook, f"{name}.codebook.json", key="export-codebook")
