"""The harness, on small suites that crash, hang and leave processes behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # what these start takes long

ROOT = Path(__file__).parents[2]
LIMITS = ["-o", "timeout=2", "-o", "faulthandler_timeout=4"]
LIMITS += ["-o", "faulthandler_exit_on_timeout=true"]


@pytest.fixture
def suite(tmp_path):
    """Runs a suite of files in two workers and returns its output."""

    def run(files: dict[str, str], *options: str) -> str:
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        for name, code in files.items():
            (tmp_path / f"test_{name}.py").write_text(f"import os, pytest, time\n{code}")
        words = ["-p", "tests.harness.plugin", "-n", "2", "--dist", "loadfile", "-v"]
        words += ["--no-loadscope-reorder", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.stdout + done.stderr

    return run


EIGHT = """
@pytest.mark.parametrize("i", range(8))
def test(i):
    time.sleep(0.05)
    if i in CRASHES: os._exit(9)
"""


def test_a_suite_whose_workers_crash_ends_and_names_the_tests(suite):
    crashes = {"a": [3], "b": [], "c": [7], "d": [0, 6], "e": []}
    output = suite({name: f"CRASHES = {at}\n{EIGHT}" for name, at in crashes.items()})
    assert re.search(r"4 failed, 36 passed", output), output
    for name in ("a.py::test[3]", "c.py::test[7]", "d.py::test[0]", "d.py::test[6]"):
        assert (
            output.count(f"\nfailed: test_{name} (") == 1
        )  # at once, and not again in another worker
        assert f"crashed while running 'test_{name}'" in output


def test_a_test_that_waits_too_long_fails_with_all_stacks(suite):
    code = """
import threading
def somewhere(): time.sleep(3)
def test_waits():
    threading.Thread(target=somewhere, daemon=True).start()
    threading.Event().wait()
def test_after(): pass
"""
    output = suite({"slow": code}, *LIMITS)
    assert "1 failed, 1 passed" in output, output
    assert "Timeout" in output
    assert "in somewhere" in output


def test_what_cannot_be_interrupted_ends_with_its_worker(suite):
    """As compiled code that hangs: Python gets no chance to run the handler of a signal."""
    code = """
import hashlib
def test_hangs(): hashlib.pbkdf2_hmac("sha512", b"", b"", 1_000_000_000)
def test_after(): pass
"""
    output = suite({"hangs": code}, *LIMITS)
    assert "1 failed, 1 passed" in output, output
    assert "crashed while running 'test_hangs.py::test_hangs'" in output
    assert "in test_hangs" in output


def test_what_a_test_started_ends_with_it(suite, tmp_path):
    code = """
import pathlib, subprocess
def start(name):
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    pathlib.Path(name).write_text(str(child.pid))
def test_leaves(): start("left")
def test_next():
    pid = int(pathlib.Path("left").read_text())
    deadline = time.monotonic() + 60
    while pathlib.Path(f"/proc/{pid}/cmdline").exists() and time.monotonic() < deadline:
        try: os.waitpid(pid, os.WNOHANG)
        except ChildProcessError: break
    assert not os.path.exists(f"/proc/{pid}")
def test_crashes():
    start("orphan")
    os._exit(9)
"""
    output = suite({"leaves": code})
    assert "1 failed, 2 passed" in output, output
    assert "test_leaves left running, and ended now: sleep 300" in output
    orphan = int((tmp_path / "orphan").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{orphan}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_test_signals_the_process_that_runs_it():
    """By whatever name the process is known: early or late by a second, it would end the worker."""
    own = re.compile(r"(getpid|getppid|getpgrp|raise_signal|pthread_kill|\balarm)\(")
    signals = re.compile(r"\b(kill|killpg)\(")
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for number, line in enumerate(file.read_text().split("\n"), 1):
            found = own.search(line) and signals.search(line)
            assert not found, f"{file}:{number}: {line.strip()}"
            assert "raise_signal(" not in line or file == Path(__file__), f"{file}:{number}"


def test_a_started_process_has_default_signals(tmp_path):
    from tests.harness.started import with_default_signals

    code = "import signal; print([int(signal.getsignal(n)) for n in (1, 15)])"
    ignoring = "import os, signal, sys; signal.signal(1, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    for ignored, expected in (((), "[0, 0]"), ([signal.SIGHUP], "[1, 0]")):
        command = with_default_signals([sys.executable, "-IS", "-c", code], ignored=ignored)
        command = [sys.executable, "-IS", "-c", ignoring, *command]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
