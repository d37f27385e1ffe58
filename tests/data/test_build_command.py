"""The build's command line: flags for other people's data, what it prints, and how it's interrupted."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scenarioclip_jax.data.build import command, dataset
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.shell import to_paste
from tests.data.builder_inputs import record, write_root
from tests.harness.started import with_default_signals


def run(root, output, *arguments):
    return command.main(
        [f"--metadata={root}", f"--output={output}", "--fractions=1,0,0", *arguments]
    )


def test_photos_in_a_linked_folder(tmp_path, capsys):
    root = write_root(tmp_path / "my root", record("a", relations=[]), record("b", relations=[]))
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    assert run(root, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "images is a link to" in error
    assert to_paste(f"--images={tmp_path / 'elsewhere'}") in error
    assert "--follow-links" in error
    assert "2 x metadata.json data[0].image_path (id a)" in error
    assert "{" not in error
    for number, flag in enumerate((f"--images={tmp_path / 'elsewhere'}", "--follow-links")):
        assert run(root, tmp_path / f"out {number}", flag, "--strict") == 0
    (root / "images").unlink()
    assert run(root, tmp_path / "out3", f"--images={tmp_path / 'elsewhere'}") == 0
    assert run(root, tmp_path / "out4", "--images=/nowhere") == 1
    assert "--images /nowhere isn't a folder" in capsys.readouterr().err


def test_flags_are_checked_and_explained(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"))
    assert run(root, tmp_path / "out", "--fractions=a") == 1
    assert "--fractions must be three numbers" in capsys.readouterr().err
    for flag in ("--metadata", "--output"):
        paths = {
            "--metadata": str(root),
            "--output": str(tmp_path / "out"),
            flag: "abfs://bucket/x",
        }
        assert command.main([f"{key}={value}" for key, value in paths.items()]) == 1
        assert "addresses of abfs aren't supported" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    for text in ("--boxes", "xywh = [x, y, width, height]", "--box-units", "--images DIR"):
        assert text in shown


def test_home_is_where_the_user_is_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_root(tmp_path / "root", record("a"))
    assert run("~/root", "~/out") == 0
    assert shards.dataset_dir(tmp_path / "out").is_dir()


def test_the_summary_keeps_what_is_noted_apart(tmp_path, capsys):
    objects = [["man", [5, 5, 35, 60]], ["man", [60, 5, 80, 60]], ["cup", [85, 30, 110, 60]]]
    guess = record("a", objects=objects, relations=[["", ["man", "has", "cup"]]])
    root = write_root(tmp_path / "root", guess, record("b", relations=[]))
    assert run(root, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    problems, noted = shown.split("noted, nothing is wrong")
    assert "1  ambiguous_participants: relation guessed" in problems
    assert "1 relations, made from their participants" in problems
    assert "1  no_relations: scene" in noted
    listed = (shards.dataset_dir(tmp_path / "out") / "problems.jsonl").read_text().split("\n")
    assert {json.loads(each)["effect"] for each in listed[:-1]} == {"guessed", "noted"}


def test_metadata_that_cannot_be_parsed_stops_the_build(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"))
    (root / "metadata_2.json").write_text('{"data": [')
    assert run(root, tmp_path / "out") == 1
    assert "metadata_2.json isn't JSON" in capsys.readouterr().err
    assert run(root, tmp_path / "out", "--skip-broken") == 0
    assert "1  malformed_json: file dropped" in capsys.readouterr().out


def test_a_second_build_into_one_folder_is_refused_at_once(tmp_path, capsys):
    root = write_root(tmp_path / "root", record("a"))
    with dataset._lock(tmp_path / "out", wait=False):
        assert run(root, tmp_path / "out") == 1
    assert "another process is building" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupted_build_says_so_in_a_line(number, code, tmp_path):
    command = [sys.executable, "-m", "scenarioclip_jax.data.build", "--embedded=3000"]
    process = subprocess.Popen(
        with_default_signals([*command, f"--output={tmp_path}"]),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".unfinished-*/embedded/images/*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in error
    drawing, stopped = filter(None, error.split("\n"))  # apart from a bar, if there is one
    assert drawing.startswith("drawing 3000 scenes")
    assert stopped == f"stopped; nothing was built in {tmp_path}"
    assert [path.name for path in tmp_path.iterdir()] == [".build.lock"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--embedded=9", "--boxes=xywh"], "--boxes means nothing together with --embedded"),
        (["--embedded=9", "--fractions=0.2,0.2,0.6"], "--fractions means nothing"),
        (["--embedded=9", "--images=DIR"], "--images means nothing"),
        (["--metadata=DIR", "--seed=7"], "--seed means nothing together with --metadata"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([*flags, f"--output={tmp_path}"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("when", ["between", "after"])
def test_a_signal_while_a_data_set_is_replaced_loses_neither(when, tmp_path, monkeypatch, capsys):
    """The handler is called where the signal would come: between the two renames, or right after them."""
    output = tmp_path / "out"
    assert run(write_root(tmp_path / "old", record("a")), output) == 0
    rename, target = Path.rename, shards.dataset_dir(output)

    def stop():
        signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)

    def renamed(path, to):
        if when == "between" and Path(to) == target and "replaced" not in str(path):
            stop()
        rename(path, to)
        if when == "after" and Path(to) == target:
            stop()

    monkeypatch.setattr(Path, "rename", renamed)
    new = write_root(tmp_path / "new", record("a"), record("b"))
    code = run(new, output, "--overwrite")
    said = capsys.readouterr()
    assert code == 0, "the step that makes a result visible is not interrupted"
    assert "nothing was built" not in said.err
    assert len(shards.open_split(output, "train")) == 2


def test_a_data_set_stays_where_its_successor_cannot_take_its_place(tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    assert run(write_root(tmp_path / "old", record("a")), output) == 0
    rename, target = Path.rename, shards.dataset_dir(output)

    def full(path, to):
        if Path(to) == target and Path(path).parent.name != "replaced":
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", full)
    new = write_root(tmp_path / "new", record("a"), record("b"))
    assert run(new, output, "--overwrite") == 1
    assert "No space left" in capsys.readouterr().err
    assert len(shards.open_split(output, "train")) == 1
