"""Bundles: what they hold, what is refused, and that nothing in them names a method."""

import json
import os
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import PanobenchError
from core.spherical import add_spherical, read_spherical
from core.video import read_video
from study_app.bundle import Bundle, BundleError, load_bundle, load_key
from study_app.cli import study
from study_app.controls import KINDS, VISIBLE, damaged, visibility
from study_app.leaks import LeakError, check_no_leak
from study_app.locate import find_bundle
from study_app.params import StudyParams, read_study_params
from study_app.prepare import prepare
from study_app.texts import languages, load_texts
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


def test_a_method_that_marks_its_videos_as_spherical_is_not_known_by_that(tmp_path: Path):
    """Generated videos say that they are panoramas; those of other makers may not."""
    manifests = two_methods(tmp_path)
    for path in manifests[0].parent.glob("*.mp4"):
        add_spherical(path)
    bundle = prepare(manifests, tmp_path / "study", StudyParams())
    assert len(bundle.study.stimuli) == 2 * len(list(manifests[0].parent.glob("*.mp4")))
    assert all(read_spherical(path) is None for path in bundle.files.values())


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


def test_study_yaml_is_read_and_the_section_wins(tmp_path: Path):
    (tmp_path / "study.yaml").write_text("mode: full\ncontact: me@example.org\nretention_until: 2030-12-31\n")
    path = tmp_path / "params.yaml"
    path.write_text("study: {config: study.yaml, mode: half}\n")
    params, _ = read_study_params(path)
    assert (params.mode, params.contact, str(params.retention_until)) == ("half", "me@example.org", "2030-12-31")
    path.write_text("study: {config: lost.yaml}\n")
    with pytest.raises(
        PanobenchError, match=r"params\.yaml: study\.config = 'lost\.yaml', but .*lost\.yaml does not exist"
    ):
        read_study_params(path)
    (tmp_path / "study.yaml").write_text("mod: full\n")
    path.write_text("study: {config: study.yaml}\n")
    with pytest.raises(PanobenchError, match=r"study\.yaml: unknown key study\.mod; did you mean 'mode'"):
        read_study_params(path)


def test_the_settings_of_a_bundle_are_whole_and_locked(copy: Path):
    bundle = load_bundle(copy)
    assert set(bundle.settings.texts) == {"en", "de"}
    path = copy / "study.yaml"
    path.write_text(path.read_text().replace("gold_every: 10", "gold_every: 11"))
    with pytest.raises(BundleError, match=r"study\.yaml: was changed after the study was made"):
        load_bundle(copy)


def test_every_language_has_every_word_of_its_own_and_the_same_fields():
    texts = {language: load_texts(language).model_dump() for language in languages()}

    def leaves(value, where=()):
        if isinstance(value, dict):
            return {key: leaf for name, part in value.items() for key, leaf in leaves(part, (*where, name)).items()}
        if isinstance(value, list):
            return {key: leaf for i, part in enumerate(value) for key, leaf in leaves(part, (*where, i)).items()}
        return {where: value}

    english = leaves(texts.pop("en"))
    assert texts
    for language in texts.values():
        translated = leaves(language)
        assert translated.keys() == english.keys()
        for where, words in translated.items():
            assert sorted(re.findall(r"\{\w+\}", words)) == sorted(re.findall(r"\{\w+\}", english[where])), where
        same = [where for where, words in translated.items() if words == english[where] and where[-1] != "id"]
        assert same == []


def test_words_of_ones_own_are_shown_and_may_not_name_a_method(tmp_path: Path):
    manifests = two_methods(tmp_path)
    own = {"en": {"landing": {"start": "Begin here"}}}
    bundle = prepare(manifests, tmp_path / "study", StudyParams(wording=own, criteria=["motion", "content"]))
    assert bundle.texts("en").landing.start == "Begin here"
    assert bundle.criteria == ["motion", "content"]
    assert {control.criterion for control in bundle.study.controls} <= {"motion", "content"}
    for params, message in [
        ({"wording": {"en": {"landing": {"start": "AlphaMethod or the other?"}}}}, "contains the method name 'alpham"),
        ({"wording": {"fr": {}}}, "'fr' is not among study.languages"),
        ({"wording": {"en": {"landing": {"begin": "x"}}}}, "landing.begin"),
        ({"criteria": ["beauty"]}, "'beauty' is not in en.yaml"),
    ]:
        with pytest.raises(PanobenchError, match=message):
            prepare(manifests, tmp_path / "study", StudyParams(**params))


def test_controls_are_damaged_where_they_say(tmp_path: Path):
    clip = direction_clip(height=64, frames=6)
    rng = np.random.default_rng(0)
    copies = {kind: damaged(kind, clip, rng) for kind in KINDS}
    assert all(copy.shape == clip.shape and copy.dtype == np.uint8 for copy in copies.values())

    def seam(frames: np.ndarray) -> float:
        return float(np.abs(frames[:, :, 0].astype(float) - frames[:, :, -1]).mean())

    assert seam(copies["broken_seam"]) > seam(clip) + 10
    assert seam(copies["blur"]) < seam(clip) + 2
    assert np.abs(np.diff(copies["frozen"].astype(int), axis=0)).max() == 0
    jumps = [np.abs(np.diff(frames.astype(float), axis=0)).mean() for frames in (copies["shuffled"], clip)]
    assert jumps[0] > 2 * jumps[1]
    # A 90 degree view of the front: its middle is the front, its corners are at longitude and latitude of that view.
    shown = copies["perspective"][0].astype(float) - 128
    for row, column, direction in [
        (32, 64, (0, 0, 1)),
        (0, 0, (-1, 1, 1)),
        (63, 127, (1, -1, 1)),
        (32, 127, (1, 0, 1)),
    ]:
        found, unit = shown[row, column], np.array(direction) / np.linalg.norm(direction)
        assert found @ unit / np.linalg.norm(found) > 0.98
    assert visibility("frozen", clip[:1], damaged("frozen", clip[:1], rng)) < VISIBLE


def test_a_method_that_left_run_methods_does_not_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    videos = tmp_path / "outputs" / "nano" / "videos"
    for name in ("alpha", "beta", "leftbehind"):
        write_method(videos / name, f"{name}method", TWO, noise)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("profile: nano\nrun: {methods: [alpha, beta]}\n")
    result = CliRunner().invoke(study, ["prepare", "--params", "params.yaml", "--out", "study"], catch_exceptions=False)
    assert "2 methods x 2 prompts" in result.output
    names = {method.name for method in load_key("study/key.json", load_bundle("study").study.study_id).methods.values()}
    assert names == {"alphamethod", "betamethod"}
    with pytest.raises(PanobenchError, match="nothing to compare"):
        CliRunner().invoke(study, ["prepare", "--out", "study"], catch_exceptions=False)


def test_the_command_prepares_from_folders(tmp_path: Path):
    manifests = two_methods(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 3\nstudy: {mode: full}\n")
    arguments = ["prepare", *(str(path.parent) for path in manifests), "--out", str(tmp_path / "study")]
    result = CliRunner().invoke(study, [*arguments, "--params", str(tmp_path / "params.yaml")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 methods x 2 prompts, 2 pairs per rater, 0 controls" in result.output
    assert load_bundle(tmp_path / "study").study.mode == "full"
