"""Local copies of what lies in a bucket: whole, checked, and never those of what was replaced."""

import json
import subprocess
import sys

import pytest

from scenarioclip_jax.data.build.dataset import ensure_embedded
from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.remote import local_data
from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage import cache
from scenarioclip_jax.storage.bucket import Bucket, StorageError
from scenarioclip_jax.storage.cache import local_copy
from tests.storage.servers import Trouble, proxy
from tests.storage.test_bucket import through_a_proxy

pytestmark = pytest.mark.timeout(120)


def upload(folder, address: Address):
    bucket = Bucket(address)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            bucket.put(path, path.relative_to(folder).as_posix())


@pytest.fixture
def forget():
    """Forgets what this process reads, as if another one came."""

    def forget():
        for lock in cache._in_use.values():
            lock.close()
        cache._in_use.clear()

    yield forget
    forget()


def test_a_local_path_stays(tmp_path):
    assert local_copy(tmp_path / "x") == tmp_path / "x"


def test_a_folder_and_a_file_are_copied_once(place, server, monkeypatch, forget):
    Bucket(place).write("a/b.txt", b"one")
    Bucket(place).write("c.txt", b"two")
    found = local_copy(str(place))
    assert (found / "a/b.txt").read_bytes() == b"one"
    assert local_copy(f"{place}/c.txt").read_bytes() == b"two"
    forget()
    trouble = Trouble()
    with proxy(server, trouble) as port:
        through_a_proxy(monkeypatch, server, port)
        assert local_copy(str(place)) == found
    assert not [
        r for r in trouble.requests if "b.txt" in r and r.startswith("GET") and "list" not in r
    ]


def test_what_was_replaced_is_copied_again_and_the_old_copy_goes_once_unused(place, forget):
    Bucket(place).write("x", b"old")
    old = local_copy(str(place))
    Bucket(place).write("x", b"new")  # of the same size
    new = local_copy(str(place))
    assert (new / "x").read_bytes() == b"new"
    assert (old / "x").read_bytes() == b"old"  # this process still reads it
    forget()
    Bucket(place).write("y", b"more")
    assert sorted(p.name for p in local_copy(str(place)).iterdir()) == ["x", "y"]
    assert not old.exists()
    assert not new.exists()


def test_a_copy_that_was_interrupted_is_not_taken_for_whole(place, server, monkeypatch, forget):
    for name in "abc":
        Bucket(place).write(name, name.encode())

    def fail_for_b(method, path, number):
        return (
            403
            if method == "GET" and "folder" in path and path.split("?")[0].endswith("b")
            else None
        )

    with proxy(server, Trouble(fail_for_b)) as port:
        through_a_proxy(monkeypatch, server, port)
        with pytest.raises(StorageError, match=r"b can't be read \(.*permission"):
            local_copy(str(place))
    through_a_proxy(monkeypatch, server, server.port)
    found = local_copy(str(place))
    assert sorted(p.name for p in found.iterdir()) == ["a", "b", "c"]


def test_nothing_there_is_an_error(place):
    with pytest.raises(StorageError, match=rf"{place}: nothing is there"):
        local_copy(str(place))


def test_too_little_room_is_said_before_anything_is_copied(place, monkeypatch):
    Bucket(place).write("x", b"content")
    monkeypatch.setattr(cache, "SPARE", 10**18)
    with pytest.raises(StorageError, match=r"are free in .*XDG_CACHE_HOME"):
        local_copy(str(place))


@pytest.mark.usefixtures("forget")
def test_a_data_set_is_read_as_on_disk(place, small_data):
    upload(small_data, place)
    copy = local_data(str(place))
    for split in ("train", "test"):
        here, there = shards.open_split(copy, split), shards.open_split(small_data, split)
        assert here.identity == there.identity
        assert here[len(here) - 1].photo == there[len(there) - 1].photo


@pytest.mark.slow
def test_a_rebuilt_data_set_is_never_read_from_an_old_copy(place, small_data, tmp_path, forget):
    upload(small_data, place)
    before = shards.open_split(local_data(str(place)), "train").identity
    other = ensure_embedded(tmp_path / "other", 150, seed=2, size=64, progress=False)
    upload(other, place)
    forget()
    now = shards.open_split(local_data(str(place)), "train").identity
    assert now == shards.open_split(other, "train").identity != before


@pytest.mark.slow
def test_a_damaged_shard_is_found_out(place, small_data):
    upload(small_data, place)
    (name,) = [n for n in Bucket(place).list() if "-train.array_record" in n]
    content = bytearray(Bucket(place).read(name))
    content[len(content) // 2] ^= 1  # of the same size
    Bucket(place).write(name, bytes(content))
    for _ in range(2):  # nor is it taken the second time
        with pytest.raises(StorageError, match=r"train split aren't those that were built"):
            local_data(str(place))


def test_without_a_data_set_the_command_that_builds_it_is_named(place):
    Bucket(place).write("x", b"")
    with pytest.raises(
        shards.DataSetError, match=rf"no data set in {place}.*data\.build .* --output {place}"
    ):
        local_data(str(place))


def test_processes_copy_one_after_the_other(s3_server, monkeypatch, tmp_path):
    from tests.storage.conftest import new_place

    place = new_place(s3_server, monkeypatch, tmp_path)
    for number in range(5):
        Bucket(place).write(f"{number}", b"x" * 1000)
    code = (
        "import sys\nfrom scenarioclip_jax.storage.cache import local_copy\n"
        "print(local_copy(sys.argv[1]))"
    )
    trouble = Trouble(lambda method, path, number: 0.2)
    with proxy(s3_server, trouble) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        try:
            said = [process.communicate(timeout=60)[0] for process in both]
        finally:
            for process in both:
                process.kill()
    assert said[0] == said[1] != ""
    read = [r for r in trouble.requests if r.startswith("GET") and "list-type" not in r]
    assert len(read) == 5, json.dumps(trouble.requests, indent=1)
