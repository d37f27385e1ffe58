"""The service's addresses: /describe, /embed, /search, /health, /metrics and /docs."""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenarioclip_jax.demo.batcher import Batcher, QueueFullError
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.page import add_page
from scenarioclip_jax.demo.photos import MOST_BYTES, decode
from scenarioclip_jax.demo.service import Service, Sought
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.listening import host_of

Level = Literal["global", "object", "relation"]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Pair = Annotated[list[Box], Field(min_length=2, max_length=2)]
Boxes = Annotated[list[Box], Field(max_length=100)]
Texts = Annotated[list[Text], Field(max_length=1000)]
_ROUTES = frozenset({"/describe", "/embed", "/search", "/health", "/metrics", "/docs"})


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WordLists(_Asked):
    """The words to choose from."""

    actions: Texts = []
    objects: Texts = []
    predicates: Texts = []


class DescribeRequest(_Asked):
    """A photo to describe."""

    photo: str = Field(description="base64 of an image file")
    boxes: Boxes = Field([], description="x0, y0, x1, y1 in pixels of the upright photo")
    words: WordLists | None = Field(None, description="instead of the service's words")
    model: str | None = Field(None, description="one of the models of /health; else the first")


class EmbedRequest(_Asked):
    """Texts at a level; or one photo: the whole, its objects in boxes, or relations between pairs of boxes."""

    texts: Texts = []
    level: Level = "global"
    photo: str | None = Field(None, description="base64 of an image file")
    boxes: Boxes = []
    pairs: Annotated[list[Pair], Field(max_length=200)] = []


class PartRequest(_Asked):
    """What photos should show, or shouldn't: a text, or what a photo shows, as a whole or at a place."""

    text: Text | None = None
    level: Level | None = Field(None, description="of the text; else where it fits best")
    photo: str | None = Field(None, description="base64 of an image file")
    boxes: Annotated[list[Box], Field(max_length=2)] = Field(
        [], description="one for an object of the photo, two for a relation"
    )
    wanted: bool = True


class SearchRequest(_Asked):
    """A query in the album."""

    parts: list[PartRequest] = Field(min_length=1, max_length=20)
    count: int = Field(20, ge=1, le=200)


def make_app(
    services: Mapping[str, Service],
    batcher: Batcher,
    metrics: Metrics,
    token: str,
    hosts: frozenset[str] | None,
    page: Mapping[str, Words] | None = None,
) -> "Gate":
    """The application.

    Args:
      services: What is done, by the models' names. The first embeds and searches; all describe.
      batcher: Where requests wait.
      metrics: What is counted.
      token: What requests have to bring as `Authorization: Bearer`; "" for none.
      hosts: Names that requests may be for; None for all.
      page: Lists of words that the web page offers, by name; None: there is no page.
    """
    app = FastAPI(title="scenarioclip_jax", redoc_url=None)
    app.add_exception_handler(QueueFullError, _full)
    app.add_exception_handler(ReadableError, _refused)
    app.add_exception_handler(ValueError, _refused)
    _add_questions(app, services, batcher)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service answers, how many requests wait, and the models' names."""
        return {"ready": True, "waiting": len(batcher), "models": list(services)}

    @app.get("/metrics")
    async def told() -> PlainTextResponse:
        """Counts for Prometheus."""
        return PlainTextResponse(metrics.text(len(batcher)))

    without = frozenset() if page is None else add_page(app, services, page)
    return Gate(app, metrics, token, hosts, without)


def _add_questions(app: FastAPI, services: Mapping[str, Service], batcher: Batcher) -> None:
    service = next(iter(services.values()))

    async def done(run: Callable, item: Any) -> Any:
        return await asyncio.wrap_future(batcher.submit(run, item))

    @app.post("/describe")
    async def describe(asked: DescribeRequest) -> dict[str, Any]:
        """The photo's scene graph: actions, objects and relations with scores."""
        own = service if asked.model is None else services.get(asked.model)
        if own is None:
            known = "; ".join(services)
            raise HTTPException(422, f"model: {asked.model!r} isn't one of these: {known}")
        photo = await run_in_threadpool(decode, asked.photo)
        words = asked.words.model_dump() if asked.words else None
        if words is None and own.words is None:
            raise HTTPException(422, "the service has no words of its own; send words")
        return await done(own.describe, (photo, asked.boxes, words))

    @app.post("/embed")
    async def embed(asked: EmbedRequest) -> dict[str, Any]:
        """Embeddings, one for each text, box or pair; not of length 1."""
        if bool(asked.texts) == (asked.photo is not None):
            raise HTTPException(422, "send texts or a photo")
        if asked.photo is None:
            found = await done(service.texts, (asked.texts, asked.level))
        else:
            if asked.boxes and asked.pairs:
                raise HTTPException(422, "send boxes or pairs, not both")
            photo = await run_in_threadpool(decode, asked.photo)
            if places := asked.boxes or asked.pairs:
                level = "object" if asked.boxes else "relation"
                found = await done(service.places, (photo, places, level))
            else:
                found = await done(service.photos, photo)
        return {"embeddings": found.tolist()}

    @app.post("/search")
    async def search(asked: SearchRequest) -> dict[str, Any]:
        """The album's photos that show what is asked, the best first."""
        if not service.has_album:
            raise HTTPException(404, "there is no album; start the service with --index")
        sought = [await _sought(part) for part in asked.parts]
        return {"hits": await done(service.search, (sought, asked.count))}


async def _sought(part: PartRequest) -> Sought:
    if (part.text is None) == (part.photo is None):
        raise HTTPException(422, "a part of a query is a text or a photo")
    if part.photo is None:
        if part.boxes:
            raise HTTPException(422, "boxes are places in a photo; send the photo")
        return Sought(part.text or "", part.level or "", wanted=part.wanted)
    if part.level:
        raise HTTPException(422, "level is that of a text; boxes say what is meant in a photo")
    photo = await run_in_threadpool(decode, part.photo)
    return Sought(photo=photo, boxes=part.boxes, wanted=part.wanted)


class Gate:
    """Refuses requests without the token, for another host or too large, and counts all.

    Args:
      app, metrics, token, hosts: As for `make_app`.
      without: Addresses that need no token.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        token: str,
        hosts: frozenset[str] | None,
        without: frozenset[str] = frozenset(),
    ):
        self._app, self._metrics, self._token, self._hosts = app, metrics, token, hosts
        self._without = without

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            refused = self._refusal(scope, Headers(scope=scope))
            await (refused or self._app)(scope, receive, answer)
        finally:
            route = scope["path"] if scope["path"] in _ROUTES else "other"
            self._metrics.request(route, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._hosts is not None and host_of(headers.get("host", "")) not in self._hosts:
            return _problem(421, "this server isn't known by that name")
        given = headers.get("authorization", "").encode("utf-8", "replace")
        needed = self._token and scope["path"] not in self._without
        if needed and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return _problem(401, "send the header Authorization: Bearer TOKEN")
        length = headers.get("content-length", "0" if scope["method"] in ("GET", "HEAD") else "")
        if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES:
            return _problem(413, f"a request has a length, of at most {MOST_BYTES} bytes")
        return None


def _problem(status: int, what: str) -> Response:
    return JSONResponse({"detail": what}, status)


def _full(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 429, {"retry-after": "1"})


def _refused(request: Request, error: Exception) -> Response:
    return _problem(422, str(error))
