"""Several processes train as one: the same numbers, one agreed stop, any number of them when going on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scenarioclip_jax.checkpoint import steps
from scenarioclip_jax.parallel import distributed
from scenarioclip_jax.train.metrics import read_rows
from tests.train.processes import Job, arguments, environment, run_together

LOCAL = Path(__file__).parents[2] / "launch" / "local.sh"

# The sum over devices is taken in another order between processes than within one. It shows most in the
# gradient's norm, by about 6e-7; in a loss by 1e-7.
CLOSE, NORM = {"rel": 1e-6, "abs": 1e-6}, {"rel": 1e-5}


def assert_same_run(workdir, expected):
    ours, theirs = (read_rows(folder / "metrics.jsonl") for folder in (workdir, expected))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        row, other = ({k: v for k, v in r.items() if "time/" not in k} for r in (row, other))
        exact = [k for k in row if k.startswith(("packing/", "learning_rate"))]
        assert {k: row[k] for k in exact} == {k: other[k] for k in exact}  # the same global batch
        norms = [r.pop("gradient_norm", 0.0) for r in (row, other)]
        assert norms[0] == pytest.approx(norms[1], **NORM)
        assert row == pytest.approx(other, **CLOSE)
    ours, theirs = (json.loads((w / "report.json").read_text()) for w in (workdir, expected))
    for level, scores in theirs["zero_shot"].items():
        assert ours["zero_shot"][level] == pytest.approx(scores, **CLOSE)


# What becomes of a job that is stopped is the same with any towers; these compile fastest.
QUICK = {"arch": "clip", "report.queries": 0}


@pytest.fixture(scope="module")
def undisturbed(small_data, tmp_path_factory):
    """One process that nothing stops."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    Job(workdir, small_data, devices=4, **QUICK).finish()
    return workdir


@pytest.mark.slow
def test_two_processes_hold_the_global_batches_of_one(small_data, tmp_path):
    """Every array, bit for bit, at the start and when another number of processes goes on at a later step."""
    files = {}
    for processes in (1, 2):
        files[processes] = tmp_path / f"{processes}.npz"
        run_together("tests.train.global_batch", [small_data, files[processes], "0,3"], processes)
    one, two = (np.load(file) for file in files.values())
    assert set(one.files) == set(two.files)
    assert {name.split("/")[0] for name in one.files} == {"0", "1", "3", "4"}  # steps
    assert one["0/seed"].shape == (8, 2)  # all groups
    for name in one.files:
        np.testing.assert_array_equal(two[name], one[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_train_like_one(small_data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    Job(one, small_data, devices=4).finish()
    command = [LOCAL, "--devices", "2", "2", "--", *arguments(two, small_data, steps=6)]
    done = subprocess.run(
        command,
        env=environment(devices=2, processes=2) | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0] report:" in done.stdout
    assert "[1] step" not in done.stdout  # the first process speaks for all
    assert_same_run(two, one)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_at_one_step_and_any_number_goes_on(
    undisturbed, small_data, tmp_path
):
    job = Job(tmp_path, small_data, processes=2, devices=2, **QUICK)
    job.wait_for("compiled in")
    job.signal(1)
    assert "stopped at step" in job.finish()
    assert not (tmp_path / "report.json").exists()
    Job(tmp_path, small_data, devices=4, **QUICK).finish()
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_failure_in_one_process_ends_the_job(small_data, tmp_path):
    """No process waits for ever for one that is gone."""
    job = Job(tmp_path, small_data, processes=2, steps=10**6, **QUICK)
    job.wait_for("step 2/")
    job.processes[0].kill()
    assert job.processes[1].wait(300) != 0


# One of two processes reads the first five batches and no more.
ENDING = """
import sys, threading, time
from scenarioclip_jax.data.stored import shards
real, reads, lock = shards.open_split, 0, threading.Lock()
class Ending:
    def __init__(self, source): self.source = source
    def __len__(self): return len(self.source)
    def __getitem__(self, index):
        global reads
        with lock:
            reads += 1
            over = reads > 40
        if over: {fail}
        return self.source[index]
def ending(directory, split):
    source = real(directory, split)
    return Ending(source) if split == "train" and "--process-id={process}" in sys.argv else source
shards.open_split = ending
from scenarioclip_jax.main import run
run()
"""
FAILURES = {  # which process fails, how, and what is said
    "refused by the system": (1, "raise OSError(5, 'Input/output error')", "Input/output error"),
    "damaged": (0, "raise ValueError('torn page')", "torn page"),
    "hangs": (1, "time.sleep(1000)", "did not come within data.stall_seconds=5"),
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_a_process_that_cannot_read_on_ends_all_with_their_state_saved(
    failure, undisturbed, small_data, tmp_path
):
    process, fail, cause = FAILURES[failure]
    job = Job(
        tmp_path,
        small_data,
        processes=2,
        devices=2,
        program=("-c", ENDING.format(fail=fail, process=process)),
        **{"data.stall_seconds": 5},
        **QUICK,
    )
    job.finish(status=1)
    own, other = job.output[process], job.output[1 - process]
    assert cause in own
    assert f"process {process} of 2 has no batch for step 6" in other
    assert cause in other
    assert "Traceback" not in own + other
    assert "step 5 was saved before the run ended" in job.output[0]
    assert steps(tmp_path)[-1] == 5
    Job(tmp_path, small_data, devices=4, **QUICK).finish()
    assert_same_run(tmp_path, undisturbed)


# JAX notices that a process is gone by the heartbeat that it misses, else after 100 seconds.
FAILING = """
import functools, sys
import jax
jax.distributed.initialize = functools.partial(jax.distributed.initialize, heartbeat_timeout_seconds=20)
from scenarioclip_jax.train.validation import Validator
def validate(self, *args): raise RuntimeError("a score that can't be computed")
if "--process-id=1" in sys.argv: Validator.validate = validate
from scenarioclip_jax.main import run
run()
"""


@pytest.mark.slow
def test_validation_that_fails_in_one_process_loses_no_step(undisturbed, small_data, tmp_path):
    """The others wait for it inside of validation, so the state is saved before."""
    rare = QUICK | {"checkpoint.every": 100}
    job = Job(tmp_path, small_data, processes=2, devices=2, program=("-c", FAILING), **rare)
    assert [process.wait(300) != 0 for process in job.processes] == [True, True]
    assert steps(tmp_path)[-1] == 3
    Job(tmp_path, small_data, devices=4, **rare).finish()
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"NUM_PROCESSES": "2"},
            "JAX_NUM_PROCESSES set without JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID",
        ),
        ({"NUM_PROCESSES": "2", "PROCESS_ID": "2"}, "JAX_PROCESS_ID=2: must be below"),
        ({"NUM_PROCESSES": "two", "PROCESS_ID": "0"}, "JAX_NUM_PROCESSES='two': must be a whole"),
    ],
)
def test_half_a_job_is_refused(variables, message, monkeypatch):
    if len(variables) > 1:
        monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    for name, value in variables.items():
        monkeypatch.setenv(f"JAX_{name}", value)
    with pytest.raises(distributed.DistributedError, match=message):
        distributed.start()
    distributed.start("no")


