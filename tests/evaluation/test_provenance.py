"""What is written down about the code that made a result."""

import re
import subprocess

from evaluation.provenance import git_state


def test_git_state(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert git_state(tmp_path) == (None, False)
    git("init")
    for name in ("code.py", "dvc.lock"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "start")
    commit, dirty = git_state(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", commit)
    (tmp_path / "untracked").write_text("1")
    (tmp_path / "dvc.lock").write_text("2")
    assert git_state(tmp_path) == (commit, dirty) == (commit, False)
    (tmp_path / "code.py").write_text("2")
    assert git_state(tmp_path) == (commit, True)
