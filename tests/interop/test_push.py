"""A folder for PyTorch goes to the hub whole, as one commit."""

import os
import subprocess
import sys

import pytest

from scenarioclip_jax import convert
from tests.evaluation import tiny_model
from tests.interop import hub_server


@pytest.fixture(scope="module")
def folder(small_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("push")
    tiny_model.write_model(root / "model", small_data)
    convert.main(["to-pytorch", f"--checkpoint={root / 'model'}", f"--output={root / 'exported'}"])
    return root / "exported"


@pytest.fixture
def hub():
    with hub_server.serve() as hub:
        yield hub


def push(hub, *flags, token=hub_server.TOKEN, address=""):
    """The command in a process of its own: the library reads the server's address when it is imported."""
    environment = os.environ | {
        "HF_ENDPOINT": address or hub.address,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-m", "scenarioclip_jax.convert", "push", *map(str, flags)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.slow
def test_all_files_arrive_in_one_commit(hub, folder):
    done = push(hub, "--folder", folder, "--repo", "lab/scenes", "--private")
    assert done.returncode == 0, done.stderr
    files = hub.repositories["lab/scenes", "main"]
    here = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    assert files.keys() == here.keys()
    assert all(files[name] == path.read_bytes() for name, path in here.items())
    assert hub.private == {"lab/scenes"}
    assert hub.commits == [("lab/scenes", "main", "Upload exported")]
    assert f"{hub.address}/lab/scenes/commit/" in done.stderr
    assert "license: unknown" in done.stderr


@pytest.mark.slow
def test_again_it_goes_to_the_same_repository_or_to_another_branch(hub, folder):
    for flags in ([], ["--revision", "second"]):
        done = push(hub, "--folder", folder, "--repo", "scenes", *flags)
        assert done.returncode == 0, done.stderr
    assert (
        hub.repositories["me/scenes", "main"].keys()
        == hub.repositories["me/scenes", "second"].keys()
    )
    assert [branch for _, branch, _ in hub.commits] == ["main", "second"]
    assert not hub.private


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--repo", "lab/a/b"], "--repo=lab/a/b: must be ORGANIZATION/NAME"),
        (["--repo", "lab/scenes@v1"], "must be ORGANIZATION/NAME"),
        (["--repo", "lab/scenes", "--folder", "."], "no folder for PyTorch; make one with"),
    ],
)
def test_what_cannot_be_pushed(folder, flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        convert.main(["push", f"--folder={folder}", *flags])
    assert message in str(end.value)


@pytest.mark.slow
def test_who_may_not_write_is_told_what_to_do(hub, folder):
    done = push(hub, "--folder", folder, "--repo", "lab/scenes", token="hf_wrong")
    assert done.returncode == 1
    assert "hf auth login" in done.stderr
    hub.refuse = 403
    done = push(hub, "--folder", folder, "--repo", "lab/scenes")
    assert done.returncode == 1
    assert "give a token that may write to it" in done.stderr
    assert not hub.commits
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there(hub, folder):
    done = push(hub, "--folder", folder, "--repo", "lab/scenes", address="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "error: --repo=lab/scenes: " in done.stderr
    assert "Traceback" not in done.stderr
