"""The analysis as files: a page that needs nothing else, JSON for programs, LaTeX and figures for a paper.

index.html       everything, figures inside
analysis.json    every number (``study_app.analysis.analyse``)
tables.tex       tables with booktabs
shares, pairs, prompts   .svg and .pdf
"""

import base64
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.errors import PanobenchError
from core.files import publish_directory, write_error, write_json, write_text
from study_app.analysis.figures import colours, draw
from study_app.analysis.latex import tables
from study_app.analysis.wording import count, p_value, percent, spread

RESULT_FILE = "analysis.json"
_TEMPLATES = Path(__file__).parent / "templates"


def write_report(result: Mapping[str, Any], out: str | Path) -> None:
    """Write everything to the folder ``out``, replacing an analysis that is there; complete or as it was.

    Raises:
        PanobenchError: ``out`` is something else than an analysis, or cannot be written.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / RESULT_FILE).is_file())):
        raise PanobenchError(f"{out}: exists and is not an analysis; name another place with --out")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write_json(partial / RESULT_FILE, result)
        write_text(partial / "tables.tex", tables(result))
        names = draw(result, partial) if result["status"] == "ok" else []
        figures = {name: _data_uri(partial / f"{name}.svg") for name in names}
        write_text(partial / "index.html", _page(result, figures))
        publish_directory(partial, out)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _page(result: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = {"percent": percent, "spread": spread, "p_value": p_value, "count": count}
    context = {"label": {method["name"]: method["label"] for method in result["methods"]}, "colour": colours(result)}
    return environment.get_template("analysis.html").render(
        r=result, figures=figures, version=version("panobench"), **words, **context
    )


def _data_uri(path: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
