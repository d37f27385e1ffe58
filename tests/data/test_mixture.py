"""Mixtures: what is named, in which shares it is read, and that the order is a function of (seed, position)."""

import dataclasses
import itertools
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from scenarioclip_jax.data import mixture
from scenarioclip_jax.data.epochs import BLOCK, Epochs, MixedEpochs, shuffled_index
from scenarioclip_jax.data.mixture import Entry, MixtureError, from_anywhere, parse, whole_weights
from scenarioclip_jax.data.pipeline import TrainingBatches, train_iterator
from scenarioclip_jax.data.source import Mixture, ShuffledTexts
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.fake_scenes import SETTINGS, fake_scene, resized
from tests.data.test_pipeline import assert_equal, take

COUNTS, WEIGHTS = (200, 90, 40), (3, 2, 1)  # Grain's shuffle is slow for a handful of records
SOURCES = {
    name: [fake_scene(1000 * i + n, objects=n % 4, relations=n % 3) for n in range(count)]
    for i, (name, count) in enumerate(zip("abc", COUNTS, strict=True))
}
MIXED = Mixture(SOURCES, WEIGHTS)
PACKED = resized(
    SETTINGS, balance=True, text_row_tokens=20, patch_size=8, objects=4, patches=(60, 40)
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


# What is named


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name in ("coco", "vg", "x/shards", "y/shards", "odd:0.5", "with,comma"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text):
    return [(entry.path, entry.weight and float(entry.weight), entry.name) for entry in parse(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("coco", [("coco", None, "")]),
        ("coco:0.5", [("coco", None, "")]),  # all of a single data set
        ("coco:0.25, vg:.75", [("coco", 0.25, "coco"), ("vg", 0.75, "vg")]),
        ("coco,vg", [("coco", None, "coco"), ("vg", None, "vg")]),
        ("coco:3e-1,vg:2", [("coco", 0.3, "coco"), ("vg", 2, "vg")]),
        ("x/shards:1,y/shards:1", [("x/shards", 1, "x-shards"), ("y/shards", 1, "y-shards")]),
        # What exists counts as it is.
        ("odd:0.5", [("odd:0.5", None, "")]),
        ("with,comma", [("with,comma", None, "")]),
        (
            "odd:0.5:2,with,comma:1,vg:3",
            [("odd:0.5", 2, "odd_0.5"), ("with,comma", 1, "with_comma"), ("vg", 3, "vg")],
        ),
        # What doesn't exist here is named as it is, to be refused by whoever opens it.
        ("nowhere", [("nowhere", None, "")]),
        ("s3://bucket/coco", [("s3://bucket/coco", None, "")]),
        (
            "s3://bucket/coco:0.5,gs://bucket/vg:0.5",
            [("s3://bucket/coco", 0.5, "coco"), ("gs://bucket/vg", 0.5, "vg")],
        ),
    ],
)
def test_data_sets_are_read(folders, text, expected):
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coco:-1,vg:1", "the weight -1 of 'coco' must be a number above 0; leave out"),
        ("coco:0,vg:1", "the weight 0 of 'coco' must be a number above 0"),
        ("coco:nan,vg:1", "the weight nan of 'coco' must be"),
        ("coco:inf,vg:1", "the weight inf of 'coco' must be"),
        ("coco:1e999,vg:1", "the weight 1e999 of 'coco' must be"),
        ("coco:half,vg:1", "the weight 'half' isn't a number; write DIR:0.5"),
        ("coco:,vg:1", "the weight '' isn't a number"),
        ("coco:1,,vg:1", "has an empty entry; write DIR1:WEIGHT,DIR2:WEIGHT"),
        ("coco:1,", "has an empty entry"),
        (":1,vg:1", "has an empty entry"),
        ("coco:1,vg", "'vg' has no weight, and others have one; give every data set a weight, or"),
        ("coco:1,./coco:2", "names the data set './coco' twice; name it once, with the sum"),
    ],
)
def test_bad_mixtures_are_refused(folders, text, message):
    with pytest.raises(MixtureError, match=message):
        parse(text)


