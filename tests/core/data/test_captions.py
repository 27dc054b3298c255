"""360 Text Fusion with real models and a real, unreliable server."""

import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.caption import caption_stage
from core.data.captioner import VIEW_YAWS_DEG, Blip, views_of
from core.data.chat import ChatFuser, LocalFuser, as_caption, fusion_prompt, messages_for
from core.data.clips import YAWS, read_clips
from core.data.fusion import fuse_captions
from core.errors import PanobenchError
from core.nano.captions import caption, shown_in
from core.nano.scene import Scene, Thing, sample_scene
from core.params_schema import Caption
from core.sphere import view_directions
from tests.tiny import build_tokenizer, write_tiny_blip, write_tiny_clips

VIEWS = ["a red ball on a meadow", "a meadow", "a blue tower on a meadow", "a meadow, at noon"]


def good(text: str) -> tuple[int, dict, str]:
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@contextmanager
def endpoint(*answers):
    """An OpenAI-compatible server that gives these answers in turn, the last one from then on.

    An answer is (status, headers, body), seconds to sleep before a good one, or a way to break off: reset, half.
    """
    asked: list[dict] = []
    times: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            times.append(time.monotonic())
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            answer = answers[min(len(asked), len(answers)) - 1]
            if answer == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                return
            if answer == "half":  # the connection ends in the middle of the body
                status, _, text = good("a meadow, at")
                self.send_response(status)
                self.send_header("Content-Length", str(len(text) + 40))
                self.end_headers()
                self.wfile.write(text.encode())
                self.close_connection = True
                return
            if isinstance(answer, float):
                time.sleep(answer)
                answer = good("too late")
            status, headers, text = answer
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())
            except BrokenPipeError:
                pass  # it did not wait

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked, times
    finally:
        server.shutdown()
        server.server_close()


def fuser(url: str, **options) -> ChatFuser:
    return ChatFuser(url, "tiny-chat", "secret", **{"per_minute": 60_000, "timeout": 5, "pause": 0.01, **options})


def test_what_is_asked_is_the_versioned_prompt_with_examples_and_the_four_views():
    with endpoint(good('"A red ball and a blue tower on a meadow,\n at noon."')) as (url, asked, _):
        assert fuser(url).fuse(VIEWS) == "A red ball and a blue tower on a meadow, at noon"
    [question] = asked
    assert question["path"] == "/v1/chat/completions"
    assert question["key"] == "Bearer secret"
    assert (question["model"], question["temperature"], question["top_p"]) == ("tiny-chat", 0.7, 0.95)
    roles = [message["role"] for message in question["messages"]]
    assert roles == ["system", *["user", "assistant"] * len(fusion_prompt()[0]["examples"]), "user"]
    assert all(view in question["messages"][-1]["content"] for view in VIEWS)
    assert fuser("x").description == f"chat tiny-chat, prompt {fusion_prompt()[1]}"


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}, "oops"),
        (503, {}, "<html>busy</html>"),
        (200, {}, "no json"),
        (200, {}, "{}"),
        (200, {}, '{"choices": []}'),
        (200, {}, '{"choices": [{"message": {"content": null}}]}'),
        good("   "),
        good("word " * 200),
        (200, {}, '{"error": {"message": "overloaded", "code": 529}}'),
        (200, {}, "[]"),
        (200, {}, '{"choices": [{"finish_reason": "length", "message": {"content": "a meadow with"}}]}'),
        (200, {}, 'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'),
        (200, {}, '{"choices": [{"message": {"content": "a \ud800'),
        (200, {"Content-Encoding": "gzip"}, "not gzip"),
        "reset",
        "half",
    ],
)
def test_a_server_that_fails_or_answers_nonsense_is_asked_again(fault):
    with endpoint(fault, fault, good("a meadow")) as (url, asked, _):
        assert fuser(url).fuse(VIEWS) == "a meadow"
        assert len(asked) == 3


def test_a_throttling_server_is_given_the_time_that_it_asks_for():
    with endpoint((429, {"Retry-After": "0.6"}, "slow down"), good("a meadow")) as (url, asked, times):
        assert fuser(url).fuse(VIEWS) == "a meadow"
        assert len(asked) == 2
        assert times[1] - times[0] >= 0.6
    for past_or_nonsense in ("Wed, 21 Oct 2015 07:28:00 GMT", "soon", "nan", "-5"):
        with endpoint((429, {"Retry-After": past_or_nonsense}, ""), good("a lake")) as (url, *_):
            assert fuser(url).fuse(VIEWS) == "a lake"
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)  # in whole seconds
    with endpoint((503, {"Retry-After": later}, ""), good("a lake")) as (url, _, times):
        assert fuser(url).fuse(VIEWS) == "a lake"
        assert times[1] - times[0] >= 0.9


