"""Runs the service until it is told to stop, and finishes what was asked by then."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator, Mapping

import uvicorn

from scenarioclip_jax.console import say
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.listening import LOOPBACK, listen


class ServeError(ReadableError):
    """Others could reach the service without a token."""


def listen_guarded(host: str, port: int, token: str) -> socket.socket:
    """Opens the socket to listen at.

    Raises:
      ListenError: It can't be opened.
      ServeError: Others can reach it and there is no token.
    """
    listening = listen(host, port)
    if not token and not _is_local(listening):
        listening.close()
        raise ServeError(
            f"--host={host}: others can reach it, so give --token-file with what they have to send"
        )
    return listening


def _is_local(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def serve(
    services: Mapping[str, Service],
    listening: socket.socket,
    token: str,
    waiting: int,
    page: Mapping[str, Words] | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
      services: What is done, by the models' names.
      listening: From `listen_guarded`; it is closed at the end.
      token: What requests have to bring; "" for none.
      waiting: Most requests that wait.
      page: Lists of words that the web page offers, by name; None: there is no page.
    """
    bound, port = listening.getsockname()[:2]
    metrics = Metrics()
    batcher = Batcher(waiting, note=metrics.batch)
    app = make_app(
        services, batcher, metrics, token, LOOPBACK if _is_local(listening) else None, page
    )
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
