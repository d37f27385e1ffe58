"""What all launchers share."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.stubs import (
    ANNOTATE_K8S,
    ANNOTATE_SLURM,
    GKE,
    LAUNCH,
    ROOT,
    SLURM,
    TPU_VM,
    launch,
)

ALL = (SLURM, TPU_VM, GKE, ANNOTATE_SLURM, ANNOTATE_K8S)


@pytest.mark.parametrize(
    "script",
    [*sorted(LAUNCH.glob("*.sh")), *sorted((ROOT / ".ci").iterdir())],
    ids=lambda p: p.name,
)
def test_shellcheck_finds_nothing(script):
    beside = Path(sys.executable).with_name("shellcheck")
    shellcheck = str(beside) if beside.exists() else shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, "-x", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("command", "flag"),
    [(c, w.split("=")[0]) for c in ALL for w in c[1:] if "--repo" not in w],
)
def test_a_missing_flag_is_named(stubs, command, flag):
    words = [word for word in command if not word.startswith(f"{flag}=")]
    done = stubs.run(*launch(*words), "--dry-run", "--", "x", check=2)
    assert flag in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*SLURM], "--"),
        ([*SLURM, "--nodes=many", "--"], "--nodes=many"),
        ([*SLURM, "--nodes"], "--nodes needs a value"),
        ([*SLURM, "--dryrun", "--"], "--dryrun"),
        ([*SLURM, "word", "--"], "word"),
        ([*SLURM, "--", "--workdir=/other"], "--workdir"),
        ([*SLURM, "--workdir=runs/x", "--"], "absolute"),
        ([*SLURM, "--workdir=abfs://bucket/x", "--"], "mount"),
        ([*TPU_VM, "--workdir=abfs://bucket/x", "--"], "mount"),
        ([*TPU_VM, "--create", "--"], "--type"),
        ([*TPU_VM, "--watch", "--"], "--type"),
        ([*TPU_VM, "--nme=x", "--"], "--nme"),
        ([*GKE, "--workdir=abfs://bucket/x", "--"], "mount"),
        ([*GKE, "--workdir=/elsewhere", "--"], "/shared"),
        ([*GKE, "--hosts=2", "--"], "16 chips"),
        ([*GKE, "--topology=4by4", "--"], "--topology"),
        ([*GKE, "--name=Upper", "--"], "--name"),
        ([*GKE, "--", "two\nlines"], "control characters"),
        ([*ANNOTATE_SLURM, "--shards=all", "--"], "--shards=all"),
        ([*ANNOTATE_SLURM, "--gpus-per-task=-1", "--"], "--gpus-per-task"),
        ([*ANNOTATE_SLURM, "--output=w", "--"], "absolute"),
        ([*ANNOTATE_SLURM, "--output=gs://bucket/w", "--"], "absolute"),
        ([*ANNOTATE_SLURM, "--", "--output=/other"], "--output"),
        ([*ANNOTATE_SLURM, "--", "--shard=0/2"], "--shards N"),
        ([*ANNOTATE_K8S, "--", "--sh", "0/2"], "--shards N"),
        ([*ANNOTATE_K8S, "--output=/elsewhere", "--"], "/shared"),
        ([*ANNOTATE_K8S, "--parallel=0", "--"], "--parallel=0"),
        ([*ANNOTATE_K8S, "--name=Upper", "--"], "--name"),
        ([*ANNOTATE_K8S, "--partition=x", "--"], "--partition"),
        (["local.sh", "--", "--workdir=/w"], "number of processes"),
        (["local.sh", "two", "--", "--workdir=/w"], "two"),
        (["local.sh", "2", "3", "--", "--workdir=/w"], "3"),
        (["local.sh", "2", "--", "--config=x"], "--workdir"),
        (["local.sh", "2", "--", "--workdir=abfs://bucket"], "mount"),
        (["local.sh", "2", "--workdir=/w"], "--"),
        (["local.sh", "--devices=0", "2", "--", "--workdir=/w"], "--devices"),
        (["local.sh", "--device=2", "2", "--", "--workdir=/w"], "--device=2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_run_is_refused(stubs, command, message):
    for name in ("sbatch", "gcloud", "kubectl"):
        stubs.add(name)
    done = stubs.run(*launch(*command), check=2, PYTHON="false")
    assert message in done.stderr
    assert not stubs.calls()


@pytest.mark.parametrize("script", ["local.sh", *(command[0] for command in ALL)])
def test_help_is_the_head_of_the_file(stubs, script):
    done = stubs.run(*launch(script, "--help"))
    assert f"launch/{script}" in done.stdout
    assert "set -euo" not in done.stdout


@pytest.mark.parametrize(
    ("command", "program", "where"),
    [
        (SLURM, "sbatch", "a login node"),
        (TPU_VM, "gcloud", "the Google Cloud CLI"),
        (GKE, "kubectl", "kubectl is installed"),
        (ANNOTATE_SLURM, "sbatch", "a login node"),
        (ANNOTATE_K8S, "kubectl", "kubectl is installed"),
        (["local.sh", "2"], "python", "activate the environment"),
    ],
)
def test_a_missing_program_is_named_at_once(stubs, tmp_path, command, program, where):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "git", "sed", "mktemp", "rm", "cat", "grep", "tee"):
        (tools / name).symlink_to(shutil.which(name))
    args = ["--workdir=/w"] if command[0] == "local.sh" else ["x"]
    done = stubs.run("bash", *launch(*command), "--", *args, check=127, PATH=str(tools))
    assert f"{command[0]}: {program}: no such program; " in done.stderr
    assert where in done.stderr
    assert not done.stdout