def test_no_message_holds_the_key():
    """Not what a server repeats, not a key that cannot be sent, not the fuser itself."""
    with endpoint((401, {}, '{"error": "wrong key: secret"}')) as (url, *_):
        with pytest.raises(PanobenchError, match=r"refuses, status 401.*wrong key: \*\*\*") as caught:
            fuser(url).fuse(VIEWS)
        assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {fuser(url)!r}"
    with (
        endpoint((200, {}, '{"error": "key secret is used up"}')) as (url, *_),
        pytest.raises(PanobenchError, match=r"an error instead of an answer: key \*\*\* is used up"),
    ):
        fuser(url, attempts=2).fuse(VIEWS)
    environment = {"PANOBENCH_CHAT_URL": "http://x/v1", "PANOBENCH_CHAT_MODEL": "m"}
    assert ChatFuser.from_environment(environment | {"PANOBENCH_CHAT_KEY": " secret\n"}).key == "secret"
    for key in ("sécret", "sec\nret"):
        with pytest.raises(PanobenchError, match="holds characters that no key has") as caught:
            ChatFuser.from_environment(environment | {"PANOBENCH_CHAT_KEY": key})
        assert key not in str(caught.value)


def test_a_redirection_is_not_followed_with_the_key():
    with endpoint(good("elsewhere")) as (other, asked, _):
        with (
            endpoint((307, {"Location": f"{other}/chat/completions"}, "")) as (url, *_),
            pytest.raises(PanobenchError, match="refuses, status 307"),
        ):
            fuser(url).fuse(VIEWS)
        assert asked == []


def test_answers_in_parts_with_thoughts_and_in_any_letters():
    parts = [{"type": "text", "text": "ein See, "}, {"type": "text", "text": "im Süden 湖"}]
    body = json.dumps({"choices": [{"message": {"content": parts}}]}, ensure_ascii=False)
    with endpoint((200, {"Content-Type": "application/json"}, body)) as (url, asked, _):
        assert fuser(url).fuse(["ein See im Süden", "湖", "", "a lake"]) == "ein See, im Süden 湖"
    assert "湖" in asked[0]["messages"][-1]["content"]
    assert asked[0]["stream"] is False
    assert as_caption("<think>four views,\nso</think>\n\nA lake.") == "A lake"


def test_a_silent_server_is_not_waited_for_and_pauses_grow():
    with endpoint(1.5, 1.5, good("a meadow")) as (url, asked, times):
        assert fuser(url, timeout=0.2, pause=0.2).fuse(VIEWS) == "a meadow"
        assert len(asked) == 3
        assert times[1] - times[0] >= 0.4
        assert times[2] - times[1] >= 0.6


def test_requests_keep_to_the_rate():
    with endpoint(good("a meadow")) as (url, _, times):
        asking = fuser(url, per_minute=300)
        for _ in range(4):
            asking.fuse(VIEWS)
        assert min(b - a for a, b in pairwise(times)) > 0.15


def test_refusals_and_endless_failures_are_errors_that_say_what_to_do():
    with endpoint((401, {}, '{"error": "bad key"}')) as (url, asked, _):
        with pytest.raises(PanobenchError, match=r"refuses, status 401.*bad key.*check model, key"):
            fuser(url).fuse(VIEWS)
        assert len(asked) == 1
    with (
        endpoint((500, {}, "")) as (url, asked, _),
        pytest.raises(PanobenchError, match=r"3 attempts failed.*goes on where it stopped"),
    ):
        fuser(url, attempts=3).fuse(VIEWS)
    with pytest.raises(PanobenchError, match="no answer"):
        fuser("http://127.0.0.1:9", attempts=2).fuse(VIEWS)


