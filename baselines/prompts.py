"""Prompt sets: YAML with `prompts`, a list of `id`, `text` and perhaps `motion`, and optionally a `negative_prompt`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from core.errors import PanobenchError


@dataclass(frozen=True)
class Prompt:
    """One prompt; the id names files and rows."""

    id: str
    text: str
    motion: str | None = None  # instead of generation.motion


@dataclass(frozen=True)
class PromptSet:
    """The prompts in file order, and the negative prompt they share."""

    prompts: tuple[Prompt, ...]
    negative_prompt: str = ""


def read_prompts(path: str | Path) -> PromptSet:
    """Read a prompt set.

    Raises:
        PanobenchError: naming the file and the entry, for anything but unique ids and non-empty texts.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PanobenchError(f"{path}: no such prompt file; set generation.prompts") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PanobenchError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("prompts"), list) or not content["prompts"]:
        raise PanobenchError(f"{path}: expected a list under 'prompts'")
    unknown = sorted(set(content) - {"prompts", "negative_prompt"})
    if unknown or not isinstance(content.get("negative_prompt", ""), str):
        raise PanobenchError(f"{path}: {unknown[0] if unknown else 'negative_prompt'!r} is not 'prompts' or a text")
    prompts: list[Prompt] = []
    for number, entry in enumerate(content["prompts"], start=1):
        if not isinstance(entry, dict) or set(entry) - {"motion"} != {"id", "text"}:
            raise PanobenchError(f"{path}: prompt {number} must have 'id' and 'text', and nothing else but 'motion'")
        name, text, motion = entry["id"], entry["text"], entry.get("motion")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
            raise PanobenchError(f"{path}: prompt {number}: id {name!r} must be lower-case letters, digits, _")
        if not isinstance(text, str) or not text.strip():
            raise PanobenchError(f"{path}: prompt '{name}' has an empty text")
        if any(name == prompt.id for prompt in prompts):
            raise PanobenchError(f"{path}: the id '{name}' is there twice")
        if motion is not None and not isinstance(motion, str):
            raise PanobenchError(f"{path}: prompt '{name}': motion {motion!r} is no name or path")
        prompts.append(Prompt(name, " ".join(text.split()), motion))
    return PromptSet(tuple(prompts), " ".join(content.get("negative_prompt", "").split()))


def sample_seed(base: int, prompt_id: str, index: int) -> int:
    """Seed of a sample, the same for every method: 48 bits, so that it survives a float in other software."""
    digest = hashlib.sha256(f"{base}/{prompt_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:6], "little")
