"""Decisions are whole or absent, those of one reviewer are written by one process, and nothing is lost."""

import errno
import json
import os
import subprocess
import sys

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.review.decisions import Journal, Reader, check_name, readers


def lines(folder, reviewer="ann"):
    return (folder / f"review/{reviewer}.jsonl").read_bytes().splitlines(keepends=True)


def test_what_was_written_is_read_back_and_later_what_was_added(tmp_path, say):
    scene = {"objects": [{"name": "Straße"}], "relations": []}
    say("ann", ("ü/a.jpg", "d1", "keep"), ("b.jpg", "d2", "edit", scene))
    reader = readers(tmp_path)["ann"]
    keep, edit = reader.new()
    assert (keep.id, keep.digest, keep.action, keep.reviewer) == ("ü/a.jpg", "d1", "keep", "ann")
    assert edit.at > keep.at
    assert reader.scene(edit) == scene
    assert list(reader.new()) == []
    say("ann", ("b.jpg", "d2", "undo"))
    (undo,) = reader.new()
    assert undo.action == "undo"
    assert reader.scene(edit) == scene


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_an_unfinished_line_is_ignored_then_cut_off(tmp_path, say, cut):
    say("ann", ("a", "d", "keep"), ("b", "d", "drop"))
    file = tmp_path / "review/ann.jsonl"
    first, second = lines(tmp_path)
    file.write_bytes(first + second[:cut])
    reader = Reader(file)
    assert [each.id for each in reader.new()] == ["a"]
    say("ann", ("c", "d", "drop"))
    assert [each.id for each in Reader(file).new()] == ["a", "c"]
    assert [each.id for each in reader.new()] == ["c"]
    assert reader.damaged == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\0\0\0\n",
        b"[]\n",
        b'{"id":"a","digest":"d","action":"burn","at":1}\n',
        b'{"id":"a","digest":"d","action":"edit","at":1}\n',
        b'{"id":"a","digest":"d","action":"keep","at":NaN}\n',
        b'{"id":1,"digest":"d","action":"keep","at":1}\n',
    ],
)
def test_a_damaged_line_is_counted_and_costs_only_itself(tmp_path, say, line):
    say("ann", ("a", "d", "keep"))
    with (tmp_path / "review/ann.jsonl").open("ab") as file:
        file.write(line)
    say("ann", ("c", "d", "keep"))
    reader = readers(tmp_path)["ann"]
    assert [each.id for each in reader.new()] == ["a", "c"]
    assert reader.damaged == 1


@pytest.mark.parametrize(
    "name", ["", "..", ".ann", "a/b", "../ann", "ann ", "a" * 65, "ünal", "a\n"]
)
def test_names_that_are_paths_or_more_are_refused(tmp_path, name):
    with pytest.raises(WorkError, match="--reviewer"):
        Journal(tmp_path, name)
    assert not (tmp_path / "review").exists()


def test_names_have_letters_digits_and_some_signs():
    assert [check_name(name) for name in ("ann", "Ann.B_2-x", "7")]


def test_one_process_writes_the_decisions_of_a_reviewer(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from scenarioclip_jax.annotate.review.decisions import *\n"
        "try: Journal(Path(sys.argv[1]), sys.argv[2]); print('free')\n"
        "except WorkError as error: print(error)"
    )

    def elsewhere(name):
        run = [sys.executable, "-c", code, str(tmp_path), name]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout

    journal = Journal(tmp_path, "ann")
    assert "another process writes the decisions of ann" in elsewhere("ann")
    assert elsewhere("ben").strip() == "free"
    journal.close()
    assert elsewhere("ann").strip() == "free"


def test_a_decision_is_on_the_disk_before_it_is_acknowledged(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    journal = Journal(tmp_path, "ann")
    journal.write("a", "d", "keep")
    assert synced == [len(b"".join(lines(tmp_path)))]
    journal.close()


def test_a_full_disk_leaves_no_part_of_a_decision(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "ann")
    journal.write("a", "d", "keep")

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            journal.write("b", "d", "keep")
    journal.write("c", "d", "keep")
    journal.close()
    assert [json.loads(line)["id"] for line in lines(tmp_path)] == ["a", "c"]


def test_a_file_that_was_copied_over_is_noticed(tmp_path):
    journal = Journal(tmp_path, "ann")
    journal.write("a", "d", "keep")
    file = tmp_path / "review/ann.jsonl"
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / "other").replace(file)
    with pytest.raises(WorkError, match="was replaced or removed"):
        journal.write("b", "d", "keep")
    file.unlink()
    with pytest.raises(WorkError, match="was replaced or removed"):
        journal.write("b", "d", "keep")
    journal.close()


def test_times_of_a_reviewer_grow_even_if_the_clock_is_set_back(tmp_path, monkeypatch):
    import time

    journal = Journal(tmp_path, "ann")
    for now in (1000.0, 500.0, 1000.0005):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        journal.write("a", "d", "keep")
    journal.close()
    times = [json.loads(line)["at"] for line in lines(tmp_path)]
    assert times == sorted(set(times))


def test_a_file_of_another_name_is_an_error(tmp_path, say):
    say("ann", ("a", "d", "keep"))
    (tmp_path / "review/ann (copy).jsonl").write_bytes(b"")
    with pytest.raises(WorkError, match=r"ann \(copy\).*isn't the name of a reviewer"):
        readers(tmp_path)
