"""The project as a stranger has it, a fresh clone with an empty home, and the whole pipeline at the smallest size."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PROMPTS = 2


def smoke_params() -> dict[str, Any]:
    """The shipped parameters, with every size cut down."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["video"] = {"height": 32, "width": 64, "frames": 4, "fps": 4}
    params["dataset"].update(train_clips=3, reference_clips=2, frames=5)
    params["run"]["methods"] = ["panorama_lora", "360dvd"]
    for name, training in params["training"].items():
        training.update(steps=4 if name == "adapter360" else 2, batch=2, checkpoint_every=1)
    params["generation"].update(steps=2, batch=1, prompts="prompts.yaml")
    params["scoring"]["bootstrap"] = 100
    return params


class Clone:
    """A clone of the working tree in a folder of its own, with the smoke parameters."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "clone"
        home = folder / "home"
        home.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS") if name in os.environ}
        self.environment = kept | {
            "HOME": str(home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # The clone's own modules come before those of an editable installation.
            "PYTHONPATH": str(self.root),
            "HF_HUB_OFFLINE": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        prompts = yaml.safe_load((self.root / "baselines/prompts/nano.yaml").read_text(encoding="utf-8"))
        prompts["prompts"] = prompts["prompts"][:PROMPTS]
        (self.root / "prompts.yaml").write_text(yaml.safe_dump(prompts, sort_keys=False), encoding="utf-8")
        self.params = smoke_params()
        self.save()
        author = ["-c", "user.name=t", "-c", "user.email=t@t"]
        for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "t"]):
            subprocess.run(["git", *command], cwd=self.root, env=self.environment, check=True)

    @property
    def outputs(self) -> Path:
        return self.root / "outputs" / self.params["profile"]

    def save(self) -> None:
        """Write the parameters as they are now."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False), encoding="utf-8")

    def run(self, *command: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone, whatever its status."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def repro(self, *options: str) -> list[str]:
        """`dvc repro`, which must succeed; the names of the stages that ran, in order."""
        done = self.run("dvc", "repro", *options)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return re.findall(r"Running stage '([^']+)'", done.stdout)

    def repro_killed_when(self, begun: Callable[[], bool], timeout: float = 900) -> None:
        """Start `dvc repro` and kill it and everything it started with -9 as soon as `begun()` is true."""
        with open(self.root.parent / "killed.log", "wb") as log:
            process = subprocess.Popen(
                ["dvc", "repro"], cwd=self.root, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
            deadline = time.monotonic() + timeout
            try:
                while not begun():
                    assert process.poll() is None, (self.root.parent / "killed.log").read_text()[-3000:]
                    assert time.monotonic() < deadline, "the stage to be killed did not begin"
                    time.sleep(0.02)
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
