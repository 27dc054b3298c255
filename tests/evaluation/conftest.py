import json
from pathlib import Path

import open_clip
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from evaluation.judge import CONFIG, WEIGHTS, Judge, load_judge
from panobench import cli
from tests.evaluation.reproduction import write_reproduction

SIZE = 32


def write_judge(folder: Path) -> open_clip.CLIP:
    """A tiny random open_clip model in the folder layout of the real judge; returns the model."""
    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIZE, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocess = {"size": SIZE, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = open_clip.CLIP(**model_cfg).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    return model


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "tiny"
    write_judge(folder)
    return folder


@pytest.fixture(scope="session")
def judge(judge_folder: Path) -> Judge:
    return load_judge(judge_folder)


@pytest.fixture(scope="session")
def network_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Role -> weights of the real class, random."""
    from tests.evaluation.networks import write_alexnet, write_autoencoder, write_inception, write_videomae

    folder = tmp_path_factory.mktemp("weights")
    return {
        "lpips": write_alexnet(folder / "alexnet.pth"),
        "inception": write_inception(folder / "inception-2015-12-05.pt"),
        "faed": write_autoencoder(folder / "faed.ckpt"),
        "video": write_videomae(folder / "videomae"),
    }


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction whose report was made by the command, without arguments, as the pipeline does it. Read only."""
    root = tmp_path_factory.mktemp("reproduction")
    outputs = write_reproduction(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        result = CliRunner().invoke(cli, ["compare"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "3 methods, 6 prompts: outputs/nano/report/index.html" in result.output
    return outputs


@pytest.fixture(scope="session")
def comparison(outputs: Path) -> dict:
    """What its ``comparison.json`` holds."""
    return json.loads((outputs / "report" / "comparison.json").read_text(encoding="utf-8"))
