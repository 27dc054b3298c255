"""`panobench fetch`: what is missing, what is wrong, and a download from a hub that this test serves itself."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from core.errors import PanobenchError
from core.params import load_params
from core.weights.cli import fetch
from core.weights.fetch import Entry, Need, catalogue, check, download, needs

ROOT = Path(__file__).parents[3]


@pytest.fixture
def inside(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    return tmp_path


def test_everything_the_papers_profile_lacks_is_in_one_table(inside):
    done = CliRunner().invoke(fetch, ["--params", str(ROOT / "profiles/paper.yaml"), "--record", "weights.json"])
    assert done.exit_code == 1
    assert "6 of 6 weights of" in done.output
    for text in (
        "weights/v1-5-pruned-emaonly.safetensors  Stable Diffusion 1.5",
        "hub stable-diffusion-v1-5/stable-diffusion-v1-5",
        "CreativeML Open RAIL-M",
        "4,265,146,304 bytes",
        "aa7fd8a200a89031edd84487e2a757c5315460eca528fa70d4b3885c399bffd5",
        "methods.panorama_lora.lora, methods.enhanced_360.lora",
        "weights/360DVD.ckpt",
        "datasets/WEB360",
    ):
        assert text in done.output
    assert list(inside.iterdir()) == [inside / "weights"]
    assert not list((inside / "weights").iterdir())


def test_the_nano_profile_has_all_it_needs(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = needs(load_params())
    assert [need.entry.path for need in found] == [
        "assets/nano/base",
        "assets/nano/motion_adapter",
        "assets/nano/judge",
    ]
    assert all("git checkout" in need.entry.where for need in found)
    for need in found:
        assert Path(need.entry.path).exists()


def need(**entry) -> Need:
    return Need(["x"], Entry(**{"path": "weights/x.bin", "name": "x", **entry}))


def state(one: Need) -> str:
    check([one])
    return one.state


def test_size_and_hash_are_compared_with_the_catalogue_or_with_the_first_file_seen(inside):
    file = inside / "weights/x.bin"
    assert state(need()) == "missing"
    file.write_bytes(b"12345")
    right = hashlib.sha256(b"12345").hexdigest()
    assert state(need(bytes=5, sha256=right)) == "present"
    assert state(need(bytes=6)) == "5 bytes instead of 6: damaged or another file"
    assert "instead of 000000000000...: damaged or another file" in state(need(sha256="0" * 64))
    assert state(need()) == "present"
    file.write_bytes(b"54321")
    os.utime(file, ns=(1, 1))
    assert "as first seen; delete weights/seen.json if this is meant" in state(need())
    (inside / "weights/seen.json").unlink()
    one = need()
    assert state(one) == "present"
    assert one.hashes == {"weights/x.bin": hashlib.sha256(b"54321").hexdigest()}
    folder = need(path="weights/folder", files=("a", "b"))
    (inside / "weights/folder").mkdir()
    (inside / "weights/folder/a").write_bytes(b"1")
    assert state(folder) == "b is missing"


def test_the_catalogue_holds_what_the_papers_profile_names():
    named = needs(load_params(ROOT / "profiles/paper.yaml"))
    assert {one.entry.path for one in named} <= set(catalogue())
    for entry in catalogue().values():
        assert entry.hub or entry.source
        assert entry.sha256 is None or len(entry.sha256) == 64


def test_offline_is_honoured(inside, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PanobenchError, match="HF_HUB_OFFLINE is set, so nothing is downloaded"):
        download([need(hub="someone/something")])
    download([need()])  # nothing that a hub has


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one file per repository, as huggingface_hub asks for it."""

    CONTENT = b"weights of a tiny model"

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(self.CONTENT)

    def answer(self, body: bytes) -> None:
        here = self.path.split("?")[0].endswith("/resolve/main/x.bin")
        self.send_response(200 if here else 404)
        if here:
            self.send_header("ETag", f'"{hashlib.sha256(self.CONTENT).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(self.CONTENT) if here else 0))
        self.end_headers()
        if here:
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.mark.slow
def test_a_download_is_complete_or_absent(inside):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(inside / "hub")}
    environment |= {"PYTHONPATH": str(ROOT)}
    program = (
        "import sys; from core.weights.fetch import *;"
        "n = Need(['x'], Entry('weights/' + sys.argv[1], 'x', hub='someone/something')); check([n]);"
        "download([n]); check([n]); print(n.state)"
    )
    try:
        for name, expected in (("x.bin", 0), ("y.bin", 1)):
            done = subprocess.run(
                [sys.executable, "-c", program, name], env=environment, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == expected, done.stderr[-2000:]
    finally:
        server.shutdown()
    assert (inside / "weights/x.bin").read_bytes() == Hub.CONTENT
    assert "could not be downloaded from hub someone/something" in done.stderr
    assert not (inside / "weights/y.bin").exists()


def test_a_profile_with_a_file_of_ones_own(inside):
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["run"]["methods"].append("mine")
    content["methods"]["mine"] = {"label": "mine", "lora": "weights/mine.safetensors"}
    (inside / "params.yaml").write_text(json.dumps(content))
    [own] = [one for one in needs(load_params("params.yaml")) if "mine" in one.entry.path]
    assert own.keys == ["methods.mine.lora"]
    assert own.entry.where == "your own"
