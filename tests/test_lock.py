"""One run at a time in a workdir."""

import os
import signal
import subprocess
import sys

import pytest

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.lock import own


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path):
    with own(tmp_path / "run"):
        with pytest.raises(
            ConfigError, match=rf"another run writes there \(process {os.getpid()} on .*, since 20"
        ):
            own(tmp_path / "run").__enter__()
        with own(tmp_path / "other"):
            pass
    with own(tmp_path / "run"):
        pass


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    code = (
        "import sys, time, pathlib\nfrom scenarioclip_jax.lock import own\n"
        "with own(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(300)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=f"process {run.pid} on"):
        own(tmp_path).__enter__()
    run.send_signal(signal.SIGKILL)
    run.communicate()
    with own(tmp_path):
        pass


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with own(tmp_path):
        pass
