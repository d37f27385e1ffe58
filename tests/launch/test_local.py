"""Several processes on one machine."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness.started import with_default_signals
from tests.launch.stubs import (
    AWKWARD,
    LAUNCH,
    SAVES_ON_SIGTERM,
    launch,
)


@pytest.fixture
def local(stubs, tmp_path):
    """Starts local.sh with N processes that run `code` (Python) instead of a training."""

    def start(n: int, code: str, *words: str, args=("--workdir=/w",), ignored=(), **env: str):
        head = "import json, os, pathlib, sys, time\nme = int(os.environ['JAX_PROCESS_ID'])\n"
        python = stubs.write(tmp_path / "python stub", f"{head}{code}")
        return subprocess.Popen(
            with_default_signals(
                [LAUNCH / "local.sh", *words, str(n), "--", *args], ignored=ignored
            ),
            env={**stubs.env, "PYTHON": str(python), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def finish(process, status=0):
    out, err = process.communicate(timeout=120)
    expected = status if isinstance(status, tuple) else (status,)
    assert process.returncode in expected, out + err
    return out, err


def in_session(leader: int) -> list[str]:
    """Processes of a session that have not ended."""
    listed = subprocess.run(
        ["ps", "-s", str(leader), "-o", "stat=,args="], capture_output=True, text=True
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_local_processes_get_their_variables_and_arguments(local):
    code = "print(json.dumps([sys.argv[1:], dict(os.environ)]), flush=True)\n"
    code += "print('to stderr', file=sys.stderr)"
    args = ["--workdir=/w", *AWKWARD]
    out, _ = finish(local(3, code, "--devices", "2", args=args, XLA_FLAGS="--xla_other"))
    addresses = set()
    for i in range(3):
        first, second = (line[4:] for line in out.splitlines() if line.startswith(f"[{i}] "))
        argv, env = json.loads(first)
        assert second == "to stderr"
        assert argv == ["-m", "scenarioclip_jax.main", *args]
        assert (env["JAX_NUM_PROCESSES"], env["JAX_PROCESS_ID"]) == ("3", str(i))
        assert env["JAX_PLATFORMS"] == "cpu"
        assert env["XLA_FLAGS"] == "--xla_other --xla_force_host_platform_device_count=2"
        addresses.add(env["JAX_COORDINATOR_ADDRESS"])
    (address,) = addresses
    assert re.fullmatch(r"127\.0\.0\.1:2\d{4}", address)


def test_local_without_devices_leaves_the_platform_alone(local):
    code = "print(sorted({'JAX_PLATFORMS', 'XLA_FLAGS'} & set(os.environ)))"
    out, _ = finish(local(1, code))
    assert out == "[0] []\n"


def test_local_dry_run_prints_what_is_run(stubs):
    stubs.add("main")
    command = [*launch("local.sh", "--devices=2", "--dry-run", "2"), "--", "--workdir=/w", *AWKWARD]
    printed = stubs.run(*command, PYTHON=str(stubs.folder / "main")).stdout
    assert not stubs.calls()
    stubs.run("bash", "-c", f"{printed}\nwait")
    argv = ["-m", "scenarioclip_jax.main", "--workdir=/w", *AWKWARD]
    assert [call["argv"] for call in stubs.calls()] == [argv, argv]
    assert "JAX_PROCESS_ID=0" in printed
    assert "JAX_PROCESS_ID=1" in printed


def test_local_ends_with_the_first_failure_and_ends_the_others(local):
    code = f"if me == 1: time.sleep(0.2); sys.exit(7)\n{SAVES_ON_SIGTERM}\nsys.exit(9)"
    out, err = finish(local(3, code), status=7)
    assert out.count("signals: 1") == 2
    assert "process 1 failed with status 7" in err


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, True)],
    ids=["SIGTERM", "SIGINT", "SIGTERM to the whole group"],
)
def test_local_passes_a_signal_on_once_and_waits(local, number, group):
    with local(2, SAVES_ON_SIGTERM) as process:
        ready = {process.stdout.readline() for _ in range(2)}
        assert ready == {"[0] ready\n", "[1] ready\n"}
        (os.killpg if group else os.kill)(process.pid, number)
        out, _ = finish(process)
    assert sorted(out.splitlines()) == ["[0] signals: 1", "[1] signals: 1"]


def test_local_leaves_nothing_behind(local, tmp_path):
    """Neither a process that won't end, nor children that processes leave."""
    code = f"""
import signal, subprocess
child = subprocess.Popen(["sleep", "15"])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(tmp_path)!r}, f"pids{{me}}").write_text(f"{{os.getpid()}} {{child.pid}}")
if me == 0:
    while not pathlib.Path({str(tmp_path)!r}, "pids1").exists(): time.sleep(0.01)
    sys.exit(5)
time.sleep(15)
"""
    started = time.monotonic()
    finish(local(2, code, LOCAL_GRACE="0"), status=5)
    pids = [int(p) for i in (0, 1) for p in (tmp_path / f"pids{i}").read_text().split()]
    assert len(pids) == 4
    assert all(gone(pid) for pid in pids)
    assert time.monotonic() - started < 10


