"""The two 360-degree players of a trial: a Streamlit component from player.html, player.css, screen.js, player.js."""

from pathlib import Path

import streamlit as st

from study_app.bundle import Study
from study_app.media import MEDIA_ROUTE
from study_app.store import Assignment

_HERE = Path(__file__).parent
_component = st.components.v2.component(
    "panobench_player",
    html=(_HERE / "player.html").read_text(encoding="utf-8"),
    css=(_HERE / "player.css").read_text(encoding="utf-8"),
    js="".join((_HERE / name).read_text(encoding="utf-8") for name in ("screen.js", "player.js")),
)


def media_url(stimulus_id: str) -> str:
    """Address of a video, relative to the page."""
    return f"{MEDIA_ROUTE}/{stimulus_id}.mp4"


def show_player(study: Study, trial: Assignment, following: list[str]) -> None:
    """Show the trial's two videos. The key is the same on every page, so the player stays and changes its videos.

    Args:
        study: gives the format of the videos and the texts.
        trial: which videos, and on which sides.
        following: stimulus ids of the next trial, fetched ahead into the browser's cache.
    """
    _component(
        key="player",
        data={
            "trial": trial.id,
            "left": media_url(trial.left),
            "right": media_url(trial.right),
            "next": [media_url(stimulus) for stimulus in following],
            "video": study.video.model_dump(),
            "texts": study.texts.player.model_dump(),
        },
    )
