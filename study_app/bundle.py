"""The study bundle: all that the app needs, and nothing that names a method.

`study.yaml` holds what the organiser decided and every word that raters read, `study.json` the videos, and
`media/<opaque id>.mp4` their files. The names of the methods are in `key.json`, which only the export reads.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import PanobenchError
from study_app.params import StudyParams
from study_app.texts import CHOICES, PLACES, Texts

SCHEMA: Literal["panobench.study/2"] = "panobench.study/2"
KEY_SCHEMA: Literal["panobench.study-key/1"] = "panobench.study-key/1"
STUDY_FILE, SETTINGS_FILE, KEY_FILE, MEDIA_FOLDER = "study.json", "study.yaml", "key.json", "media"

OPAQUE = r"^[0-9a-f]{24}$"
#: What to do about a bundle that is missing or damaged.
PREPARE = "make it with `panobench study prepare MANIFEST... --out DIR`"


class BundleError(PanobenchError):
    """The study bundle is missing, damaged or of another version."""


class _Strict(BaseModel):
    """No key too many or too few, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VideoFormat(_Strict):
    """The one format of all media of a bundle."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    frames: int = Field(gt=0)
    fps: float = Field(gt=0)


class Prompt(_Strict):
    """What the videos of one row were made from; raters read ``text``."""

    id: str = Field(min_length=1)
    text: str


class Settings(StudyParams):
    """`study.yaml` of a bundle: the organiser's decisions, completed by the texts of every language."""

    texts: dict[str, Texts]

    @model_validator(mode="after")
    def _one_study(self) -> "Settings":
        if list(self.texts) != self.languages:
            raise ValueError("there must be texts for exactly the languages that are named")
        asked = {language: sorted(c.id for c in texts.criteria) for language, texts in self.texts.items()}
        if any(ids != asked[self.languages[0]] for ids in asked.values()):
            raise ValueError("every language must ask the same criteria")
        return self


class Media(_Strict):
    """The bytes of one video file."""

    id: str = Field(pattern=OPAQUE)
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Stimulus(Media):
    """One video that is compared: which method (opaque) and which prompt."""

    method: str = Field(pattern=OPAQUE)
    prompt: str


class Control(_Strict):
    """A clip against a damaged copy of itself; on ``criterion`` the original is better.

    ``use`` is gold (among the trials) or example (instructions and practice), so that nobody meets a gold clip before.
    """

    id: str = Field(min_length=1)
    use: Literal["gold", "example"]
    kind: str
    criterion: str
    prompt: str
    sound: str = Field(pattern=OPAQUE)
    damaged: str = Field(pattern=OPAQUE)


class Study(_Strict):
    """`study.json`. ``methods`` are opaque ids in an order that says nothing."""

    schema_: Literal["panobench.study/2"] = Field(alias="schema")
    study_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    mode: Literal["half", "full", "best-of-four"]
    settings_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    design_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    video: VideoFormat
    methods: list[str] = Field(min_length=2)
    prompts: list[Prompt] = Field(min_length=1)
    stimuli: list[Stimulus]
    controls: list[Control]
    damaged: list[Media]

    @model_validator(mode="after")
    def _complete(self) -> "Study":
        cells = {(stimulus.method, stimulus.prompt) for stimulus in self.stimuli}
        expected = {(method, prompt.id) for method in self.methods for prompt in self.prompts}
        if cells != expected or len(self.stimuli) != len(expected):
            raise ValueError("there must be exactly one stimulus for each method and prompt")
        originals, copies = {stimulus.id for stimulus in self.stimuli}, {media.id for media in self.damaged}
        if len(originals | copies) != len(self.stimuli) + len(self.damaged):
            raise ValueError("two videos have one id")
        if any(control.sound not in originals or control.damaged not in copies for control in self.controls):
            raise ValueError("a control names a video that is not there")
        return self


class KeyedMethod(_Strict):
    """The name behind an opaque method id."""

    name: str


class KeyedStimulus(_Strict):
    """Where a video came from; never shown to raters. ``damage`` is the kind of control, if it is a damaged copy."""

    damage: str | None = None

    method: str
    prompt_id: str
    video_id: str
    seed: int | None
    source_sha256: str


