import dataclasses
import subprocess
import sys

import jax
import numpy as np
import pytest

from scenarioclip_jax.data.packing.choose import Count, Item, evaluation_groups, pack_training_group
from scenarioclip_jax.data.packing.fill import BatchBuilder, empty_batch, text_id
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.fake_scenes import SETTINGS, encode, fake_scene, picture, resized

GROUP = resized(
    SETTINGS, batch_size=4, packing_groups=1, objects=2, relations=1
)  # S = 4, O = 8, R = 4


def make_items(objects, relations, **changes):
    scenes = [
        fake_scene(i, objects=n, relations=m)._replace(**changes)
        for i, (n, m) in enumerate(zip(objects, relations, strict=True))
    ]
    return [
        Item(scene, fit_scene(scene, 32, "centre_crop", 40), 7 + i, scene.action)
        for i, scene in enumerate(scenes)
    ]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["action thing one on other 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def test_everything_is_packed_where_there_is_room(tokenizer):
    items = make_items([3, 0, 2, 1], [1, 2, 0, 1])
    parts, counts = pack_training_group(items, GROUP, None)
    assert [list(part.chosen["object"]) for part in parts] == [[0, 1, 2], [], [0, 1], [0]]
    assert [list(part.chosen["relation"]) for part in parts] == [[0], [0, 1], [], [0]]
    assert counts == {"object": Count(6), "relation": Count(4), "global": Count(4)}

    builder = BatchBuilder(1, 40, GROUP)
    builder.add(0, parts, counts)
    batch, labels = builder.finish(tokenizer)
    np.testing.assert_array_equal(batch.levels["object"].mask[0], [1, 1, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(batch.levels["object"].scene[0, :6], [0, 0, 0, 2, 2, 3])
    np.testing.assert_array_equal(batch.levels["relation"].scene[0], [0, 1, 1, 3])
    np.testing.assert_array_equal(batch.canvas[0, 2], items[2].fitted.canvas)
    np.testing.assert_array_equal(batch.levels["object"].box[0, 3:5], items[2].fitted.object_boxes)
    np.testing.assert_array_equal(batch.levels["relation"].region[0, 3], items[3].fitted.regions[0])
    assert labels["object"].text[0, 4] == "thing 2 1"
    assert labels["object"].scene_id[0, 4] == "scene2"
    assert labels["relation"].negatives[0, 3] == ["a not b"]
    assert batch.levels["object"].text[0, 4] == text_id("thing 2 1")
    np.testing.assert_array_equal(
        batch.levels["object"].tokens[0, 4], tokenizer.encode(["thing 2 1"], 10)[0][0]
    )
    assert (batch.levels["object"].count[0], batch.levels["relation"].count[0]) == (6, 4)
    # Empty slots hold zeros.
    objects = batch.levels["object"]
    for field in (objects.box, objects.tokens, objects.text, objects.scene):
        assert not field[0, 6:].any()


def test_shapes_and_dtypes_are_the_contract():
    batch = empty_batch(2, 40, dataclasses.replace(GROUP, focus_images=True))
    assert batch.canvas.shape == (2, 4, 40, 40, 3)
    assert batch.levels["object"].box.shape == (2, 8, 4)
    assert batch.levels["relation"].region.shape == (2, 4, 32, 4)
    assert batch.levels["relation"].focus.shape == (2, 4, 40, 40, 3)
    assert {field.dtype.name for field in jax.tree.leaves(batch)} == {
        "uint8",
        "float32",
        "uint32",
        "bool",
        "int32",
    }
    assert empty_batch(2, 40, GROUP).levels["relation"].focus is None


def test_overflow_is_counted_and_fills_every_slot():
    items = make_items([5, 5, 5, 5], [3, 0, 3, 1])
    parts, counts = pack_training_group(items, GROUP, None)
    assert sum(len(part.chosen["object"]) for part in parts) == 8
    assert sum(len(part.chosen["relation"]) for part in parts) == 4
    assert (counts["object"], counts["relation"]) == (Count(20), Count(7))


def test_overflow_is_chosen_by_the_seed_alone():
    items = make_items([5, 5, 5, 5], [0] * 4)
    chosen = [list(part.chosen["object"]) for part in pack_training_group(items, GROUP, None)[0]]
    again = [list(part.chosen["object"]) for part in pack_training_group(items, GROUP, None)[0]]
    assert chosen == again
    # Whose slot comes first plays no part: each scene keeps the same objects in another order.
    reordered = [
        list(part.chosen["object"]) for part in pack_training_group(items[::-1], GROUP, None)[0]
    ]
    assert chosen == reordered[::-1]


def test_overflow_spares_no_place_in_the_list():
    kept = np.zeros(5)
    for seed in range(200):
        items = [item._replace(seed=seed * 10 + i) for i, item in enumerate(ITEMS)]
        for part in pack_training_group(items, GROUP, None)[0]:
            kept[list(part.chosen["object"])] += 1
    # 8 of 20 objects stay, so each place is kept with probability 0.4 of 800 draws (deviation 14).
    assert np.abs(kept - 320).max() < 60


ITEMS = make_items([5, 5, 5, 5], [0] * 4)


def test_what_hardly_shows_is_left_out_and_counted():
    boxes = np.array(
        [[0, 0, 4, 36], [20, 5, 30, 30], [5.5, 0, 6.8, 4]], np.float32
    )  # a 48 x 36 photo
    (item,) = make_items([3], [1], object_boxes=boxes)
    hidden = item.scene.relations[0]._replace(boxes=np.array([[0, 0, 3, 36]] * 2, np.float32))
    scene = item.scene._replace(relations=[hidden, *item.scene.relations])
    item = Item(scene, fit_scene(scene, 32, "centre_crop", 40), 1, scene.action)
    (part,), counts = pack_training_group([item], GROUP, None)
    assert list(part.chosen["object"]) == [1]
    assert list(part.chosen["relation"]) == [1]
    assert counts["object"] == Count(packable=1, hidden=2)
    assert counts["relation"] == Count(packable=1, hidden=1)

    fitted = fit_scene(scene, 32, "contain", 40)
    (part,), counts = pack_training_group([item._replace(fitted=fitted)], GROUP, None)
    assert list(part.chosen["object"]) == [0, 1, 2]
    assert counts["object"].hidden == 0


@pytest.mark.parametrize("seed", range(8))
def test_evaluation_groups_hold_everything_once(seed):
    draw = np.random.default_rng(seed)
    items = make_items(draw.integers(0, 20, 15), draw.integers(0, 9, 15))
    groups = list(evaluation_groups(iter(items), GROUP))
    seen = [
        (part.item.scene.id, level, index)
        for group in groups
        for part in group
        for level, chosen in part.chosen.items()
        for index in chosen
    ]
    expected = [
        (item.scene.id, "object", i) for item in items for i in range(len(item.scene.object_names))
    ]
    expected += [
        (item.scene.id, "relation", i) for item in items for i in range(len(item.scene.relations))
    ]
    assert sorted(seen) == sorted(expected)
    counted = [part.item.scene.id for group in groups for part in group if part.counted]
    assert counted == [item.scene.id for item in items]
    for group in groups:
        assert 1 <= len(group) <= 4
        assert sum(len(part.chosen["object"]) for part in group) <= 8
        assert sum(len(part.chosen["relation"]) for part in group) <= 4
    # A scene is only split where no group could hold it.
    for item in items:
        parts = [p for group in groups for p in group if p.item.scene.id == item.scene.id]
        n, m = len(item.scene.object_names), len(item.scene.relations)
        assert len(parts) == max(1, -(-n // 8), -(-m // 4))


def test_focus_pictures_need_their_setting(tokenizer):
    scene = fake_scene(0, objects=0, relations=1)
    scene.relations[0] = scene.relations[0]._replace(image=encode(picture(48, 36, 5)))
    item = Item(scene, fit_scene(scene, 32, "centre_crop", 40), 0, scene.action)
    parts, _ = pack_training_group([item], GROUP, None)
    with pytest.raises(ValueError, match=r"scene0.*data\.focus_images=True"):
        BatchBuilder(1, 40, GROUP).add(0, parts)
    builder = BatchBuilder(1, 40, dataclasses.replace(GROUP, focus_images=True))
    builder.add(0, parts)
    batch, _ = builder.finish(tokenizer)
    np.testing.assert_array_equal(batch.levels["relation"].focus[0, 0], item.fitted.focus[0])
    np.testing.assert_array_equal(batch.levels["relation"].has_focus[0], [1, 0, 0, 0])


def test_text_ids_are_stable_and_spread():
    assert text_id("a red circle") == text_id("a red circle") != text_id("a red circle ")
    ids = {text_id(f"text {i}") for i in range(10000)}
    assert len(ids) == 10000
    assert min(ids) >= 0
    assert max(ids) < 2**31
    code = "from scenarioclip_jax.data.packing.fill import text_id; print(text_id('a red circle'))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == text_id("a red circle")


def objects(**changes):
    return {"levels": {**SETTINGS.levels, "object": changes}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"packing_groups": 3}, r"data\.packing_groups=3 does not divide data\.batch_size=8"),
        ({"image_size": 30}, r"data\.image_size=30: must be a positive multiple of 8"),
        ({"fit": "stretch"}, r"data\.fit='stretch': must be one of centre_crop, contain"),
        (
            objects(text_length=2),
            r"data\.levels\.object\.text_length=2",
        ),
        (
            objects(slots_per_scene=0),
            r"data\.levels\.object\.slots_per_scene=0",
        ),
        ({"seed": -1}, r"data\.seed=-1"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change)