@given(st.lists(st.decimals("1e-6", "1e6", allow_nan=False), min_size=2, max_size=5))
def test_a_mixture_means_the_same_from_anywhere(weights):
    text = ",".join(f"folder{i}:{weight}" for i, weight in enumerate(weights))
    here, there = parse(text), parse(from_anywhere(text))
    assert [entry.weight for entry in there] == [Fraction(str(weight)) for weight in weights]
    assert [entry.name for entry in there] == [entry.name for entry in here]
    assert all(entry.path.startswith("/") for entry in there)


def test_weights_are_whole_numbers_in_lowest_terms():
    def entries(*weights):
        return [Entry("", None if w is None else Fraction(w)) for w in weights]

    assert whole_weights(entries("0.5", "0.5"), [7, 9]) == [1, 1]
    assert whole_weights(entries("0.3", "0.2", "1.1"), [1, 1, 1]) == [3, 2, 11]
    assert whole_weights(entries(None, None), [600, 400]) == [3, 2]


def test_no_name_is_there_twice():
    assert mixture._names(["a/x/s", "b/x/s", "b/y/s"]) == ["a-x-s", "b-x-s", "b-y-s"]
    assert len(set(mixture._names(["a b", "a_b"]))) == 2


# In which shares it is read


def assert_passes(records: np.ndarray, counts) -> None:
    """Asserts that each data set is read in passes: all of its records, then all of them again."""
    starts = np.cumsum([0, *counts])
    for low, high in itertools.pairwise(starts.tolist()):
        own = records[(records >= low) & (records < high)]
        for first in range(0, len(own), high - low):
            some = own[first : first + high - low]
            assert len(set(some.tolist())) == len(some)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "weights"),
    [((420, 140), (1, 1)), ((78, 36), (1, 1)), ((7, 3), (2, 1)), ((2000, 50), (2000, 1))],
)
def test_no_scene_comes_twice_before_a_pass_is_over(counts, weights):
    """Passes that are shorter than a block, as long, and longer."""
    epochs = MixedEpochs(counts, weights)
    records = np.array(
        [epochs.record(0, position) for position in range(min(5000, 30 * sum(counts)))]
    )
    assert_passes(records, counts)
    of_pass = records[: epochs.pass_length]
    assert len(set(of_pass.tolist())) > 0.8 * len(of_pass)


