"""Bundles: what they hold, what is refused, and that nothing in them names a method."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import PanobenchError
from core.video import read_video
from study_app.bundle import Bundle, BundleError, find_bundle, load_bundle, load_key
from study_app.cli import study
from study_app.leaks import LeakError, check_no_leak
from study_app.params import StudyParams, read_study_params
from study_app.prepare import prepare
from tests.study_app.small import METHODS, PROMPTS, direction_clip, noise, write_method

TWO = {"p0": "a ball", "p1": "a tower"}


@pytest.fixture
def copy(big_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(big_bundle.folder, tmp_path / "study"))


def two_methods(root: Path, second=noise, **kwargs) -> list[Path]:
    return [
        write_method(root / "alpha", "alphamethod", TWO, noise),
        write_method(root / "beta", "betamethod", TWO, second, **kwargs),
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_every_video_once_and_no_name(big_bundle: Bundle):
    names = [path.name for path in big_bundle.folder.rglob("*") if path.is_file()]
    assert len(names) == 32 + len(big_bundle.study.damaged) + 3
    assert {"study.json", "study.yaml", "key.json"} < set(names)
    for name, content in files(big_bundle.folder).items():
        for method in METHODS:
            assert name == "key.json" or method.encode() not in content.lower()
            assert method not in name
    key = load_key(big_bundle.folder / "key.json", big_bundle.study.study_id)
    assert sorted((s.method, s.prompt_id) for s in key.stimuli.values() if s.damage is None) == sorted(
        (m, p) for m in METHODS for p in PROMPTS
    )
    for stimulus in big_bundle.study.stimuli:
        keyed = key.stimuli[stimulus.id]
        assert key.methods[stimulus.method].name == keyed.method
        assert stimulus.prompt == keyed.prompt_id


def test_media_show_the_source_and_carry_plain_metadata_only(seam_bundle: Bundle):
    key = load_key(seam_bundle.folder / "key.json", seam_bundle.study.study_id)
    tags = []
    for identity, path in seam_bundle.files.items():
        if key.stimuli[identity].damage:
            continue
        shown = read_video(path).frames.astype(float)
        source = direction_clip(cut=key.stimuli[identity].method == "cutworld")
        assert np.abs(shown - source).mean() < 4
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == ["video"]
            assert container.streams[0].codec_context.pix_fmt == "yuv420p"
            tags.append((dict(container.metadata), dict(container.streams[0].metadata)))
    assert all(tag == tags[0] for tag in tags)


def test_the_same_inputs_in_any_order_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifests = two_methods(tmp_path)
    first = prepare(manifests, tmp_path / "one", StudyParams(), seed=1)
    prepare(reversed(manifests), tmp_path / "two", StudyParams(), seed=1)
    other = prepare(manifests, tmp_path / "three", StudyParams(), seed=2)
    ids = {s.id for s in first.study.stimuli}
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert not ids & {s.id for s in other.study.stimuli}
    monkeypatch.setenv("PANOBENCH_STUDY_SECRET", "a phrase of my own")
    assert not ids & {s.id for s in prepare(manifests, tmp_path / "four", StudyParams(), seed=1).study.stimuli}


def test_the_key_can_be_kept_elsewhere(tmp_path: Path):
    bundle = prepare(two_methods(tmp_path), tmp_path / "study", StudyParams(), key_path=tmp_path / "safe" / "key.json")
    assert not (bundle.folder / "key.json").exists()
    assert load_key(tmp_path / "safe" / "key.json", bundle.study.study_id).methods


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (lambda index: noise(index, frames=3), {}, r"(beta/video\d.mp4: 3|alpha/video\d.mp4: 2) frames .*, but .* has"),
        (lambda index: noise(index, height=18), {}, "36 x 18"),
        (noise, {"fps": 12.0}, "at 12 fps"),
    ],
)
def test_videos_that_differ_in_form_are_refused(tmp_path: Path, second, options, message):
    manifests = two_methods(tmp_path, second, **options)
    with pytest.raises(PanobenchError, match=message):
        prepare(manifests, tmp_path / "study", StudyParams())
    assert not (tmp_path / "study").exists()
    assert not list(tmp_path.glob(".study*"))


def test_missing_and_unreadable_videos_are_named(tmp_path: Path):
    manifests = two_methods(tmp_path)
    video = tmp_path / "beta" / "video1.mp4"
    video.write_bytes(b"this is no video")
    with pytest.raises(PanobenchError, match=r"beta/video1\.mp4"):
        prepare(manifests, tmp_path / "study", StudyParams())
    video.unlink()
    with pytest.raises(PanobenchError, match=r"beta/video1\.mp4: no such video, named in .*beta/manifest\.jsonl"):
        prepare(manifests, tmp_path / "study", StudyParams())


def test_manifests_that_do_not_fit_are_refused(tmp_path: Path):
    alpha, beta = two_methods(tmp_path)
    with pytest.raises(PanobenchError, match="at least two methods, found only 'alphamethod'"):
        prepare([alpha], tmp_path / "study", StudyParams())
    with pytest.raises(PanobenchError, match=r"study\.sample = 1, but no method has 2 videos for prompt 'p0'"):
        prepare([alpha, beta], tmp_path / "study", StudyParams(sample=1))
    lines = beta.read_text().splitlines()
    beta.write_text(lines[0] + "\n")
    with pytest.raises(PanobenchError, match="'betamethod' has 0 of the 1 videos needed for prompt 'p1'"):
        prepare([alpha, beta], tmp_path / "study", StudyParams())
    beta.write_text(lines[0].replace("a ball", "a cube") + "\n")
    with pytest.raises(PanobenchError, match="prompt 'p0' is 'a cube' here and 'a ball'"):
        prepare([alpha, beta], tmp_path / "study", StudyParams())
    beta.write_text("{\n")
    with pytest.raises(PanobenchError, match=r"manifest\.jsonl:1: not JSON"):
        prepare([alpha, beta], tmp_path / "study", StudyParams())


def test_clips_beyond_the_players_memory_are_refused(tmp_path: Path):
    long = {"p0": "a ball"}
    manifests = [
        write_method(tmp_path / name, f"{name}method", long, lambda _: np.zeros((300, 16, 32, 3), np.uint8))
        for name in ("alpha", "beta")
    ]
    with pytest.raises(PanobenchError, match=r"300 frames of 32 x 16 .* at most 256 frames"):
        prepare(manifests, tmp_path / "study", StudyParams())


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(PanobenchError, match="exists and is not a study bundle"):
        prepare(two_methods(tmp_path), tmp_path / "mine", StudyParams())
    assert (tmp_path / "mine" / "thesis.tex").exists()


def with_tag(path: Path, **tags: str) -> None:
    """Copy the stream into a file that carries a tag."""
    tagged = path.with_name("tagged.mp4")
    with av.open(str(path)) as source, av.open(str(tagged), "w") as target:
        target.metadata.update(tags)
        stream = target.add_stream_from_template(source.streams[0])
        for packet in source.demux(source.streams[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    tagged.replace(path)


def test_the_leak_check_finds_planted_names(copy: Path):
    check_no_leak(copy, list(METHODS))
    media = sorted((copy / "media").iterdir())

    renamed = media[0].rename(media[0].with_name("Enhanced-360_clip.mp4"))
    with pytest.raises(LeakError, match="name contains the method name 'enhanced_360'"):
        check_no_leak(copy, list(METHODS))
    renamed.rename(media[0])

    original = media[1].read_bytes()
    media[1].write_bytes(original + b"\0\0made by AnimateDiff v2\0")
    with pytest.raises(LeakError, match="bytes contain the method name 'animatediff'"):
        check_no_leak(copy, list(METHODS))
    with_tag(media[1], comment="360DVD")
    with pytest.raises(LeakError, match="comment"):
        check_no_leak(copy, list(METHODS))
    with_tag(media[1], encoder="my tool")
    with pytest.raises(LeakError, match="metadata differ"):
        check_no_leak(copy, list(METHODS))
    media[1].write_bytes(original)

    (copy / "notes.txt").write_text("p1 is panorama lora")
    with pytest.raises(LeakError, match=r"notes\.txt: .* 'panorama_lora'"):
        check_no_leak(copy, list(METHODS))
    (copy / "notes.txt").unlink()
    check_no_leak(copy, list(METHODS))


def test_a_prompt_that_names_a_method_is_refused_but_an_article_is_not_a_method(tmp_path: Path):
    prompts = {"p0": "a ball, by Beta-Method"}
    manifests = [write_method(tmp_path / name, name, prompts, noise) for name in ("A", "beta method")]
    with pytest.raises(LeakError, match=r"contains the method name 'beta method'.*reword the prompt"):
        prepare(manifests, tmp_path / "study", StudyParams())
    manifests = [write_method(tmp_path / name, name, {"p0": "a ball"}, noise) for name in ("A", "B")]
    assert len(prepare(manifests, tmp_path / "study", StudyParams()).study.methods) == 2


def test_damage_is_noticed_and_named(copy: Path):
    path, content = copy / "study.json", json.loads((copy / "study.json").read_text())
    media = sorted((copy / "media").iterdir())[3]
    media.write_bytes(media.read_bytes()[:-1])
    with pytest.raises(BundleError, match=rf"{media.name}: damaged.*panobench study prepare"):
        load_bundle(copy)
    media.unlink()
    with pytest.raises(BundleError, match=rf"{media.name}: missing"):
        load_bundle(copy)
    for change, message in [
        ({"schema": "panobench.study/9"}, "schema is 'panobench.study/9', this version reads 'panobench.study/2'"),
        ({"mode": "quarter"}, "mode"),
        ({"extra": 1}, "extra"),
        ({"stimuli": content["stimuli"][1:]}, "exactly one stimulus"),
    ]:
        path.write_text(json.dumps(content | change))
        with pytest.raises(BundleError, match=message):
            load_bundle(copy)
    path.write_text(path.read_text()[:100])
    with pytest.raises(BundleError, match=r"study\.json: damaged, not JSON"):
        load_bundle(copy)
    with pytest.raises(BundleError, match=r"no study bundle here; make it with `panobench study prepare"):
        load_bundle(copy / "nowhere")


def test_the_newest_bundle_is_found_and_the_variable_wins(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PANOBENCH_STUDY", raising=False)
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / "deep" / "down").mkdir(parents=True)
    for index, profile in enumerate(("old", "new")):
        made = Path(shutil.copytree(copy, project / "outputs" / profile / "study"))
        os.utime(made / "study.json", (1000 + index, 1000 + index))
    assert find_bundle(project / "deep" / "down") == project / "outputs" / "new" / "study"
    monkeypatch.setenv("PANOBENCH_STUDY", str(copy / "study.json"))
    assert find_bundle(project) == copy


def test_parameters_are_checked(tmp_path: Path):
    path = tmp_path / "params.yaml"
    for text, message in [
        ("study: {mod: half}", r"params\.yaml: unknown key study\.mod; did you mean 'mode'"),
        ("study: {mode: quarter}", r"study\.mode = 'quarter'"),
        ("study: [half]", "expected a mapping"),
        ("seed: often", "seed = 'often'"),
        ("study: {", "not a YAML file"),
    ]:
        path.write_text(text)
        with pytest.raises(PanobenchError, match=message):
            read_study_params(path)
    path.write_text("seed: 7\nstudy: {mode: full, contact: me@example.org}\nother: 1\n")
    assert read_study_params(path) == (StudyParams(mode="full", contact="me@example.org"), 7)
    with pytest.raises(PanobenchError, match=r"study\.languages = 'eo': there are texts in de, en"):
        prepare(two_methods(tmp_path), tmp_path / "study", StudyParams(languages=["eo"]))


def test_the_command_prepares_from_folders(tmp_path: Path):
    manifests = two_methods(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 3\nstudy: {mode: full}\n")
    arguments = ["prepare", *(str(path.parent) for path in manifests), "--out", str(tmp_path / "study")]
    result = CliRunner().invoke(study, [*arguments, "--params", str(tmp_path / "params.yaml")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 methods x 2 prompts, 2 pairs per rater, 0 controls" in result.output
    assert load_bundle(tmp_path / "study").study.mode == "full"
