"""Balanced batches: the same scenes, put together so that batches need alike room."""

import dataclasses
import errno
import itertools
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scenarioclip_jax.data.order import STEPS, Balanced, Sequential, deal
from scenarioclip_jax.data.packing.needs import measure
from scenarioclip_jax.data.packing.sizes import Sizes, load_or_measure
from scenarioclip_jax.data.pipeline import train_iterator
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.fake_scenes import SETTINGS, fake_scene, ragged_scenes, resized

SCENES = ragged_scenes(50)
PACKED = resized(
    SETTINGS,
    balance=True,
    objects=4,
    relations=2,
    text_row_tokens=20,
    patch_size=8,
    patches=(60, 40),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def counted(counts) -> Sizes:
    """Scenes that need so much of one kind, and tell nothing."""
    counts = np.array(counts, np.float32)[:, None]
    return Sizes(counts, np.zeros(len(counts) + 1, int), np.zeros(0, int), np.zeros((0, 3)))


def test_dealt_by_hand():
    batch_of = deal(counted([9, 1, 5, 2, 5, 8]), range(6), 2)
    # 9 | 8, then 5 to the 8, 5 to the 9, 2 to the 13, and 1 where there is room: 15 | 15.
    np.testing.assert_array_equal(batch_of, [0, 0, 1, 1, 0, 1])


@pytest.mark.parametrize(("scenes", "of_counts", "of_all"), [(8, 0.5, 0.6), (64, 0.3, 0.5)])
def test_batches_are_alike_in_everything(scenes, of_counts, of_all):
    """Compared with batches that are drawn at random."""
    draw = np.random.default_rng(0)
    number = 16 * scenes
    lengths = draw.integers(1, 8, number)
    starts = np.append(0, np.cumsum(lengths))
    texts = np.minimum(draw.zipf(1.4, starts[-1]), 400) - 1
    tokens = np.zeros((400, 3))
    tokens[np.arange(400), np.arange(400) % 3] = draw.integers(3, 10, 400)
    counts = np.stack([lengths, draw.integers(1, 7, number), draw.lognormal(3, 1, number)], 1)
    sizes = Sizes(counts, starts, texts, tokens)

    def spread(batch_of):
        groups = [np.flatnonzero(batch_of == b) for b in range(16)]
        told = [np.unique(np.concatenate([sizes.of_scene(i) for i in g])) for g in groups]
        needs = np.array(
            [[*counts[g].sum(0), *tokens[t].sum(0)] for g, t in zip(groups, told, strict=True)]
        )
        return needs.std(0) / needs.mean(0)

    dealt = deal(sizes, range(number), 16)
    assert set(np.bincount(dealt)) == {scenes}
    by_chance = np.mean([spread(draw.permutation(number) % 16) for _ in range(20)], axis=0)
    assert (spread(dealt) < of_all * by_chance).all()
    assert (spread(dealt)[:3] < of_counts * by_chance[:3]).all()


@pytest.mark.parametrize(("scenes", "size"), [(50, 6), (256, 32), (1000, 32), (5, 1)])
def test_so_many_steps_have_the_same_scenes_as_in_order(tokenizer, scenes, size):
    """32, but no more than an epoch."""
    sizes = load_or_measure(ragged_scenes(scenes), tokenizer, PACKED, None)
    balanced, plain = Balanced(sizes, PACKED, 4), Sequential(PACKED)
    for window, group in ((0, 0), (0, 3), (2, 1)):
        steps = range(window * size, (window + 1) * size)
        found = [balanced(step, group) for step in steps]
        assert all(list(each) == sorted(each) for each in found)
        expected = [position for step in steps for position in plain(step, group)]
        assert sorted(itertools.chain(*found)) == expected
        assert (found != [list(plain(step, group)) for step in steps]) == (size > 1)


def test_a_deal_is_the_same_on_every_machine():
    """Known since it was first made: a resumed run depends on it."""
    draw = np.random.default_rng(7)
    counts, tokens = draw.integers(1, 300, (64, 4)), draw.integers(0, 9, (90, 3))
    sizes = Sizes(counts, np.arange(0, 257, 4), draw.integers(0, 90, 256), tokens)
    dealt = deal(sizes, draw.permutation(64), 8)
    assert "".join(map(str, dealt)) == (
        "7407022402175327643103564753652603644237175123675160142341550106"
    )


def test_the_order_is_pure(tokenizer):
    """Whoever asks, whatever was asked before, in whatever thread."""
    sizes = load_or_measure(SCENES, tokenizer, PACKED, None)
    asked = [(step, group) for step in (0, 31, 32, 95, 200) for group in range(4)]
    first = Balanced(sizes, PACKED, 4)
    expected = {each: first(*each) for each in asked}
    copy = pickle.loads(pickle.dumps(first))
    for each in reversed(asked):
        assert copy(*each) == expected[each]
    shared = Balanced(sizes, PACKED, 1)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: shared(*each), asked * 5))
    assert found == [expected[each] for each in asked] * 5


def batches(iterator, count):
    found = [next(iterator) for _ in range(count)]
    # Copied: a batch from a worker lies in shared memory that goes when its last array goes.
    return [[None if x is None else np.array(x) for x in batch[:-6]] for batch in found]


@pytest.mark.slow
def test_balanced_batches_are_the_same_whatever_reads_them(tokenizer):
    """And go on where they were, in the middle of 32 steps."""
    iterator = train_iterator(SCENES, tokenizer, PACKED)
    expected = batches(iterator, 6)
    iterator.close()
    state = None
    for change in ({"num_threads": 4}, {"num_workers": 2}):
        again = train_iterator(SCENES, tokenizer, dataclasses.replace(PACKED, **change))
        np.testing.assert_equal(batches(again, 3), expected[:3])
        state = json.loads(json.dumps(again.get_state()))
        again.close()
    for groups in ([0, 1], [2, 3]):
        part = train_iterator(SCENES, tokenizer, PACKED, groups)
        part.set_state(state)
        for batch, whole in zip(batches(part, 3), expected[3:], strict=True):
            np.testing.assert_equal(batch, [None if x is None else x[groups] for x in whole])
        part.close()


