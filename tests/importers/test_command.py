"""The importers' command line: what it prints, what it refuses, and that it leaves no half of an import."""

import fcntl
import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from scenarioclip_jax.data.build import command as build
from scenarioclip_jax.importers import command, exports, problems, sources
from scenarioclip_jax.importers.source import found_in
from tests.harness.started import with_default_signals
from tests.importers import made
from tests.importers.test_coco import DOG, annotation, image, instances
from tests.importers.test_psg import entry as psg_entry
from tests.importers.test_psg import psg


@pytest.fixture
def source(tmp_path):
    return instances(
        tmp_path / "instances_val2017.json", [annotation(1, DOG, made.xywh("dog"))], [image(1)]
    )


def test_each_source_and_export_has_its_help(capsys):
    found = found_in(sources, "SOURCE") + found_in(exports, "EXPORT")
    assert len({each.name for each in found}) == len(found) > 1
    for each in found:
        with pytest.raises(SystemExit) as end:
            command.main([each.name, "--help"])
        assert end.value.code == 0
        shown = capsys.readouterr().out
        assert "--output" in shown
        assert each.purpose.split()[0] in shown


def test_what_goes_on_can_be_pasted_and_works(tmp_path, capsys, source):
    """Spaces in the paths, and the build takes what the import wrote."""
    photos, out = tmp_path / "my photos", tmp_path / "the output"
    made.photo(photos / "000000000001.jpg")
    made.run("coco", out, "--instances", source, f"--images={photos}", "--without-masks")
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "scenarioclip_jax.data.build" in line]
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "scenarioclip_jax.data.build"]
    assert f"--images={photos}" in words
    (train,) = [line for line in shown.splitlines() if "scenarioclip_jax.main" in line]
    assert f"--config.data.dir={out}-shards" in shlex.split(train)
    args = build._parser().parse_args(words[3:])
    assert (args.metadata, args.images) == (str(out), [str(photos)])


def test_without_photos_the_command_says_what_to_put_in(tmp_path, capsys, source):
    made.run("coco", tmp_path / "out", "--instances", source)
    shown = capsys.readouterr().out
    assert "--images=PHOTOS" in shown
    assert "where PHOTOS is the folder of the photos" in shown
    assert "1 photos, 1 objects" in shown


def test_an_import_is_replaced_only_if_asked(tmp_path, capsys, source):
    out = tmp_path / "out"
    before = made.run("coco", out, "--instances", source)
    assert "--overwrite" in made.fails(capsys, "coco", out, "--instances", source)
    after = made.run("coco", out, "--instances", source, "--overwrite", "--split=test")
    assert before.one()["split"] == "validation"
    assert after.one()["split"] == "test"


def test_the_same_import_gives_the_same_bytes(tmp_path, source):
    files = []
    for name in ("a", "b"):
        made.run("coco", tmp_path / name, "--instances", source)
        files.append((tmp_path / name / "metadata.jsonl.gz").read_bytes())
        time.sleep(1.1)  # gzip counts seconds
    assert files[0] == files[1]


def test_other_metadata_is_not_mixed_with(tmp_path, capsys, source):
    out = tmp_path / "out"
    made.write_json(out / "metadata-2.json", {"data": []})
    error = made.fails(capsys, "coco", out, "--instances", source, "--overwrite")
    assert "holds metadata-2.json, which the build would read, too" in error


def test_nothing_to_import_is_an_error(tmp_path, capsys):
    path = instances(tmp_path / "a.json", [annotation(5, DOG, [1, 1, 2, 2])], [image(1)])
    error = made.fails(capsys, "coco", tmp_path / "out", "--instances", path)
    assert "no photo could be imported" in error
    assert "1 x nothing_annotated" in error


def test_wrong_folders(tmp_path, capsys, source):
    error = made.fails(
        *(capsys, "coco", tmp_path / "out", "--instances", source),
        f"--images={tmp_path / 'none'}",
    )
    assert "isn't a folder" in error
    (tmp_path / "file").write_text("")
    assert "is a file" in made.fails(capsys, "coco", tmp_path / "file", "--instances", source)
    assert command.main(["coco", f"--instances={source}", "--output=abfs://bucket/x"]) == 1
    assert "addresses of abfs aren't supported" in capsys.readouterr().err


def test_two_imports_at_once(tmp_path, capsys, source):
    out = tmp_path / "out"
    (out / ".unfinished").mkdir(parents=True)
    with (out / ".unfinished/lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        error = made.fails(capsys, "coco", out, "--instances", source)
    assert "another import writes there" in error


def test_what_a_killed_import_left_is_removed(tmp_path, source):
    left = tmp_path / "out/.unfinished/index-0.sqlite3"
    left.parent.mkdir(parents=True)
    left.write_text("something")
    made.run("coco", tmp_path / "out", "--instances", source)
    assert not left.parent.exists()


def test_a_failure_in_the_middle_leaves_the_old_import(tmp_path, capsys, source):
    out = tmp_path / "out"
    made.run("coco", out, "--instances", source)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    whole = source.read_bytes()
    source.write_bytes(whole[: whole.index(b"categories")])
    made.fails(capsys, "coco", out, "--instances", source, "--overwrite")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_problems_are_all_counted_and_the_first_ones_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(problems, "LISTED", 3)
    with problems.ImportProblems(tmp_path / "problems.jsonl") as found:
        for number in range(10):
            found.add("a", "dropped", "object", "file", f"number {number}")
        found.add("b", "fixed", "object", "file", "lone \ud800")
    listed = (tmp_path / "problems.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in listed] == ["a"] * 3 + ["b"]
    assert found.counts() == {"a: object dropped": 10, "b: object fixed": 1}
    assert "number 0" in found.examples()["a: object dropped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(tmp_path, number):
    """A child of this test reads a pipe that never ends, and is told to stop."""
    fifo, out = tmp_path / "instances.json", tmp_path / "out"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from scenarioclip_jax.importers import command\n"
        "from scenarioclip_jax.importers.sources import coco\n"
        "def slow(*_):\n"
        "    import time\n"
        "    print('reading', flush=True)\n"
        "    time.sleep(60)\n"
        "coco._check_kind = slow\n"
        f"sys.exit(command.main(['coco', '--instances', {str(fifo)!r}, '--output', {str(out)!r}]))\n"
    )
    child = subprocess.Popen(
        with_default_signals([sys.executable, "-c", code]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "reading\n"
        assert (out / ".unfinished").is_dir()
        child.send_signal(number)
        _, error = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 128 + number
    assert "stopped; nothing was written" in error
    assert not out.exists()


def test_an_id_that_is_there_twice(tmp_path):
    """In files that somebody joined."""
    entries = [psg_entry("9"), psg_entry("9"), psg_entry("10")]
    path = psg(tmp_path / "psg.json", entries)
    found = made.run("psg", tmp_path / "out", f"--psg={path}")
    assert list(found.records) == ["psg-9", "psg-10"]
    assert found.reasons() == {"repeated_record": 1}
