"""A server on loopback that speaks OpenAI's protocol, and misbehaves as it is told to."""

import contextlib
import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ANSWER = {
    "caption": "A dog runs on grass.",
    "action": "running",
    "objects": ["dog", "grass"],
    "relations": [["dog", "on", "grass"]],
}


class Reply(NamedTuple):
    """What a server does with a request.

    Attributes:
      text: The answer.
      status: The HTTP status; above 399, `text` is the error's message.
      finish: Why the answer ended.
      headers: Further headers.
      wait: Seconds until it answers.
      drop: Whether it breaks the connection instead.
      body: The whole body, in place of one that holds the text.
    """

    text: str = json.dumps(ANSWER)
    status: int = 200
    finish: str = "stop"
    headers: dict[str, str] = {}  # noqa: RUF012  (never written to)
    wait: float = 0.0
    drop: bool = False
    body: Any = None


class ChatServer:
    """A running server.

    Attributes:
      address: Where it is.
      decide: Says what happens with a request, given its body and how many came before.
      requests: Bodies of the requests for answers.
      keys: Keys that came with them.
      busy, most: Requests that it is at, and the most that it was at.
      crowd: How many it was at as each came, with that one.
      away: While set, it breaks every connection, as if nobody listened.
      times: When the requests came, in seconds of the monotonic clock.
    """

    def __init__(self, decide: Callable[[dict, int], Reply]):
        self.address, self.decide = "", decide
        self.requests: list[dict] = []
        self.times: list[float] = []
        self.keys: list[str] = []
        self.crowd: list[int] = []
        self.busy = self.most = 0
        self.away = False
        self.lock = threading.Lock()


@contextlib.contextmanager
def serving(decide: Callable[[dict, int], Reply] = lambda *_: Reply()) -> Iterator[ChatServer]:
    """Runs a server; it ends with the block."""
    server = ChatServer(decide)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            if server.away:
                return self._drop()
            return self._send(200, {"object": "list", "data": [{"id": "m", "object": "model"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.requests)
                server.requests.append(body)
                server.times.append(time.monotonic())
                server.keys.append(self.headers.get("Authorization", ""))
                server.busy += 1
                server.crowd.append(server.busy)
                server.most = max(server.most, server.busy)
            try:
                if server.away:
                    return self._drop()
                reply = server.decide(body, number)
                time.sleep(reply.wait)
                if reply.drop or server.away:
                    return self._drop()
            finally:
                with server.lock:
                    server.busy -= 1
            if reply.status > 399:
                error = {"error": {"message": reply.text, "type": "error", "code": None}}
                return self._send(reply.status, error, reply.headers)
            return self._send(200, reply.body or completion(reply), reply.headers)

        def _drop(self):
            # Zero seconds of lingering: the connection is reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def _send(self, status: int, body: Any, headers: dict[str, str] | None = None):
            content = json.dumps(body).encode() if not isinstance(body, bytes) else body
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response_only(status)
                headers = {"Content-Type": "application/json"} | (headers or {})
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads, block_on_close, request_queue_size = True, False, 64

        def handle_error(self, *_):
            pass

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server.address = f"http://127.0.0.1:{listener.server_port}/v1"
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join(60)


def completion(reply: Reply) -> dict:
    """The body of an answer."""
    message = {"role": "assistant", "content": reply.text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340},
    }
