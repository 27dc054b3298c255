"""Parameters of a study: the `study` section of params.yaml."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanobenchError, did_you_mean


class StudyParams(BaseModel):
    """What the organiser decides about a study; every field has a default that suits the nano profile."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(default="Which 360° video is better?", min_length=1)
    #: half: each rater sees half of all pairs x prompts, the next rater the other half. full: everybody sees all.
    mode: Literal["half", "full"] = "half"
    #: Name of a file in study_app/texts.
    language: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z]+)?$")
    #: Whether the landing page lets anybody start; otherwise only `panobench study invite` makes links.
    open_enrolment: bool = True
    #: Stored with each rater's consent; raise it whenever the consent text changes.
    consent_version: str = Field(default="1", min_length=1)
    #: How raters reach the organiser; the line is left out when empty.
    contact: str = ""
    #: Which sample of each prompt is shown, counted from 0 in the order of the manifest.
    sample: int = Field(default=0, ge=0)
    #: x264 constant rate factor of the re-encoded media, lower is better; 12 is visually lossless.
    quality: int = Field(default=12, ge=1, le=30)


def parse_study_params(values: dict[str, Any] | None, source: str) -> StudyParams:
    """Validate the `study` section; ``source`` names the file in messages.

    Raises:
        PanobenchError: names the key, what was found, and the nearest known key.
    """
    try:
        return StudyParams.model_validate(values or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(key, list(StudyParams.model_fields))
            raise PanobenchError(f"{source}: unknown key study.{key}{hint}") from error
        raise PanobenchError(f"{source}: study.{key} = {first['input']!r}: {first['msg']}") from error


def read_study_params(path: str | Path) -> tuple[StudyParams, int]:
    """The `study` section and the top-level `seed` (360 when absent) of a parameter file.

    Only these two are read here, so that a study of another method's videos needs no complete params.yaml.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PanobenchError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if content is None:
        content = {}
    if not isinstance(content, dict) or not isinstance(content.get("study") or {}, dict):
        raise PanobenchError(f"{path}: expected a mapping with a `study` section")
    seed = content.get("seed", 360)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PanobenchError(f"{path}: seed = {seed!r}: expected a whole number")
    return parse_study_params(content.get("study"), str(path)), seed
