"""Nothing is lost when the real command is killed, its disk fills up, its records rot or its input hangs."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scenarioclip_jax.checkpoint import load_student_and_ema, steps
from scenarioclip_jax.data.corrupt import CorruptDataError
from scenarioclip_jax.train.loop import train
from scenarioclip_jax.train.metrics import read_rows
from tests.train import tiny
from tests.train.processes import Job, environment

KILLS = 10


def assert_bit_identical(workdir, expected):
    ours, theirs = (
        [
            {k: v for k, v in row.items() if "time/" not in k}
            for row in read_rows(w / "metrics.jsonl")
        ]
        for w in (workdir, expected)
    )
    assert ours == theirs
    reports = [json.loads((w / "report.json").read_text()) for w in (workdir, expected)]
    assert reports[0] == reports[1]
    for part, other in zip(
        load_student_and_ema(workdir), load_student_and_ema(expected), strict=True
    ):
        if isinstance(part, dict):
            for path, array in part.items():
                np.testing.assert_array_equal(array, other[path], err_msg=path)


@pytest.mark.slow
def test_killed_at_random_moments(small_data, tmp_path):
    """Some kills come while it starts, some while it trains, validates or saves.

    A life is mostly the start of a process, which is why a few have to do; but it saves at every fourth step.
    They come to some 75 steps; twice as many leave room for computers that take more of them between kills.
    """
    settings = {"report.queries": 0, "arch": "clip"}
    settings |= {"steps": 144, "checkpoint.every": 4, "validation.every": 12}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    Job(whole, small_data, **settings).finish()
    draw = random.Random(0)
    for life in range(KILLS):
        saved = max(steps(killed), default=0)
        job = Job(killed, small_data, **settings)
        # Every fifth before the first step, the others some steps on.
        job.wait_for("workdir" if life % 5 == 1 else f"step {saved + draw.randint(1, 12)}/")
        time.sleep(draw.uniform(0, 0.3))
        job.processes[0].kill()
        job.processes[0].wait(60)
    assert not (killed / "report.json").exists(), (
        "the last kill came after the end; give more steps"
    )
    assert steps(killed)  # some came after a checkpoint
    assert not list((killed / "checkpoints").glob("damaged*"))  # and none left half a checkpoint
    Job(killed, small_data, **settings).finish()
    assert_bit_identical(killed, whole)


@pytest.mark.slow
def test_a_disk_that_is_full_while_saving(small_data, tmp_path):
    settings = {"report.queries": 0, "arch": "clip"}
    whole, full = tmp_path / "whole", tmp_path / "full"
    Job(whole, small_data, **settings).finish()
    shutil.copytree(whole, full)
    shutil.rmtree(full / "checkpoints" / "00000006")
    (full / "report.json").unlink()

    # A limit on files stands in for a full disk.
    output = Job(full, small_data, file_size=40_000, **settings).finish(status=1)
    assert "error: a checkpoint couldn't be written to" in output
    assert "the checkpoint of step 3 is whole" in output
    assert steps(full) == [3]
    Job(full, small_data, **settings).finish()
    assert_bit_identical(full, whole)


def damage_a_record(data):
    """Overwrites bytes in the middle of a training shard."""
    shard = max(data.rglob("*-train.array_record-*"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    shard.write_bytes(content)


@pytest.mark.slow  # tests/data/test_pipeline.py reads such records without a run
def test_a_corrupt_record_is_named_and_counted_and_too_many_stop_the_run(
    small_data, tmp_path, caplog
):
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    damage_a_record(data)
    # 7 steps see every training scene once.
    settings = {"steps": 7, "arch": "clip", "validation__every": 100, "checkpoint__every": 100}
    settings |= {"report__scenes": 4, "report__queries": 0}
    train(tiny.config(data, data__max_corrupt_share=0.05, **settings), tmp_path / "some")
    assert any("is corrupt and skipped" in record.getMessage() for record in caplog.records)
    last = [row for row in read_rows(tmp_path / "some" / "metrics.jsonl") if "loss/total" in row][
        -1
    ]
    assert last["step"] == 7
    assert last["data/corrupt_records"] >= 1
    with pytest.raises(
        CorruptDataError, match=r"more than data\.max_corrupt_share=0\.0: record \d+"
    ):
        train(tiny.config(data, data__max_corrupt_share=0.0, **settings), tmp_path / "none")


STUCK = """
import sys, time
from scenarioclip_jax.data.stored import shards
real = shards.open_split
class Stuck:
    def __init__(self, source): self.source = source
    def __len__(self): return len(self.source)
    def __getitem__(self, index):
        if index == 5: time.sleep(1000)
        return self.source[index]
shards.open_split = lambda *args: Stuck(real(*args))
from scenarioclip_jax.main import run
run()
"""


@pytest.mark.slow
def test_input_that_hangs_ends_the_run_with_stacks(small_data, tmp_path):
    settings = {"data.stall_seconds": 5}
    flags = tiny.flags(small_data, steps=20, arch="clip", **settings)
    command = [sys.executable, "-c", STUCK, f"--config={tiny.CONFIG}", *flags]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path}"],
        env=environment(devices=1),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert "in __getitem__" in done.stderr
    assert "did not come within data.stall_seconds=5" in done.stderr


@pytest.mark.slow
def test_reading_workers_do_not_outlive_a_killed_run(small_data, tmp_path):
    job = Job(
        tmp_path,
        small_data,
        steps=10**6,
        arch="clip",
        **{"data.num_workers": 2},
    )
    job.wait_for("step 2/")
    (main,) = job.processes
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(main.pid)], capture_output=True, text=True, check=True
    )
    children = [int(pid) for pid in listed.stdout.split() if alive(int(pid))]
    assert len(children) >= 2
    main.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
