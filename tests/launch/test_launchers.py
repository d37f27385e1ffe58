"""The launchers, with stub programs in place of Slurm, gcloud, kubectl and Python: no cluster, no training."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
# What shells, YAML and Kubernetes like to misread.
AWKWARD = [
    "--config=configs/pretrain.py:vitb32",
    "two words",
    'it\'s "quoted"',
    "$HOME $(date) `date` ${ARGS} $(POD) $$",
    "back\\slash \\n & ; | * ? [a] {b,c} # ~ !",
    "",
    "  spaces  ",
    "ünï: - ,",
]


class Stubs:
    """Programs that stand first on PATH and write down how they were called."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder / "stubs", folder / "calls.jsonl"
        self.folder.mkdir()
        self.env = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        for name in [*self.env]:
            if name.startswith(("SLURM_", "SBATCH_", "JAX_")) or name in ("XLA_FLAGS", "PYTHON"):
                del self.env[name]

    def add(self, name: str, body: str = "", folder: Path | None = None) -> Path:
        """`body` is Python; it may use `argv` and `earlier`, the number of earlier calls with these words."""
        file = (folder or self.folder) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"#!{sys.executable} -IS\n"
            "import json, os, pathlib, sys\n"
            "argv = sys.argv[1:]\n"
            f"log = pathlib.Path({str(self.log)!r})\n"
            f"call = dict(name={name!r}, argv=argv, stdin='' if sys.stdin is None else sys.stdin.read())\n"
            "lines = log.read_text().splitlines() if log.exists() else []\n"
            "earlier = [json.loads(line)['argv'] for line in lines].count(argv)\n"
            "with log.open('a') as out: out.write(json.dumps(call) + '\\n')\n"
            f"{body}\n"
        )
        file.chmod(0o755)
        return file

    def run(self, *command: str | Path, check: int | None = 0, **env: str):
        done = subprocess.run(
            [str(word) for word in command],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert check is None or done.returncode == check, done.stdout + done.stderr
        return done

    def calls(self) -> list[dict]:
        """Calls since the last question."""
        if not self.log.exists():
            return []
        lines = self.log.read_text().splitlines()
        self.log.unlink()
        return [json.loads(line) for line in lines]


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path)


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work dir's"


# ---------------------------------------------------------------- what is wrong with the command line

SLURM = ["slurm.sh", "--nodes=4", "--gpus-per-node=8", "--workdir=/w"]
TPU_VM = ["tpu_vm.sh", "--name=n", "--zone=z", "--repo=r", "--workdir=/w"]
GKE = ["gke.sh", "--image=i", "--workdir=/shared/w"]


def launch(*words):
    return LAUNCH / words[0], *words[1:]


