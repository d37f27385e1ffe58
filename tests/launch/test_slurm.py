"""The Slurm launcher, against stub programs."""

import re
import signal
import subprocess

import pytest

from tests.harness.started import with_default_signals
from tests.launch.stubs import AWKWARD, SLURM, launch


def test_slurm_dry_run_prints_what_is_run(stubs, workdir):
    stubs.add("sbatch")
    command = [*launch(*SLURM, f"--workdir={workdir}", "--comment=a 'b'"), "--dry-run"]
    printed = stubs.run(*command, "--", *AWKWARD).stdout
    assert not stubs.calls()
    assert not workdir.exists()
    stubs.run("bash", "-c", printed)
    (from_print,) = stubs.calls()
    stubs.run(*(word for word in command if word != "--dry-run"), "--", *AWKWARD)
    (from_run,) = stubs.calls()
    assert from_print == from_run
    assert from_run["argv"] == [f"--output={workdir}/slurm-%j.out", "--comment=a 'b'"]
    assert workdir.is_dir()


def test_slurm_asks_for_what_a_restart_needs(stubs):
    printed = stubs.run(*launch(*SLURM), "--dry-run", "--", "x").stdout
    script = printed.split("\n", 1)[1]
    head = re.split(r"^(?!#|$)", script, flags=re.MULTILINE)[0]  # sbatch reads no further
    assert set(re.findall(r"^#SBATCH (.*)$", head, re.MULTILINE)) == {
        "--job-name=scenarioclip",
        "--nodes=4",
        "--gpus-per-node=8",
        "--ntasks-per-node=8",
        "--requeue",
        "--open-mode=append",
        "--signal=TERM@120",
    }


@pytest.mark.parametrize(
    ("status", "report", "requeued"), [(0, False, True), (0, True, False), (3, False, False)]
)
def test_slurm_job_requeues_only_a_run_that_was_stopped(stubs, workdir, status, report, requeued):
    stubs.add("sbatch")
    stubs.run(*launch(*SLURM, f"--workdir={workdir}"), "--", *AWKWARD, PYTHON="/opt/my python")
    (submitted,) = stubs.calls()
    stubs.add("srun", f"sys.exit({status})")
    stubs.add("scontrol")
    if report:
        (workdir / "report.json").touch()
    done = stubs.run("bash", "-c", submitted["stdin"], check=status, SLURM_JOB_ID="77")
    run, *rest = stubs.calls()
    assert run["argv"] == [
        "--kill-on-bad-exit=1",
        *("/opt/my python", "-m", "scenarioclip_jax.main", f"--workdir={workdir}"),
        *AWKWARD,
    ]
    assert [call["argv"] for call in rest] == ([["requeue", "77"]] if requeued else [])
    assert ("failed with status 3" in done.stdout) == bool(status)


def test_slurm_job_that_is_canceled_is_not_requeued(stubs, workdir):
    """scancel signals the batch script as well as the processes."""
    stubs.add("sbatch")
    stubs.run(*launch(*SLURM, f"--workdir={workdir}"), "--", "x")
    (submitted,) = stubs.calls()
    stubs.add("srun", "print('running', flush=True)\nimport time\ntime.sleep(1)")
    stubs.add("scontrol")
    job = subprocess.Popen(
        with_default_signals(["bash", "-c", submitted["stdin"]]),
        env=stubs.env | {"SLURM_JOB_ID": "77"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout.readline() == "running\n"
    job.terminate()
    job.communicate(timeout=120)
    assert job.returncode == -signal.SIGTERM
    assert [call["name"] for call in stubs.calls()] == ["srun"]


@pytest.mark.parametrize("there", [True, False])
def test_slurm_job_asks_the_bucket_whether_the_run_has_finished(
    stubs, tmp_path, monkeypatch, there
):
    monkeypatch.chdir(tmp_path)
    stubs.add("sbatch")
    stubs.run(*launch(*SLURM, "--workdir=s3://bucket/a run"), "--", "x", PYTHON="python")
    (submitted,) = stubs.calls()
    assert submitted["argv"] == ["--output=slurm-%j.out"]
    assert list(tmp_path.glob("s3*")) == []
    stubs.add("srun")
    stubs.add("scontrol")
    stubs.add("python", f"sys.exit({0 if there else 1})")
    stubs.run("bash", "-c", submitted["stdin"], SLURM_JOB_ID="77")
    run, asked, *rest = stubs.calls()
    assert "--workdir=s3://bucket/a run" in run["argv"]
    assert asked["argv"] == [
        "-m",
        "scenarioclip_jax.storage",
        "exists",
        "s3://bucket/a run/report.json",
    ]
    assert [call["argv"] for call in rest] == ([] if there else [["requeue", "77"]])
