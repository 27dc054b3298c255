"""A visitor of the running app without a browser: Streamlit's websocket protocol, as its own page speaks it.

The page and the server exchange protobuf messages at /_stcore/stream. Upwards goes the state of all widgets, with a
trigger for a pressed button; downwards come the elements of the page, each at its place in a tree. What a component of
ours reports with ``setStateValue`` is a JSON object under the component's widget id.
"""

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

from study_app.bundle import Bundle
from study_app.texts import Texts

PATIENCE = 120.0  # seconds until a page that is waited for counts as missed; a busy machine takes its time


class Page:
    """What one run of the script drew: its elements in the order of the page."""

    def __init__(self, elements: dict[tuple[int, ...], Any]) -> None:
        self._elements = [elements[place] for place in sorted(elements)]

    def all(self, kind: str) -> list[Any]:
        """The elements of a kind, by their names in streamlit/proto/Element.proto."""
        return [getattr(element, kind) for element in self._elements if element.WhichOneof("type") == kind]

    def button(self, label: str) -> Any:
        """The button that says this, or None."""
        return next((button for button in self.all("button") if button.label == label), None)

    def component(self, name: str) -> Any:
        """One of our components, or None; ``json`` holds what Python gave it."""
        return next((one for one in self.all("bidi_component") if one.component_name == name), None)

    @property
    def trial(self) -> str | None:
        """Id of the trial (or example) that the player shows."""
        player = self.component("panobench_player")
        return json.loads(player.json)["trial"] if player else None

    @property
    def text(self) -> str:
        """All that is to be read."""
        kinds = ("heading", "markdown", "text", "alert", "code", "progress")
        fields = ("body", "text", "code_text")
        found = (getattr(element, kind) for element in self._elements if (kind := element.WhichOneof("type")) in kinds)
        return "\n".join(getattr(one, name) for one in found for name in fields if hasattr(one, name))

    @property
    def widgets(self) -> Iterator[str]:
        """Ids of everything that has a state."""
        for element in self._elements:
            one = getattr(element, element.WhichOneof("type"))
            if hasattr(one, "id") and one.id:
                yield one.id


class Visitor:
    """One tab: the page that is shown, and the states of its widgets."""

    def __init__(self, url: str, query: str = "") -> None:
        """Open the app.

        Args:
            url: of the server, http://host:port.
            query: what stands after the question mark.
        """
        self.query = query
        self.states: dict[str, WidgetState] = {}
        self.page = Page({})
        self._drawing: dict[tuple[int, ...], Any] = {}
        self._script = ""
        address = url.replace("http", "ws", 1) + "/_stcore/stream"
        self._socket = connect(address, subprotocols=["streamlit"], origin=url, max_size=None, compression=None)
        self.send()
        self.wait(lambda page: bool(page.text))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *triggers: str) -> bytes:
        """Ask for a run of the script with the states as they are; returns the message as it was sent."""
        message = BackMsg()
        state = message.rerun_script
        state.query_string = self.query
        state.page_script_hash = self._script
        state.context_info.locale = "en-GB"
        state.widget_states.widgets.extend(self.states.values())
        state.widget_states.widgets.extend(WidgetState(id=name, trigger_value=True) for name in triggers)
        data = message.SerializeToString()
        self.resend(data)
        return data

    def resend(self, data: bytes) -> None:
        """Send a message once more, whatever page is shown by now."""
        self._socket.send(data)
        # Loopback's delayed acknowledgement would hold the second packet of each page back for 40 ms (Linux).
        if hasattr(socket, "TCP_QUICKACK"):
            self._socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def set(self, widget: Any, **value: Any) -> None:
        """Change a widget's state on this side only, as within a form."""
        self.states[widget.id] = WidgetState(id=widget.id, **value)

    def report(self, component: str, **values: Any) -> None:
        """What a component does with ``setStateValue``: the script runs."""
        self.set(self.page.component(component), json_value=json.dumps(values))
        self.send()

    def press(self, label: str) -> bytes:
        """Press a button; returns the message as it was sent."""
        button = self.page.button(label)
        assert button is not None, f"no button {label!r} on:\n{self.page.text}"
        assert not button.disabled, f"{label!r} cannot be pressed"
        return self.send(button.id)

    def wait(self, until: Callable[[Page], bool]) -> Page:
        """Read messages until a run has finished whose page is as wanted."""
        while True:
            if self.receive() and until(self.page):
                return self.page

    def receive(self) -> bool:
        """Take one message; returns whether a page is complete now."""
        message = ForwardMsg.FromString(self._socket.recv(timeout=PATIENCE))
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._script = message.new_session.page_script_hash
            self._drawing = {}
        elif kind == "delta":
            if message.delta.WhichOneof("type") == "new_element":
                self._drawing[tuple(message.metadata.delta_path)] = message.delta.new_element
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
            self.page = Page(self._drawing)
            assert not self.page.all("exception"), self.page.all("exception")
            there = set(self.page.widgets)
            self.states = {name: state for name, state in self.states.items() if name in there}
            return True
        return False


