"""The server's addresses: the page, its files, the list, scenes, photos and decisions."""

from importlib import resources
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.review.desk import Desk, Refused
from scenarioclip_jax.annotate.review.edits import Problem
from scenarioclip_jax.annotate.review.guard import Guard
from scenarioclip_jax.annotate.review.pictures import as_jpeg
from scenarioclip_jax.data.build.photo_folders import PhotoError
from scenarioclip_jax.data.images import ImageFileError
from scenarioclip_jax.faults import InputUnavailableError

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER = "private, max-age=31536000, immutable"


def page_files() -> dict[str, bytes]:
    """The files of the page, by name."""
    folder = resources.files("scenarioclip_jax.annotate.review") / "page"
    found = ((file.name, file) for file in folder.iterdir())
    return {
        name: file.read_bytes() for name, file in found if f".{name.rpartition('.')[2]}" in _TYPES
    }


def make_app(desk: Desk, token: str, hosts: frozenset[str] | None) -> Guard:
    """The application.

    Args:
      desk: Answers.
      token: What requests have to show.
      hosts: Names that requests may be for; None for all.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Once, so that no request names a path.
    for name, content in page_files().items():
        _add_file(app, "/" if name == "index.html" else f"/{name}", name, content)
    app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=3)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(OSError, _unsaved)
    app.add_exception_handler(WorkError, _unsaved)

    @app.get("/api/list")
    def listed() -> Response:
        return JSONResponse(desk.list())

    @app.get("/api/changes")
    def changes(since: int = 0) -> Response:
        return JSONResponse(desk.changes(since))

    @app.get("/api/scene")
    def scene(id: str) -> Response:
        try:
            return JSONResponse(desk.scene(id))
        except KeyError:
            return _missing(id)

    @app.get("/photo")
    def photo(request: Request, id: str) -> Response:
        return _photo(desk, request, id)

    @app.post("/api/decide")
    def decide(values: Annotated[Any, Body()]) -> Response:
        return _decide(desk, values if isinstance(values, dict) else {})

    return Guard(app, token, hosts)


def _photo(desk: Desk, request: Request, id: str) -> Response:
    """A photo as JPEG, or why there is none; nothing but a status if the browser has it already."""
    try:
        tag = f'"{desk.catalog.version(id)}"'
        headers = {"etag": tag, "cache-control": "private, no-cache"}
        if "v" in request.query_params:  # the address changes with the content
            headers["cache-control"] = _FOREVER
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        picture = desk.catalog.open(id)
    except KeyError:
        return _missing(id)
    except (PhotoError, ImageFileError, InputUnavailableError, OSError) as error:
        return _problem(500, f"the photo can't be read: {error}")
    if picture is None:
        return _problem(
            410, "the photo's file has changed; run the stages, then start `review` again"
        )
    return Response(as_jpeg(picture), media_type="image/jpeg", headers=headers)


def _decide(desk: Desk, given: dict[str, Any]) -> Response:
    """Passes a decision on, if it has the form of one."""
    texts = [given.get(name, "") for name in ("id", "digest", "action", "base")]
    since = given.get("since", 0)
    if not all(isinstance(text, str) for text in texts) or type(since) is not int:
        raise Refused(422, [Problem("", "id, digest, action and base should be texts")])
    id, digest, action, base = texts
    return JSONResponse(desk.decide(id, digest, action, given.get("scene"), base, since))


def _add_file(app: FastAPI, path: str, name: str, content: bytes) -> None:
    kind = _TYPES[f".{name.rpartition('.')[2]}"]

    @app.get(path)
    def file() -> Response:
        return Response(content, media_type=kind)


def _missing(id: str) -> Response:
    return _problem(404, f"{id[:300]}: there is no such photo")


def _problem(status: int, what: str) -> Response:
    return JSONResponse({"problems": [{"where": "", "what": what}]}, status)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"problems": [each._asdict() for each in error.problems]}, error.status)


def _unsaved(request: Request, error: Exception) -> Response:
    return _problem(507, f"not saved: {error}")
