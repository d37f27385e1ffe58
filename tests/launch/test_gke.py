"""The GKE launcher, against a stub of kubectl."""

import json
import signal
import subprocess

import pytest
import yaml

from tests.launch.stubs import (
    AWKWARD,
    GKE,
    SAVES_ON_SIGTERM,
    launch,
    unchanged,
)


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
    stubs.write(stubs.folder / "python", SAVES_ON_SIGTERM)
    env = {**stubs.env, "JOB_COMPLETION_INDEX": "0"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdout.readline() == "ready\n"
        pod.send_signal(signal.SIGTERM)
        assert pod.stdout.read() == "signals: 1\n"
    assert pod.returncode == 75


def test_gke_takes_a_workdir_in_a_bucket_without_a_claim(stubs):
    stubs.add("kubectl")
    volumes = []
    for words in ([], ["--claim=files"]):
        stubs.run(*launch(*GKE, "--workdir=gs://bucket/w"), *words, "--", "x")
        (call,) = stubs.calls()
        pod, _ = pod_and_job(yaml.safe_load(call["stdin"]))
        volumes.append({v["name"]: v for v in pod["volumes"]}["shared"])
    (container,) = pod["containers"]
    assert volumes == [
        {"name": "shared", "emptyDir": {}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "files"}},
    ]
    # The stub of Python is the run, which ends well, and the question, whose answer is no.
    stubs.add("python", "sys.exit(int('exists' in argv))")
    command = [unchanged(word) for word in container["command"] + container["args"]]
    stubs.run(*command, check=75, JOB_COMPLETION_INDEX="0")
    _, asked = stubs.calls()
    assert asked["argv"][1:] == ["scenarioclip_jax.storage", "exists", "gs://bucket/w/report.json"]