def test_a_position_in_another_order_is_refused(tokenizer):
    balanced = train_iterator(SCENES, tokenizer, PACKED).get_state()
    plain = dataclasses.replace(PACKED, balance=False)
    other = dataclasses.replace(PACKED, patch_size=16)
    with pytest.raises(ValueError, match=r"balance=.*resume with the saved setting"):
        train_iterator(SCENES, tokenizer, plain).set_state(balanced)
    with pytest.raises(ValueError, match=r"deals scenes by their sizes.*delete sizes-\*\.npz"):
        train_iterator(SCENES, tokenizer, other).set_state(balanced)
    # Positions saved before there was another order are in this one.
    state = train_iterator(SCENES, tokenizer, plain).get_state()
    del state["balance"]
    train_iterator(SCENES, tokenizer, plain).set_state(state)


def test_balance_fills_batches(tokenizer):
    """The largest batch of 32 is what decides how much room there has to be."""
    largest = {}
    for balance in (False, True):
        settings = dataclasses.replace(PACKED, balance=balance, packing_groups=1)
        iterator = train_iterator(SCENES, tokenizer, settings)
        found = [next(iterator) for _ in range(STEPS)]
        iterator.close()
        largest[balance] = np.array(
            [
                max(batch.levels["object"].count.sum() for batch in found),
                max(batch.levels["relation"].count.sum() for batch in found),
                max((batch.levels["object"].patch_rows.sequence >= 0).sum() for batch in found),
            ]
        )
    assert (largest[True] < largest[False]).all()


def test_sizes_are_what_packing_finds(tokenizer):
    # Some scenes name all their objects alike.
    names = [
        ["thing"] * len(s.object_names) if i % 3 else s.object_names for i, s in enumerate(SCENES)
    ]
    scenes = [s._replace(object_names=n) for s, n in zip(SCENES, names, strict=True)]
    sizes = load_or_measure(scenes, tokenizer, PACKED, None)
    settings = dataclasses.replace(PACKED, batch_size=2, packing_groups=1, balance=False)
    for record in range(12):
        batch = next(train_iterator([scenes[record]] * 2, tokenizer, settings))
        found = [batch.levels["object"].count.sum(), batch.levels["relation"].count.sum()]
        found += [
            (rows.sequence >= 0).sum()
            for rows in (batch.levels["object"].patch_rows, batch.levels["relation"].patch_rows)
        ]
        np.testing.assert_array_equal(found, 2 * sizes.counts[record])
        # Both scenes tell the same: their texts are there once.
        rows = (
            batch.scenes.text_rows,
            batch.levels["object"].text_rows,
            batch.levels["relation"].text_rows,
        )
        told = [(each.sequence >= 0).sum() for each in rows]
        np.testing.assert_array_equal(told, sizes.tokens[sizes.of_scene(record)].sum(0))


def test_photos_are_not_decoded_and_what_cannot_be_read_counts_as_empty(
    tokenizer, tmp_path, capsys
):
    scenes = [fake_scene(0)._replace(photo=b"no picture"), fake_scene(1)._replace(relations=None)]
    found = list(measure(scenes, PACKED, range(2)))
    assert found[0]["object"].texts == scenes[0].object_names
    assert isinstance(found[1], TypeError)
    sizes = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
    assert "1 scenes couldn't be measured" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # it may have been a passing fault
    assert sizes.counts[0].min() > 0
    assert not sizes.counts[1].any()
    assert len(sizes.of_scene(1)) == 0


class Counted(list):
    """Scenes that count how many of them were read."""

    read = 0

    def __getitem__(self, index):
        Counted.read += 1
        return super().__getitem__(index)


def test_sizes_are_kept_beside_the_shards(tokenizer, tmp_path, capsys):
    scenes, few = Counted(SCENES), Counted(SCENES[:9])

    def read():
        Counted.read, before = 0, Counted.read
        return before

    first = load_or_measure(scenes, tokenizer, PACKED, tmp_path)
    assert read() == 50
    np.testing.assert_equal(load_or_measure(scenes, tokenizer, PACKED, tmp_path), first)
    assert read() == 0
    # Other settings and scenes have sizes of their own, and a file that was cut short is written again.
    load_or_measure(scenes, tokenizer, dataclasses.replace(PACKED, patch_size=16), tmp_path)
    assert read() == 50
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 2
    for file in kept:
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_equal(load_or_measure(scenes, tokenizer, PACKED, tmp_path), first)
    assert read() == 50
    load_or_measure(few, tokenizer, PACKED, tmp_path)
    assert read() == 9
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "file").touch()
    found = load_or_measure(scenes, tokenizer, PACKED, tmp_path / "file")  # not a folder
    np.testing.assert_equal(found, first)
    assert "aren't kept: " in capsys.readouterr().out


@pytest.mark.parametrize("call", ["pathlib.Path.open", "numpy.savez"])
def test_a_disk_that_takes_no_sizes_stops_nothing(tokenizer, tmp_path, monkeypatch, capsys, call):
    """A read-only one refuses even to delete what isn't there."""

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        patch.setattr("pathlib.Path.unlink", refuse)
        sizes = load_or_measure(SCENES, tokenizer, PACKED, tmp_path)
    assert len(sizes.counts) == 50
    assert "aren't kept: [Errno 30]" in capsys.readouterr().out
