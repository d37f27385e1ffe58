"""Reading many shards."""

import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarioclip_jax.data.stored import shards


@pytest.fixture(scope="module")
def many(small_data, tmp_path_factory):
    """A source of 30 shards, all alike."""
    source = shards.open_split(small_data, "validation")
    (shard, *_) = source._shards
    folder = tmp_path_factory.mktemp("many")
    copies = []
    for number in range(30):
        path = folder / f"{number}"
        shutil.copy(shard.path, path)
        copies.append(shards._Shard(str(path), number * shard.count, shard.count))
    return shards.SceneSource(copies), [source[i].id for i in range(shard.count)]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_stay_open_whatever_the_number_of_shards(many, monkeypatch):
    source, ids = many
    source = pickle.loads(pickle.dumps(source))  # nothing open yet
    monkeypatch.setattr(shards, "_most_open", lambda: 3)
    before = open_files()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: source[i].id, [*range(len(source))] * 2))
    assert found == ids * 30 * 2
    assert open_files() <= before + 3


def test_shards_stay_open_while_there_is_room(many, monkeypatch):
    source, _ = many
    source = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(shards, "_most_open", lambda: 40)
    before = open_files()
    for index in range(0, len(source), len(source) // 30):
        source[index]
    assert open_files() == before + 30
    assert 1 <= shards._most_open() <= 1000


def test_too_many_open_files_gives_no_advice_to_build_again(many, monkeypatch):
    source, _ = many

    def refuse(*args, **kwargs):
        raise ValueError("open() failed: Too many open files")

    source = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(shards, "ArrayRecordReader", refuse)
    with pytest.raises(shards.DataSetError, match=r"Too many open files$"):
        source[0]
