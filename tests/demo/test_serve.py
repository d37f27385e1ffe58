"""The command as a process: what it answers, how it stops, and what it says of bad flags."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarioclip_jax.demo.command import main
from tests.evaluation import tiny_model
from tests.harness.started import with_default_signals

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def model(small_data, tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("serve") / "model", small_data)


# The command, whose embeddings of texts wait from their start (a file says so) until another file is there.
_HELD = """
import pathlib, sys, time
from scenarioclip_jax.demo import command, service

started, released = map(pathlib.Path, sys.argv[1:3])
texts = service.Service.texts

def held(self, items):
    started.touch()
    while not released.exists():
        time.sleep(0.01)
    return texts(self, items)

service.Service.texts = held
command.main(sys.argv[3:])
"""


@pytest.mark.slow
def test_what_was_asked_before_it_was_told_to_stop_is_answered(model, tmp_path):
    started, released = tmp_path / "started", tmp_path / "released"
    command = [sys.executable, "-c", _HELD, started, released, "--api", f"--model={model}"]
    with subprocess.Popen(
        with_default_signals(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        late = threading.Timer(120, process.kill)
        late.start()
        try:
            told = next(line for line in process.stdout if "http://" in line)
            address = re.search(r"http://[\d.:]+", told)[0]

            def ask(number):
                body = json.dumps({"texts": [f"circle {number}"]}).encode()
                headers = {"content-type": "application/json"}
                request = urllib.request.Request(f"{address}/embed", body, headers)
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return len(json.load(answer)["embeddings"])

            def waiting():
                with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
                    return int(re.search(r"queue_length (\d+)", answer.read().decode())[1])

            with ThreadPoolExecutor(8) as clients:
                asked = [clients.submit(ask, 0)]
                until(started.exists, "the first request did not reach the model")
                asked += [clients.submit(ask, number) for number in range(1, 8)]
                until(lambda: waiting() == 7, "the other seven did not wait")
                process.send_signal(signal.SIGTERM)
                until(lambda: not listens(address), "it takes more after it was told to stop")
                assert not any(each.done() for each in asked)
                released.touch()
                assert [each.result() for each in asked] == [1] * 8
            assert process.wait(60) == 0
            assert "all requests were answered" in process.stdout.read()
        finally:
            released.touch()
            late.cancel()
            process.kill()


def until(holds, otherwise, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def listens(address):
    host, port = address.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--host=0.0.0.0"], "give --token-file"),
        (["--port=70000"], "leave --port out"),
        (["--queue=0"], "--queue=0: must be at least 1"),
        (["--words=nowhere"], "neither a data set nor a JSON file"),
        (["--index=nowhere"], "no index of photos"),
    ],
)
def test_bad_flags_are_named(model, flags, message):
    with pytest.raises(SystemExit, match=message):
        main(["--api", f"--model={model}", *flags])


def test_a_short_token_is_refused(model, tmp_path):
    (tmp_path / "token").write_text("secret")
    with pytest.raises(SystemExit, match="at least 16"):
        main(["--api", f"--model={model}", f"--token-file={tmp_path / 'token'}"])
