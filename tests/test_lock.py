"""One run at a time in a workdir."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.evaluation import job
from scenarioclip_jax.lock import own
from scenarioclip_jax.train import loop
from tests.train import tiny

ROOT = Path(__file__).parents[1]


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


def test_training_and_evaluation_hold_their_workdir(tmp_path, monkeypatch):
    def reached(*arguments, **named):
        raise AssertionError("it went on in a workdir that another run holds")

    monkeypatch.setattr(loop, "open_data", reached)
    monkeypatch.setattr(job, "describe", reached)
    monkeypatch.setattr(job, "open_models", lambda config: {})
    scored = runpy.run_path(str(ROOT / "configs" / "evaluate.py"))["get_config"]()
    scored.checkpoint, scored.cache, scored.suites = str(tmp_path), "", ("winoground",)
    scored.winoground.path = str(tmp_path / "examples.jsonl")
    (tmp_path / "examples.jsonl").write_text("{}")
    with own(tmp_path / "run"):
        with pytest.raises(ConfigError, match="another run writes there"):
            loop.train(tiny.config(tmp_path), tmp_path / "run")
        with pytest.raises(ConfigError, match="another run writes there"):
            job.evaluate(scored, tmp_path / "run")


def test_a_workdir_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ConfigError, match=r"--workdir=.*file/run: can't be made \(Not a directory\); give a folder"
    ):
        own(tmp_path / "file" / "run").__enter__()


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
