"""Runs the service until it is told to stop, and finishes what was asked by then."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator

import uvicorn

from scenarioclip_jax.console import say
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.errors import ReadableError

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class ServeError(ReadableError):
    """The service can't listen there."""


def listen(host: str, port: int, token: str) -> socket.socket:
    """Opens the socket to listen at.

    Raises:
      ServeError: It can't be opened, or others can reach it and there is no token.
    """
    try:
        if not 0 <= port < 1 << 16:  # the system would take the rest of a division
            raise OverflowError("ports are below 65536")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not ipaddress.ip_address(found[4][0]).is_loopback and not token:
            raise ServeError(
                f"--host={host}: others can reach it, so give --token-file with what they have to send"
            )
        return socket.create_server(found[4][:2], family=found[0])
    except (OSError, OverflowError, UnicodeError, ValueError) as error:
        raise ServeError(
            f"--host={host} --port={port}: can't listen there ({error}); leave --port out for a free one"
        ) from None


def serve(
    service: Service,
    listening: socket.socket,
    token: str,
    waiting: int,
    page: str | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
      service: What is done.
      listening: From `listen`; it is closed at the end.
      token: What requests have to bring; "" for none.
      waiting: Most requests that wait.
      page: What the model is called on the web page; None: there is no page.
    """
    bound, port = listening.getsockname()[:2]
    local = ipaddress.ip_address(bound).is_loopback
    metrics = Metrics()
    batcher = Batcher(waiting, note=metrics.batch)
    app = make_app(service, batcher, metrics, token, _LOOPBACK if local else None, page)
    name = f"[{bound}]" if ":" in bound else bound
    if page is None:
        say(f"listening at http://{name}:{port}; /docs explains requests; Ctrl-C stops it")
    else:
        # Browsers keep what is behind # to themselves, and the page sends it as the token.
        say(f"Open in a browser: http://{name}:{port}/#{token}")
        say("Ctrl-C stops it.")
    try:
        _Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listening])
    finally:
        batcher.close()
    say("stopped; all requests were answered")


class _Server(uvicorn.Server):
    """A server for which being told to stop is no failure: the command ends with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        for each, handler in before.items():
            if handler is not signal.SIG_IGN:  # one that was ignored at the start stays so
                signal.signal(each, self.handle_exit)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
