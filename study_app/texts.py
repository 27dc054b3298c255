"""The words that raters read: one YAML file per language in study_app/texts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from core.errors import PanobenchError, did_you_mean

FOLDER = Path(__file__).parent / "texts"
CHOICES = ("left", "tie", "right")


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
    """The first page; ``text`` may name {trials} and {minutes}."""

    text: str
    start: str
    closed: str
    unknown_link: str


class Consent(_Table):
    """The consent page; ``contact`` names {contact}."""

    title: str
    points: list[str]
    contact: str
    agree: str
    button: str
    required: str


class Instructions(_Table):
    """The page before the first trial."""

    title: str
    text: str
    questions: str
    tie: str
    link: str
    button: str


class Trial(_Table):
    """A trial; ``progress`` names {number} and {total}, ``missing`` names {missing}."""

    prompt: str
    progress: str
    submit: str
    missing: str


class Done(_Table):
    """The last page."""

    title: str
    text: str
    code: str


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
    """All texts of one language."""

    criteria: list[Criterion] = Field(min_length=1)
    choices: Choices
    landing: Landing
    consent: Consent
    instructions: Instructions
    trial: Trial
    done: Done
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


def load_texts(language: str) -> Texts:
    """The texts of a language.

    Raises:
        PanobenchError: there is no such language, or its file lacks a text.
    """
    import yaml

    path = FOLDER / f"{language}.yaml"
    if language not in languages():
        hint = did_you_mean(language, languages())
        raise PanobenchError(f"study.language = '{language}': there are texts in {', '.join(languages())}{hint}")
    try:
        return Texts.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise PanobenchError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