class Key(_Strict):
    """`key.json`: opaque ids to names."""

    schema_: Literal["panobench.study-key/1"] = Field(alias="schema")
    study_id: str
    methods: dict[str, KeyedMethod]
    stimuli: dict[str, KeyedStimulus]


@dataclass(frozen=True)
class Bundle:
    """A loaded, verified bundle. ``sha256`` is that of study.json and is written beside every answer."""

    folder: Path
    study: Study
    settings: Settings
    sha256: str

    @cached_property
    def files(self) -> dict[str, Path]:
        """Path of each stimulus by its id: media are looked up here, never by joining what a browser sent."""
        return {m.id: self.folder / MEDIA_FOLDER / f"{m.id}.mp4" for m in (*self.study.stimuli, *self.study.damaged)}

    @cached_property
    def stimulus_at(self) -> dict[tuple[int, int], str]:
        """Stimulus id by (index of the method, index of the prompt), the indices that study_app.design uses."""
        method = {name: index for index, name in enumerate(self.study.methods)}
        prompt = {entry.id: index for index, entry in enumerate(self.study.prompts)}
        return {(method[s.method], prompt[s.prompt]): s.id for s in self.study.stimuli}

    @property
    def design_key(self) -> bytes:
        """What the raters' schedules are drawn from."""
        return bytes.fromhex(self.study.design_key)

    @property
    def criteria(self) -> list[str]:
        """Ids of the questions."""
        return [criterion.id for criterion in self.texts().criteria]

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be answered: left, tie, right; or the places of the videos where the best one is picked."""
        return PLACES[: len(self.study.methods)] if self.study.mode == "best-of-four" else CHOICES

    def texts(self, language: str | None = None) -> Texts:
        """The words of a language, or of the first one if there are none in that language."""
        return self.settings.texts.get(language or "", self.settings.texts[self.settings.languages[0]])

    @property
    def prompts(self) -> dict[str, str]:
        """Text of each prompt by its id."""
        return {prompt.id: prompt.text for prompt in self.study.prompts}


def load_bundle(folder: str | Path) -> Bundle:
    """Read and verify a bundle: schema, completeness, and size and SHA-256 of every media file.

    Raises:
        BundleError: one line that names the file and the fix.
    """
    folder = Path(folder)
    path = folder / STUDY_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: no study bundle here; {PREPARE}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    study = _validate(Study, path, content)
    settings = _load_settings(folder / SETTINGS_FILE, study)
    bundle = Bundle(folder.resolve(), study, settings, hashlib.sha256(content).hexdigest())
    for media in (*study.stimuli, *study.damaged):
        _verify_media(bundle.files[media.id], media)
    return bundle


def _load_settings(path: Path, study: Study) -> Settings:
    import yaml

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: missing from the bundle ({error.strerror}); {PREPARE}") from error
    if hashlib.sha256(content).hexdigest() != study.settings_sha256:
        raise BundleError(f"{path}: was changed after the study was made; change your own study.yaml, then {PREPARE}")
    try:
        return Settings.model_validate(yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, ValidationError) as error:
        raise BundleError(f"{path}: not the settings of a study ({' '.join(str(error).split())}); {PREPARE}") from error


def load_key(path: str | Path, study_id: str) -> Key:
    """Read `key.json` and check that it belongs to this study."""
    path = Path(path)
    try:
        key = _validate(Key, path, path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; name the study's key with --key") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if key.study_id != study_id:
        raise BundleError(
            f"{path}: this is the key of study {key.study_id}, not of {study_id}; name the right one with --key"
        )
    return key


def _validate(model: type[Any], path: Path, content: bytes) -> Any:
    try:
        values = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError(f"{path}: damaged, not JSON ({error}); {PREPARE}") from error
    found = values.get("schema") if isinstance(values, dict) else None
    expected = model.model_fields["schema_"].annotation.__args__[0]
    if found != expected:
        raise BundleError(f"{path}: schema is {found!r}, this version reads {expected!r}; {PREPARE}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise BundleError(f"{path}: damaged, {where}: {first['msg']}; {PREPARE}") from error


def _verify_media(path: Path, media: Media) -> None:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: missing from the bundle ({error.strerror}); {PREPARE}") from error
    if digest != media.sha256:
        raise BundleError(f"{path}: damaged, its SHA-256 is not the one in {STUDY_FILE}; {PREPARE}")
