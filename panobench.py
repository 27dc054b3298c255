"""The `panobench` command: a thin front door that loads each command only when it is called."""

import importlib
import sys
from typing import NoReturn

import click

from core.errors import PanobenchError, did_you_mean
from core.files import disk_full, write_error

# section -> name -> (module:attribute, help shown by `panobench --help` without importing the module)
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "The pipeline, in its order (`make repro` runs all of it)": {
        "params": ("core.params_cli:params", "Check params.yaml and print what is in force."),
        "profile": ("core.profiles:profile", "Switch params.yaml to another profile: nano or paper."),
        "fetch": ("core.weights.cli:fetch", "Say which weights of the profile are missing, and where to get them."),
        "data": ("core.data.cli:data", "Build a training set: probe, split, caption (360TF), flow, encode, check."),
        "train": ("core.cli:train", "Train one model of params.yaml: the panorama LoRA or the 360-Adapter."),
        "recipes": ("baselines.cli:recipes", "Resolve each method into the weights and switches it uses."),
        "generate": ("baselines.cli:generate", "Generate the prompt set's videos with one method."),
        "score": ("evaluation.cli:score", "Score a folder of panoramic MP4s, whoever made them."),
        "compare": ("evaluation.compare_cli:compare", "Put scored methods side by side in one HTML report."),
        "agreement": ("evaluation.agreement_cli:agreement", "Say how well each metric agrees with the study's raters."),
        "track": ("evaluation.track_cli:track", "Log (or rebuild) the MLflow runs from the files."),
        "study": ("study_app.cli:study", "Prepare, serve, watch and analyse the human study."),
    },
    "Tools": {
        "metrics": ("evaluation.cli:metrics", "List the metrics: unit, direction, criterion, needs."),
        "validate": (
            "evaluation.validate_cli:validate",
            "Prove the metrics on graded corruptions; write docs/metrics.md.",
        ),
        "nano": ("core.nano.cli:nano", "The procedural world, and the training of the shipped nano base."),
    },
}


class _UserError(click.ClickException):
    """A PanobenchError on its way out: one line, exit status 1."""

    def show(self, file=None) -> None:
        click.echo(f"panobench: error: {self.format_message()}", file=file or sys.stderr)


class FrontDoor(click.Group):
    """A group whose members are named in COMMANDS and imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names in the usual order of use."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, and nothing else.

        Raises:
            _UserError: the module or a package it needs is not installed.
        """
        for section in COMMANDS.values():
            if cmd_name in section:
                module, attribute = section[cmd_name][0].split(":")
                try:
                    return getattr(importlib.import_module(module), attribute)
                except ModuleNotFoundError as error:
                    raise _UserError(
                        f"'{cmd_name}' needs the module '{error.name}', which is not installed; "
                        "run `make .venv` in the repository, or reinstall panobench"
                    ) from error
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """As click's, with the nearest name suggested for an unknown one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"no such command '{args[0]}'{near}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, from the static texts."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])

    def invoke(self, ctx: click.Context):
        """Run the command; user errors and a full disk become one line."""
        try:
            return super().invoke(ctx)
        except PanobenchError as error:
            raise _UserError(str(error)) from error
        except OSError as error:
            if disk_full(error):
                raise _UserError(str(write_error(error.filename or "writing a file", error))) from error
            raise


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="panobench")
def cli() -> None:
    """Train, generate, measure and rate 360-degree text-to-video.

    Your own videos: put MP4s (2:1 equirectangular) in a folder and run `panobench score FOLDER`.
    Every command answers --help.
    """


def main() -> NoReturn:
    """Entry point of the console script."""
    cli.main(prog_name="panobench")
    raise SystemExit(0)


if __name__ == "__main__":
    main()
