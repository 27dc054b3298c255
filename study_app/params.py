"""What the organiser decides about a study: `study.yaml`, and the `study` section of params.yaml over it."""

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PanobenchError, did_you_mean

Mode = Literal["half", "full", "best-of-four"]
DEFAULT_SEED = 360


class _Section(BaseModel):
    """No unknown key; every key has a default that suits the nano profile."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Quota(_Section):
    """How many raters there may be, and how long a rater's place is kept."""

    #: Places in the design; the next rater reads that the study is full. None: as many as come.
    raters: int | None = Field(default=None, gt=0)
    #: A rater who has not been seen for so long has left: what they have not answered goes to the next one.
    lease_hours: float = Field(default=72, gt=0)


class Controls(_Section):
    """Trials that measure the rater; none of them enters a score. 0 switches a kind off."""

    #: One gold trial (a clip against a damaged copy of itself) for so many scored ones.
    gold_every: int = Field(default=10, ge=0)
    #: The same clip twice: a tie is expected, and the side that is chosen instead is a bias.
    identical: int = Field(default=1, ge=0)
    #: Scored pairs shown again later with the sides swapped.
    repeated: int = Field(default=1, ge=0)
    #: Trials with feedback before the first scored one.
    practice: int = Field(default=2, ge=0, le=5)
    #: Raters are offered a break in the middle of so many trials or more.
    break_from: int = Field(default=16, ge=0)


class Screening(_Section):
    """From where a rater gets a flag. Flags are reported beside the votes; nobody is dropped."""

    #: Share of gold trials with the wrong answer.
    gold_missed: float = Field(default=0.5, ge=0, le=1)
    #: Median seconds from the first sight of a trial to its answers.
    seconds: float = Field(default=4, ge=0)
    #: Share of one and the same answer among all.
    same_answer: float = Field(default=0.95, ge=0, le=1)
    #: Share of the left (or of the right) among the answers that are no ties.
    one_side: float = Field(default=0.85, ge=0, le=1)
    #: Share of the answers to a repeated pair that favour the other method than before.
    contradicted: float = Field(default=0.6, ge=0, le=1)


class StudyParams(_Section):
    """Everything about a study but the videos."""

    #: half: each rater sees half of all pairs x prompts, the next rater the other half. full: everybody sees all.
    #: best-of-four: each rater picks the best of all methods' videos for each prompt, as in the paper.
    mode: Mode = "half"
    #: Replaces the title of every language file when it is not empty.
    title: str = ""
    #: Names of files in study_app/texts; the first is shown unless the rater's browser or the rater asks for another.
    languages: list[str] = Field(default=["en", "de"], min_length=1)
    #: Which of the language files' criteria are asked; None: all.
    criteria: list[str] | None = Field(default=None, min_length=1)
    #: Words of one's own over those of a language file: {language: {page: {key: text}}}.
    wording: dict[str, dict[str, Any]] = {}
    #: Whether the landing page lets anybody start; otherwise only invitations do.
    open_enrolment: bool = True
    #: Stored with each rater's consent; raise it whenever the consent text changes.
    consent_version: str = Field(default="1", min_length=1)
    #: Until when the single answers are kept; named in the consent text. None: not said.
    retention_until: date | None = None
    #: How raters reach the organiser; the line is left out when empty.
    contact: str = ""
    quota: Quota = Quota()
    controls: Controls = Controls()
    screening: Screening = Screening()
    #: Which sample of each prompt is shown, counted from 0 in the order of the manifest.
    sample: int = Field(default=0, ge=0)
    #: x264 constant rate factor of the re-encoded media, lower is better; 12 is visually lossless.
    quality: int = Field(default=12, ge=1, le=30)


class AnalysisParams(_Section):
    """What is decided about the analysis before there are votes: the `analysis` section of params.yaml."""

    #: Its comparisons with the other methods are the primary tests. None: all tests are exploratory.
    proposed: str | None = None
    #: Resamples of raters and prompts behind every interval.
    resamples: int = Field(default=2000, ge=100, le=100_000)
    #: Nominal coverage of the intervals.
    level: float = Field(default=0.95, gt=0, lt=1)


