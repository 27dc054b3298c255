"""A proof passes a metric that keeps its claims, fails one that does not, and decides the default set."""

import json
import re
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from core.errors import PanobenchError
from evaluation import validate
from evaluation.features import VideoFeatures
from evaluation.metrics import METRICS, create_metrics
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.metrics.flicker import Flicker
from evaluation.metrics.proven import PROVEN
from evaluation.proof import Values, prove, record, rotation_spread, unproven
from panobench import cli
from tests.evaluation.worlds import write_set

ROOT = Path(__file__).parents[2]
PROOF = ROOT / "docs" / "metrics" / "proof.json"


def curve(*means: float, clips: int = 4) -> dict[float, np.ndarray]:
    return {(i + 1) / len(means): np.full(clips, mean) for i, mean in enumerate(means)}


def values(**curves: dict[float, np.ndarray]) -> Values:
    return Values(np.ones(4), dict(curves), {3: np.ones(4), 9: np.ones(4)})


def failures(found: Values, promised: Claims) -> list[str]:
    return [f"{check.kind} {check.of}" for check in prove(found, promised) if not check.passed]


SEAM = claims(rises="broken_seam", level="flicker", floor=Floor("clean", 0.5, 1.5))


def test_a_metric_that_does_as_it_says_passes():
    assert failures(values(broken_seam=curve(2, 4, 9), flicker=curve(1.1, 1.2, 1.3)), SEAM) == []
    falling = claims(falls="broken_seam")
    assert failures(values(broken_seam=curve(0.9, 0.5, 0.1)), falling) == []


@pytest.mark.parametrize(
    ("found", "promised", "expected"),
    [
        (values(broken_seam=curve(9, 4, 3)), SEAM, "rises broken_seam"),  # not monotone
        (values(broken_seam=curve(0.9, 0.5, 0.1)), SEAM, "rises broken_seam"),  # the wrong way
        (values(broken_seam=curve(1, 1, 1)), SEAM, "rises broken_seam"),  # blind
        (values(broken_seam={1.0: np.array([9.0, 9, 0.5, 0.5])}), SEAM, "rises broken_seam"),  # half of the clips
        (values(broken_seam=curve(2, 4, 9), flicker=curve(1, 3, 1)), SEAM, "level flicker"),  # at any strength
        (Values(np.full(4, 3.0), {"broken_seam": curve(4, 5, 9)}), SEAM, "floor clean"),
        (Values(np.ones(4), {"broken_seam": curve(5, 9)}, {3: np.full(4, 1 + 1e-6)}), SEAM, "yaw exact"),
    ],
)
def test_a_metric_that_does_not_fails_by_name(found, promised, expected):
    assert failures(found, promised) == [expected]


def test_a_turn_may_move_a_view_based_metric_by_its_spread_and_a_seam_within_its_floor():
    turned = Values(np.ones(4), {"broken_seam": curve(5, 9)}, {3: np.full(4, 1.4)})
    assert failures(turned, claims(rises="broken_seam", yaw="spread")) == []
    assert failures(turned, claims(rises="broken_seam", floor=Floor("clean", 0.5, 1.5), yaw="edge")) == []
    assert failures(turned, claims(rises="broken_seam", floor=Floor("clean", 0.5, 1.2), yaw="edge")) == ["yaw edge"]
    far = Values(np.ones(4), {"broken_seam": curve(5, 9)}, {3: np.full(4, 3.0)})
    assert failures(far, claims(rises="broken_seam", yaw="spread")) == ["yaw spread"]


def test_a_narrow_view_has_to_be_told_at_every_width_in_whatever_order():
    narrow = claims(rises="perspective")
    assert failures(values(perspective=curve(9, 4, 6)), narrow) == []
    assert failures(values(perspective=curve(9, 1, 6)), narrow) == ["rises perspective"]


def test_clips_without_a_value_are_left_out():
    found = Values(np.array([1, 2, np.nan]), {"blur": {1.0: np.array([3, np.nan, 5])}}, {7: np.array([1.0, 2, 3])})
    kept = found.complete()
    assert kept.clean.tolist() == [1]
    assert kept.curves["blur"][1.0].tolist() == [3]
    assert kept.yaws[7].tolist() == [1]
    nothing = Values(np.array([np.nan]), {"blur": {1.0: np.array([1.0])}})
    assert record({"flicker": nothing}, {"flicker": Flicker}, {})["flicker"]["skipped"] == "no clip has a value"


