"""What stands before the service: who may ask, for whom, and how much; and the count of all requests."""

import hmac
import time

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.photos import MOST_BYTES
from scenarioclip_jax.listening import host_of

_ROUTES = frozenset({"/describe", "/embed", "/search", "/health", "/metrics", "/docs"})


class Gate:
    """Refuses requests without the token, for another host or too large, and counts all.

    Args:
      app, metrics, token, hosts: As for `app.make_app`.
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
            return problem(421, "this server isn't known by that name")
        given = headers.get("authorization", "").encode("utf-8", "replace")
        needed = self._token and scope["path"] not in self._without
        if needed and not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return problem(401, "send the header Authorization: Bearer TOKEN")
        length = headers.get("content-length", "0" if scope["method"] in ("GET", "HEAD") else "")
        if not (length.isascii() and length.isdigit()) or int(length) > MOST_BYTES:
            return problem(413, f"a request has a length, of at most {MOST_BYTES} bytes")
        return None


def problem(status: int, what: str) -> Response:
    """A refusal with its reason."""
    return JSONResponse({"detail": what}, status)
