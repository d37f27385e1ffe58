"""What the system refuses to read is neither missing nor damaged: a build waits, or stops and goes on."""

import errno
import os
from pathlib import Path

import pytest

from scenarioclip_jax import faults
from scenarioclip_jax.data.build import command
from scenarioclip_jax.data.build.dataset import KEPT, build
from scenarioclip_jax.data.build.photo_files import open_photo
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.faults import InputUnavailableError
from tests.data.builder_inputs import record, write_root

STALE = OSError(errno.ESTALE, "Stale file handle")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(faults, "PAUSES", (0.0, 0.0))


@pytest.fixture
def root(tmp_path):
    return write_root(tmp_path / "root", record("a"), record("b"))


def refuse(monkeypatch, name: str, *, times: int = 10**6, call: str = "read_bytes") -> list[Path]:
    """Makes a method of Path fail for the files of a name, so many times; returns what it was called for."""
    real, seen = getattr(Path, call), []

    def refused(path, *args, **kwargs):
        if path.name == name:
            seen.append(path)
            if len(seen) <= times:
                raise STALE
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, call, refused)
    return seen


def made_of(root, output) -> dict:
    return build(root, output, fractions=(1, 0, 0), progress=False)


@pytest.mark.parametrize("name", ["b.jpg", "b_0.jpg"])
def test_a_photo_or_region_that_is_refused_stops_the_build(root, tmp_path, monkeypatch, name):
    (file,) = root.rglob(name)
    with monkeypatch.context() as patch:
        seen = refuse(patch, name)
        with pytest.raises(InputUnavailableError, match=rf"{name}.*mount the file system again"):
            made_of(root, tmp_path / "out")
    assert len(seen) >= 3  # tried again
    assert shards.find_dataset(tmp_path / "out") is None
    summary = made_of(root, tmp_path / "out")
    expected = made_of(root, tmp_path / "expected")
    assert summary == expected
    assert summary["splits"]["train"] == 2
    assert file.is_file()


def test_a_photo_that_is_refused_is_not_unreadable(root, monkeypatch):
    seen = refuse(monkeypatch, "b.jpg")
    with pytest.raises(InputUnavailableError, match=r"b\.jpg: can't be read now"):
        open_photo(root, "images/b.jpg")
    assert len(seen) == 3


def test_what_is_refused_once_is_read_again(root, tmp_path, monkeypatch):
    expected = made_of(root, tmp_path / "expected")
    refuse(monkeypatch, "b.jpg", times=1)
    assert made_of(root, tmp_path / "out") == expected


@pytest.mark.parametrize("name", ["metadata.json", "classes.json"])
def test_annotations_that_are_refused_lose_nothing(root, tmp_path, monkeypatch, name, capsys):
    (root / "classes.json").write_text('{"actions": ["a class of its own"]}')
    flags = [
        f"--metadata={root}",
        f"--output={tmp_path / 'out'}",
        "--fractions=1,0,0",
        "--workers=1",
    ]
    with monkeypatch.context() as patch:  # an interrupted build has done something
        patch.setattr(
            "scenarioclip_jax.data.build.make.plan", lambda *args: (_ for _ in ()).throw(STALE)
        )
        assert command.main(flags) == 1
    before = sorted(path.name for path in (tmp_path / "out").glob(f"{KEPT}*/*"))
    assert len(before) == 3
    with monkeypatch.context() as patch:
        refuse(patch, name)
        assert (
            command.main([*flags, "--skip-broken"][: None if name == "metadata.json" else -1]) == 1
        )
    assert f"{name}: can't be read now" in capsys.readouterr().err
    assert command.main(flags) == 0
    assert "a class of its own" in shards.load_classes(tmp_path / "out")["actions"]


def test_a_folder_that_cannot_be_listed_is_not_empty(root, tmp_path, monkeypatch):
    (root / "images/a.jpg").rename(root / "images/A.JPG")  # found only by listing
    real = os.listdir
    with monkeypatch.context() as patch:

        def refused(path):
            if Path(path).name == "images":
                raise OSError(errno.EMFILE, "Too many open files")
            return real(path)

        patch.setattr(os, "listdir", refused)
        with pytest.raises(InputUnavailableError, match=r"a\.jpg.*ulimit -n"):
            made_of(root, tmp_path / "out")
    assert made_of(root, tmp_path / "out")["splits"]["train"] == 2


def test_is_file_tells_absence_from_refusal(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    assert faults.is_file(tmp_path / "file")
    for absent in (tmp_path, tmp_path / "none", tmp_path / "file/below", tmp_path / "a\0b"):
        assert not faults.is_file(absent)
    monkeypatch.setattr(os, "stat", lambda path: (_ for _ in ()).throw(STALE))
    with pytest.raises(OSError, match="Stale"):
        faults.is_file(tmp_path / "file")