def test_one_wavering_step_at_the_ceiling_is_no_failure():
    assert failures(values(broken_seam=curve(9.5, 9.9, 9.6)), SEAM) == []


def test_a_metric_that_claims_nothing_is_not_proven():
    assert not prove(values(), None)[0].passed
    assert not prove(values(), claims(level="blur"))[0].passed


def test_rotation_spread_is_the_spread_within_clips():
    rng = np.random.default_rng(0)
    clips = rng.normal(scale=50, size=4000)
    found = Values(clips, rotations=[clips + rng.normal(scale=2, size=4000) for _ in range(3)])
    assert rotation_spread(found) == pytest.approx(2, rel=0.05)
    assert rotation_spread(Values(clips)) is None


class Blind(Flicker):
    """A metric with a promise that it cannot keep."""

    name: ClassVar[str] = "blind"
    claims: ClassVar[Claims] = claims(rises="broken_seam")


def test_the_record_says_what_was_not_run_and_what_failed():
    found = {"blind": values(broken_seam=curve(1, 1))}
    proof = record(found, {"blind": Blind, "flicker": Flicker}, {"flicker": "it needs a judge"})
    assert not proof["blind"]["passed"]
    assert proof["flicker"] == {"version": Flicker.version, "passed": False, "skipped": "it needs a judge"}
    assert unproven(proof, {"blind": 1, "flicker": Flicker.version, "new": 1}) == {
        "blind": "it failed: rises broken_seam", "flicker": "it needs a judge", "new": "it was never proven",
    }  # fmt: skip
    passed = {"blind": {"version": 1, "passed": True}}
    assert unproven(passed, {"blind": 1}) == {}
    assert "version 1 was proven" in unproven(passed, {"blind": 2})["blind"]


# --- the committed proof ---------------------------------------------------------------------------------------------


def test_the_default_set_has_passed_its_proof_in_the_version_that_it_has_now():
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["scoring"]["metrics"]
    proof = json.loads(PROOF.read_text(encoding="utf-8"))["metrics"]
    assert unproven(proof, {name: METRICS.get(name).version for name in default}) == {}


def test_the_packaged_default_set_is_what_has_passed():
    proof = json.loads(PROOF.read_text(encoding="utf-8"))["metrics"]
    assert list(PROVEN) == [name for name in METRICS.names() if proof[name]["passed"]]
    assert unproven(proof, {name: METRICS.get(name).version for name in PROVEN}) == {}


def test_every_metric_claims_something():
    for name in METRICS.names():
        promised = METRICS.get(name).claims
        assert promised is not None, name
        assert promised.rises | promised.falls, name


def test_the_page_and_the_curves_are_those_of_the_committed_proof():
    proof = json.loads(PROOF.read_text(encoding="utf-8"))["metrics"]
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, entry in proof.items():
        assert f"### {name}\n" in page
        picture = ROOT / "docs" / "metrics" / f"{name}.svg"
        assert picture.is_file() == ("means" in entry)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_set(folder / "mine", ["dunes", "meadow", "sea", "snow"], frames=5)
    return folder


def run(*arguments: object):
    return CliRunner().invoke(cli, ["validate", *map(str, arguments)])