@pytest.mark.parametrize(
    ("place", "multihost", "message"),
    [
        (
            ("a:1", 2, None),
            "auto",
            "--coordinator-address, --num-processes set without --process-id",
        ),
        (
            (None, None, 0),
            "auto",
            "--process-id set without --coordinator-address, --num-processes",
        ),
        (("a:1", 2, 2), "auto", "--process-id=2: must be below --num-processes=2"),
        (("a:1", 2, 0), "yes", "--multihost=yes: give one or the other"),
        (("a:1", 2, 0), "no", "--multihost=no: give one or the other"),
    ],
)
def test_half_a_job_by_flags_is_refused(place, multihost, message):
    with pytest.raises(distributed.DistributedError, match=message):
        distributed.start(multihost, place)


def test_what_is_joined(monkeypatch):
    """What JAX is told."""
    calls = []
    monkeypatch.setattr("jax.distributed.initialize", lambda **kwargs: calls.append(kwargs))
    distributed.start()
    assert calls == []
    distributed.start("yes")
    assert calls == [{}]
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # an allocation's shell
    monkeypatch.setenv("SLURM_NTASKS", "4")
    distributed.start()
    assert len(calls) == 1
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[01-02]")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    distributed.start()
    assert calls[1:] == [{"cluster_detection_method": "slurm"}]
    for name, value in (
        ("COORDINATOR_ADDRESS", "a:1"),
        ("NUM_PROCESSES", "8"),
        ("PROCESS_ID", "3"),
    ):
        monkeypatch.setenv(f"JAX_{name}", value)
    distributed.start()
    whole = {"coordinator_address": "a:1", "num_processes": 8, "process_id": 3}
    assert calls[2:] == [whole]
    distributed.start("auto", ("b:2", 4, 1))  # flags come before the environment
    assert calls[3:] == [{"coordinator_address": "b:2", "num_processes": 4, "process_id": 1}]
