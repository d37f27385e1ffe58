import collections
import dataclasses
import errno
import itertools
import json
import multiprocessing
import subprocess
import sys

import jax
import numpy as np
import pytest

from scenarioclip_jax import faults
from scenarioclip_jax.data import pipeline
from scenarioclip_jax.data.corrupt import CorruptDataError
from scenarioclip_jax.data.epochs import shuffled_index
from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.packing.fill import text_id
from scenarioclip_jax.data.pipeline import train_iterator
from scenarioclip_jax.data.source import ShuffledTexts
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.faults import InputUnavailableError
from tests.data.fake_scenes import SETTINGS, fake_scene, ragged_scenes, resized

SCENES = ragged_scenes(20)
FULL = resized(SETTINGS, objects=4, relations=2)  # no overflow


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def take(iterator, count):
    batches = list(itertools.islice(iterator, count))
    # Copied: a batch from a worker lies in shared memory that goes when its last array goes.
    batches = [jax.tree.map(np.array, batch) for batch in batches]
    iterator.close()
    return batches


def assert_equal(batch, expected):
    (found, form), (wanted, other) = (jax.tree.flatten_with_path(b) for b in (batch, expected))
    assert form == other
    for (path, a), (_, b) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def reference(tokenizer):
    """Seven global batches, read without threads or processes ahead."""
    settings = dataclasses.replace(SETTINGS, num_threads=1, prefetch=1)
    return take(train_iterator(SCENES, tokenizer, settings), 7)


@pytest.mark.slow
def test_batches_are_the_same_whatever_reads_them(tokenizer, reference):
    for change in ({"num_threads": 4, "prefetch": 5}, {"num_workers": 1}, {"num_workers": 2}):
        settings = dataclasses.replace(SETTINGS, **change)
        for batch, expected in zip(
            take(train_iterator(SCENES, tokenizer, settings), 5), reference, strict=False
        ):
            assert_equal(batch, expected)


def share(process: int, processes: int) -> range:
    local = SETTINGS.packing_groups // processes
    return range(process * local, (process + 1) * local)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_load_slices_of_the_same_global_batches(tokenizer, reference, processes):
    parts = [
        take(train_iterator(SCENES, tokenizer, SETTINGS, share(p, processes)), 3)
        for p in range(processes)
    ]
    for step, expected in enumerate(reference[:3]):
        pieces = [part[step] for part in parts]
        assert_equal(jax.tree.map(lambda *each: np.concatenate(each), *pieces), expected)


