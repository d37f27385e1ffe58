"""Answers only those who have the token, and tells browsers to run nothing but the page's own files."""

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scenarioclip_jax.listening import host_of

HEADER = "x-review-token"
_LARGEST = 2 << 20  # bytes of a request
_ANSWERS = {
    # Scripts and styles are files of this server; the page may not make markup of texts at all.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "referrer-policy": "no-referrer",  # the address holds the token
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Checks every request, whatever its path.

    The page is opened with the token in its address and then has a cookie, for photos, styles and scripts.
    What changes something needs the token in a header: browsers send the cookie to all ports of a machine, so
    that pages of another server on it could use it.

    Args:
      app: What answers.
      token: The token.
      hosts: Names that requests may be for, without ports; None for all. A page elsewhere whose name was made
        to point here (DNS rebinding) is refused by that.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str] | None):
        self._app, self._token, self._hosts = app, token, hosts
        # Two servers on one machine must not overwrite each other's cookie.
        self._cookie = "review-" + hashlib.sha256(token.encode()).hexdigest()[:12]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        by_address = scope["path"] == "/" and self._is_token(given)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _ANSWERS.items():
                    found[name] = value
                found.setdefault("cache-control", "no-store")
                if by_address:
                    found.append(
                        "set-cookie",
                        f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict",
                    )
            await send(message)

        refused = self._refusal(scope, headers, by_address)
        await (refused or self._app)(scope, receive, answer)

    def _refusal(
        self, scope: dict[str, Any] | Scope, headers: Headers, by_address: bool
    ) -> PlainTextResponse | None:
        if self._hosts is not None and host_of(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("this server isn't known by that name\n", 421)
        changes = scope["method"] not in ("GET", "HEAD")
        by_header = self._is_token(headers.get(HEADER, ""))
        by_cookie = not changes and self._is_token(self._in_cookie(headers))
        if not (by_header or by_cookie or (by_address and not changes)):
            told = "open the address that the command has printed, with its token\n"
            return PlainTextResponse(told, 403)
        length = headers.get("content-length", "0" if not changes else "")
        if not length.isascii() or not length.isdigit() or int(length) > _LARGEST:
            return PlainTextResponse(f"a request has at most {_LARGEST} bytes\n", 413)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    def _in_cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found else ""
