"""Objects in buckets: what is written is read, and trouble is retried, then explained."""

import sys

import pytest

from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage import bucket as buckets
from scenarioclip_jax.storage.bucket import Bucket, StorageError
from tests.storage.servers import Trouble, proxy

pytestmark = pytest.mark.timeout(120)


def test_what_is_written_is_listed_read_and_removed(place, tmp_path):
    bucket = Bucket(place)
    assert bucket.list() == {}
    large = bytes(range(256)) * 30_000
    (tmp_path / "large").write_bytes(large)
    (tmp_path / "empty").touch()
    bucket.put(tmp_path / "large", "a/large")
    bucket.put(tmp_path / "empty", "empty")
    bucket.write("b c.json", b"{}")
    Bucket(place._replace(key=f"{place.key}-2")).write("of a neighbor", b"x")
    found = bucket.list()
    assert {name: entry.size for name, entry in found.items()} == {
        "a/large": len(large),
        "b c.json": 2,
        "empty": 0,
    }
    assert list(bucket.list("a")) == ["a/large"]
    for name, entry in found.items():
        bucket.get(name, tmp_path / "got" / name, entry.size)
    assert (tmp_path / "got/a/large").read_bytes() == large
    assert (tmp_path / "got/empty").read_bytes() == b""
    assert bucket.read("b c.json") == b"{}"
    assert bucket.read("nothing") is None
    bucket.remove(["a/large", "nothing", "empty"])
    assert list(bucket.list()) == ["b c.json"]


@pytest.mark.parametrize("content", [b"\r", b"x\r", b"x\n", b"\r\n", bytes(range(256))])
def test_any_bytes_come_back_as_they_were(place, content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    bucket = Bucket(place)
    bucket.put(tmp_path / "x", "put")
    bucket.write("written", content)
    assert bucket.read("put") == bucket.read("written") == content


def test_replaced_content_has_another_tag(place):
    bucket = Bucket(place)
    bucket.write("x", b"old")
    before = bucket.list()["x"]
    bucket.write("x", b"new")
    assert bucket.list()["x"] != before


def test_an_address_of_an_object_is_that_object(place):
    Bucket(place).write("x.json", b"{}")
    (entry,) = Bucket(place._replace(key=f"{place.key}/x.json")).list().items()
    assert entry[0] == ""
    assert entry[1].size == 2


def test_no_such_bucket_is_explained(place, tmp_path):
    nowhere = Bucket(place._replace(bucket="no-such-bucket"))
    with pytest.raises(StorageError, match=r"there is no bucket no-such-bucket; make it"):
        nowhere.list()
    with pytest.raises(StorageError, match=r"no-such-bucket/some/folder: there is no bucket"):
        nowhere.write("x", b"")


def through_a_proxy(monkeypatch, server, port):
    for name, value in server.environment(port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(buckets, "PAUSES", (0.0, 0.0))
    buckets._file_system.cache_clear()


@pytest.mark.slow
def test_requests_that_fail_at_first_are_tried_again(place, server, monkeypatch, tmp_path):
    Bucket(place).write("x", b"content")
    trouble = Trouble(lambda method, path, number: 503 if number <= 2 else None)
    with proxy(server, trouble) as port:
        through_a_proxy(monkeypatch, server, port)
        bucket = Bucket(place)
        entry = bucket.list()["x"]
        bucket.get("x", tmp_path / "x", entry.size)
        bucket.write("y", b"too")
    assert (tmp_path / "x").read_bytes() == b"content"
    assert len(trouble.requests) >= 5


@pytest.mark.slow
def test_requests_that_always_fail_end_with_an_error(s3_server, monkeypatch, tmp_path):
    trouble = Trouble(lambda *_: 503)
    with proxy(s3_server, trouble) as port:
        through_a_proxy(monkeypatch, s3_server, port)
        bucket = Bucket(Address("s3", "bucket", "folder"))
        with pytest.raises(
            StorageError,
            match=r"^s3://bucket/folder: can't be listed after 3 attempts \(.*Service Unavailable"
            rf".*127\.0\.0\.1:{port}",
        ):
            bucket.list()
        with pytest.raises(StorageError, match=r"x can't be written after 3 attempts"):
            bucket.write("x", b"")
        with pytest.raises(StorageError, match=r"x can't be read after 3 attempts"):
            bucket.get("x", tmp_path / "x", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_slow_answers_are_tried_again(place, server, monkeypatch):
    Bucket(place).write("x", b"content")
    trouble = Trouble(lambda method, path, number: 3.0 if number == 1 else None)
    with proxy(server, trouble) as port:
        monkeypatch.setattr(buckets, "READ_SECONDS", 1)
        through_a_proxy(monkeypatch, server, port)
        assert Bucket(place).read("x") == b"content"
    assert len(trouble.requests) >= 2


@pytest.mark.slow
def test_a_server_that_never_answers_ends_with_an_error(s3_server, monkeypatch):
    with proxy(s3_server, Trouble(lambda *_: 5.0)) as port:
        monkeypatch.setattr(buckets, "READ_SECONDS", 0.3)
        through_a_proxy(monkeypatch, s3_server, port)
        with pytest.raises(StorageError, match=r"can't be listed after \d attempts .*[Tt]imeout"):
            Bucket(Address("s3", "bucket", "folder")).list()


def test_missing_credentials_are_explained_at_once(s3_server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_server.port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StorageError, match=r"can't be listed \(.*aws configure"):
        Bucket(Address("s3", "bucket", "folder")).list()


@pytest.mark.parametrize(
    "said",
    [
        "The AWS Access Key Id you provided does not exist in our records.",
        "The request signature we calculated does not match the signature you provided.",
        "The provided token has expired.",
    ],
)
def test_keys_that_are_refused_are_explained(said):
    bucket = object.__new__(Bucket)
    bucket.address = Address("s3", "bucket", "folder")
    text = str(bucket._explained("can't be listed", PermissionError(said)))
    assert "give valid ones: `aws configure`" in text
    assert "permission" in str(bucket._explained("can't be listed", PermissionError("Forbidden")))


@pytest.mark.parametrize(("scheme", "module"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_library_is_named_with_its_extra(scheme, module, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        StorageError, match=rf"needs {module} .*pip install 'scenarioclip_jax\[{scheme}\]'"
    ):
        Bucket(Address(scheme, "bucket", "folder"))


def test_what_the_libraries_give_up_is_tried_again(place, monkeypatch, tmp_path):
    Bucket(place).write("x", b"content")
    bucket, read = Bucket(place), []
    real = bucket._files.get_file

    def cut_short(there, here):
        real(there, here)
        if len(read) < 2:
            read.append(there)
            with open(here, "r+b") as file:
                file.truncate(3)

    monkeypatch.setattr(buckets, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(bucket._files, "get_file", cut_short)
    bucket.get("x", tmp_path / "x", 7)
    assert (tmp_path / "x").read_bytes() == b"content"
    read.clear()
    monkeypatch.setattr(buckets, "PAUSES", (0.0,))
    with pytest.raises(
        StorageError, match=r"x can't be read after 2 attempts \(OSError: 3 bytes came of 7"
    ):
        bucket.get("x", tmp_path / "y", 7)
    assert not (tmp_path / "y").exists()
