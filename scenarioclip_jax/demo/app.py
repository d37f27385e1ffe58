"""The service's addresses: /describe, /embed, /search, /health, /metrics and /docs."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from scenarioclip_jax.demo.api_page import explain
from scenarioclip_jax.demo.batcher import Batcher, QueueFullError
from scenarioclip_jax.demo.gate import Gate, problem
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.page import add_page
from scenarioclip_jax.demo.photos import decode
from scenarioclip_jax.demo.requests import DescribeRequest, EmbedRequest, PartRequest, SearchRequest
from scenarioclip_jax.demo.service import Service, Sought
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.errors import ReadableError


def make_app(
    services: Mapping[str, Service],
    batcher: Batcher,
    metrics: Metrics,
    token: str,
    hosts: frozenset[str] | None,
    page: Mapping[str, Words] | None = None,
) -> Gate:
    """The application.

    Args:
      services: What is done, by the models' names. The first embeds and searches; all describe.
      batcher: Where requests wait.
      metrics: What is counted.
      token: What requests have to bring as `Authorization: Bearer`; "" for none.
      hosts: Names that requests may be for; None for all.
      page: Lists of words that the web page offers, by name; None: there is no page.
    """
    # FastAPI's own page of documentation loads its scripts from a public server.
    app = FastAPI(title="scenarioclip_jax", docs_url=None, redoc_url=None)
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

    @app.get("/docs", include_in_schema=False)
    async def explained(request: Request) -> HTMLResponse:
        """What requests look like, for people."""
        return HTMLResponse(
            explain(app.openapi(), str(request.base_url).rstrip("/")),
            headers={
                "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
            },
        )

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


def _full(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 429, {"retry-after": "1"})


def _refused(request: Request, error: Exception) -> Response:
    return problem(422, str(error))
