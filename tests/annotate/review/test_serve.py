"""The command: what it prints, how it ends, and that a killed one loses nothing that it has acknowledged."""

import json
import signal
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest

from scenarioclip_jax.annotate.command import main
from scenarioclip_jax.annotate.review.decisions import Journal, readers
from tests.annotate.review.servers import PATIENCE, served

pytestmark = pytest.mark.timeout(180)


def ask(server, path, values=None):
    place = urlsplit(server.address)
    token = parse_qs(place.query)["token"][0]
    body = None if values is None else json.dumps(values).encode()
    headers = {"x-review-token": token, "content-type": "application/json"}
    request = urllib.request.Request(f"http://{place.netloc}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_it_listens_here_only_and_its_address_is_hard_to_guess(done):
    tokens = set()
    for name in ("ann", "ben"):
        with served(done.work, name) as server:
            place = urlsplit(server.address)
            assert place.hostname == "127.0.0.1"
            tokens.add(parse_qs(place.query)["token"][0])
            assert ask(server, "/api/list")["reviewer"] == name
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_quietly_when_told_to(done, number):
    with served(done.work, "ann") as server:
        ask(server, "/api/list")
        server.process.send_signal(number)
        assert server.process.wait(PATIENCE) == 128 + number
        told = server.process.stdout.read()
    assert "Traceback" not in told
    assert "stopped" in told
    Journal(done.work, "ann").close()  # nobody holds it any more


def test_a_signal_that_was_ignored_at_its_start_stays_ignored(done):
    """As in the background of a script. The server's library would listen to it."""
    with served(done.work, "ann", ignored=[signal.SIGINT]) as server:
        ask(server, "/api/list")
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert ask(server, "/api/list")["reviewer"] == "ann"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_killed_server_loses_no_decision_that_it_acknowledged(done):
    """Killed at six moments while three clients decide as fast as they can."""
    acknowledged = []
    for moment in range(6):
        with served(done.work, "ann") as server:
            ids = [row[0] for row in ask(server, "/api/list")["rows"]]
            digests = {id: ask(server, f"/api/scene?id={id}")["digest"] for id in ids[:3]}

            def decide(id, server=server, digests=digests):
                for number in range(10_000):
                    action = ("keep", "drop")[number % 2]
                    values = {"id": id, "digest": digests[id], "action": action}
                    try:
                        ask(server, "/api/decide", values)
                    except (OSError, urllib.error.URLError, ValueError):
                        return  # it was killed
                    acknowledged.append((id, action))

            clients = [threading.Thread(target=decide, args=(id,)) for id in digests]
            for client in clients:
                client.start()
            before = len(acknowledged)
            while len(acknowledged) < before + 5 + 3 * moment:
                clients[0].join(0.002)
            server.process.kill()
            for client in clients:
                client.join(PATIENCE)
    Journal(done.work, "ann").close()  # which cuts off what is unfinished
    reader = readers(done.work)["ann"]
    found = [(each.id, each.action) for each in reader.new()]
    assert reader.damaged == 0
    for id in {id for id, _ in acknowledged}:
        ours, theirs = ([a for i, a in told if i == id] for told in (acknowledged, found))
        # Each server may have written one more than it could acknowledge.
        assert len(ours) <= len(theirs) <= len(ours) + 6
    assert len(acknowledged) > 60


@pytest.mark.timeout(60)
def test_errors_name_the_remedy(done, capsys, tmp_path):
    def error(*flags):
        capsys.readouterr()
        assert main(["review", f"--output={done.work}", "--no-browser", *flags]) == 1
        return capsys.readouterr().err

    assert "begins with a letter or digit" in error("--reviewer=../ann")
    assert "can't listen there" in error("--reviewer=ann", "--host=256.0.0.1")
    assert "can't listen there" in error("--reviewer=ann", "--port=70000")
    with served(done.work, "ann") as server:
        assert "another process writes the decisions of ann" in error("--reviewer=ann")
        port = urlsplit(server.address).port
        assert "leave --port out" in error("--reviewer=ben", f"--port={port}")
    assert main(["review", "--output", str(tmp_path / "absent"), "--no-browser"]) == 1
    assert "isn't a working folder" in capsys.readouterr().err