def test_the_endpoint_is_named_by_the_environment():
    environment = {"PANOBENCH_CHAT_URL": "http://x/v1/", "PANOBENCH_CHAT_MODEL": "m", "PANOBENCH_CHAT_PRICE": "0.5,2"}
    made = ChatFuser.from_environment(environment)
    assert (made.url, made.model, made.key, made.price) == ("http://x/v1", "m", "", (0.5, 2.0))
    text = made.estimate(1_000_000, 200)
    assert text.startswith("1000000 requests, about ")
    assert "at the prices given" in text
    assert "277.8 hours at 60 a minute" in text
    assert ChatFuser.from_environment(
        {"OPENAI_BASE_URL": "http://y", "PANOBENCH_CHAT_MODEL": "m", "OPENAI_API_KEY": "k"}
    ).key
    for broken, message in (
        ({}, "PANOBENCH_CHAT_URL"),
        ({"PANOBENCH_CHAT_URL": "http://x"}, "PANOBENCH_CHAT_MODEL"),
        (environment | {"PANOBENCH_CHAT_RPM": "many"}, "no number"),
        (environment | {"PANOBENCH_CHAT_RPM": "0"}, "more than 0"),
        (environment | {"PANOBENCH_CHAT_URL": "localhost:8000"}, "expected an address"),
        (environment | {"PANOBENCH_CHAT_PRICE": "1"}, "two numbers"),
    ):
        with pytest.raises(PanobenchError, match=message):
            ChatFuser.from_environment(broken)


def test_a_stopped_run_asks_only_for_what_is_missing(tmp_path, monkeypatch, capsys):
    """Three clips; the server dies after two. What made each caption is on record."""
    write_tiny_clips(tmp_path / "set", clips=3)
    settings = Caption(fusion="chat")
    monkeypatch.setenv("PANOBENCH_CHAT_MODEL", "tiny-chat")
    monkeypatch.setenv("PANOBENCH_CHAT_RPM", "60000")

    def run(url: str) -> bool:
        monkeypatch.setenv("PANOBENCH_CHAT_URL", url)
        return caption_stage(tmp_path / "set/clips.csv", tmp_path / "out/clips.csv", settings, tmp_path / "partial")

    with (
        endpoint(good("first"), good("second"), (401, {}, "")) as (url, asked, _),
        pytest.raises(PanobenchError, match="refuses"),
    ):
        run(url)
    assert "caption: 3 requests, about" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with endpoint(good("third")) as (url, asked, _):
        assert run(url)
        assert len(asked) == 1
    clips = read_clips(tmp_path / "out/clips.csv")
    assert [clip.name for clip in clips] == ["first", "second", "third"]
    assert {clip.columns["fusion"] for clip in clips} == {f"chat tiny-chat, prompt {fusion_prompt()[1]}"}
    assert {clip.columns["captioner"] for clip in clips} == {"given"}
    assert clips[0].columns["yaw_90"] == "a red ball on a green meadow, at noon"


def test_a_local_chat_model_of_the_real_class(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)  # of what a random network says not everything is short enough for a caption
    tokenizer = build_tokenizer(tmp_path / "chat")
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=8192, **size)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "chat")
    with pytest.raises(PanobenchError, match="no chat template"):
        LocalFuser(str(tmp_path / "chat"))
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    tokenizer.save_pretrained(tmp_path / "chat")
    local = LocalFuser(str(tmp_path / "chat"))
    assert local.description == f"local chat, prompt {fusion_prompt()[1]}"
    assert local.fuse(VIEWS) == local.fuse(VIEWS)
    with pytest.raises(PanobenchError, match="no chat model in 'nowhere'"):
        LocalFuser("nowhere")


def test_answers_that_are_no_captions():
    assert as_caption(' "A lake."\n') == "A lake"
    for answer in (None, 3, "", " \n", "word " * 81):
        with pytest.raises(ValueError, match="the answer"):
            as_caption(answer)
    assert len(messages_for(VIEWS)) == 2 + 2 * len(fusion_prompt()[0]["examples"])


# --- views and BLIP --------------------------------------------------------------------------------------------------


def test_views_look_ahead_right_back_and_left():
    """Each quarter of the horizon has a colour of its own; each view sees its own in the middle."""
    frame = np.zeros((64, 128, 3), np.uint8)
    longitude = (np.arange(128) + 0.5) / 128 * 360 - 180
    for number, yaw in enumerate(VIEW_YAWS_DEG):
        near = np.abs((longitude - yaw + 180) % 360 - 180) < 40
        frame[:, near] = 50 + 50 * number
    views = views_of(frame)
    assert [view.shape for view in views] == [(384, 384, 3)] * 4
    assert [int(view[192, 192, 0]) for view in views] == [50, 100, 150, 200]


