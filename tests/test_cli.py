"""The front door: quick, complete, and one line per user error."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import panobench
from core.errors import PanobenchError

ROOT = Path(__file__).parents[1]
ENTRIES = {name: entry for section in panobench.COMMANDS.values() for name, entry in section.items()}


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "panobench.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_help_answers_within_a_second_and_loads_nothing_heavy() -> None:
    code = (
        "import json, sys, panobench\n"
        "try: panobench.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(m for m in sys.modules if '.' not in m)), file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine must not fail the test
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1
    assert not {"torch", "numpy", "pandas", "diffusers", "mlflow", "pydantic", "yaml"} & set(json.loads(done.stderr))
    for name in ENTRIES:
        assert f"  {name} " in done.stdout


@pytest.mark.parametrize("name", ENTRIES)
def test_every_command_exists_under_its_name(name: str) -> None:
    module, attribute = ENTRIES[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


def commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, by the words that call them."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), *names, name)


def test_every_help_keeps_the_lines_of_its_examples() -> None:
    for names, _ in commands(panobench.cli):
        shown = CliRunner().invoke(panobench.cli, [*names, "--help"]).output
        assert shown.startswith("Usage:"), names
        assert "\\b" not in shown, f"{names}: click wants the character \\b, so the docstring must not be raw"


def test_a_missing_package_breaks_only_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    section = {"gone": ("core.no_such_module:gone", "Not there.")}
    monkeypatch.setattr(panobench, "COMMANDS", {**panobench.COMMANDS, "More": section})
    assert "gone" in CliRunner().invoke(panobench.cli, ["--help"]).output
    result = CliRunner().invoke(panobench.cli, ["gone"])
    assert result.exit_code == 1
    assert "panobench: error: 'gone' needs the module 'core.no_such_module', which is not installed" in result.output


def test_an_unknown_command_gets_a_suggestion() -> None:
    done = run("scor")
    assert done.returncode == 2
    assert "no such command 'scor'; did you mean 'score'?" in done.stderr


def test_user_errors_are_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def params() -> None:
        raise PanobenchError("clip.mp4: no frames")

    monkeypatch.setattr("core.params_cli.params", params)
    result = CliRunner().invoke(panobench.cli, ["params"])
    assert (result.exit_code, result.output) == (1, "panobench: error: clip.mp4: no frames\n")


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def params() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("core.params_cli.params", params)
    assert isinstance(CliRunner().invoke(panobench.cli, ["params"]).exception, ZeroDivisionError)


def test_wrong_parameters_at_the_command_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("\nseed: 360", "\nsede: 360"), encoding="utf-8")
    done = run("params", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "panobench: error: params.yaml: unknown key 'sede'; did you mean 'seed'?\n"


def test_a_missing_asset_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = run("params", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("panobench: error: params.yaml: 'base.model' is 'assets/nano/base', but ")
    assert done.stderr.count("\n") == 1
