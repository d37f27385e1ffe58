"""Servers of both protocols on loopback, and a proxy in front of them that delays or fails requests."""

import contextlib
import http.client
import http.server
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage.bucket import Bucket

_GS_SERVER = str(Path(__file__).with_name("gs_server.py"))
COMMANDS = {
    "s3": ("-m", "moto.server", "-H", "127.0.0.1", "-p"),
    "gs": (_GS_SERVER, "start", "--in-memory", "--host", "127.0.0.1", "--port"),
}
START_SECONDS = 60
_numbers = itertools.count()


class Server(NamedTuple):
    """A running server.

    Attributes:
      scheme: The protocol that it speaks.
      port: Where it listens.
    """

    scheme: str
    port: int

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What makes clients use it, or what listens at another port in its place."""
        endpoint = f"http://127.0.0.1:{port or self.port}"
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": endpoint}
        return {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        """Makes a bucket; returns its name. Clients have to use this server already."""
        name = f"bucket-{next(_numbers)}"
        files = Bucket(Address(self.scheme, name, ""))._files
        files.mkdir(name)
        return name


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(scheme: str) -> Iterator[Server]:
    """Runs a server; it ends with the block."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, *COMMANDS[scheme], str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, f"the {scheme} server ended: {process.returncode}"
            assert time.monotonic() < deadline, f"the {scheme} server doesn't listen"
            time.sleep(0.05)
        yield Server(scheme, port)
    finally:
        process.kill()
        process.wait(60)


class Trouble:
    """Decides what happens to each request that a proxy gets; by default it passes."""

    def __init__(self, decide: Callable[[str, str, int], float | int | None] = lambda *_: None):
        self._decide, self._lock = decide, threading.Lock()
        self.requests: list[str] = []

    def __call__(self, method: str, path: str) -> float | int | None:
        """Returns a status to answer with, a float of seconds to wait before passing it on, or None."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            return self._decide(method, path, len(self.requests))


@contextlib.contextmanager
def proxy(server: Server, trouble: Trouble) -> Iterator[int]:
    """Runs a proxy before a server; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def pass_on(self):
            body = self._body()
            wanted = trouble(self.command, self.path)
            if isinstance(wanted, float):
                time.sleep(wanted)
            with contextlib.suppress(OSError):  # the client may have given up
                if wanted is not None and not isinstance(wanted, float):
                    self._answer(wanted, {}, b"")
                    return
                there = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                headers = {
                    k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"
                }
                headers["Content-Length"] = str(len(body))
                there.request(self.command, self.path, body, headers)
                answer = there.getresponse()
                self._answer(answer.status, dict(answer.getheaders()), answer.read())
                there.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = pass_on

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads, block_on_close = True, False

    with Listener(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield listener.server_port
        finally:
            listener.shutdown()
            thread.join(60)
