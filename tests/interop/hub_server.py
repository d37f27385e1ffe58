"""A stand-in of the Hugging Face hub: repositories, branches and commits, with large files by git-lfs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_the_tests"


class Hub:
    """What the server holds.

    Attributes:
      repositories: Files by path, by repository and branch.
      private: Private repositories.
      commits: Each commit's repository, branch and message.
      stored: Large files by their SHA-256.
      refuse: A status with which uploads are refused, if any.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.commits: list[tuple[str, str, str]] = []
        self.stored: dict[str, bytes] = {}
        self.refuse = 0
        self.address = ""


class _Handler(BaseHTTPRequestHandler):
    """Answers as the hub does; `hub` is set by a class of its own for each server."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, value: object = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self):
        content = self.body()
        self.hub.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer(200, {})

    def do_GET(self):
        if self.path.startswith("/api/whoami"):
            return self.answer(200, {"name": "me", "type": "user", "orgs": []})
        return self.answer(404, {"error": "no such thing"})

    def do_POST(self):
        content = self.body()
        path = self.path.split("?")[0]
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch(json.loads(content))
        *_, owner, name, verb, branch = path.split("/")
        repository = f"{owner}/{name}"
        if verb == "branch":
            self.hub.repositories.setdefault((repository, branch), {})
            return self.answer(200, {})
        if self.hub.refuse:
            return self.answer(self.hub.refuse, {"error": "You may not write here."})
        if verb == "preupload":
            return self.modes(json.loads(content))
        assert verb == "commit", path
        return self.commit(repository, branch, content)

    def create(self, asked):
        repository = f"{asked.get('organization') or 'me'}/{asked['name']}"
        known = (repository, "main") in self.hub.repositories
        self.hub.repositories.setdefault((repository, "main"), {})
        if asked.get("visibility") == "private" or asked.get("private"):
            self.hub.private.add(repository)
        url = {"url": f"{self.hub.address}/{repository}", "id": repository, "name": repository}
        return self.answer(409 if known else 200, url)

    def modes(self, asked):
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for each in asked["files"]
        ]
        return self.answer(200, {"files": files})

    def batch(self, asked):
        def of(each):
            if each["oid"] in self.hub.stored:
                return each
            return each | {
                "authenticated": True,
                "actions": {
                    "upload": {"href": f"{self.hub.address}/lfs/{each['oid']}", "header": {}}
                },
            }

        objects = [of(each) for each in asked["objects"]]
        return self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, repository, branch, content):
        files = self.hub.repositories[repository, branch]
        message = ""
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        self.hub.commits.append((repository, branch, message))
        oid = hashlib.sha1(content).hexdigest()
        url = f"{self.hub.address}/{repository}/commit/{oid}"
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url})


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
