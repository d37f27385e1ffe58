"""Working folders that several processes open."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import Writer
from scenarioclip_jax.annotate.shards import ALL
from scenarioclip_jax.annotate.work import open_work


def test_processes_may_make_a_folder_at_once(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(30):
        folder = tmp_path / f"work{number}"
        with ThreadPoolExecutor(8) as pool:
            works = list(
                pool.map(lambda _, to=folder: open_work(to, tmp_path / "images"), range(8))
            )
        assert {work.images for work in works} == {(tmp_path / "images").resolve()}


def test_a_folder_that_another_process_is_making_is_taken_and_others_are_not(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work/.work.json.unfinished-0123abcd").touch()
    open_work(tmp_path / "work", tmp_path / "images")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").touch()
    with pytest.raises(WorkError, match="holds other files; name a new folder"):
        open_work(tmp_path / "other", tmp_path / "images")


def test_a_folder_that_was_made_a_moment_ago_is_taken(tmp_path, monkeypatch):
    images, folder = tmp_path / "images", tmp_path / "work"
    images.mkdir()
    folder.mkdir()
    listed = Path.iterdir

    def made_before_it_is_listed(self):
        monkeypatch.undo()
        open_work(folder, images)
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", made_before_it_is_listed)
    assert open_work(folder, images).images == images.resolve()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("version", 2, "version"),
        ("version", None, "version"),
        ("follow_links", "no", "follow_links"),
        ("images", 5, "images"),
        ("images", "relative", "images"),
        ("revisions", {"a@": 3}, "revisions"),
        ("revisions", [1], "revisions"),
        ("settings", None, "settings"),
        ("images", ..., "images"),
    ],
)
def test_an_edited_file_names_the_field_that_is_wrong(tmp_path, field, value, told):
    (tmp_path / "images").mkdir()
    open_work(tmp_path / "work", tmp_path / "images")
    file = tmp_path / "work/work.json"
    values = json.loads(file.read_text()) | {field: value}
    if value is ...:
        del values[field]
    file.write_text(json.dumps(values))
    with pytest.raises(WorkError) as error:
        open_work(tmp_path / "work")
    assert str(file) in str(error.value)
    assert told in str(error.value).removeprefix(str(file))


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    with Writer(tmp_path, ALL) as writer:
        # Full for a flush alone, so that closing the file works.
        full = os.open("/dev/full", os.O_WRONLY)
        saved = os.dup(writer._file.fileno())
        os.dup2(full, writer._file.fileno())
        with pytest.raises(OSError) as error:
            writer.write({"id": "a.jpg", "key": "k"})
        assert error.value.errno == errno.ENOSPC
        assert str(error.value.filename) == str(tmp_path / "0-of-1.jsonl")
        os.dup2(saved, writer._file.fileno())
        os.close(saved)
        os.close(full)
