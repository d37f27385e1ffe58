"""The launcher of annotation on Slurm, against stub programs and with the real command."""

import json
import re
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarioclip_jax.data.embedded.write import write_embedded
from tests.launch.stubs import ANNOTATE_SLURM, AWKWARD, launch


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work dir's"


def submitted(stubs, work, *words, **env):
    stubs.add("sbatch")
    done = stubs.run(*launch(*ANNOTATE_SLURM, f"--output={work}/"), *words, **env)
    (call,) = stubs.calls()
    return call, done.stdout


def test_dry_run_prints_what_is_run(stubs, work):
    stubs.add("sbatch")
    command = [*launch(*ANNOTATE_SLURM, f"--output={work}", "--comment=a 'b'"), "--dry-run"]
    printed = stubs.run(*command, "--", *AWKWARD).stdout
    assert not stubs.calls()
    assert not work.with_name(f"{work.name}-logs").exists()
    stubs.run("bash", "-c", printed)
    (from_print,) = stubs.calls()
    from_run, _ = submitted(stubs, work, "--comment=a 'b'", "--", *AWKWARD)
    assert from_print == from_run
    assert from_run["argv"] == [f"--output={work}-logs/%A_%a.out", "--comment=a 'b'"]
    assert work.with_name(f"{work.name}-logs").is_dir()
    assert not work.exists(), "annotate takes no folder that holds other files"


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_each_share_is_a_task_that_may_be_requeued(stubs, work, gpus):
    call, _ = submitted(stubs, work, f"--gpus-per-task={gpus}", "--", "x")
    head = re.split(r"^(?!#|$)", call["stdin"], flags=re.MULTILINE)[0]  # sbatch reads no further
    assert set(re.findall(r"^#SBATCH (.*)$", head, re.MULTILINE)) == {
        *("--job-name=annotate", "--array=0-3", "--ntasks=1", "--requeue", "--open-mode=append"),
        "--signal=TERM@120",
        *([f"--gpus-per-task={gpus}"] if gpus else []),
    }


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (143, True), (1, False)])
def test_only_a_share_that_was_stopped_is_requeued(stubs, work, status, requeued):
    call, _ = submitted(stubs, work, "--", *AWKWARD, PYTHON="/opt/my python")
    stubs.add("srun", f"sys.exit({status})")
    stubs.add("scontrol")
    ends = 0 if requeued else status
    env = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "2"}
    done = stubs.run("bash", "-c", call["stdin"], check=ends, **env)
    run, *rest = stubs.calls()
    assert run["argv"] == [
        *("/opt/my python", "-m", "scenarioclip_jax.annotate", "run", f"--output={work}"),
        *("--shard=2/4", *AWKWARD),
    ]
    assert [call["argv"] for call in rest] == ([["requeue", "77"]] if requeued else [])
    assert ("failed with status 1" in done.stdout) == (status == 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_tasks_and_then_assemble_make_the_data_set(stubs, work, tmp_path):
    """With the real command; srun is a stub that runs what it is given."""
    write_embedded(tmp_path / "truth", 12, seed=3)
    config = tmp_path / "annotate.yaml"
    config.write_text(json.dumps({"truth": {"folder": str(tmp_path / "truth")}}))
    images = tmp_path / "truth/images"
    flags = ["--shards=3", "--", f"--images={images}", f"--config={config}"]
    call, printed = submitted(stubs, work, *flags, PYTHON=sys.executable)
    stubs.add("srun", "os.execvp(argv[0], argv)")

    def task(number):
        env = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(number)}
        stubs.run("bash", "-c", call["stdin"], **env)

    with ThreadPoolExecutor() as pool:  # at once, as in an array
        list(pool.map(task, range(3)))
    command = shlex.split(printed.splitlines()[-1])
    assert command[1:4] == ["-m", "scenarioclip_jax.annotate", "assemble"]
    assert "12 scenes" in stubs.run(*command).stdout
