"""The route that serves the videos, by opaque id only."""

from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from core.errors import PanobenchError
from study_app.bundle import STUDY_FILE, load_bundle
from study_app.locate import find_bundle

MEDIA_ROUTE = "stimulus"


@lru_cache(maxsize=4)
def _files(folder: Path, changed: int) -> dict[str, Path]:
    """Names to files of a bundle, checked once for each version of its study.json."""
    return {path.name: path for path in load_bundle(folder).files.values()}


def stimulus(request: Request) -> Response:
    """Serve one MP4, whole or by ranges (206). What is not in the bundle's list does not exist (404)."""
    try:
        folder = find_bundle()
        path = _files(folder, (folder / STUDY_FILE).stat().st_mtime_ns).get(request.path_params["name"])
    except (PanobenchError, OSError):
        raise HTTPException(503, "the study is not available") from None
    if path is None:
        raise HTTPException(404)
    # An id stands for fixed bytes, so browsers may keep them. The file's own time is not sent: it would tell in which
    # order the videos were made.
    headers = {
        "Cache-Control": "private, max-age=86400, immutable",
        "ETag": f'"{path.stem}"',
        "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT",
        "X-Content-Type-Options": "nosniff",
    }
    return FileResponse(path, media_type="video/mp4", headers=headers)


#: Added to Streamlit's own routes in streamlit_app.py.
ROUTES = [Route("/" + MEDIA_ROUTE + "/{name}", stimulus, methods=["GET"])]
