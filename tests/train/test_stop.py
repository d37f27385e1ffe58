"""Signals to a real process: which of them stop a run, how soon they are answered, and which stay ignored."""

import signal
import subprocess
import sys
import time

import pytest

from scenarioclip_jax.train.stop import SIGNALS
from tests.harness.started import with_default_signals

# Works in pieces, as a run does. A hash of many rounds is one instruction to Python, like a compilation.
RUN = """
import hashlib, sys, time
from scenarioclip_jax.train.stop import StopRequest
for piece in sys.argv[1:]:
    with StopRequest() as stop:
        print("ready", flush=True)
        if piece == "compiles":
            hashlib.pbkdf2_hmac("sha512", b"", b"", 200_000_000)
        while not stop():
            time.sleep(0.01)
    print("saved", flush=True)
"""


@pytest.fixture
def start():
    """Starts a run of several pieces, each of which goes on until it is stopped."""
    started = []

    def start(*pieces, ignored=()):
        process = subprocess.Popen(
            with_default_signals([sys.executable, "-c", RUN, *pieces], ignored=ignored),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_every_signal_of_schedulers_and_terminals_saves(start):
    run = start(*(["works"] * len(SIGNALS)))
    for number in SIGNALS:
        assert run.stdout.readline() == "ready\n"
        run.send_signal(number)
        assert run.stdout.readline() == "saved\n"
        assert f"{number.name}: the run saves and stops" in run.stderr.readline()
    assert run.wait(300) == 0


def test_ctrl_c_is_answered_at_once_and_a_second_ends_the_run_cleanly(start):
    run = start("compiles")
    assert run.stdout.readline() == "ready\n"
    time.sleep(0.2)  # by now it compiles, for minutes
    run.send_signal(signal.SIGINT)
    sent = time.monotonic()
    assert "Ctrl-C again ends it at once" in run.stderr.readline()
    run.send_signal(signal.SIGINT)
    assert run.wait(300) == 130
    assert time.monotonic() - sent < 60
    rest = run.stderr.read()
    assert rest == "interrupted again: ended at once; what was saved before is whole\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_from_the_start_stays_ignored(start, number):
    run = start("works", ignored=[number])
    assert run.stdout.readline() == "ready\n"
    run.send_signal(number)
    time.sleep(0.3)
    assert run.poll() is None
    run.send_signal(signal.SIGTERM)
    assert run.stdout.readline() == "saved\n"
    assert run.wait(300) == 0
    assert run.stderr.readline().startswith("SIGTERM: ")  # the first that was heard
