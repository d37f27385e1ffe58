"""The launcher of annotation on Kubernetes, against a stub of kubectl."""

import json
import shlex

import pytest
import yaml

from tests.launch.stubs import ANNOTATE_K8S, AWKWARD, launch, unchanged


def applied(stubs, *words):
    stubs.add("kubectl")
    done = stubs.run(*launch(*ANNOTATE_K8S), *words)
    (call,) = stubs.calls()
    assert call["argv"] == ["apply", "-f", "-"]
    return yaml.safe_load(call["stdin"]), done.stdout


def test_dry_run_prints_what_is_run(stubs):
    stubs.add("kubectl")
    printed = stubs.run(*launch(*ANNOTATE_K8S), "--dry-run", "--", *AWKWARD).stdout
    assert not stubs.calls()
    stubs.run("bash", "-c", printed)
    (from_print,) = stubs.calls()
    stubs.run(*launch(*ANNOTATE_K8S), "--", *AWKWARD)
    assert stubs.calls() == [from_print]


def test_manifest(stubs):
    flags = ["--name=mine", "--claim=files", "--parallel=2", "--gpus-per-task=3"]
    manifest, _ = applied(stubs, *flags, "--", "x")
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "Job")
    assert manifest["metadata"]["name"] == "mine"
    job = manifest["spec"]
    assert job["completionMode"] == "Indexed"
    assert (job["completions"], job["parallelism"]) == (4, 2)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "i"
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 3}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts == {"shared": "/shared"}
    assert pod["volumes"] == [{"name": "shared", "persistentVolumeClaim": {"claimName": "files"}}]
    assert "${" not in json.dumps(manifest)
    assert applied(stubs, "--", "x")[0]["spec"]["parallelism"] == 4


def test_only_failures_count_and_only_for_their_share(stubs):
    job = applied(stubs, "--", "x")[0]["spec"]
    disrupted, stopped = job["podFailurePolicy"]["rules"]
    assert disrupted["action"] == stopped["action"] == "Ignore"
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert stopped["onExitCodes"] == {"containerName": "main", "operator": "In", "values": [143]}
    assert 0 < job["backoffLimitPerIndex"] < 20
    assert "backoffLimit" not in job
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for it


@pytest.mark.parametrize("status", [0, 1, 143])
def test_a_pod_does_its_share_and_ends_with_the_status_of_the_run(stubs, status):
    manifest, printed = applied(stubs, "--", *AWKWARD)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    command = [unchanged(word) for word in container["command"] + container["args"]]
    stubs.add("python", f"sys.exit({status})")
    stubs.run(*command, check=status, JOB_COMPLETION_INDEX="3")
    (run,) = stubs.calls()
    assert run["argv"] == [
        *("-m", "scenarioclip_jax.annotate", "run", "--shard=3/4", "--output=/shared/w"),
        *AWKWARD,
    ]
    last = shlex.split(printed.splitlines()[-1])
    assert last[1:] == ["-m", "scenarioclip_jax.annotate", "assemble", "--output=/shared/w"]