def parse_study_params(values: dict[str, Any] | None, source: str) -> StudyParams:
    """Validate the settings of a study; ``source`` names the file in messages.

    ``values`` may name a file of the same keys as ``config`` (relative to ``source``); keys beside it win.

    Raises:
        PanobenchError: names the key, what was found, and the nearest known key.
    """
    given = dict(values or {})
    config = given.pop("config", None)
    if config is not None:
        if not isinstance(config, str):
            raise PanobenchError(f"{source}: study.config = {config!r}: expected the name of a YAML file")
        path = Path(source).parent / config
        if not path.is_file():
            raise PanobenchError(f"{source}: study.config = '{config}', but {path} does not exist")
        base = _mapping(path)
        parse_study_params(base, str(path))
        given = base | given
    try:
        return StudyParams.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(key, [*StudyParams.model_fields, "config"])
            raise PanobenchError(f"{source}: unknown key study.{key}{hint}") from error
        raise PanobenchError(f"{source}: study.{key} = {first['input']!r}: {first['msg']}") from error


def read_study_params(path: str | Path) -> tuple[StudyParams, int]:
    """The `study` section and the top-level `seed` (360 when absent) of a parameter file.

    Only these two are read here, so that a study of another method's videos needs no complete params.yaml.
    """
    content = _mapping(path)
    if not isinstance(content.get("study") or {}, dict):
        raise PanobenchError(f"{path}: expected a mapping with a `study` section")
    return parse_study_params(content.get("study"), str(path)), _seed(content, path)


def parse_analysis_params(values: Any, source: str) -> AnalysisParams:
    """Validate the `analysis` section; ``source`` names the file in messages.

    Raises:
        PanobenchError: names the key, what was found, and the nearest known key.
    """
    try:
        return AnalysisParams.model_validate(values or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["analysis", *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), list(AnalysisParams.model_fields))
            raise PanobenchError(f"{source}: unknown key {key}{hint}") from error
        raise PanobenchError(f"{source}: {key} = {first['input']!r}: {first['msg']}") from error


def read_analysis_params(path: str | Path | None) -> tuple[AnalysisParams, int, dict[str, str]]:
    """The `analysis` section of a parameter file, its seed (360 when absent), and the labels of its methods.

    None gives the defaults.
    """
    if path is None:
        return AnalysisParams(), DEFAULT_SEED, {}
    content = _mapping(path)
    methods = content.get("methods")
    labels = {
        str(name): str(method["label"])
        for name, method in (methods.items() if isinstance(methods, dict) else ())
        if isinstance(method, dict) and "label" in method
    }
    return parse_analysis_params(content.get("analysis"), str(path)), _seed(content, path), labels


def parse_labels(given: tuple[str, ...]) -> dict[str, str]:
    """``METHOD=TEXT`` of the command line.

    Raises:
        PanobenchError: one of them has another form.
    """
    labels = {}
    for text in given:
        name, equals, label = text.partition("=")
        if not (name and equals and label):
            raise PanobenchError(f"--label: expected METHOD=TEXT, got '{text}'")
        labels[name] = label
    return labels


def run_manifests(path: str | Path) -> list[Path]:
    """The manifests of the methods in `run.methods` of a parameter file: those that the pipeline runs now.

    A folder that an earlier choice of methods left behind is not among them.
    """
    content = _mapping(path)
    run = content.get("run")
    methods = run.get("methods") if isinstance(run, dict) else None
    profile = content.get("profile")
    if not isinstance(profile, str) or not isinstance(methods, list) or not methods:
        raise PanobenchError(f"{path}: has no `profile` with `run.methods`; name the manifests on the command line")
    return [Path("outputs") / profile / "videos" / str(method) / "manifest.jsonl" for method in methods]


def _seed(content: dict[str, Any], path: str | Path) -> int:
    seed = content.get("seed", DEFAULT_SEED)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PanobenchError(f"{path}: seed = {seed!r}: expected a whole number")
    return seed


def _mapping(path: str | Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise PanobenchError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PanobenchError(f"{path}: not a YAML file ({' '.join(str(error).split())})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PanobenchError(f"{path}: expected a mapping with a `study` section")
    return content
