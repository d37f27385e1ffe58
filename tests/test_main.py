"""The command line's own work: which folder a job writes to, and what stands in its way."""

import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from scenarioclip_jax import main
from scenarioclip_jax.command import ConfigError, explain_flags
from scenarioclip_jax.parallel import distributed


@pytest.fixture
def workdir(monkeypatch, tmp_path):
    """Sets --workdir, seen from an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return lambda value: monkeypatch.setattr(main, "WORKDIR", SimpleNamespace(value=value))


def test_a_home_folder_is_expanded(workdir, tmp_path):
    workdir("~/runs/x")
    assert main.choose_workdir("demo", 1) == tmp_path / "home" / "runs" / "x"
    assert not list(tmp_path.iterdir())  # the job makes it


def test_an_address_never_becomes_a_local_folder(workdir, tmp_path):
    workdir("hdfs://server/runs/x")
    with pytest.raises(ConfigError, match=r"--workdir=hdfs://server/runs/x: .*hdfs"):
        main.choose_workdir("demo", 1)
    assert not list(tmp_path.iterdir())


def test_two_runs_of_the_same_second_get_two_folders(workdir, monkeypatch):
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 2, 3, 4, 5)

    monkeypatch.setattr(main.datetime, "datetime", Stopped)
    workdir(None)
    found = [main.choose_workdir("demo", 1) for _ in range(3)]
    names = ["demo-20300102-030405", "demo-20300102-030405-2", "demo-20300102-030405-3"]
    assert found == [Path("runs", name) for name in names]
    assert all(folder.is_dir() for folder in found)
    with pytest.raises(ConfigError, match="--workdir is missing"):
        main.choose_workdir("demo", 2)


def test_outside_of_the_repository_the_message_says_where_configs_lie(workdir, tmp_path):
    message = explain_flags(["--config=configs/pretrain.py:demo"])
    assert f"there is no file configs/pretrain.py in {tmp_path}" in message
    assert "repository's folder configs" in message


def test_a_process_that_waits_for_others_says_so(monkeypatch, capsys):
    monkeypatch.setattr("jax.distributed.initialize", lambda **arguments: None)
    distributed.start("auto", ("localhost:1234", 3, 0))
    said = capsys.readouterr().err
    assert "joining a job of 3 processes, waiting for all of them" in said
    assert "--multihost=no" in said
