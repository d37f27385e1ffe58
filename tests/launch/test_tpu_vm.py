"""The TPU VM launcher, against a stub of gcloud."""

import subprocess

import pytest

from tests.launch.stubs import AWKWARD, ROOT, TPU_VM, launch


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
    assert any(call["argv"][-2:] == ["-e", ".[tpu,gs,s3]"] for call in calls)
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


CREATE = "ERROR: (gcloud.compute.tpus.tpu-vm.create) "
SAYS = {  # on standard error, as gcloud and ssh put it; whether it passes
    "capacity": (
        CREATE
        + '{\n  "code": 8,\n  "message": "There is no more capacity in the zone \\"us-west4-a\\"."\n}',
        True,
    ),
    "exhausted": (CREATE + "RESOURCE_EXHAUSTED: try later", True),
    "quota": (CREATE + "Quota limit 'TPUV5sLitepodPerProjectPerZone' has been exceeded", True),
    "server error": (CREATE + "HTTPError 503: backend error", True),
    "internal": (CREATE + "INTERNAL: an internal error has occurred", True),
    "no network": (
        "ERROR: gcloud crashed (ConnectionError): Failed to establish a new connection: [Errno -3] "
        "Temporary failure in name resolution",
        True,
    ),
    "permission": (
        CREATE
        + "PERMISSION_DENIED: Permission 'tpu.nodes.create' denied on 'projects/p/locations/z'",
        False,
    ),
    "accelerator": (
        CREATE + "INVALID_ARGUMENT: Cloud TPU received an invalid AcceleratorType, 'v5litepod-17'",
        False,
    ),
    "no project": (CREATE + "The required property [project] is not currently set.", False),
    "not logged in": (CREATE + "You do not currently have an active account selected.", False),
    "unknown": (CREATE + "something new", False),
}


@pytest.mark.slow
@pytest.mark.parametrize("asked", ["describe", "create"])
@pytest.mark.parametrize("case", SAYS)
def test_tpu_vm_watch_tells_what_passes_from_what_does_not(stubs, case, asked):
    said, passes = SAYS[case]
    stubs.add(
        "gcloud",
        "def fails(text): print(text, file=sys.stderr); sys.exit(1)\n"
        f"if {asked!r} in argv and earlier < 2: fails({said!r})\n"
        # The slice is there once it could be created.
        f"if 'describe' in argv and {asked == 'create'} and earlier < 3:\n"
        "    fails('NOT_FOUND: projects/p/locations/z/nodes/n was not found')\n"
        "if 'describe' in argv: print('READY')\n",
    )
    words = [*launch(*TPU_VM), "--watch", "--type=v5litepod-16", "--", "x"]
    done = stubs.run(*words, check=0 if passes else 1, WATCH_PAUSE="0")
    tries = sum(asked in call["argv"] for call in stubs.calls())
    assert said.splitlines()[0] in done.stderr  # shown as it was said
    if passes:
        assert tries >= 3
        assert done.stderr.count("trying again") == 2
    else:
        assert tries == 1
        assert "giving up" in done.stderr


def test_tpu_vm_watch_pauses_grow_to_a_bound(stubs, tmp_path):
    stubs.add(
        "gcloud",
        "if 'describe' in argv and earlier < 7: sys.exit('UNAVAILABLE')\nprint('READY')",
    )
    stubs.add("sleep")
    stubs.run(*launch(*TPU_VM), "--watch", "--type=t", "--", "x", WATCH_PAUSE="60")
    pauses = [call["argv"] for call in stubs.calls() if call["name"] == "sleep"]
    assert pauses == [["60"], ["120"], ["240"], ["480"], ["900"], ["900"], ["900"]]


def test_tpu_vm_watch_ends_where_ssh_is_refused_for_good(stubs):
    stubs.add(
        "gcloud",
        "if 'describe' in argv: print('READY')\n"
        "if 'ssh' in argv:\n"
        "    print('me@host: Permission denied (publickey).', file=sys.stderr)\n"
        "    sys.exit(255)",
    )
    done = stubs.run(*launch(*TPU_VM), "--watch", "--type=t", "--", "x", check=255, WATCH_PAUSE="0")
    assert "Permission denied (publickey)" in done.stderr
    assert "giving up" in done.stderr


def test_tpu_vm_watch_says_how_a_stopped_slice_is_started(stubs):
    stubs.add("gcloud", "if 'describe' in argv: print('STOPPED')")
    done = stubs.run(*launch(*TPU_VM), "--watch", "--type=t", "--", "x", check=1, WATCH_PAUSE="0")
    assert "gcloud compute tpus tpu-vm start n --zone=z" in done.stderr


def test_tpu_vm_never_deletes_or_creates_on_a_question_that_failed(stubs):
    stubs.add("gcloud", "if 'describe' in argv: sys.exit('PERMISSION_DENIED')")
    stubs.run(*launch(*TPU_VM), "--create", "--type=t", "--", "x", check=1)
    assert [call["argv"][3] for call in stubs.calls()] == ["describe"]


def test_tpu_vm_takes_a_workdir_in_a_bucket(stubs):
    stubs.add("gcloud", "if 'describe' in argv: print('READY')")
    words = ["--watch", "--type=v5litepod-16"]
    stubs.run(*launch(*TPU_VM, "--workdir=gs://bucket/a run"), *words, "--", "x", WATCH_PAUSE="0")
    _, run, asked = (call["argv"][-1] for call in stubs.calls())
    assert "'--workdir=gs://bucket/a run'" in run
    assert "stat --file-system" not in run
    assert "mkdir -p 'gs" not in run
    assert asked.endswith("-m scenarioclip_jax.storage exists 'gs://bucket/a run/report.json'")
