"""Fusing captions with a chat model: any OpenAI-compatible endpoint, or a local one through transformers.

An endpoint is named by the environment alone, so that keys are never in a file of the project:
PANOBENCH_CHAT_URL (base URL, up to and with /v1), PANOBENCH_CHAT_KEY, PANOBENCH_CHAT_MODEL; the first two also as
OPENAI_BASE_URL and OPENAI_API_KEY. PANOBENCH_CHAT_RPM limits requests per minute (60), PANOBENCH_CHAT_PRICE is what a
million tokens cost, "in,out", for the estimate.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from core.errors import PanobenchError

_PROMPT = Path(__file__).parent / "templates" / "fusion_prompt.yaml"
_WORDS = 80  # an answer longer than this is no caption
_LETTERS_PER_TOKEN = 4  # English, about


@cache
def fusion_prompt() -> tuple[dict[str, Any], str]:
    """The versioned prompt, and the first digits of its hash."""
    text = _PROMPT.read_bytes()
    return yaml.safe_load(text), hashlib.sha256(text).hexdigest()[:12]


def messages_for(views: Sequence[str]) -> list[dict[str, str]]:
    """System text, examples and question for four captions."""
    prompt, _ = fusion_prompt()
    messages = [{"role": "system", "content": prompt["system"]}]
    for example in prompt["examples"]:
        messages.append({"role": "user", "content": prompt["user"].format(*example["views"])})
        messages.append({"role": "assistant", "content": example["fused"]})
    messages.append({"role": "user", "content": prompt["user"].format(*views)})
    return messages


def as_caption(answer: object) -> str:
    """The caption in a model's answer: a text, or a list of parts with texts; thoughts before it are left out.

    Raises:
        ValueError: it is no caption: not text, empty, or far too long.
    """
    if isinstance(answer, list) and all(isinstance(part, dict) for part in answer):
        answer = "".join(str(part.get("text") or "") for part in answer)
    if not isinstance(answer, str):
        raise ValueError(f"the answer is no text but {type(answer).__name__}")
    spoken = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    text = " ".join(spoken.split()).strip(" \"'.`*")
    if not text:
        raise ValueError("the answer is empty")
    if len(text.split()) > _WORDS:
        raise ValueError(f"the answer has {len(text.split())} words")
    return text


def caption_of(answer: object) -> str:
    """The caption in the body of a chat endpoint's answer.

    Raises:
        ValueError: what the endpoint says instead, or that it is no answer.
    """
    if not isinstance(answer, dict):
        raise ValueError(f"the answer is no object but {type(answer).__name__}")
    if answer.get("error"):
        raise ValueError(f"an error instead of an answer: {' '.join(str(answer['error']).split())[:200]}")
    try:
        choice = answer["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"there is no {error!s} in the answer") from None
    if choice.get("finish_reason") == "length":
        raise ValueError("the answer is cut off")
    return as_caption(content)


@dataclass
class ChatFuser:
    """Asks an endpoint, one request a caption, no faster than allowed, and again when it fails for a while."""

    url: str
    model: str
    key: str = field(default="", repr=False)  # in no message
    per_minute: float = 60.0
    timeout: float = 60.0  # seconds
    attempts: int = 6
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one
    price: tuple[float, float] | None = None  # of a million tokens, in and out
    _next: float = 0.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ChatFuser:
        """As the module's docstring says.

        Raises:
            PanobenchError: a variable is missing or no number.
        """
        found = os.environ if environment is None else environment
        url = found.get("PANOBENCH_CHAT_URL") or found.get("OPENAI_BASE_URL")
        model = found.get("PANOBENCH_CHAT_MODEL")
        if not url or not model:
            missing = "PANOBENCH_CHAT_URL" if not url else "PANOBENCH_CHAT_MODEL"
            raise PanobenchError(
                f"caption.fusion is 'chat', and the environment does not set {missing}; set PANOBENCH_CHAT_URL (such "
                "as http://127.0.0.1:8000/v1), PANOBENCH_CHAT_MODEL and, where it needs one, PANOBENCH_CHAT_KEY"
            )
        try:
            rate = float(found.get("PANOBENCH_CHAT_RPM", "60"))
            price = found.get("PANOBENCH_CHAT_PRICE")
            prices = tuple(map(float, price.split(","))) if price else None
        except ValueError as error:
            raise PanobenchError(f"PANOBENCH_CHAT_RPM or PANOBENCH_CHAT_PRICE is no number ({error})") from error
        if prices is not None and len(prices) != 2:
            raise PanobenchError(f"PANOBENCH_CHAT_PRICE is '{price}', expected two numbers: in,out")
        if rate <= 0:
            raise PanobenchError(f"PANOBENCH_CHAT_RPM is {rate:g}, expected more than 0 requests a minute")
        if not url.startswith(("http://", "https://")):
            raise PanobenchError(f"PANOBENCH_CHAT_URL is '{url}', expected an address such as http://127.0.0.1:8000/v1")
        key = (found.get("PANOBENCH_CHAT_KEY") or found.get("OPENAI_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise PanobenchError("PANOBENCH_CHAT_KEY holds characters that no key has; copy it again")
        return cls(url.rstrip("/"), model, key, rate, price=prices)

    @property
    def description(self) -> str:
        """What is recorded with a caption."""
        return f"chat {self.model}, prompt {fusion_prompt()[1]}"

    def estimate(self, captions: int, letters: float) -> str:
        """What so many captions will take; `letters` are those of the four views together, on average."""
        fixed = sum(len(message["content"]) for message in messages_for([""] * 4))
        tokens_in = captions * (fixed + letters) / _LETTERS_PER_TOKEN
        tokens_out = captions * 40.0
        text = f"{captions} requests, about {tokens_in / 1e6:.2f} million tokens in and {tokens_out / 1e6:.2f} out"
        if self.price:
            text += f", {(tokens_in * self.price[0] + tokens_out * self.price[1]) / 1e6:.2f} at the prices given"
        else:
            text += " (PANOBENCH_CHAT_PRICE=in,out per million tokens gives the cost)"
        return f"{text}, at least {captions / self.per_minute / 60:.1f} hours at {self.per_minute:g} a minute"

    def fuse(self, views: Sequence[str]) -> str:
        """The fused caption of four.

        Raises:
            PanobenchError: the endpoint refuses, or fails again and again.
        """
        import requests

        body: dict[str, Any] = {"model": self.model, "messages": messages_for(views), "temperature": 0.7, "top_p": 0.95}
        body["stream"] = False
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        problem, wait = "", 0.0
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(max(wait, self.pause * 2 ** (attempt - 1)))
            self._keep_rate()
            wait = 0.0
            try:
                answer = requests.post(
                    f"{self.url}/chat/completions", json=body, headers=headers, timeout=self.timeout,
                    allow_redirects=False,
                )  # fmt: skip
                if answer.status_code == 200:
                    return caption_of(answer.json())
            except ValueError as error:  # also of JSON
                problem = self._hidden(f"malformed answer ({error})")
            except requests.RequestException as error:  # no connection, none in time, one that broke
                problem = f"no answer ({type(error).__name__})"
            else:
                problem = self._hidden(f"status {answer.status_code}: {' '.join(answer.text.split())[:200]}")
                if answer.status_code not in (408, 409, 429) and answer.status_code < 500:
                    raise PanobenchError(f"{self.url} refuses, {problem}; check model, key and address")
                wait = _retry_after(answer.headers.get("Retry-After"))
        raise PanobenchError(
            f"{self.url}: {self.attempts} attempts failed, the last with {problem}; "
            "run the same command again later, it goes on where it stopped"
        )

    def _hidden(self, text: str) -> str:
        """What a server says, without the key, which some repeat."""
        return text.replace(self.key, "***") if self.key else text

    def _keep_rate(self) -> None:
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + 60.0 / self.per_minute


def _retry_after(value: str | None) -> float:
    """Seconds that a server asks to wait, by their number or by the time; nonsense is none, ten minutes are enough."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(str(value)) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), 600.0) if seconds == seconds else 0.0