@pytest.mark.parametrize(
    "script", [*sorted(LAUNCH.glob("*.sh")), ROOT / ".ci/run"], ids=lambda p: p.name
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
    [(c, w.split("=")[0]) for c in (SLURM, TPU_VM, GKE) for w in c[1:] if "--repo" not in w],
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
        ([*SLURM, "--workdir=gs://bucket/x", "--"], "mount"),
        ([*TPU_VM, "--workdir=gs://bucket/x", "--"], "mount"),
        ([*TPU_VM, "--create", "--"], "--type"),
        ([*TPU_VM, "--watch", "--"], "--type"),
        ([*TPU_VM, "--nme=x", "--"], "--nme"),
        ([*GKE, "--workdir=gs://bucket/x", "--"], "mount"),
        ([*GKE, "--workdir=/elsewhere", "--"], "/shared"),
        ([*GKE, "--hosts=2", "--"], "16 chips"),
        ([*GKE, "--topology=4by4", "--"], "--topology"),
        ([*GKE, "--name=Upper", "--"], "--name"),
        ([*GKE, "--", "two\nlines"], "control characters"),
        (["local.sh", "--", "--workdir=/w"], "number of processes"),
        (["local.sh", "two", "--", "--workdir=/w"], "two"),
        (["local.sh", "2", "3", "--", "--workdir=/w"], "3"),
        (["local.sh", "2", "--", "--config=x"], "--workdir"),
        (["local.sh", "2", "--", "--workdir=gs://bucket"], "mount"),
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


@pytest.mark.parametrize("script", ["local.sh", "slurm.sh", "tpu_vm.sh", "gke.sh"])
def test_help_is_the_head_of_the_file(stubs, script):
    done = stubs.run(*launch(script, "--help"))
    assert f"launch/{script}" in done.stdout
    assert "set -euo" not in done.stdout


# ---------------------------------------------------------------- Slurm


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


def test_slurm_job_that_is_cancelled_is_not_requeued(stubs, workdir):
    """scancel signals the batch script as well as the processes."""
    stubs.add("sbatch")
    stubs.run(*launch(*SLURM, f"--workdir={workdir}"), "--", "x")
    (submitted,) = stubs.calls()
    stubs.add("srun", "os.kill(os.getppid(), 15)")
    stubs.add("scontrol")
    stubs.run("bash", "-c", submitted["stdin"], check=-signal.SIGTERM, SLURM_JOB_ID="77")
    assert [call["name"] for call in stubs.calls()] == ["srun"]


# ---------------------------------------------------------------- TPU VM


def test_tpu_vm_dry_run_prints_what_is_run(stubs):
    state = "if 'describe' in argv: print('PREEMPTED')"
    stubs.add("gcloud", state)
    words = ["--create", "--type=v5litepod-16", "--spot", "--project=p", "--setup=mount 'a b'"]
    command = [*launch(*TPU_VM), *words]
    printed = stubs.run(*command, "--dry-run", "--", *AWKWARD).stdout
    assert not stubs.calls()
    stubs.run("bash", "-c", printed)
    from_print = stubs.calls()
    stubs.run(*command, "--", *AWKWARD)
    question, *from_run = stubs.calls()
    assert "describe" in question["argv"]
    assert from_print == from_run
    delete, create, ssh = (call["argv"] for call in from_run)
    where = ["n", "--zone=z", "--project=p"]
    flags = ["--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
    assert delete == ["compute", "tpus", "tpu-vm", "delete", *where, "--quiet"]
    assert create == ["compute", "tpus", "tpu-vm", "create", *where, *flags]
    assert ssh[:-1] == ["compute", "tpus", "tpu-vm", "ssh", *where, "--worker=all"]
    assert "\nmount 'a b'\n" in ssh[-1]


@pytest.mark.parametrize("file_system", ["nfs", "ext2/ext3"])
def test_tpu_vm_worker_runs_this_commit_on_shared_storage_only(
    stubs, tmp_path, workdir, file_system
):
    stubs.add("gcloud")
    stubs.run(*launch(*TPU_VM, f"--workdir={workdir}", "--repo=ssh://host/a b"), "--", *AWKWARD)
    (ssh,) = stubs.calls()
    script = ssh["argv"][-1].removeprefix("--command=")
    home = tmp_path / "home"
    stubs.add("stat", f"print({file_system!r})")
    stubs.add("git", "if argv[0] == 'clone': os.makedirs(argv[-1])")
    stubs.add("python3")
    stubs.add("flock")
    stubs.add("python", folder=home / "venv/bin")
    # gcloud takes the command apart at spaces, ssh puts it together again, a shell there reads it.
    remote = ["bash", "-c", " ".join(script.split(" "))]
    if file_system != "nfs":
        assert "own disk" in stubs.run(*remote, check=2, HOME=str(home)).stderr
        assert [call["name"] for call in stubs.calls()] == ["stat"]
        return
    stubs.run(*remote, HOME=str(home))
    calls = stubs.calls()
    git = [call["argv"] for call in calls if call["name"] == "git"]
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert git[0] == ["clone", "--quiet", "ssh://host/a b", f"{home}/scenarioclip"]
    assert git[-1] == ["checkout", "--quiet", "--detach", head]
    assert any(call["argv"][-2:] == ["-e", ".[tpu]"] for call in calls)
    assert calls[-1]["name"] == "python"
    main = ["-m", "scenarioclip_jax.main", "--multihost=yes", f"--workdir={workdir}"]
    assert calls[-1]["argv"] == [*main, *AWKWARD]


WATCHED = {
    # how the slice answers: (state, status of the run, status of the question whether it has finished)
    "finished at once": ([("READY", 0, 0)], ["run", "finished?"], 0),
    "created first": ([("", 0, 0)], ["create", "run", "finished?"], 0),
    "preempted": (
        [("READY", 255, 1), ("PREEMPTED", 0, 0)],
        ["run", "delete", "create", "run", "finished?"],
        0,
    ),
    "in repair": ([("REPAIRING", 0, 0), ("READY", 0, 0)], ["run", "finished?"], 0),
    "stopped": ([("READY", 0, 1), ("READY", 0, 0)], ["run", "finished?"] * 2, 0),
    "connection lost": ([("READY", 255, 1), ("READY", 0, 0)], ["run", "run", "finished?"], 0),
    "failed": ([("READY", 3, 1), ("READY", 0, 0)], ["run"], 3),
    "failed for being preempted": (
        [("READY", 1, 1), ("PREEMPTED", 1, 1), ("PREEMPTED", 0, 0)],
        ["run", "delete", "create", "run", "finished?"],
        0,
    ),
}


@pytest.mark.parametrize("case", WATCHED)
def test_tpu_vm_watch(stubs, tmp_path, case):
    answers, expected, status = WATCHED[case]
    # `describe` goes to the next answer; the other questions are about the present one.
    stubs.add(
        "gcloud",
        f"answers = {answers!r}\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "now = int(count.read_text()) if count.exists() else -1\n"
        "if 'describe' in argv:\n"
        "    now = min(now + 1, len(answers) - 1)\n"
        "    count.write_text(str(now))\n"
        "    print(answers[now][0])\n"
        "if '--worker=all' in argv: sys.exit(answers[now][1])\n"
        "if '--worker=0' in argv: sys.exit(answers[now][2])\n",
    )
    words = ["--watch", "--type=v5litepod-16", "--", "x"]
    stubs.run(*launch(*TPU_VM), *words, check=status, WATCH_PAUSE="0")
    did = []
    for call in stubs.calls():
        verb = call["argv"][3]
        if verb == "ssh":
            verb = "run" if "--worker=all" in call["argv"] else "finished?"
        if verb != "describe":
            did.append(verb)
    assert did == expected


# ---------------------------------------------------------------- GKE


def unchanged(text):
    """What Kubernetes makes of an argument: $$ is $, and $(NAME) would be replaced."""
    return re.sub(r"\$(\$|\([^)]*\))", lambda m: "$" if m[1] == "$" else f"<replaced {m[1]}>", text)


def gke_manifest(stubs, *words):
    stubs.add("kubectl")
    stubs.run(*launch(*GKE), *words)
    (call,) = stubs.calls()
    assert call["argv"] == ["apply", "-f", "-"]
    return yaml.safe_load(call["stdin"])


def pod_and_job(manifest):
    (replicated,) = manifest["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    job = replicated["template"]["spec"]
    return job["template"]["spec"], job


def test_gke_dry_run_prints_what_is_run(stubs):
    stubs.add("kubectl")
    printed = stubs.run(*launch(*GKE), "--dry-run", "--", *AWKWARD).stdout
    assert not stubs.calls()
    stubs.run("bash", "-c", printed)
    (from_print,) = stubs.calls()
    stubs.run(*launch(*GKE), "--", *AWKWARD)
    assert stubs.calls() == [from_print]


def test_gke_manifest(stubs):
    words = ["--topology=4x8", "--hosts=8", "--name=mine", "--claim=files", "--", *AWKWARD]
    manifest = gke_manifest(stubs, *words)
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert manifest["metadata"]["name"] == "mine"
    exclusive = manifest["metadata"]["annotations"]
    assert list(exclusive.values()) == ["cloud.google.com/gke-nodepool"]
    pod, job = pod_and_job(manifest)
    assert job["parallelism"] == job["completions"] == 8
    assert job["completionMode"] == "Indexed"
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 120
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x8",
    }
    (container,) = pod["containers"]
    assert container["image"] == "i"
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts["shared"] == "/shared"
    volumes = {v.pop("name"): v for v in pod["volumes"]}
    assert volumes.keys() == mounts.keys()
    assert volumes["shared"] == {"persistentVolumeClaim": {"claimName": "files"}}
    assert "${" not in json.dumps({**manifest, "spec": None})


def test_gke_restarts_disruptions_without_limit_and_errors_with_one(stubs):
    manifest = gke_manifest(stubs, "--", "x")
    _, job = pod_and_job(manifest)
    disrupted, stopped = job["podFailurePolicy"]["rules"]
    assert disrupted["action"] == stopped["action"] == "FailJob"
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert stopped["onExitCodes"] == {"containerName": "main", "operator": "In", "values": [75]}
    policy = manifest["spec"]["failurePolicy"]
    assert 0 < policy["maxRestarts"] < 20
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]


def pod_command(stubs, workdir, *args):
    """The command of a pod as the container runtime gets it, with another workdir."""
    (container,) = pod_and_job(gke_manifest(stubs, "--", *args))[0]["containers"]
    words = [unchanged(word) for word in container["command"] + container["args"]]
    return [str(workdir) if word == "/shared/w" else word for word in words]


@pytest.mark.parametrize(
    ("index", "status", "report", "expected"),
    [(0, 0, True, 0), (0, 0, False, 75), (1, 0, False, 0), (0, 3, False, 3), (1, 3, True, 3)],
)
def test_gke_pod_tells_stopped_from_finished(stubs, workdir, index, status, report, expected):
    command = pod_command(stubs, workdir, *AWKWARD)
    stubs.add("python", f"sys.exit({status})")
    workdir.mkdir()
    if report:
        (workdir / "report.json").touch()
    stubs.run(*command, check=expected, JOB_COMPLETION_INDEX=str(index))
    (run,) = stubs.calls()
    main = ["-m", "scenarioclip_jax.main", "--multihost=yes", f"--workdir={workdir}"]
    assert run["argv"] == [*main, *AWKWARD]


def test_gke_pod_passes_sigterm_on_and_waits(stubs, workdir):
    command = pod_command(stubs, workdir, "x")
    (stubs.folder / "python").write_text(f"#!{sys.executable} -IS\n{SAVES_ON_SIGTERM}")
    (stubs.folder / "python").chmod(0o755)
    env = {**stubs.env, "JOB_COMPLETION_INDEX": "0"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdout.readline() == "ready\n"
        pod.send_signal(signal.SIGTERM)
        assert pod.stdout.read() == "signals: 1\n"
    assert pod.returncode == 75


# ---------------------------------------------------------------- one machine

SAVES_ON_SIGTERM = """
import signal, time
signals = []
signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
print("ready", flush=True)
end = time.monotonic() + 15  # a test that fails leaves nothing running
while not signals and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
print("signals:", len(signals), flush=True)
"""


@pytest.fixture
def local(stubs, tmp_path):
    """Starts local.sh with N processes that run `code` (Python) instead of a training."""

    def start(n: int, code: str, *words: str, args=("--workdir=/w",), **env: str):
        python = tmp_path / "python stub"
        head = "import json, os, pathlib, sys, time\nme = int(os.environ['JAX_PROCESS_ID'])\n"
        python.write_text(f"#!{sys.executable} -IS\n{head}{code}\n")
        python.chmod(0o755)
        return subprocess.Popen(
            [LAUNCH / "local.sh", *words, str(n), "--", *args],
            env={**stubs.env, "PYTHON": str(python), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A runner that ignores Ctrl-C would hand that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


def finish(process, status=0):
    out, err = process.communicate(timeout=20)
    assert process.returncode == status, out + err
    return out, err


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
