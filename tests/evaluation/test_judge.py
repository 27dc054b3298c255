import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch

from core.errors import PanobenchError
from evaluation.judge import CONFIG, VOCABULARY, WEIGHTS, Judge, load_judge
from tests.evaluation.conftest import SIZE, write_judge


def test_the_judge_is_open_clips_own_forward(tmp_path: Path):
    model = write_judge(tmp_path / "tiny").half().float()  # the folder holds half precision
    judge = load_judge(tmp_path / "tiny")
    pictures = torch.rand(70, 3, SIZE, SIZE)  # more than one batch
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    prompts = ["a green meadow at noon", "the sea at night"]
    with torch.no_grad():
        images = model.encode_image((pictures - mean) / std, normalize=True)
        texts = model.encode_text(open_clip.SimpleTokenizer(context_length=24)(prompts), normalize=True)
    torch.testing.assert_close(judge.encode_image(pictures), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(judge.encode_text(prompts), texts, atol=1e-5, rtol=0)


def test_embeddings_have_unit_norm_and_are_the_same_twice(judge: Judge):
    pictures = torch.rand(3, 3, SIZE, SIZE)
    embedded = judge.encode_image(pictures)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(3))
    assert torch.equal(embedded, judge.encode_image(pictures))


@pytest.mark.parametrize(
    "views",
    [
        torch.rand(1, 3, SIZE, SIZE) * 255,  # the usual range mistake
        torch.rand(1, 3, SIZE, SIZE) - 0.5,
        torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8),
        torch.rand(1, 3, SIZE, 2 * SIZE),
        torch.full((1, 3, SIZE, SIZE), float("nan")),
    ],
)
def test_wrong_range_type_or_size_is_refused(judge: Judge, views: torch.Tensor):
    with pytest.raises(ValueError, match=r"views must be"):
        judge.encode_image(views)


def test_a_vocabulary_in_the_folder_is_used(judge_folder: Path, tmp_path: Path):
    folder = shutil.copytree(judge_folder, tmp_path / "own")
    vocabulary = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    shutil.copy(vocabulary, folder / VOCABULARY)
    prompt = ["a red ball"]
    assert torch.equal(load_judge(folder).encode_text(prompt), load_judge(judge_folder).encode_text(prompt))


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def _broken_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"not safetensors")


def _broken_config(folder: Path) -> None:
    (folder / CONFIG).write_text("{")


def _config_without_model(folder: Path) -> None:
    (folder / CONFIG).write_text(json.dumps({"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}))


def _other_width(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["embed_dim"] = 8
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_folder, "no judge there"),
        (_no_weights, "missing"),
        (_broken_weights, "not loadable"),
        (_broken_config, "not a readable JSON"),
        (_config_without_model, "model_cfg"),
        (_other_width, "not loadable"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(judge_folder: Path, tmp_path: Path, damage, message: str):
    folder = shutil.copytree(judge_folder, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(PanobenchError, match=message) as caught:
        load_judge(folder)
    assert "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_judge_is_found_in_hugging_faces_cache_and_never_downloaded(judge_folder: Path, tmp_path: Path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PanobenchError, match=r"hf-hub:me/clip: not in Hugging Face's cache.*`hf download me/clip`"):
        load_judge("hf-hub:me/clip")
    repository = tmp_path / "models--me--clip"
    shutil.copytree(judge_folder, repository / "snapshots/abc")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("abc")
    found = load_judge("hf-hub:me/clip")
    assert found.sha256 == load_judge(judge_folder).sha256
