"""dvc.yaml against the code: every stage depends on what it imports, and on nothing that it does not."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "baselines", "evaluation", "study_app")
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# stage -> the modules that do its work, below the command line
WORK = {
    "fetch": "core.weights.fetch",
    "probe": "core.data.probe",
    "split": "core.data.split core.data.film core.data.existing",
    "caption": "core.data.caption",
    "flow": "core.data.flowstage",
    "encode": "core.data.encode",
    "check": "core.data.check",
    "train": "core.train.run",
    "recipes": "baselines.recipes",
    "generate": "baselines.generate",
    "score": "evaluation.run",
    "compare": "evaluation.report",
    "track": "evaluation.track",
    "study": "study_app.prepare",
    "study_analysis": "study_app.analysis.run",
}
# Decide what is accepted and how files are written, not what a stage computes; parameters are tracked by value.
PLUMBING = {
    "core/errors.py",
    "core/files.py",
    "core/params.py",
    "core/params_explain.py",
    "core/params_schema.py",
    "core/registry.py",
    "core/data/sources.py",
    "core/data/work.py",
    "core/device.py",
    "core/shards.py",
    "study_app/params.py",
}


@cache
def module_file(module: str) -> Path | None:
    """The source of a module of this project."""
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imports(file: Path) -> set[str]:
    """Modules of this project that a file names in import statements, wherever they stand."""
    package = file.relative_to(ROOT).parent.as_posix().replace("/", ".")
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package if node.level else node.module or ""
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in PACKAGES and module_file(name)}


def imported_files(module: str) -> set[str]:
    """Every file of this project that modules need, itself included, less empty packages and plumbing."""
    todo, seen = set(module.split()), set()
    while todo:
        name = todo.pop()
        seen.add(name)
        file = module_file(name)
        assert file is not None, name
        if file.relative_to(ROOT).as_posix() not in PLUMBING:
            todo |= imports(file) - seen
    files = {file for name in seen if (file := module_file(name)) and file.stat().st_size}
    trivial = {file for file in files if file.name == "__init__.py" and not imports(file)}
    return {file.relative_to(ROOT).as_posix() for file in files - trivial} - PLUMBING


def holds_python(path: Path) -> bool:
    """Templates and prompt files are dependencies too, but nothing imports them."""
    return path.suffix == ".py" or any(path.rglob("*.py"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_it_imports(stage: str) -> None:
    code = [dep for dep in STAGES[stage]["deps"] if dep.split("/")[0] in PACKAGES and holds_python(ROOT / dep)]
    needed = imported_files(WORK[stage])
    missing = {file for file in needed if not any(file == dep or file.startswith(dep + "/") for dep in code)}
    unused = {dep for dep in code if not any(file == dep or file.startswith(dep + "/") for file in needed)}
    assert (sorted(missing), sorted(unused)) == ([], []), f"dvc.yaml, {stage}: add the first, remove the second"


def test_code_that_a_stage_depends_on_exists() -> None:
    for stage in STAGES.values():
        for dep in stage["deps"]:
            if dep.split("/")[0] in PACKAGES:
                assert (ROOT / dep).exists(), dep


@pytest.mark.parametrize("profile", ["params.yaml", "profiles/paper.yaml"])
def test_a_profile_names_every_parameter_that_a_stage_tracks(profile: str) -> None:
    """DVC refuses a pipeline that tracks a key which stands in the file only by its default."""
    params = yaml.safe_load((ROOT / profile).read_text(encoding="utf-8"))
    for stage, described in STAGES.items():
        for key in described.get("params", []):
            section = params
            for name in [] if "$" in key else key.split("."):
                assert name in section, f"{profile} lacks {key}, which the stage {stage} tracks"
                section = section[name]
