"""Budgets that are suggested for a data set, against what packing then really leaves out."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from scenarioclip_jax.data.packing.choose import Item, pack_training_group
from scenarioclip_jax.data.packing.needs import needs_of
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.tokens import train_tokenizer
from scenarioclip_jax.train.budgets import (
    Budget,
    budget,
    draw_groups,
    fullest_text_row,
    in_rows,
    look_at,
    suggest,
    table,
    with_budgets,
)
from tests.data.fake_scenes import SETTINGS, fake_scene

PACKED = dataclasses.replace(
    SETTINGS, batch_size=8, packing_groups=1, text_row_tokens=40, patch_size=8
)


def test_a_budget_by_hand():
    totals = np.array([10, 10, 10, 20])  # of groups of five scenes
    assert budget(totals, 5, left_out=0.0) == (4.0, 12.5 / 20, 0.0)
    assert budget(totals, 5, left_out=0.2) == (2.0, 1.0, 0.2)
    held = np.array([9, 9, 9, 20])
    assert budget(totals, 5, left_out=0.2, held=held) == (2.0, 37 / 40, 0.2)


@pytest.mark.parametrize("scenes", [100, 128])
def test_a_budget_for_so_many_rows_gives_so_many(scenes):
    """37 * 24 / 100 * 100 / 24 is a little more than 37."""
    settings = dataclasses.replace(
        SETTINGS, batch_size=scenes, packing_groups=1, text_row_tokens=24
    )
    for rows in range(1, 200):
        room = budget(np.array([24.0 * rows]), scenes, left_out=0.0).a_scene
        printed = float(
            table({"levels.object.tokens_per_scene": Budget(room, 1, 0)}).split("=")[1].split()[0]
        )
        for tokens in (room, printed):
            sized = settings.with_level("object", tokens_per_scene=tokens)
            assert sized.level("object").text_rows == rows


def test_sequences_need_rows_of_their_own_where_they_leave_gaps():
    needed, held = in_rows([[6, 6, 6], [4, 6, 10], []], size=10)
    np.testing.assert_array_equal(needed, [30, 20, 0])
    np.testing.assert_array_equal(held, [18, 20, 0])


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_what_is_suggested_leaves_out_no_more_than_was_asked(share, tmp_path):
    tokenizer = train_tokenizer(["action thing one on other 0 1 2"], tmp_path, vocab_size=300)
    settings = dataclasses.replace(
        SETTINGS, batch_size=8, packing_groups=1, text_row_tokens=40, patch_size=8
    )
    scenes = [fake_scene(i, objects=i % 5, relations=i % 3) for i in range(24)]
    items = [
        Item(scene, fit_scene(scene, 32, "centre_crop", 40), i, scene.action)
        for i, scene in enumerate(scenes)
    ]
    needs = [needs_of(item.scene, item.fitted, settings) for item in items]
    found = suggest(needs, tokenizer, settings, left_out=share)
    assert found["levels.object.slots_per_scene"].left_out <= share
    sized = with_budgets(settings, {key: each.a_scene for key, each in found.items()})
    printed = re.findall(r"--config\.data\.([\w.]+)=(\S+)", table(found))
    assert {key for key, _ in printed} == found.keys()
    as_printed = with_budgets(settings, {key: float(value) for key, value in printed})
    for level in ("global", "object", "relation"):
        assert as_printed.level(level) == sized.level(level)
    rng = np.random.default_rng(1)
    packed = there = 0
    for _ in range(40):
        group = [items[i] for i in rng.choice(24, 8, replace=False)]
        parts, counts = pack_training_group(group, sized, tokenizer)
        there += counts["object"].packable + counts["relation"].packable
        packed += sum(len(chosen) for part in parts for chosen in part.chosen.values())
    # Each of five resources may leave out the share that was asked for, and a little in groups not drawn yet.
    assert there * (1 - 5 * share - 0.01) <= packed <= there


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    """A tokenizer and what scenes need that tell much or little."""
    texts = ["action thing one on other 0 1 2"]
    tokenizer = train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)
    scenes = [fake_scene(i, objects=i % 5, relations=i % 3) for i in range(48)]
    return tokenizer, look_at(scenes, PACKED, 48)


@pytest.mark.slow
def test_fullest_rows_are_no_emptier_than_others(ragged):
    tokenizer, needs = ragged
    row, fill = fullest_text_row(needs, tokenizer, PACKED, left_out=0.002)
    for other in (row, 10, 18, 38, 78, 126):
        settings = dataclasses.replace(PACKED, text_row_tokens=other)
        found = suggest(needs, tokenizer, settings, left_out=0.002)
        fills = [each.fill for key, each in found.items() if key.endswith("tokens_per_scene")]
        assert len(fills) == 3
        assert min(fills) == fill if other == row else min(fills) <= fill


def test_balanced_groups_need_less_room(ragged):
    """All scenes come equally often, and in groups that are alike."""
    tokenizer, needs = ragged
    balanced = dataclasses.replace(PACKED, balance=True)
    groups = draw_groups(needs, tokenizer, balanced)
    assert all(len(group) == balanced.scenes for group in groups)
    often = np.bincount(np.concatenate(groups), minlength=48)
    assert often.max() - often.min() <= len(groups) * balanced.scenes / 48 / 4
    plain, alike = (suggest(needs, tokenizer, s, left_out=0.0) for s in (PACKED, balanced))
    for name, budget_of in itertools.product(("object", "relation"), ("slots", "patches")):
        key = f"levels.{name}.{budget_of}_per_scene"
        assert alike[key].a_scene < plain[key].a_scene
        assert alike[key].fill > plain[key].fill
