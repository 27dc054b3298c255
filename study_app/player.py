"""The 360-degree players of a trial, and the browser check: Streamlit components from the .js files beside this one."""

from pathlib import Path
from typing import Any

import streamlit as st

from study_app.bundle import Bundle
from study_app.media import MEDIA_ROUTE
from study_app.texts import Texts

#: Narrower windows than this have no room for two videos.
NARROWEST = 320

_HERE = Path(__file__).parent


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


_component = st.components.v2.component(
    "panobench_player",
    html=_read("player.html"),
    css=_read("player.css"),
    js=_read("screen.js") + _read("player.js"),
)
_check = st.components.v2.component("panobench_check", html='<span class="check"></span>', js=_read("check.js"))


def media_url(stimulus_id: str) -> str:
    """Address of a video, relative to the page."""
    return f"{MEDIA_ROUTE}/{stimulus_id}.mp4"


def labels(bundle: Bundle, texts: Texts, count: int) -> dict[str, str]:
    """What the videos are called, by the answer that chooses them, from left to right."""
    if bundle.study.mode == "best-of-four":
        return {place: place.upper() for place in bundle.choices[:count]}
    return {"left": texts.player.left, "right": texts.player.right}


def show_player(
    bundle: Bundle,
    texts: Texts,
    trial: str,
    stimuli: tuple[str, ...],
    following: list[str],
    view: str = "look",
    reveal: bool = True,
) -> bool:
    """Show the videos of a trial. The key is the same on every page, so the player stays and changes its videos.

    Args:
        bundle: gives the format of the videos.
        texts: words of the buttons.
        trial: id; another one makes the player load.
        stimuli: ids of the videos, from left to right.
        following: stimulus ids of the next trial, fetched ahead into the browser's cache.
        view: where the rater looks first, look or seam.
        reveal: scroll to the videos, wherever the page before was scrolled to.

    Returns:
        Whether the player has reported that all videos of this trial were seen, and the seam looked at.
    """
    named = zip(labels(bundle, texts, len(stimuli)).items(), stimuli, strict=True)
    result = _component(
        key="player",
        data={
            "trial": trial,
            "sides": [{"side": side, "name": name, "url": media_url(stimulus)} for (side, name), stimulus in named],
            "next": [media_url(stimulus) for stimulus in following],
            "video": bundle.study.video.model_dump(),
            "texts": texts.player.model_dump(),
            "view": view,
            "reveal": reveal,
        },
        default={"seen": None},
        on_seen_change=_nothing,
    )
    return bool(result.seen == trial)


def check_browser(bundle: Bundle) -> str | None:
    """Check what the player needs: None while it runs, then good, webgl, codec or small."""
    data: dict[str, Any] = {"url": media_url(bundle.study.stimuli[0].id), "width": NARROWEST}
    result = _check(key="check", data=data, default={"result": None}, on_result_change=_nothing)
    return result.result if result.result in ("good", "webgl", "codec", "small") else None


def _nothing() -> None:
    """A component keeps the state that there is a callback for; the page reads it as it is drawn."""
