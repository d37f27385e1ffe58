"""Runs the server of the review page until it is told to stop."""

import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from getpass import getuser
from urllib.parse import urlencode

import uvicorn

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.review.app import make_app
from scenarioclip_jax.annotate.review.decisions import check_name
from scenarioclip_jax.annotate.review.desk import Desk
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.console import say
from scenarioclip_jax.listening import LOOPBACK, listen

_PATIENCE = 3  # seconds that open requests have when the server stops


def serve(
    work: Work,
    reviewer: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    browser: bool,
) -> None:
    """Serves the review page until SIGINT or SIGTERM.

    Args:
      work: The working folder.
      reviewer: Name of the reviewer; by default the user's.
      host: Address to listen at.
      port: Port; 0 for one that is free.
      browser: Whether to open a browser.

    Raises:
      WorkError: Another process writes this reviewer's decisions.
      ListenError: The port is taken.
    """
    with contextlib.ExitStack() as held:
        desk = Desk(work, check_name(reviewer) if reviewer is not None else _user())
        held.callback(desk.close)
        listening = held.enter_context(listen(host, port))
        token = secrets.token_urlsafe(24)
        address, local = _address(listening, host, token)
        app = make_app(desk, token, LOOPBACK | {host} if local else None)
        say(
            f"{len(desk.catalog.ids):,} photos for {desk.reviewer}. Open in a browser on this machine:"
        )
        say(f"  {address}")
        if not local:
            say("  Others who know the address and its token can read the photos, and decide.")
        say("Ctrl-C stops it; each decision is saved when it is made.")
        if browser and _has_display():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=_PATIENCE
        )
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that leaves a signal ignored that was ignored when it started."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        captured = (signal.SIGINT, signal.SIGTERM)
        ignored = [each for each in captured if signal.getsignal(each) is signal.SIG_IGN]
        with super().capture_signals():
            for each in ignored:
                signal.signal(each, signal.SIG_IGN)
            yield


def _user() -> str:
    try:
        return check_name(getuser())
    except (WorkError, OSError, KeyError):
        raise WorkError("your user's name can't be used; give --reviewer=NAME") from None


def _address(listening: socket.socket, host: str, token: str) -> tuple[str, bool]:
    """The page's address, and whether only this machine can reach it."""
    bound, port = listening.getsockname()[:2]
    place = ipaddress.ip_address(bound.partition("%")[0])
    name = host
    if place.is_unspecified:
        name = socket.gethostname()
    elif place.version == 6:
        name = f"[{bound}]"
    return f"http://{name}:{port}/?{urlencode({'token': token})}", place.is_loopback


def _has_display() -> bool:
    """Whether a browser would open a window; those of terminals would take this one."""
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in names)
