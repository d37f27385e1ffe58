"""Working folders that several processes open."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenarioclip_jax.annotate.records import WorkError
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
