"""The page's addresses: its files, what it begins with, examples, and small pictures of the album."""

import io
from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import FastAPI, HTTPException
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.demo.examples import make_examples
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.describe.word_lists import Words

SIDE = 320  # pixels of the long side of a small picture
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
# Scripts and styles are files of this server; pictures come by scripts, which have the token.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def page_files() -> dict[str, bytes]:
    """The files of the page by their addresses. They hold no secret, so they need no token."""
    folder = resources.files("scenarioclip_jax.demo") / "page"
    found = {f"/{file.name}": file.read_bytes() for file in folder.iterdir() if file.is_file()}
    found["/"] = found.pop("/index.html")
    return found


def add_page(
    app: FastAPI, services: Mapping[str, Service], lists: Mapping[str, Words]
) -> frozenset[str]:
    """Adds the page to an application, and returns the addresses that need no token.

    Args:
      services: What is done, by the models' names.
      lists: Lists of words that are offered, by name; the page begins with the first.
    """
    files, examples = page_files(), make_examples()
    service = next(iter(services.values()))
    for path, content in files.items():
        _add_file(app, path, content)

    @app.get("/start", include_in_schema=False)
    async def start() -> dict[str, Any]:
        return {
            "models": list(services),
            "lists": [{"name": name} | words._asdict() for name, words in lists.items()],
            "album": service.has_album,
            "examples": [each.boxes for each in examples],
        }

    @app.get("/examples/{number}", include_in_schema=False)
    async def example(number: int) -> Response:
        if not 0 <= number < len(examples):
            raise HTTPException(404, "there is no such example")
        return Response(examples[number].file, media_type="image/png")

    @app.get("/thumbnail", include_in_schema=False)
    async def thumbnail(path: str) -> Response:
        file = service.photo_file(path)
        if file is None:
            raise HTTPException(404, "the album has found no such photo")
        try:
            content = await run_in_threadpool(_small, file)
        except (OSError, ValueError):
            raise HTTPException(410, "the photo can't be read any more") from None
        return Response(content, media_type="image/jpeg")

    return frozenset(files)


def _add_file(app: FastAPI, path: str, content: bytes) -> None:
    kind = _TYPES["html" if path == "/" else path.rpartition(".")[2]]

    @app.get(path, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)


def _small(file: Any) -> bytes:
    picture = open_image(file).picture
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return stream.getvalue()