@pytest.mark.parametrize("step", [0, 1, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact(tokenizer, reference, step, workers):
    iterator = train_iterator(SCENES, tokenizer, SETTINGS)
    for _ in range(step):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    iterator.close()
    fresh = train_iterator(SCENES, tokenizer, dataclasses.replace(SETTINGS, num_workers=workers))
    fresh.set_state(state)
    assert fresh.get_state() == state
    for batch, expected in zip(take(fresh, 3), reference[step:], strict=False):
        assert_equal(batch, expected)
    assert fresh.step == step + 3


def test_state_can_be_set_again_while_reading(tokenizer, reference):
    iterator = train_iterator(SCENES, tokenizer, SETTINGS)
    state = iterator.get_state()
    next(iterator), next(iterator)
    iterator.set_state(state)
    assert_equal(next(iterator), reference[0])
    iterator.close()
    assert_equal(next(iterator), reference[1])
    iterator.close()


def test_a_state_of_other_data_is_refused(tokenizer):
    state = train_iterator(SCENES, tokenizer, SETTINGS).get_state()
    for scenes, change in ((SCENES, {"seed": 1}), (SCENES[:9], {}), (SCENES, {"batch_size": 4})):
        iterator = train_iterator(scenes, tokenizer, dataclasses.replace(SETTINGS, **change))
        with pytest.raises(ValueError, match="resume with the saved setting"):
            iterator.set_state(state)


def test_every_epoch_is_all_scenes_in_another_order():
    epochs = [[shuffled_index(3, e * 20 + i, 20) for i in range(20)] for e in range(4)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] != [shuffled_index(4, i, 20) for i in range(20)]
    # Epoch 1 of a seed isn't epoch 0 of the next.
    assert epochs[1] != [shuffled_index(4, i, 20) for i in range(20)]


def test_batches_follow_the_epochs_and_seeds_differ(tokenizer, reference):
    texts = np.concatenate([b.scenes.text.ravel() for b in reference])
    ids = {text_id(scene.action): i for i, scene in enumerate(SCENES)}
    assert [ids[t] for t in texts] == [shuffled_index(0, i, 20) for i in range(7 * 8)]
    seeds = np.concatenate([b.seed.ravel() for b in reference])
    assert len(set(seeds)) == len(seeds)  # a scene is seen otherwise in every epoch
    other = take(train_iterator(SCENES, tokenizer, dataclasses.replace(SETTINGS, seed=1)), 1)[0]
    assert not np.array_equal(other.scenes.text, reference[0].scenes.text)
    assert not set(other.seed.ravel()) & set(seeds)


def test_batches_may_exceed_the_data_set(tokenizer):
    batch = take(train_iterator(SCENES[:3], tokenizer, SETTINGS), 1)[0]
    assert batch.scenes.mask.all()
    with pytest.raises(ValueError, match="holds no scenes"):
        train_iterator([], tokenizer, SETTINGS)


def test_overflow_and_truncation_are_counted(tokenizer):
    settings = resized(SETTINGS, objects=0.5).with_level("object", text_length=3)
    iterator = train_iterator([fake_scene(i, objects=4) for i in range(8)], tokenizer, settings)
    batch = take(iterator, 1)[0]
    np.testing.assert_array_equal(batch.levels["object"].count, [8] * 4)
    assert batch.levels["object"].mask.sum() == 4
    np.testing.assert_array_equal(batch.levels["object"].hidden, [0] * 4)
    assert (batch.truncated >= 1).all()


class Damaged(list):
    """A source with one record that cannot be read and one whose photo is cut short."""

    def __getitem__(self, index):
        if index == 5:
            raise RuntimeError("checksum differs")
        scene = super().__getitem__(index)
        return scene._replace(photo=scene.photo[:-100]) if index == 7 else scene


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_corrupt_records_are_replaced_counted_and_named(tokenizer, reference, workers, caplog):
    settings = dataclasses.replace(FULL, max_corrupt_share=0.1, num_workers=workers)
    runs = []
    for _ in range(2):
        iterator = train_iterator(Damaged(SCENES), tokenizer, settings)
        runs.append(take(iterator, 4))
    for batch, again, clean in zip(*runs, reference, strict=False):
        assert_equal(batch, again)
        assert batch.scenes.mask.all()
        bad = np.isin(clean.scenes.text, [text_id(SCENES[i].action) for i in (5, 7)])
        np.testing.assert_array_equal(batch.scenes.text[~bad], clean.scenes.text[~bad])
        assert (batch.scenes.text[bad] != clean.scenes.text[bad]).all()
    assert sorted(iterator.corrupt.reasons) == [5, 7]
    assert "checksum differs" in iterator.corrupt.reasons[5]
    assert "scene7" in iterator.corrupt.reasons[7]
    assert "record 7 is corrupt" in caplog.text


def test_corrupt_records_are_known_after_a_restart_and_from_other_processes(tokenizer):
    settings = dataclasses.replace(FULL, max_corrupt_share=0.1)
    iterator = train_iterator(Damaged(SCENES), tokenizer, settings)
    take(iterator, 4)
    state = json.loads(json.dumps(iterator.get_state()))
    again = train_iterator(SCENES, tokenizer, settings)
    again.set_state(state)
    assert sorted(again.corrupt.reasons) == [5, 7]
    again.corrupt.know([7, 5])  # nothing new
    with pytest.raises(CorruptDataError, match="3 of 20 records are corrupt"):
        again.corrupt.know([2])


def test_too_many_corrupt_records_stop_the_run(tokenizer):
    settings = dataclasses.replace(FULL, max_corrupt_share=0.05)
    with pytest.raises(CorruptDataError, match="2 of 20 records are corrupt"):
        take(train_iterator(Damaged(SCENES), tokenizer, settings), 4)
    nothing = [scene._replace(photo=b"") for scene in SCENES]
    with pytest.raises(CorruptDataError, match="records in a row are corrupt"):
        take(train_iterator(nothing, tokenizer, settings), 1)


@pytest.mark.parametrize(
    "change", [{}, {"objects": 0.9}, {"packing_groups": 1}, {"packing_groups": 8}]
)
def test_evaluation_covers_everything_once(tokenizer, change):
    settings = resized(SETTINGS, **change)
    scenes, objects, relations, shapes = [], [], [], set()
    for batch, labels in EvaluationBatches(SCENES, tokenizer, settings):
        shapes.add(tuple(x.shape for x in jax.tree.leaves(batch)))
        scenes += list(labels["global"].scene_id[batch.scenes.mask])
        objects += list(labels["object"].text[batch.levels["object"].mask])
        relations += list(labels["relation"].text[batch.levels["relation"].mask])
        owner = np.take_along_axis(labels["global"].scene_id, batch.levels["object"].scene, 1)
        assert (owner == labels["object"].scene_id)[batch.levels["object"].mask].all()
        owner = np.take_along_axis(labels["global"].scene_id, batch.levels["relation"].scene, 1)
        assert (owner == labels["relation"].scene_id)[batch.levels["relation"].mask].all()
        assert batch.canvas.shape[2] == settings.image_size
    assert len(shapes) == 1
    assert scenes == [scene.id for scene in SCENES]
    assert objects == [name for scene in SCENES for name in scene.object_names]
    expected = [" ".join(relation.triplet) for scene in SCENES for relation in scene.relations]
    assert relations == expected


def test_evaluation_of_some_and_of_corrupt_records(tokenizer):
    settings = dataclasses.replace(FULL, max_corrupt_share=0.5)
    batches = EvaluationBatches(Damaged(SCENES), tokenizer, settings, indices=[4, 5, 6])
    seen = [i for batch, labels in batches for i in labels["global"].scene_id[batch.scenes.mask]]
    assert seen == ["scene4", "scene6"]
    assert list(batches.corrupt.reasons) == [5]
    strict = dataclasses.replace(FULL, max_corrupt_share=0)
    with pytest.raises(CorruptDataError, match="record 5"):
        list(EvaluationBatches(Damaged(SCENES), tokenizer, strict))


def test_shuffled_texts_say_nothing_about_the_picture(tokenizer):
    scenes = [fake_scene(i, objects=1 + i % 3) for i in range(200)]
    shuffled = ShuffledTexts(scenes, seed=0)
    assert len(shuffled) == 200
    own = sum(shuffled[i].action == scenes[i].action for i in range(200))
    assert own <= 5  # one in expectation
    assert len(collections.Counter(shuffled[i].action for i in range(200))) > 100
    for i in range(20):
        assert shuffled[i].action == shuffled[i].action
        assert shuffled[i].photo == scenes[i].photo
        assert len(shuffled[i].object_names) == len(scenes[i].object_boxes)
        donor = shuffled[i].action.split()[1]
        assert all(name.split()[1] == donor for name in shuffled[i].object_names)
    settings = dataclasses.replace(FULL, shuffle_texts=True)
    plain, control = (take(train_iterator(scenes, tokenizer, s), 1)[0] for s in (FULL, settings))
    np.testing.assert_array_equal(plain.canvas, control.canvas)
    assert (plain.scenes.text != control.scenes.text).mean() > 0.8


def test_workers_import_little():
    """What a reading worker loads on top of Grain's own imports."""
    code = (
        "import grain, sys; before = set(sys.modules); import scenarioclip_jax.data.pipeline; "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; print(*sorted(new))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "flax",
        "optax",
        "transformers",
        "tensorflow_datasets",
        "torch",
        "tensorflow",
        "jaxtyping",
    }
    assert not heavy & set(out.stdout.split())


class Refusing:
    """Scenes of which some can't be read for the moment."""

    def __init__(self, errors):
        self._errors = errors

    def __len__(self):
        return len(SCENES)

    def __getitem__(self, index):
        if errors := self._errors.get(index):
            raise errors.pop()
        return SCENES[index]


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ESTALE, "Stale file handle"),
        PermissionError(errno.EACCES, "Permission denied"),
        ValueError("open() failed: Too many open files"),
        MemoryError(),
    ],
    ids=str,
)
@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_system_refuses_is_not_corrupt(tokenizer, monkeypatch, error, workers):
    """It is tried again; if that doesn't help, the run ends with the cause, and the batch is still to come."""
    if workers and not isinstance(error, MemoryError):
        pytest.skip("one is enough to cross the border of a process")
    monkeypatch.setattr(faults, "PAUSES", (0.0, 0.0))
    settings = dataclasses.replace(SETTINGS, max_corrupt_share=1.0, num_workers=workers)
    passing = {i: [error] * 2 for i in range(len(SCENES))}
    if not workers:
        (batch,) = take(train_iterator(Refusing(passing), tokenizer, settings), 1)
        assert_equal(batch, *take(train_iterator(SCENES, tokenizer, settings), 1))
    lasting = {i: [error] * 1000 for i in range(len(SCENES))}
    batches = train_iterator(Refusing(lasting), tokenizer, settings)
    with pytest.raises(InputUnavailableError, match=r"record \d+ can't be read now and isn't"):
        next(batches)
    assert (batches.step, batches.corrupt.reasons) == (0, {})
    batches.close()