class LocalFuser:
    """A chat model in a local folder or by hub id, through transformers; greedy, so the same every time."""

    def __init__(self, model: str, device: Any = "cpu") -> None:
        """Load it.

        Raises:
            PanobenchError: not there, no causal language model, or without a chat template.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        local = Path(model).is_dir()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=local)
            self.model = AutoModelForCausalLM.from_pretrained(model, local_files_only=local, dtype="auto").to(device)
        except Exception as error:  # the loaders raise a dozen types for what is no such model
            reason = " ".join(str(error).split())[:300]
            raise PanobenchError(f"caption.fusion_model: no chat model in '{model}' ({reason})") from error
        if not self.tokenizer.chat_template:
            raise PanobenchError(f"caption.fusion_model: '{model}' has no chat template; take an instruct model")
        self.model.eval()
        self.name = Path(model).name if local else model

    @property
    def description(self) -> str:
        """What is recorded with a caption."""
        return f"local {self.name}, prompt {fusion_prompt()[1]}"

    def fuse(self, views: Sequence[str]) -> str:
        """The fused caption of four.

        Raises:
            PanobenchError: what the model says is no caption.
        """
        inputs = self.tokenizer.apply_chat_template(
            messages_for(views), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self.model.device)
        tokens = self.model.generate(**inputs, max_new_tokens=100, do_sample=False)
        answer = self.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        try:
            return as_caption(answer)
        except ValueError as error:
            raise PanobenchError(f"{self.name}: {error} for the views {list(views)}; take another model") from error
