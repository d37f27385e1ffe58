"""Working folders that several processes open."""

import errno
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenarioclip_jax.annotate import work as module
from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.records import Writer
from scenarioclip_jax.annotate.settings_file import settings_of
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


@pytest.fixture
def slow(monkeypatch):
    """Between reading and writing work.json passes some time."""
    write = module.write_text

    def written_late(path, text):
        time.sleep(0.05)
        write(path, text)

    monkeypatch.setattr(module, "write_text", written_late)


def at_once(*tasks):
    """Runs tasks in threads that start together; gives their results."""
    together = threading.Barrier(len(tasks))

    def run(task):
        together.wait(10)
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(run, task) for task in tasks]]


@pytest.mark.usefixtures("slow")
def test_first_runs_at_the_same_moment_lose_no_pin(tmp_path):
    (tmp_path / "images").mkdir()
    names = {"caption": "a/b", "detect": "c/d", "segment": "e/f"}
    settings = settings_of({stage: {"model": name} for stage, name in names.items()}, "x")
    open_work(tmp_path / "work", tmp_path / "images", settings)
    works = [open_work(tmp_path / "work") for _ in names]
    at_once(
        *(
            lambda work=work, stage=stage: work.pin(stage, lambda model, _: f"commit of {model}")
            for work, stage in zip(works, names, strict=True)
        )
    )
    found = open_work(tmp_path / "work").revisions
    assert found == {f"{name}@": f"commit of {name}" for name in names.values()}


@pytest.mark.usefixtures("slow")
def test_of_two_that_pin_one_model_the_first_decides(tmp_path):
    (tmp_path / "images").mkdir()
    settings = settings_of({"caption": {"model": "a/b"}}, "x")
    open_work(tmp_path / "work", tmp_path / "images", settings)
    works = [open_work(tmp_path / "work") for _ in range(2)]
    # On the hub there is a new commit between their questions.
    pinned = at_once(
        *(
            lambda work=work, commit=commit: work.pin("caption", lambda *_: commit)
            for work, commit in zip(works, ("old", "new"), strict=True)
        )
    )
    assert pinned[0].revisions == pinned[1].revisions == open_work(tmp_path / "work").revisions


@pytest.mark.usefixtures("slow")
def test_other_settings_and_a_pin_at_the_same_moment_are_both_kept(tmp_path):
    (tmp_path / "images").mkdir()
    folder = tmp_path / "work"
    work = open_work(folder, tmp_path / "images", settings_of({"caption": {"model": "a/b"}}, "x"))
    changed = settings_of({"caption": {"model": "a/b"}, "attempts": 9}, "x")
    at_once(
        lambda: work.pin("caption", lambda *_: "commit"),
        lambda: open_work(folder, settings=changed),
        lambda: open_work(folder, follow_links=True),
    )
    found = open_work(folder)
    assert found.revisions == {"a/b@": "commit"}
    assert found.settings.attempts == 9
    assert found.follow_links


def test_the_settings_of_who_makes_the_folder_first_stay_if_another_gives_none(tmp_path, slow):
    (tmp_path / "images").mkdir()
    folder, settings = tmp_path / "work", settings_of({"attempts": 9}, "x")
    at_once(
        lambda: open_work(folder, tmp_path / "images", settings),
        lambda: open_work(folder, tmp_path / "images"),
    )
    assert open_work(folder).settings.attempts == 9


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
