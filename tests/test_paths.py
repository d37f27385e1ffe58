"""Paths as people give them."""

from pathlib import Path

import pytest

from scenarioclip_jax.paths import PathError, local_path


@pytest.mark.parametrize(
    "path",
    ["gs://b/r", "s3://b", "abfs://x@y/z", "http://x/y", "hdfs://n/p", "gs:/b/r", Path("gs://b/r")],
)
def test_an_address_never_becomes_a_local_folder(path):
    with pytest.raises(PathError, match=r"is an address \((gs|s3|abfs|http|hdfs)\).*mount it"):
        local_path(path)


def test_home_and_cache(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert local_path("~/runs/x") == Path("/home/me/runs/x")
    assert local_path("~/.cache/a") == Path("/home/me/.cache/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert local_path("~/.cache/a") == Path("/fast/a")
    assert local_path("~/.cached") == Path("/home/me/.cached")
    for plain in ("runs/a:b", "/w", "C:/x", "a~b", "x/y://z"):
        assert local_path(plain) == Path(plain)


def test_no_home_is_explained(monkeypatch):
    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(PathError, match=r"HOME isn't set.*without ~"):
        local_path("~/x")
