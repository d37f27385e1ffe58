"""Paths as people give them."""

from pathlib import Path

import pytest

from scenarioclip_jax.paths import PathError, address_of, local_path


@pytest.mark.parametrize("path", ["gs://b/r", "s3://b", "gs:/b/r", Path("gs://b/r")])
def test_an_address_never_becomes_a_local_folder(path):
    with pytest.raises(PathError, match=r"is an address \((gs|s3)\), and only a local path"):
        local_path(path)


@pytest.mark.parametrize("path", ["abfs://x@y/z", "http://x/y", "hdfs://n/p", "file:///x"])
@pytest.mark.parametrize("read", [local_path, address_of])
def test_other_schemes_are_refused_with_those_that_are_supported(path, read):
    with pytest.raises(
        PathError, match=r"addresses of (abfs|http|hdfs|file) aren't supported, only gs:.*mount it"
    ):
        read(path)


def test_parts_of_an_address():
    assert address_of("gs://b/x/y/") == ("gs", "b", "x/y")
    assert address_of(Path("S3://b/x")) == ("s3", "b", "x")
    assert str(address_of("s3://b//x")) == "s3://b/x"
    assert str(address_of("gs://b")) == "gs://b"
    for plain in ("runs/a:b", "/w", "C:/x", "C://x", "a~b", "x/y://z"):
        assert address_of(plain) is None
    for wrong in ("gs://", "s3:///", "gs://b/../c"):
        with pytest.raises(PathError, match=r"must be (gs|s3)://BUCKET/FOLDER"):
            address_of(wrong)


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


def test_an_address_without_slashes_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("s3:bucket/x", "gs:bucket", "S3:b/x"):
        with pytest.raises(PathError, match=r"write \w\w://b\w*.*; if a local path, \./"):
            local_path(text)
        assert local_path(f"./{text}") == Path(text)
    (tmp_path / "s3:bucket").mkdir()
    assert local_path("s3:bucket/x") == Path("s3:bucket/x")


def test_no_home_is_explained(monkeypatch):
    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    with pytest.raises(PathError, match=r"HOME isn't set.*without ~"):
        local_path("~/x")