@dataclass
class Walk:
    """What a rater brought home.

    Attributes:
        token: of the personal link.
        code: that the last page showed.
        seconds: from each submit until the next page was complete.
        pauses: buttons that led on between trials: from the feedback of each practice trial, and from the break.
    """

    token: str
    code: str
    seconds: list[float]
    pauses: int


def walk(url: str, bundle: Bundle, choose: Callable[[str, str], str], query: str = "", pause: float = 0.0) -> Walk:
    """One rater from the landing page, or a personal link, to the completion code, every submit sent twice.

    The second time is, in turn, at once (a double click), after the page has moved on (a message that the network sent
    again), and from another tab that shows the same trial, with other answers.

    Args:
        url: of the server.
        bundle: that it shows.
        choose: (trial id, criterion) to the answer.
        query: of the address, with a token.
        pause: seconds for which the rater thinks before a submit, on average.
    """
    texts, seconds, pauses = bundle.texts(), [], 0
    with Visitor(url, query) as visitor:
        enter(visitor, bundle)
        while (page := visitor.page).button(texts.trial.submit):
            trial = page.trial
            look(visitor, texts)
            fill(visitor, bundle, lambda criterion, trial=trial: choose(trial, criterion))
            twice = ("at once", "afterwards", "other tab")[len(seconds) % 3]
            other = Visitor(url, visitor.query) if twice == "other tab" else None
            time.sleep(random.uniform(0, 2 * pause))
            start = time.perf_counter()
            message = visitor.press(texts.trial.submit)
            if twice == "at once":
                visitor.resend(message)
            visitor.wait(lambda page, trial=trial: page.trial != trial)
            seconds.append(time.perf_counter() - start)
            if twice == "afterwards":
                visitor.resend(message)
            if other is not None:
                with other:
                    assert other.page.trial == trial
                    fill(other, bundle, lambda _: bundle.choices[-1])
                    other.press(texts.trial.submit)
                    other.wait(lambda page, trial=trial: page.trial != trial)
            while go := next((label for label in onward(texts) if visitor.page.button(label)), None):
                pauses += 1
                visitor.press(go)
                visitor.wait(lambda page, go=go: page.button(go) is None)
        (code,) = visitor.page.all("code")
        return Walk(parse_qs(visitor.query)["rater"][0], code.code_text, seconds, pauses)


def enter(visitor: Visitor, bundle: Bundle) -> None:
    """Through landing page, consent, browser check and instructions to the first trial."""
    texts = bundle.texts()
    if visitor.page.button(texts.landing.start):
        visitor.press(texts.landing.start)
        visitor.wait(lambda page: texts.consent.title in page.text)
    visitor.set(visitor.page.all("checkbox")[0], bool_value=True)
    visitor.press(texts.consent.button)
    visitor.wait(lambda page: page.component("panobench_check") is not None)
    visitor.report("panobench_check", result="good")
    visitor.wait(lambda page: page.button(texts.check.button) is not None)
    visitor.press(texts.check.button)
    visitor.wait(lambda page: page.button(texts.instructions.button) is not None)
    visitor.press(texts.instructions.button)
    visitor.wait(lambda page: page.button(texts.trial.submit) is not None)


def look(visitor: Visitor, texts: Texts) -> None:
    """Tell the page, as the player does, that all was seen: the button opens."""
    assert visitor.page.button(texts.trial.submit).disabled
    visitor.report("panobench_player", seen=visitor.page.trial)
    visitor.wait(lambda page: page.button(texts.trial.submit) and not page.button(texts.trial.submit).disabled)


def fill(visitor: Visitor, bundle: Bundle, choose: Callable[[str], str]) -> None:
    """Answer every question of the page; ``choose`` goes from a criterion to the answer."""
    texts = bundle.texts()
    criteria = {criterion.title: criterion.id for criterion in texts.criteria}
    radios = visitor.page.all("radio")
    assert sorted(criteria[radio.label] for radio in radios) == sorted(bundle.criteria)
    for radio in radios:
        choice = bundle.choices.index(choose(criteria[radio.label]))
        visitor.set(radio, string_value=radio.options[choice])


def onward(texts: Texts) -> tuple[str, str]:
    """What the buttons say that lead on from the feedback of practice and from the break."""
    return texts.practice.button, texts.rest.button