@settings(
    max_examples=10, phases=[Phase.generate]
)  # it takes its time, and shrinking would take more
@given(
    st.lists(st.tuples(st.integers(800, 5000), st.integers(1, 5000)), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_shares_are_exact_and_each_pass_has_each_record_once(parts, seed):
    counts, weights = zip(*parts, strict=True)
    epochs, total = MixedEpochs(counts, weights), sum(weights)
    assume(epochs._block == BLOCK)  # for the time that it takes
    starts = np.cumsum([0, *counts])
    positions = 2 * epochs._block + 10
    records = np.array([epochs.record(seed, position) for position in range(positions)])
    assert records.min() >= 0
    assert records.max() < sum(counts)
    of = np.searchsorted(starts, records, side="right") - 1
    for blocks in (1, 2):
        found = np.bincount(of[: blocks * epochs._block], minlength=len(counts))
        wanted = blocks * epochs._block * np.array(weights) / total
        assert (np.abs(found - wanted) < 1).all()
    for until in (0, 1, 100, epochs._block, positions):
        assert epochs.drawn(seed, until) == np.bincount(of[:until], minlength=len(counts)).tolist()
    assert_passes(records, counts)


def test_a_tiny_share_is_read_at_all():
    epochs = MixedEpochs((500, 10**6), (1, 99_999))
    block = epochs._block
    assert block >= 100_000
    assert epochs.drawn(0, 3 * block) == pytest.approx(
        np.array([1, 99_999]) * 3 * block / 1e5, abs=1
    )
    with pytest.raises(ValueError, match=r"at least a share of 1e-06; give larger weights"):
        MixedEpochs((5, 5), (1, 2**21))


def test_the_order_is_known_since_it_was_first_made():
    """A resumed run depends on it."""
    epochs = MixedEpochs(COUNTS, WEIGHTS)
    found = [epochs.record(7, position) for position in (*range(12), 1023, 1024, 10**12)]
    assert found == KNOWN


KNOWN = [209, 51, 286, 206, 246, 173, 22, 276, 198, 169, 119, 309, 229, 212, 10]


def test_data_sets_of_one_size_are_not_read_in_the_same_order():
    epochs = MixedEpochs((5000, 5000), (1, 1))
    records = [epochs.record(0, position) for position in range(BLOCK)]
    first = {record for record in records if record < 5000}
    second = {record - 5000 for record in records if record >= 5000}
    assert len(first) == len(second) == BLOCK // 2
    assert len(first & second) < BLOCK // 4  # 52 by chance


def test_a_single_data_set_is_read_as_ever():
    epochs, at = Epochs(200), range(0, 500, 7)
    assert [epochs.record(3, p) for p in at] == [shuffled_index(3, p, 200) for p in at]
    assert epochs.replacement(5, 407) == 7


def test_a_corrupt_record_is_replaced_from_its_own_data_set():
    epochs = MixedEpochs(COUNTS, WEIGHTS)
    for record, allowed in ((199, range(200)), (200, range(200, 290)), (329, range(290, 330))):
        assert {epochs.replacement(record, number) for number in range(999)} == set(allowed)


class Damaged(list):
    """Every third record can't be read."""

    def __getitem__(self, index):
        if index % 3 == 0:
            raise ValueError("damaged")
        return super().__getitem__(index)


def test_damage_changes_no_shares(tokenizer):
    mixed = MIXED.map(Damaged)
    batches = TrainingBatches(mixed, tokenizer, SETTINGS, range(SETTINGS.packing_groups))
    starts, corrupt = np.cumsum([0, *COUNTS]), []
    for position in range(60):
        record = mixed.epochs.record(SETTINGS.seed, position)
        wanted = int(np.searchsorted(starts, record, side="right")) - 1
        scene = batches._load(position, corrupt).scene
        assert int(scene.id.removeprefix("scene")) // 1000 == wanted
    assert corrupt


def test_scenes_keep_their_order_in_one_index_space():
    assert [scene.id for scene in (MIXED[i] for i in range(len(MIXED)))] == [
        scene.id for source in SOURCES.values() for scene in source
    ]
    for index in (-1, 330):
        with pytest.raises(IndexError):
            MIXED[index]


# The pipeline


@pytest.mark.slow
@pytest.mark.parametrize("given_settings", [SETTINGS, PACKED], ids=["in order", "balanced"])
def test_batches_are_the_same_whatever_reads_them(tokenizer, given_settings):
    """With any number of threads, workers and processes, and after a resume in the middle."""
    expected = take(train_iterator(MIXED, tokenizer, given_settings), 6)
    state = None
    for change in ({"num_threads": 3, "prefetch": 4}, {"num_workers": 2}):
        again = train_iterator(MIXED, tokenizer, dataclasses.replace(given_settings, **change))
        for batch in expected[:3]:
            assert_equal(next(again), batch)
        state = json.loads(json.dumps(again.get_state()))
        again.close()
    assert state is not None
    assert state["mixture"] == [
        {"source": "", "scenes": scenes, "weight": str(weight)}
        for scenes, weight in zip(COUNTS, WEIGHTS, strict=True)
    ]
    for groups in ([0, 1], [2, 3]):
        part = train_iterator(MIXED, tokenizer, given_settings, groups)
        part.set_state(state)
        for found, whole in zip(take(part, 3), expected[3:], strict=True):
            wanted = [None if x is None else x[groups] for x in whole[:-6]]
            np.testing.assert_equal(list(found[:-6]), wanted)


def test_balanced_batches_have_the_same_scenes(tokenizer):
    """Within the steps that are dealt together, no more than the shortest pass over a data set."""
    settings = dataclasses.replace(PACKED, balance=True)
    batches = train_iterator(MIXED, tokenizer, settings)._batches
    order = batches._order
    assert MIXED.epochs.pass_length == 240  # 40 scenes of a sixth
    assert order._steps == 30
    positions = [p for step in range(30) for group in range(4) for p in order(step, group)]
    assert sorted(positions) == list(range(240))
    assert positions != sorted(positions)
    assert {len(list(order(step, 0))) for step in range(30)} == {2}


def test_another_mixture_is_refused(tokenizer):
    state = train_iterator(MIXED, tokenizer, SETTINGS).get_state()
    a, b = SOURCES["a"], SOURCES["b"]
    others = {
        r"0.5 of 200 scenes and 0.3333 of 90 .* 0.6 of 200 scenes and 0.2 of": Mixture(
            SOURCES, (3, 1, 1)
        ),
        "names a mixture of 0.5 of 200 scenes and 0.5 of 90 scenes: ": Mixture(
            {"a": a, "b": b}, (1, 1)
        ),
        r"config\.data\.dir names a single data set": a,
    }
    for message, source in others.items():
        with pytest.raises(ValueError, match=f"{message}.*Give the same data sets with the same"):
            train_iterator(source, tokenizer, SETTINGS).set_state(state)
    alone = train_iterator(a, tokenizer, SETTINGS).get_state()
    assert "mixture" not in alone
    with pytest.raises(
        ValueError, match=r"saved with a single data set, and config\.data\.dir names"
    ):
        train_iterator(MIXED, tokenizer, SETTINGS).set_state(alone)
    # The same numbers, other scenes.
    rebuilt = Mixture({"a": Named(a, "one"), "b": Named(b, "two")}, (1, 1))
    state = train_iterator(rebuilt, tokenizer, SETTINGS).get_state()
    other = Mixture({"a": Named(a, "one"), "b": Named(b, "three")}, (1, 1))
    with pytest.raises(ValueError, match="but not the same ones or not in the same order"):
        train_iterator(other, tokenizer, SETTINGS).set_state(state)
    # Names are for people: folders may be moved.
    moved = Mixture({"x": Named(a, "one"), "y": Named(b, "two")}, (1, 1))
    train_iterator(moved, tokenizer, SETTINGS).set_state(state)


class Named(list):
    """Scenes of a data set that can be told from others."""

    def __init__(self, scenes, identity):
        super().__init__(scenes)
        self.identity = identity


def test_equal_texts_have_equal_ids_whatever_data_set_they_are_from(tokenizer):
    one, two = (fake_scene(n)._replace(action="walking a dog") for n in (1, 2))
    mixed = Mixture({"a": [one], "b": [two]}, (1, 1))
    batches = TrainingBatches(mixed, tokenizer, SETTINGS, range(SETTINGS.packing_groups))
    batch, _ = batches(0)
    level = batch.levels["global"]
    assert len(np.unique(level.text[level.mask])) == 1


def test_shuffled_texts_come_from_the_same_data_set(tokenizer):
    settings = dataclasses.replace(SETTINGS, shuffle_texts=True)
    iterator = train_iterator(MIXED, tokenizer, settings)
    source = iterator._batches._source
    starts = np.cumsum([0, *COUNTS])
    for index in range(len(MIXED)):
        number = int(np.searchsorted(starts, index, side="right")) - 1
        alone = ShuffledTexts(list(SOURCES.values())[number], settings.seed)
        assert source[index].action == alone[index - int(starts[number])].action
    assert iterator.get_state()["mixture"] == MIXED.parts


def test_a_mixture_reaches_workers_whole():
    copy = pickle.loads(pickle.dumps(MIXED))
    assert [copy.epochs.record(0, p) for p in range(50)] == [
        MIXED.epochs.record(0, p) for p in range(50)
    ]
    assert len(copy) == len(MIXED) == sum(COUNTS)
    assert copy.parts == MIXED.parts
