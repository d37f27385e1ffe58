"""Processes share a split: nothing twice, nothing left out, in the split's order."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.evaluation.embed import share as module
from scenarioclip_jax.evaluation.embed.share import Share, SharedBatches, exchange_texts, share_of
from tests.data.fake_scenes import SETTINGS, ragged_scenes

SCENES = ragged_scenes(23)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def told(batches):
    """The texts of all scenes, objects and relations, in order."""
    found = ([], [], [])
    for batch, labels in batches:
        masks = batch.scenes.mask, batch.levels["object"].mask, batch.levels["relation"].mask
        texts = labels["global"].text, labels["object"].text, labels["relation"].text
        for into, mask, text in zip(found, masks, texts, strict=True):
            into += text[mask].tolist()
    return found


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_one_after_the_other_are_the_split(tokenizer, monkeypatch, parts):
    monkeypatch.setattr(module, "values_of_all", lambda value, where: [value])
    whole = told(EvaluationBatches(SCENES, tokenizer, SETTINGS, range(21)))
    shares = [Share(i, parts, SETTINGS.packing_groups, tuple(range(parts))) for i in range(parts)]
    found = [told(SharedBatches(s, SCENES, tokenizer, SETTINGS, range(21))) for s in shares]
    for level, expected in enumerate(whole):
        assert list(itertools.chain(*(part[level] for part in found))) == expected
    assert sorted(itertools.chain(*(range(4)[s.local] for s in shares))) == [0, 1, 2, 3]


def test_a_process_without_scenes_left_goes_on_with_empty_batches(tokenizer, monkeypatch):
    share = Share(1, 2, SETTINGS.packing_groups, (0, 1))
    others = iter([True] * 9)
    monkeypatch.setattr(module, "values_of_all", lambda value, where: [value, next(others, False)])
    batches = list(SharedBatches(share, SCENES, tokenizer, SETTINGS, range(4)))
    assert len(batches) == 9
    assert sum(batch.scenes.mask.sum() for batch, _ in batches) == 2
    assert all(len(batch.seed) == SETTINGS.packing_groups // 2 for batch, _ in batches)


def mesh_of(processes, monkeypatch):
    """A mesh whose devices along the batch belong to these processes; share_of asks for nothing else."""

    class Device(SimpleNamespace):
        __hash__ = object.__hash__

    devices = {Device(process_index=p): (slice(i, i + 1),) for i, p in enumerate(processes)}
    sharding = SimpleNamespace(devices_indices_map=lambda shape: devices)
    monkeypatch.setattr(module, "batch_sharding", lambda mesh: sharding)


@pytest.mark.parametrize(
    ("processes", "parts", "owners"),
    [
        ([0, 0, 1, 1], 2, (0, 1)),
        ([1, 1, 0, 0], 2, (1, 0)),
        ([0, 1, 2, 3], 4, (0, 1, 2, 3)),
        ([0, 1, 0, 1], 1, (0,)),  # no block for each: everybody reads all
        ([0, 0, 0, 1], 1, (0,)),
    ],
)
def test_who_has_which_part(monkeypatch, processes, parts, owners):
    mesh_of(processes, monkeypatch)
    share = share_of(None, 4)
    assert (share.parts, share.owners) == (parts, owners)
    if parts > 1:  # this is process 0
        assert share.part == owners.index(0)


def test_texts_of_any_script_are_exchanged_whole(monkeypatch):
    texts = {0: ["a", "日本\n語", '"quoted"'], 1: [], 2: ["ünï"]}
    sent = {}

    def rows_of(process):
        content = {}
        monkeypatch.setattr(
            module, "exchange_rows", lambda share, rows: content.setdefault(0, rows)
        )
        exchange_texts(Share(process, 3, 3, (0, 1, 2)), texts[process])
        return content[0]

    for process in texts:
        sent[process] = rows_of(process)
    monkeypatch.setattr(
        module, "exchange_rows", lambda share, rows: np.concatenate([*sent.values()])
    )
    assert exchange_texts(Share(0, 3, 3, (0, 1, 2)), texts[0]) == [
        t for v in texts.values() for t in v
    ]
