"""Reading many shards."""

import contextlib
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.source import identity_digest
from scenarioclip_jax.data.stored import shards
from tests.data.box_data import write


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


def open_files(source) -> int:
    """Files of the source that are open; other tests of this process may have left others behind."""
    folder = os.path.realpath(os.path.dirname(source._shards[0].path))
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own, which is closed by now
            found += os.path.dirname(os.readlink(f"/proc/self/fd/{name}")) == folder
    return found


def test_few_files_stay_open_whatever_the_number_of_shards(many, monkeypatch):
    source, ids = many
    source = pickle.loads(pickle.dumps(source))  # nothing open yet
    monkeypatch.setattr(shards, "_most_open", lambda: 3)
    before = open_files(source)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: source[i].id, [*range(len(source))] * 2))
    assert found == ids * 30 * 2
    assert 1 <= open_files(source) - before <= 3


def test_shards_stay_open_while_there_is_room(many, monkeypatch):
    source, _ = many
    source = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(shards, "_most_open", lambda: 40)
    before = open_files(source)
    for index in range(0, len(source), len(source) // 30):
        source[index]
    assert open_files(source) == before + 30
    assert 1 <= shards._most_open() <= 1000


def test_too_many_open_files_gives_no_advice_to_build_again(many, monkeypatch):
    source, _ = many

    def refuse(*args, **kwargs):
        raise ValueError("open() failed: Too many open files")

    source = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(shards, "ArrayRecordReader", refuse)
    with pytest.raises(shards.DataSetError, match=r"Too many open files$"):
        source[0]


def test_a_data_set_is_known_by_its_content(tmp_path):
    """Files have whole blocks, so other labels and boxes leave their names and sizes as they are."""
    write(tmp_path / "root", 0, 8, objects=2)
    file = tmp_path / "root" / "metadata.json"
    data = json.loads(file.read_text())

    def built(name):
        file.write_text(json.dumps(data))
        build(tmp_path / "root", tmp_path / name, fractions=(1, 0, 0), progress=False)
        source = shards.open_split(tmp_path / name, "train")
        assert pickle.loads(pickle.dumps(source)).identity == source.identity
        return identity_digest(source)

    first = built("first")
    assert built("again") == first
    shutil.copytree(tmp_path / "first", tmp_path / "copied")
    assert identity_digest(shards.open_split(tmp_path / "copied", "train")) == first
    data["data"][3]["objects"][0][0] = "thong 0"
    label = built("one label")
    data["data"][3]["objects"][0][1] = [1, 2, 30, 40]
    assert len({first, label, built("one box")}) == 3


def test_a_data_set_of_an_earlier_version_is_known_by_its_files(tmp_path, small_data):
    """Runs that began on it go on."""
    shutil.copytree(small_data, tmp_path / "earlier")
    path = shards.dataset_dir(tmp_path / "earlier") / "summary.json"
    summary = json.loads(path.read_text())
    del summary["digests"]
    path.write_text(json.dumps(summary))
    found = shards.open_split(tmp_path / "earlier", "train").identity
    assert [name.partition("-0")[0] for name, _ in found] == ["action_genome-train.array_record"]