def test_local_second_ctrl_c_kills(local):
    code = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
end = time.monotonic() + 15
while time.monotonic() < end: time.sleep(0.01)
"""
    with local(1, code) as process:
        for expected in ("[0] ready\n", "[0] asked\n"):
            assert process.stdout.readline() == expected
            process.send_signal(signal.SIGINT)
        finish(process, status=128 + signal.SIGKILL)


@pytest.mark.parametrize(
    ("interpreter", "status", "message"),
    [
        (None, 127, "/python stub: no such program; activate the environment"),
        ("#!/nonexistent/python\n", 127, "failed with status 127"),
        ("#!/bin/sh\nexit 3\n", 3, "failed with status 3"),
    ],
    ids=["missing", "cannot start", "ends at once"],
)
def test_local_ends_where_the_interpreter_fails(stubs, tmp_path, interpreter, status, message):
    """Processes that end before anybody reads what they say."""
    python = tmp_path / "python stub"
    if interpreter:
        python.write_text(interpreter)
        python.chmod(0o755)
    for _ in range(5):
        done = stubs.run(
            *launch("local.sh", "4", "--", "--workdir=/w"), check=status, PYTHON=str(python)
        )
        assert message in done.stderr


@pytest.mark.slow
def test_local_stopped_while_it_starts_ends_with_its_processes(local):
    """Whenever the signal comes, no process is forgotten and none is waited for in vain."""
    for milliseconds in range(0, 150, 10):
        job = local(4, "time.sleep(20)")
        time.sleep(milliseconds / 1000)
        job.terminate()
        # 143: this script or the first of its processes was ended by SIGTERM before it could answer otherwise.
        finish(job, status=(143, -signal.SIGTERM))
        assert not in_session(job.pid)


@pytest.mark.slow
def test_local_killed_outright_leaves_no_process(local, tmp_path):
    for milliseconds in (5, 20, 50, 100, 400):
        job = local(4, "time.sleep(20)")
        time.sleep(milliseconds / 1000)
        job.kill()
        job.communicate(timeout=120)  # its readers end, too
        deadline = time.monotonic() + 60
        while left := in_session(job.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)


def test_local_killed_outright_ends_processes_that_do_not_listen(local):
    code = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)"
    )
    job = local(2, f"{code}\ntime.sleep(20)", LOCAL_GRACE="0")
    assert {job.stdout.readline() for _ in range(2)} == {"[0] ready\n", "[1] ready\n"}
    job.kill()
    job.communicate(timeout=120)
    assert not in_session(job.pid)


def test_local_does_not_wait_for_a_child_that_holds_its_output(local, tmp_path):
    """A child in a session of its own is out of reach, and keeps the output open."""
    code = f"""
import subprocess
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(child.pid))
"""
    job = local(1, code)
    try:
        assert job.wait(timeout=28) == 0
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    job.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_local_leaves_a_signal_alone_that_was_ignored_from_its_start(local, number):
    code = "print('ready', flush=True)\ntime.sleep(1)\nprint('whole', flush=True)"
    job = local(1, code, ignored=[number])
    assert job.stdout.readline() == "[0] ready\n"
    job.send_signal(number)
    assert finish(job)[0] == "[0] whole\n"