def test_given_clips_are_proven_and_the_page_is_written(clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no params.yaml
    result = run(
        clips / "mine", "--metrics", "seam_ratio,flicker,clip_consistency", "--strengths", 2, "--rotations", 2,
        "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "not run: clip_consistency, it needs a judge (--judge" in result.output
    assert "2 of 3 metrics keep their claims" in result.output
    written = json.loads(Path("out/metrics/proof.json").read_text(encoding="utf-8"))
    assert written["run"]["clips"] == {"count": 4, "what": "clips", "width": 64, "height": 32, "frames": 5}
    entry = written["metrics"]["flicker"]
    assert entry["means"]["frozen"] == {"0.5": pytest.approx(entry["means"]["frozen"]["0.5"]), "1": 0.0}
    assert entry["yaw_spread"] == 0
    assert entry["rotation_spread"] > 0
    page = Path("out/metrics.md").read_text(encoding="utf-8")
    assert re.search(r"\| `seam_ratio` \| \*\*\+\d+\*\*", page)
    assert "| `flicker` |" in page
    again = run(clips / "mine", "--metrics", "ws_psnr", "--strengths", 2, "--rotations", 2, "--out", "out")
    assert "1 of 1 metrics keep their claims" in again.output, again.output
    both = json.loads(Path("out/metrics/proof.json").read_text(encoding="utf-8"))["metrics"]
    assert both == {**written["metrics"], "ws_psnr": both["ws_psnr"]}  # the others stay as they were proven
    assert both["ws_psnr"]["means"]["clean"] == 100
    assert both["ws_psnr"]["yaw_spread"] < 1e-9
    tree = ElementTree.parse("out/metrics/seam_ratio.svg")
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}polyline")) == 10  # every corruption but the caption


def test_a_killed_proof_goes_on_where_it_stopped(clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (clips / "mine", "--metrics", "seam_ratio,view_blur", "--strengths", 1, "--rotations", 1)
    extract = validate.extract_features
    looked: list[float] = []

    def counting(frames: np.ndarray, *rest: Any) -> VideoFeatures:
        looked.append(1)
        if len(looked) == 21:
            raise KeyboardInterrupt
        return extract(frames, *rest)

    monkeypatch.setattr(validate, "extract_features", counting)
    assert run(*arguments, "--out", "killed").exit_code == 1  # Click: aborted
    assert len(list(Path("killed/.proof").rglob("*.npz"))) == 20
    assert run(*arguments, "--out", "killed").exit_code == run(*arguments, "--out", "whole").exit_code
    variants = 1 + 10 + 3 + 1  # clean, corruptions of frames, turns, rotation
    assert len(looked) == 21 + (4 * variants - 20) + 4 * variants
    read = [json.loads(Path(out, "metrics/proof.json").read_text(encoding="utf-8")) for out in ("killed", "whole")]
    assert read[0] == read[1]
    assert not Path("killed/.proof").exists()


def test_a_failing_metric_fails_the_command(clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Flicker, "claims", claims(rises="broken_seam"))
    result = run(
        clips / "mine", "--metrics", "flicker", "--strengths", 1, "--rotations", 0, "--corruptions", "broken_seam"
    )
    assert result.exit_code == 1
    assert "flicker: rises broken_seam" in result.output
    assert "1 of 1 metrics fail their own proof: flicker" in result.output
    assert "**failed**" in Path("validation/metrics.md").read_text(encoding="utf-8")


def test_the_procedural_world_is_filmed_when_no_clips_are_given(tmp_path: Path, monkeypatch):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["video"].update(height=32, width=64, frames=4)
    params["dataset"]["reference_clips"] = 4
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = run(
        "--metrics", "seam_ratio,content_distribution", "--count", 3, "--strengths", 1, "--rotations", 0,
        "--corruptions", "broken_seam,perspective", "--judge", ROOT / "assets/nano/judge",
    )  # fmt: skip
    assert "metrics keep their claims: docs/metrics.md" in result.output, result.output
    page = Path("docs/metrics.md").read_text(encoding="utf-8")
    assert "3 clips of the procedural world" in page
    assert page.count("| not run |") == len(METRICS.names()) - 2  # all are named, and none that was not run has passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corruptions", "blurr"], "--corruptions: unknown 'blurr'; did you mean 'blur'"),
        (["--metrics", "flickr"], "unknown metric 'flickr'; did you mean 'flicker'"),
        (["--metrics", "clip_consistency"], "no metric can be run"),
    ],
)
def test_mistakes_are_one_line(clips: Path, tmp_path: Path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run(clips / "mine", *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_clips_of_several_sizes_are_refused(clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_set(tmp_path / "mixed", ["a"], height=32)
    write_set(tmp_path / "mixed", ["b"], height=64)
    result = run("mixed", "--metrics", "flicker")
    assert result.exit_code == 1
    assert "clips differ in size or length: a is (4, 32, 64), b is (4, 64, 128)" in result.output
    with pytest.raises(PanobenchError, match="unknown parameter"):
        create_metrics({"flicker": {"x": 1}})