def test_a_worker_that_the_system_ended_is_explained():
    for code, words in (
        (-7, "SIGBUS; most likely /dev/shm is full"),
        (-9, "SIGKILL; most likely memory ran out"),
        (3, "exit code 3"),
    ):
        error = RuntimeError(f"Worker process was terminated unexpectedly with exit code {code}")
        lost = pipeline._lost_worker(error)
        assert words in str(lost)
        assert "config.data.num_workers=0" in str(lost)
    assert pipeline._lost_worker(RuntimeError("other")) is None


@pytest.mark.slow
def test_a_process_of_several_reads_on_by_itself_when_it_loses_a_worker(tokenizer, reference):
    """The others wait for its part of the batch, so that it can't just end."""
    settings = dataclasses.replace(SETTINGS, num_workers=1, prefetch=1)
    batches = train_iterator(SCENES, tokenizer, settings)
    told = []
    batches.lost_worker = told.append
    before = set(multiprocessing.active_children())
    found = [jax.tree.map(np.array, next(batches))]
    for worker in set(multiprocessing.active_children()) - before:
        worker.kill()
        worker.join(60)
    found += take(batches, 5)
    for batch, expected in zip(found, reference, strict=False):
        assert_equal(batch, expected)
    assert len(told) == 1
    assert "SIGKILL; most likely memory ran out" in told[0]


def test_a_position_in_other_shards_is_no_position(tokenizer):
    class Shards(list):
        identity = (("train-0", 1000),)

    class Rebuilt(Shards):
        identity = (("train-0", 1001),)

    state = train_iterator(Shards(SCENES), tokenizer, SETTINGS).get_state()
    again = train_iterator(Shards(SCENES), tokenizer, SETTINGS)
    again.set_state(json.loads(json.dumps(state)))
    with pytest.raises(ValueError, match="isn't the one that the run was trained on"):
        train_iterator(Rebuilt(SCENES), tokenizer, SETTINGS).set_state(state)
    del state["source"]  # as it was saved before
    train_iterator(Rebuilt(SCENES), tokenizer, SETTINGS).set_state(state)
