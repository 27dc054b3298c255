"""Small studies made from real files: videos of a sphere whose colour is its direction, and the app as a process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np

from core.video import write_video

ROOT = Path(__file__).resolve().parents[2]
AMPLITUDE, FADE = 90.0, 0.08


def direction_clip(height: int = 64, frames: int = 6, cut: bool = False) -> np.ndarray:
    """uint8 RGB (F, H, 2H, 3): 128 + 90 x direction (x right, y up, z forward), weaker from frame to frame.

    ``cut`` scales the colour with the longitude, which leaves a step where the ends meet and the direction readable.
    """
    width = 2 * height
    lat = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    lon = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    lat, lon = np.meshgrid(lat, lon, indexing="ij")
    direction = np.stack([np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)], axis=-1)
    gain = (1 + 0.4 * lon / np.pi) / 1.4 if cut else np.ones_like(lon)
    fade = 1 - FADE * np.arange(frames)
    clip = 128 + AMPLITUDE * fade[:, None, None, None] * gain[None, ..., None] * direction[None]
    return np.rint(clip).astype(np.uint8)


def write_method(
    folder: Path, method: str, prompts: dict[str, str], clip: Callable[[int], np.ndarray], fps: float = 8.0
) -> Path:
    """One method's manifest and videos; ``clip(index of the prompt)`` gives the frames. Returns the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, (prompt_id, prompt) in enumerate(prompts.items()):
        frames = clip(index)
        name = f"video{index}.mp4"
        write_video(folder / name, frames, fps)
        row = {
            "id": f"{method}/{prompt_id}/0",
            "method": method,
            "prompt_id": prompt_id,
            "prompt": prompt,
            "seed": index,
        }
        size = {"frames": len(frames), "fps": fps, "height": frames.shape[1], "width": frames.shape[2]}
        rows.append(row | {"path": name} | size)
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def noise(seed: int, height: int = 16, frames: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, 2 * height, 3), dtype=np.uint8)


#: No control trials at all: for tests that count pages.
PLAIN = {"gold_every": 0, "identical": 0, "repeated": 0, "practice": 0}
PROMPTS = {f"p{index}": f"a red balloon over meadow number {index}" for index in range(8)}
METHODS = ("animatediff", "panorama_lora", "enhanced_360", "360dvd")


class Server:
    """`streamlit run study_app` in a process of its own."""

    def __init__(self, bundle: Path, database: Path, log: Path, **environment: str) -> None:
        self.bundle, self.database, self.log, self.environment = bundle, database, log, environment
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        names = {"PANOBENCH_STUDY": str(self.bundle), "PANOBENCH_STUDY_DB": str(self.database)}
        command = [sys.executable, "-m", "streamlit", "run", "study_app", "--server.port", str(self.port)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | names | self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise AssertionError(f"no answer from the app:\n{self.log.read_text()}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