def test_blip_captions_in_batches_and_repeatably(tmp_path):
    blip = Blip(str(write_tiny_blip(tmp_path / "blip")))
    pictures = [np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8) for seed in range(3)]
    texts = blip.describe(pictures)
    assert texts == [blip.describe([picture])[0] for picture in pictures]
    assert all(texts)
    with pytest.raises(PanobenchError, match=r"no BLIP model in 'none'.*Salesforce/blip"):
        Blip("none")


def test_the_ablation_without_360tf_is_one_switch(tmp_path):
    blip = write_tiny_blip(tmp_path / "blip")
    write_tiny_clips(tmp_path / "set", clips=2)
    for whole_erp in (False, True):
        settings = Caption(captioner=str(blip), fusion="rules", whole_erp=whole_erp)
        assert caption_stage(tmp_path / "set/clips.csv", tmp_path / "out/clips.csv", settings, tmp_path / "partial")
        for clip in read_clips(tmp_path / "out/clips.csv"):
            expected = clip.columns["whole"] if whole_erp else fuse_captions([clip.columns[yaw] for yaw in YAWS])
            assert clip.name == expected
            assert clip.columns["fusion"] == ("none (whole ERP)" if whole_erp else "rules")


# --- the seam --------------------------------------------------------------------------------------------------------


def straddling(azimuth: float) -> Scene:
    """A scene with one thing, in a direction."""
    from dataclasses import replace

    scene = sample_scene(4, "train", 1)
    place = (7.0 * float(np.sin(azimuth)), 0.0, 7.0 * float(np.cos(azimuth)))
    return replace(scene, things=(Thing("tower", "red", place, 1.6, 8.0, (0.0, 0.0, 0.0)),))


@pytest.mark.parametrize("azimuth", [45, 135, 180, 225, 315, 181, 179])
def test_a_thing_between_two_views_is_named_once(azimuth):
    """At 180 degrees, the seam, and where views meet, whatever each view calls it."""
    scene = straddling(np.deg2rad(azimuth) + sample_scene(4, "train", 1).camera.yaw)
    seen_twice = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rays = [view_directions(48, 48, np.pi / 2, np.deg2rad(yaw)).numpy() for yaw in VIEW_YAWS_DEG]
        views = [caption(scene, shown_in(scene, ray, 0), rng) for ray in rays]
        seen_twice += sum("tower" in view for view in views) == 2
        fused = fuse_captions(views)
        assert len(re.findall(r"\btowers?\b", fused)) == 1, (views, fused)
        assert not re.search(r"seam|edge|\bleft\b|\bright\b|view", fused), fused
    assert seen_twice == 12 or azimuth % 90 in (0, 1, 89)


THINGS = [
    "man", "woman", "dog", "car", "boat", "bus", "tower", "house", "tree", "bridge", "balloon", "bench", "horse",
    "statue", "umbrella", "truck", "kite", "bird",
]  # fmt: skip
PLACES = [
    "desert", "meadow", "field", "lake", "beach", "forest", "city", "street", "valley", "park", "room", "church",
    "hall", "island", "mountain", "hill", "road",
]  # fmt: skip
PHRASES = (
    "a view of a {place}", "a {thing} on a {place}", "a red {thing} and a {other} in the {place}",
    "there is a {thing} that is standing in a {place}", "arafed view of a {place} with a {thing} in the background",
    "a snowy {place}, a {thing}, at noon", "a {thing} driving down a {place} next to a {other}", "the {place}",
    "a picture of a {thing} in front of a {place}, cloudy sky", "the {place} is in the distance", "a {thing}",
)  # fmt: skip


@st.composite
def blip_like(draw) -> str:
    """A caption as BLIP words it."""
    return draw(st.sampled_from(PHRASES)).format(
        thing=draw(st.sampled_from(THINGS)), other=draw(st.sampled_from(THINGS)), place=draw(st.sampled_from(PLACES))
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(blip_like(), min_size=4, max_size=4))
def test_no_thing_and_no_place_of_any_caption_is_lost(views):
    fused = fuse_captions(views)
    words = set(re.findall("[a-z]+", " ".join(views))) & {*THINGS, *PLACES}
    assert words <= set(re.findall("[a-z]+", fused)), fused
    assert not re.search(r"seam|left edge|right edge", fused)


def test_the_prompt_ships_with_the_package():
    assert (Path("core/data/templates/fusion_prompt.yaml")).is_file()
