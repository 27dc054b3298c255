"""Bad parameter files: one line that names the file and the key, and says what to do."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import PanobenchError
from core.params import load_params, parse_params

ROOT = Path(__file__).parents[1]
GOOD: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_the_shipped_file_is_valid_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = load_params()
    assert params.video.width == 2 * params.video.height
    assert params.outputs == Path("outputs") / GOOD["profile"]
    assert params.methods["360dvd"].models() == ["adapter360"]


#: Free-form below: options of views and metrics, and a mapping of names.
FREE = {"scoring.metrics", "scoring.views", "report.headline"}


def keys(content: dict[str, Any], prefix: str = "") -> set[str]:
    """Every key with the keys above it."""
    found = set()
    for key, value in content.items():
        name = f"{prefix}{key}"
        found |= {name} | (keys(value, f"{name}.") if isinstance(value, dict) and name not in FREE else set())
    return found


def test_the_papers_profile_is_valid_and_has_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    paper = yaml.safe_load(Path("profiles/paper.yaml").read_text(encoding="utf-8"))
    assert keys(paper) == keys(GOOD), "profiles/paper.yaml must have the keys of params.yaml"
    assert load_params("profiles/paper.yaml").outputs != load_params().outputs


def _rename(section: dict[str, Any], old: str, new: str) -> None:
    section[new] = section.pop(old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: _rename(p, "video", "vidoe"), "unknown key 'vidoe'; did you mean 'video'?"),
        (
            lambda p: _rename(p["training"]["panorama_lora"], "rank", "rnk"),
            "unknown key 'training.panorama_lora.rnk'; did you mean 'rank'?",
        ),
        (lambda p: p["video"].update(zzz=1), "unknown key 'video.zzz'; known here: height, width, frames, fps"),
        (lambda p: p["video"].pop("fps"), "the key 'video.fps' is missing"),
        (lambda p: p["video"].update(height="64"), "'video.height' is '64', expected a whole number; take the quotes"),
        (lambda p: p["generation"].update(steps=2.5), "'generation.steps' is 2.5, expected a whole number"),
        (lambda p: p["generation"].update(steps=0), "'generation.steps' is 0, expected more than 0"),
        (lambda p: p["generation"].update(steps=True), "'generation.steps' is true, expected a whole number"),
        (lambda p: p.update(base="assets"), "'base' is 'assets', expected a mapping"),
        (lambda p: p["methods"].update({"360dvd": None}), "'methods.360dvd' is empty, expected a mapping"),
        (lambda p: p["run"].update(methods=[]), "'run.methods' is a list of 0"),
        (lambda p: p.update(profile="../x"), "'profile' is '../x', expected a name of lower-case letters"),
        (lambda p: p["training"]["adapter360"].pop("kind"), "'training.adapter360.kind' is missing"),
        (
            lambda p: p["training"]["adapter360"].update(latitude_loss="papr"),
            "latitude_loss' is 'papr', expected 'paper' or 'released' or 'none'; did you mean 'paper'?",
        ),
        # Keys that are each fine and together are not.
        (lambda p: p["video"].update(width=64), "'video.width' is 64 and 'video.height' 64"),
        (lambda p: p["dataset"].update(frames=2), "'dataset.frames' is 2, fewer than 'video.frames'"),
        (lambda p: p["dataset"].update(source="datasets/mine"), "set 'dataset.watch' to 'datasets/mine' too"),
        (lambda p: p["run"]["methods"].append("360dvdd"), "lists '360dvdd', which 'methods' does not define; did you"),
        (lambda p: p["run"]["models"].remove("adapter360"), "'360dvd', which needs the model 'adapter360'; add it to"),
        (lambda p: p["run"]["models"].append("adapter360"), "'run.models' lists 'adapter360' twice"),
        (
            lambda p: p["methods"]["360dvd"].update(adapter="adaptor360"),
            "'methods.360dvd.adapter' is 'adaptor360', which 'training' does not define; did you mean 'adapter360'?",
        ),
        (
            lambda p: p["methods"]["360dvd"].update(adapter="mine"),
            "does not define; a file's name has a '/' or a '.' in it",
        ),
        (
            lambda p: p["methods"]["360dvd"].update(adapter="panorama_lora"),
            "'methods.360dvd.adapter' is 'panorama_lora', which is of kind 'lora'",
        ),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    params = copy.deepcopy(GOOD)
    change(params)
    with pytest.raises(PanobenchError) as caught:
        parse_params(params, "mine.yaml")
    text = str(caught.value)
    assert text.startswith("mine.yaml: ")
    assert message in text
    assert "\n" not in text


def test_sizes_that_the_base_cannot_halve_are_refused(tiny_base: tuple[Path, Path]) -> None:
    params = copy.deepcopy(GOOD)
    params["base"] = {"model": str(tiny_base[0]), "motion_adapter": str(tiny_base[1])}
    params["video"].update(height=48, width=96)
    with pytest.raises(PanobenchError, match=r"'video.height' is 48; .* must be a multiple of 32"):
        parse_params(params)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n- 2\n", "expected a mapping of parameters, found a list of 2"),
        ("seed: 1\nseed: 2\n", "the key 'seed' is given twice"),
        ("\xff\xfe", "not valid YAML"),
    ],
)
def test_files_that_are_not_parameters(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(PanobenchError) as caught:
        load_params(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PanobenchError, match="no such file; run in the repository's root, or pass --params"):
        load_params(tmp_path / "params.yaml")


def test_exponents_without_a_dot_are_numbers_as_dvc_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("5.0e-4", "5e-4", 1)
    file.write_text(text, encoding="utf-8")
    assert 5e-4 in [training.learning_rate for training in load_params(file).training.values()]
