"""The words that raters read: one YAML file per language in study_app/texts."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.errors import PanobenchError, did_you_mean

FOLDER = Path(__file__).parent / "texts"
#: Answers to a pair; in best-of-four mode they are the places of PLACES.
CHOICES = ("left", "tie", "right")
PLACES = ("a", "b", "c", "d", "e", "f")


class _Table(BaseModel):
    """A mapping of a language file: every key is needed, no other is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Criterion(_Table):
    """One question: a short title and a definition in one line."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = Field(min_length=1)
    definition: str = Field(min_length=1)


class Choices(_Table):
    """The three answers, in the order of CHOICES."""

    left: str
    tie: str
    right: str


class Landing(_Table):
    """The first page; ``text``, and ``text_best`` in best-of-four mode, may name {trials} and {minutes}."""

    title: str
    text: str
    text_best: str
    start: str
    closed: str
    unknown_link: str
    full: str
    over: str
    language: str


class Consent(_Table):
    """The consent page; ``contact`` names {contact}, ``retention`` names {date}."""

    title: str
    points: list[str]
    contact: str
    retention: str
    agree: str
    button: str
    required: str


class Check(_Table):
    """The browser check; ``small`` names {width}."""

    title: str
    text: str
    running: str
    good: str
    webgl: str
    codec: str
    small: str
    button: str


class Instructions(_Table):
    """The page before the first trial, and what stands under an example of each kind of damage."""

    title: str
    text: str
    text_best: str
    questions: str
    tie: str
    forced: str
    example: str
    examples: dict[str, str]
    link: str
    button: str


class Practice(_Table):
    """Trials with feedback; ``progress`` names {number} and {total}, ``right`` and ``wrong`` name {answer}."""

    progress: str
    right: str
    wrong: str
    button: str
    last: str


class Trial(_Table):
    """A trial; ``progress`` names {number} and {total}, ``missing`` names {missing}."""

    prompt: str
    progress: str
    progress_best: str
    submit: str
    missing: str
    look: str
    seen: str


class Break(_Table):
    """The page half-way; ``text`` names {done} and {left}."""

    title: str
    text: str
    button: str


class Done(_Table):
    """The last page."""

    title: str
    text: str
    code: str


class Withdraw(_Table):
    """Leaving the study: all answers are deleted."""

    open: str
    text: str
    confirm: str
    button: str
    title: str
    done: str
    ended: str


class Player(_Table):
    """Buttons, their explanations and messages of the player."""

    left: str
    right: str
    look: str
    look_help: str
    seam: str
    seam_help: str
    flat: str
    flat_help: str
    up: str
    up_help: str
    down: str
    down_help: str
    side: str
    side_help: str
    swipe: str
    swipe_help: str
    toggle: str
    toggle_help: str
    divider: str
    reset: str
    reset_help: str
    play: str
    pause: str
    play_help: str
    back: str
    forward: str
    hint: str
    label: str
    loading: str
    no_webgl: str
    failed: str


class Error(_Table):
    """What raters read when the organiser has to look."""

    title: str
    saved: str
    not_saved: str


class Texts(_Table):
    """All texts of one language; ``name`` is the language's own name for itself."""

    name: str
    criteria: list[Criterion] = Field(min_length=1)
    choices: Choices
    landing: Landing
    consent: Consent
    check: Check
    instructions: Instructions
    practice: Practice
    trial: Trial
    rest: Break
    done: Done
    withdraw: Withdraw
    player: Player
    error: Error

    @field_validator("criteria")
    @classmethod
    def _distinct(cls, criteria: list[Criterion]) -> list[Criterion]:
        if len({criterion.id for criterion in criteria}) != len(criteria):
            raise ValueError("two criteria have one id")
        return criteria


def languages() -> list[str]:
    """The languages there are texts for."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_texts(language: str, wording: dict[str, Any] | None = None, criteria: list[str] | None = None) -> Texts:
    """The texts of a language.

    Args:
        language: name of a file in study_app/texts.
        wording: words of the organiser's own over those of the file: {page: {key: text}}, or whole lists.
        criteria: ids of the criteria that are asked; None: all of the file.

    Raises:
        PanobenchError: there is no such language, its file lacks a text, or there is no such criterion or key.
    """
    import yaml

    path = FOLDER / f"{language}.yaml"
    if language not in languages():
        hint = did_you_mean(language, languages())
        raise PanobenchError(f"study.languages = '{language}': there are texts in {', '.join(languages())}{hint}")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for page, words in (wording or {}).items():
        values[page] = values.get(page, {}) | words if isinstance(words, dict) else words
    try:
        texts = Texts.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = "study.wording over " if wording else ""
        raise PanobenchError(f"{where}{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if criteria is None:
        return texts
    known = {criterion.id: criterion for criterion in texts.criteria}
    for name in criteria:
        if name not in known:
            hint = did_you_mean(name, list(known))
            raise PanobenchError(f"study.criteria: '{name}' is not in {path.name}, which has {', '.join(known)}{hint}")
    return texts.model_copy(update={"criteria": [known[name] for name in dict.fromkeys(criteria)]})
