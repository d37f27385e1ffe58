"""Scenes are measured in parts: together, stoppable, and never again what was measured already."""

import dataclasses
import pickle
import threading

import numpy as np
import pytest

from scenarioclip_jax.data.packing import measure as module
from scenarioclip_jax.data.packing import sizes as sizes_module
from scenarioclip_jax.data.packing.measure import Crew, MeasuringStopped
from scenarioclip_jax.data.packing.sizes import load_or_measure
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.faults import InputUnavailableError
from tests.data.fake_scenes import SETTINGS, fake_scene, ragged_scenes

PACKED = dataclasses.replace(SETTINGS, balance=True, text_row_tokens=20, patch_size=8)
SCENES = ragged_scenes(22)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


class Counted:
    """Scenes that count how often each is read; `fails` raises instead."""

    identity = "counted"

    def __init__(self, scenes, fails=None):
        self._scenes, self._fails, self.read = scenes, fails or {}, []

    def __len__(self):
        return len(self._scenes)

    def __getitem__(self, index):
        self.read.append(index)
        if index in self._fails:
            raise self._fails[index]
        return self._scenes[index]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "RECORDS", 4)


@pytest.fixture
def scenes():
    return Counted(SCENES)


def never():
    return False


def test_a_stop_keeps_what_was_measured(scenes, tokenizer, tmp_path):
    asked = iter([False, False, True])
    crew = Crew(0, 1, lambda where: None, lambda: next(asked))
    with pytest.raises(MeasuringStopped):
        load_or_measure(scenes, tokenizer, PACKED, tmp_path, crew)
    assert sorted(scenes.read) == list(range(12))
    scenes.read.clear()
    sizes = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
    assert sorted(scenes.read) == list(range(12, 22))
    expected = load_or_measure(Counted(SCENES), tokenizer, PACKED, None)
    assert sizes.digest() == expected.digest()
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]  # the parts are gone


@pytest.mark.parametrize("shares_disk", [True, False])
def test_processes_measure_together(tokenizer, tmp_path, shares_disk):
    barrier = threading.Barrier(3)
    sources = [Counted(SCENES) for _ in range(3)]
    sizes = {}

    def work(index):
        crew = Crew(index, 3, lambda where: barrier.wait(60), never)
        folder = tmp_path if shares_disk else tmp_path / str(index)
        folder.mkdir(exist_ok=True)
        sizes[index] = load_or_measure(sources[index], tokenizer, PACKED, folder, crew)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    expected = load_or_measure(Counted(SCENES), tokenizer, PACKED, None)
    assert {found.digest() for found in sizes.values()} == {expected.digest()}
    read = sum(len(source.read) for source in sources)
    assert read == (22 if shares_disk else 3 * 22)


def test_what_the_system_refuses_is_not_counted_as_empty(tokenizer, tmp_path):
    refused = Counted(SCENES, {9: OSError(24, "Too many open files")})
    with pytest.raises(InputUnavailableError, match=r"record 9 .*ulimit -n.*is kept"):
        load_or_measure(refused, tokenizer, PACKED, tmp_path)
    again = Counted(SCENES)
    load_or_measure(again, tokenizer, PACKED, tmp_path)
    assert min(again.read) == 8  # the part of the refused record, and those after it


def test_a_damaged_part_is_measured_again(scenes, tokenizer, tmp_path):
    asked = iter([False, True])
    crew = Crew(0, 1, lambda where: None, lambda: next(asked))
    with pytest.raises(MeasuringStopped):
        load_or_measure(scenes, tokenizer, PACKED, tmp_path, crew)
    (part, _) = sorted(next(tmp_path.glob(".sizes-*")).iterdir())
    part.write_bytes(part.read_bytes()[:20])
    sizes = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
    expected = load_or_measure(Counted(SCENES), tokenizer, PACKED, None)
    np.testing.assert_equal(sizes, expected)


def test_where_one_machine_has_the_sizes_and_another_not_all_measure(scenes, tokenizer, tmp_path):
    """The one that has them can't leave the others waiting for it."""
    kept = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
    waited = []
    crew = Crew(0, 2, waited.append, never, lambda holds: False)
    np.testing.assert_equal(load_or_measure(scenes, tokenizer, PACKED, tmp_path, crew), kept)
    assert len(waited) == 3
    crew = Crew(0, 2, waited.append, never, lambda holds: holds)
    np.testing.assert_equal(load_or_measure(scenes, tokenizer, PACKED, tmp_path, crew), kept)
    assert len(waited) == 3


def test_sizes_of_many_scenes_stay_in_their_file(scenes, tokenizer, tmp_path, monkeypatch):
    expected = load_or_measure(scenes, tokenizer, PACKED, None)
    monkeypatch.setattr(sizes_module, "_MAPPED", 0)
    for _ in range(2):  # just measured, and found
        sizes = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
        assert isinstance(sizes.texts, np.memmap)
        assert sizes.digest() == expected.digest()
        np.testing.assert_equal(tuple(sizes), tuple(expected))
    sent = pickle.dumps(sizes)
    assert len(sent) < 500
    np.testing.assert_equal(tuple(pickle.loads(sent)), tuple(expected))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])  # no map is used from here on
    assert sizes_module._read(file) is None


def test_only_the_first_process_collects_for_all_that_see_its_file(
    tokenizer, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "RECORDS", 4)
    collected = []
    collect = sizes_module.collect
    monkeypatch.setattr(
        sizes_module,
        "collect",
        lambda *args: collected.append(threading.current_thread().name) or collect(*args),
    )
    barrier, found = threading.Barrier(2), {}

    def work(index):
        crew = Crew(index, 2, lambda where: barrier.wait(60), never)
        found[index] = load_or_measure(Counted(SCENES), tokenizer, PACKED, tmp_path, crew)

    threads = [threading.Thread(target=work, args=(i,), name=str(i)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert collected == ["0"]
    assert found[0].digest() == found[1].digest()


def test_sizes_of_one_style_of_regions_are_not_those_of_another(scenes, tokenizer, tmp_path):
    relations = [len(scene.relations) for scene in SCENES]
    for style in ("stored", "published"):
        settings = dataclasses.replace(PACKED, region_style=style)
        patches = load_or_measure(scenes, tokenizer, settings, tmp_path).counts[:, 3]
        whole = np.multiply(relations, 1 + (32 // 8) ** 2)
        assert (patches == whole).all() == (style == "published")


def test_masks_need_fewer_patches_than_their_boxes(tokenizer):
    scene = fake_scene(0, objects=2, relations=1)
    dot = np.zeros((36, 48), bool)
    dot[18:20, 24:26] = True
    relation = scene.relations[0]._replace(
        pair=(0, 1), boxes=np.array([[6, 0, 42, 36]] * 2, np.float32)
    )
    scene = scene._replace(object_masks=[masks.encode(dot)] * 2, relations=[relation])
    found = {}
    for style in ("boxes", "masks"):
        settings = dataclasses.replace(PACKED, region_style=style)
        found[style] = load_or_measure(Counted([scene]), tokenizer, settings, None).counts[0, 3]
    assert found == {"boxes": 17, "masks": 2}
