"""What the level `global` reads: actions, captions, or both, and scenes that have neither."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax.data.evaluation_batches import EvaluationBatches
from scenarioclip_jax.data.global_text import draw_global_text, longest_global_text
from scenarioclip_jax.data.packing.fill import text_id, text_tokens
from scenarioclip_jax.data.pipeline import TrainingBatches
from scenarioclip_jax.data.settings import GLOBAL_TEXTS, DataSettings
from tests.data.fake_scenes import SETTINGS, fake_scene, resized
from tests.data.test_pipeline import tokenizer  # noqa: F401 (a fixture)

CAPTIONS = ["a dog runs", "a brown dog outside", "dog"]


def scene(action="running", captions=CAPTIONS):
    return fake_scene(0)._replace(action=action, captions=captions)


def drawn(scene, seeds=range(3000), **settings):
    settings = dataclasses.replace(SETTINGS, **settings)
    return Counter(draw_global_text(scene, settings, seed) for seed in seeds)


def test_each_kind_is_drawn_as_often_as_asked():
    assert drawn(scene()) == {"running": 3000}
    captions = drawn(scene(), global_text="caption")
    assert captions.keys() == set(CAPTIONS)
    assert min(captions.values()) > 900  # of 1,000, with a standard deviation of 26
    mixed = drawn(scene(), global_text="mixed", caption_share=0.8)
    assert mixed["running"] == pytest.approx(600, abs=100)
    assert drawn(scene(), global_text="mixed", caption_share=0.0) == {"running": 3000}


@pytest.mark.parametrize("kind", GLOBAL_TEXTS)
def test_what_is_missing_is_replaced_by_the_other_kind(kind):
    assert drawn(scene(captions=[]), global_text=kind).keys() == {"running"}
    assert drawn(scene(action=""), global_text=kind).keys() == set(CAPTIONS)
    assert drawn(scene("", []), global_text=kind).keys() == {""}


@given(st.integers(0, 2**32 - 1), st.sampled_from(GLOBAL_TEXTS), st.booleans())
def test_a_draw_is_a_function_of_the_seed_and_no_longer_than_the_longest(seed, kind, acts):
    settings = dataclasses.replace(SETTINGS, global_text=kind)
    each = scene("running far away from home" if acts else "")
    text = draw_global_text(each, settings, seed)
    assert text == draw_global_text(each, settings, seed)
    assert len(text) <= len(longest_global_text(each, settings))


@pytest.mark.parametrize(("field", "value"), [("global_text", "captions"), ("caption_share", 1.5)])
def test_wrong_settings_are_named(field, value):
    with pytest.raises(ValueError, match=rf"data\.{field}={value!r}: must be"):
        DataSettings(**{field: value})


@pytest.mark.parametrize("packed", [False, True])
def test_scenes_without_text_train_their_objects_only(packed, tokenizer):  # noqa: F811
    scenes = [fake_scene(i)._replace(action="" if i % 2 else f"act {i}") for i in range(8)]
    settings = SETTINGS
    if packed:
        settings = resized(SETTINGS, tokens=(12, 30, 30), text_row_tokens=24)
    batches = TrainingBatches(scenes, tokenizer, settings, range(settings.packing_groups))
    batch, corrupt = batches(0)
    assert not corrupt
    assert batch.scenes.mask.sum() == batch.scenes.count.sum() == 4
    # Objects of all scenes are there, those of scenes without a text included.
    untold = ~np.take_along_axis(batch.scenes.mask, batch.levels["object"].scene, axis=1)
    assert (untold & batch.levels["object"].mask).any()
    for group, slot in np.argwhere(batch.scenes.mask):
        (action,) = [
            s.action for s in scenes if text_id(s.action) == batch.scenes.text[group, slot]
        ]
        expected = tokenizer.encode_ragged([action], settings.level("global").text_length)[0][0]
        tokens = text_tokens(batch.scenes, group, slot)
        assert tokens[: len(expected)].tolist() == expected


def test_captions_reach_the_batch(tokenizer):  # noqa: F811
    settings = dataclasses.replace(SETTINGS, global_text="caption")
    scenes = [fake_scene(i)._replace(captions=[f"caption {i} {j}" for j in "ab"]) for i in range(8)]
    batches = TrainingBatches(scenes, tokenizer, settings, range(settings.packing_groups))
    known = {text_id(caption) for each in scenes for caption in each.captions}
    seen = {int(x) for step in range(6) for x in batches(step)[0].scenes.text.ravel()}
    assert seen <= known
    assert len(seen) > 8  # both captions of some scenes


def test_evaluation_reads_actions_whatever_is_trained_on(tokenizer):  # noqa: F811
    settings = dataclasses.replace(SETTINGS, global_text="caption")
    scenes = [
        fake_scene(i)._replace(action="" if i == 3 else f"act {i}", captions=["said"])
        for i in range(8)
    ]
    texts = [
        text
        for batch, labels in EvaluationBatches(scenes, tokenizer, settings)
        for text in labels["global"].text[batch.scenes.mask]
    ]
    assert texts == ["" if i == 3 else f"act {i}" for i in range(8)]
