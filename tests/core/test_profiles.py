"""Profiles: the paper's is valid and has the keys of the active one; switching loses nothing."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from core.errors import PanobenchError
from core.params import load_params
from core.profiles import profile, switch
from tests.smoke import Clone

ROOT = Path(__file__).parents[2]


def test_the_papers_profile_has_the_papers_settings():
    paper = load_params(ROOT / "profiles/paper.yaml")
    assert (paper.video.frames, paper.video.height, paper.video.width) == (16, 512, 1024)
    adapter = paper.training["adapter360"]
    assert (adapter.steps, adapter.batch, adapter.learning_rate, adapter.stride) == (100_000, 1, 1e-5, 4)
    assert (adapter.schedule, adapter.weight_decay, adapter.clip_norm, adapter.motion_dropout) == (
        "constant",
        0.01,
        1,
        0.2,
    )
    assert (paper.generation.steps, paper.generation.guidance_scale, paper.generation.precision) == (25, 7.5, "fp32")
    assert paper.base.groupnorm == "released"


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


def test_switching_there_and_back_keeps_every_change(shelf):
    active = shelf / "params.yaml"
    changed = active.read_text() + "# a change of mine\n"
    active.write_text(changed)
    paper = (shelf / "profiles/paper.yaml").read_text()
    assert switch("paper") == "nano"
    assert active.read_text() == paper
    assert switch("paper") is None
    assert load_params().profile == "paper"
    assert switch("nano") == "paper"
    assert active.read_text() == changed
    assert (shelf / "profiles/paper.yaml").read_text() == paper
    listed = CliRunner().invoke(profile, []).output
    assert listed == "* nano\n  paper\n"
    assert "nano is active already" in CliRunner().invoke(profile, ["nano"]).output
    assert "paper is active; nano is kept as profiles/nano.yaml" in CliRunner().invoke(profile, ["paper"]).output


def test_a_wrong_profile_changes_nothing(shelf):
    before = (shelf / "params.yaml").read_bytes()
    with pytest.raises(PanobenchError, match=r"profiles/papr\.yaml: no such profile; did you mean 'paper'"):
        switch("papr")
    for text, message in (("profile: paper\n", "key 'seed' is missing"), (before.decode(), "its 'profile' is 'nano'")):
        (shelf / "profiles/paper.yaml").write_text(text)
        with pytest.raises(PanobenchError, match=message):
            switch("paper")
    assert (shelf / "params.yaml").read_bytes() == before
    assert not (shelf / "profiles/nano.yaml").exists()


@pytest.mark.slow
def test_the_pipeline_goes_on_where_a_profile_was_left(tmp_path):
    """Through real DVC: each profile has its outputs, and coming back runs nothing."""
    clone = Clone(tmp_path)
    other = clone.params | {"profile": "other", "seed": 7}
    (clone.root / "profiles/other.yaml").write_text(yaml.safe_dump(other, sort_keys=False), encoding="utf-8")
    first = clone.repro("caption")
    assert first == ["probe", "split", "caption"]
    captions = clone.outputs / "captions/clips.csv"
    before = captions.read_bytes()
    assert clone.run("panobench", "profile", "other").returncode == 0
    assert "split" in clone.repro("caption")
    assert (clone.root / "outputs/other/captions/clips.csv").read_bytes() != before
    assert captions.read_bytes() == before
    assert clone.run("panobench", "profile", "nano").returncode == 0
    assert clone.repro("caption") == []
    assert captions.read_bytes() == before
    assert clone.run("panobench", "profile", "paper").returncode == 0
    done = clone.run("dvc", "repro")
    assert done.returncode != 0
    assert done.stdout.startswith("Running stage 'fetch'")
    assert "weights/mm_sd_v14.ckpt" in done.stdout
    assert not (clone.root / "outputs/paper").exists()
