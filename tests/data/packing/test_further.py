"""Further texts: which there are, which find room, and that they are read where they should be."""

import dataclasses

import numpy as np
import pytest

from scenarioclip_jax.data.batch import TRUE
from scenarioclip_jax.data.packing.choose import Item, pack_training_group
from scenarioclip_jax.data.packing.fill import BatchBuilder, text_tokens
from scenarioclip_jax.data.packing.further import of_relation, sentences
from scenarioclip_jax.data.photo import fit_scene
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Relation
from scenarioclip_jax.data.tokens import train_tokenizer
from tests.data.fake_scenes import SETTINGS, fake_scene, resized

GROUP = resized(SETTINGS, batch_size=4, packing_groups=1, objects=3, relations=2)
BOXES = np.array([[6, 6, 14, 14]] * 2, np.float32)


def relation(triplet, negatives=(), paraphrases=()):
    return Relation(triplet, BOXES, b"", b"", list(negatives), None, tuple(paraphrases))


def items(relations, captions=(), count=4):
    scenes = [
        fake_scene(i)._replace(relations=list(relations), captions=list(captions))
        for i in range(count)
    ]
    return [
        Item(scene, fit_scene(scene, 32, "centre_crop", 40), 7 + i, scene.action)
        for i, scene in enumerate(scenes)
    ]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["a dog on the left of a cat 0 1 2 3 4 5 6 7 8 9"]
    return train_tokenizer(texts, tmp_path_factory.mktemp("tokenizer"), vocab_size=300)


def with_room(room, settings=GROUP, **levels):
    for level, changes in {"relation": {"further_per_scene": room}, **levels}.items():
        settings = settings.with_level(level, **changes)
    return settings


def pack(given, settings, tokenizer):
    builder = BatchBuilder(1, settings.canvas_size, settings)
    parts, counts = pack_training_group(given, settings, tokenizer)
    builder.add(0, parts, counts)
    return builder.finish(tokenizer)


def further_texts(slots, tokenizer, group=0):
    """(slot, kind, text) of each further text, as a model reads it."""
    found, further = [], slots.further
    for number in np.flatnonzero(further.mask[group]):
        text = tokenizer.decode(text_tokens(slots, group, slots.mask.shape[1] + number))
        found.append((int(further.slot[group, number]), int(further.kind[group, number]), text))
    return found


def test_what_is_true_is_no_negative():
    own = relation(
        ("dog", "left of", "cat"),
        negatives=[
            ("cat", "left of", "dog"),
            ("dog", "left of", "cat"),  # its own text
            ("dog", "near", "cat"),  # what another relation says of the pair
            ("cat", "beside", "dog"),  # what is said of it in other words
            ("dog", "above", "cat"),
            ("dog", "above", "cat"),  # twice
            ("cat", "right of", "dog"),  # one of its paraphrases
            ("dog", "left of", "sofa"),
            ("bird", "left of", "cat"),
            ("bird", "on", "sofa"),
        ],
        paraphrases=["cat right of dog", "dog left of cat", ""],
    )
    other = relation(("dog", "near", "cat"), paraphrases=["cat beside dog"])
    apart = relation(("dog", "above", "rug"))
    scene = fake_scene(0)._replace(relations=[own, other, apart])
    assert [tuple(each) for each in of_relation(scene, 0, GROUP)] == [
        ("cat right of dog", TRUE),
        ("cat left of dog", 1),  # swapped
        ("dog above cat", 2),  # predicate
        ("dog left of sofa", 3),  # object
        ("bird left of cat", 4),  # subject
        ("bird on sofa", 5),
    ]


def test_what_says_the_same_is_no_negative():
    """Whatever the annotations call it."""
    own = relation(
        ("dog", "next to", "cat"),
        negatives=[("cat", "next to", "dog"), ("dog", "beside", "cat"), ("dog", "on", "cat")],
    )
    other = relation(("lamp", "above", "table"))
    scene = fake_scene(0)._replace(relations=[own, other])
    assert [each.text for each in of_relation(scene, 0, GROUP)] == ["dog on cat"]
    below = relation(("lamp", "above", "table"), negatives=[("table", "below", "lamp")])
    assert of_relation(scene._replace(relations=[below]), 0, GROUP) == []


@pytest.mark.parametrize("known", [True, False])
def test_negatives_are_made_whether_or_not_the_participants_are_known(known):
    """A participant that isn't told is the object of its name and box, once."""
    boxes = np.array([[5, 5, 20, 40], [4, 20, 30, 44], [8, 4, 16, 10]], np.float32)

    def of(s, predicate, o):
        names = ("man", "horse", "hat")
        triplet = names[s], predicate, names[o]
        return Relation(triplet, boxes[[s, o]], b"", b"", [], (s, o) if known else None)

    scene = fake_scene(0)._replace(
        object_names=["man", "horse", "hat"],
        object_boxes=boxes,
        relations=[of(0, "riding", 1), of(0, "wearing", 2)],
    )
    settings = dataclasses.replace(GROUP, make_negatives=6, make_paraphrases=1)
    found = of_relation(scene, 0, settings, seed=3)
    texts = {each.text for each in found}
    assert "horse riding man" in texts
    assert len(texts) == len(found)
    assert sum(each.kind == TRUE for each in found) == 1
    assert sum(each.kind != TRUE for each in found) == 6
    if known:
        unknown = scene._replace(relations=[r._replace(pair=None) for r in scene.relations])
        assert of_relation(unknown, 0, settings, seed=3) == found
    again = {each.text for each in of_relation(scene, 0, settings, seed=4)}
    assert again != texts  # other ones whenever the scene is read


def test_a_control_that_must_learn_nothing_makes_no_negatives():
    with pytest.raises(ValueError, match=r"data\.shuffle_texts=True with data\.make_negatives"):
        dataclasses.replace(GROUP, shuffle_texts=True, make_negatives=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog. It runs! Why?", ["A dog.", "It runs!", "Why?"]),
        ("A dog of Mr. Smith sits. J. Smith looks on.", 2),
        ("A 2.5 m tall giraffe. It eats.", 2),
        ("no end and no capital. but small letters", 1),
        ("", []),
        ('He says. "Stop!" She goes.', ["He says.", '"Stop!" She goes.']),
    ],
)
def test_sentences(text, expected):
    found = sentences(text)
    assert (found if isinstance(expected, list) else len(found)) == expected
    assert " ".join(found) == text


SOME = [
    relation(("dog", "on", "cat"), [("cat", "on", "dog"), ("dog", "left of", "cat")], ["a 1"]),
    relation(("cat", "on", "dog 2"), [("dog 2", "on", "cat"), ("cat", "on", "3")], ["a 4"]),
]


@pytest.mark.parametrize("rows", [0, 24])
def test_texts_are_read_where_they_should_be(rows, tokenizer):
    settings = dataclasses.replace(with_room(6), text_row_tokens=rows)
    settings = settings.with_level("relation", tokens_per_scene=200.0)
    batch, labels = pack(items(SOME), settings, tokenizer)
    slots = batch.levels["relation"]
    found = further_texts(slots, tokenizer)
    assert len(found) == 4 * 6 == slots.further.count[0]
    own = labels["relation"].text[0]
    for slot, kind, text in found:
        about = SOME[own[slot] == relation_text(SOME[1].triplet)]
        true = text in about.paraphrases
        assert true == (kind == TRUE)
        assert true or tuple(text.split(" on ")) != about.triplet[::2]
        assert true or text in [relation_text(each) for each in about.negatives]
    assert sorted(slot for slot, _, _ in found) == sorted([*range(8)] * 3)
    # The slots' own texts stay where they were.
    for slot in range(8):
        assert tokenizer.decode(text_tokens(slots, 0, slot)) == own[slot]


def test_where_room_is_short_every_relation_gets_its_share(tokenizer):
    batch, _ = pack(items(SOME), with_room(4), tokenizer)
    slots = batch.levels["relation"]
    found = further_texts(slots, tokenizer)
    assert (len(found), slots.further.count[0]) == (16, 24)
    assert np.bincount([slot for slot, _, _ in found]).tolist() == [2] * 8
    # Which texts these are is drawn by the scenes' seeds, for every scene anew.
    assert len({tuple(sorted(t for s, _, t in found if s == slot)) for slot in range(0, 8, 2)}) > 1


def test_rows_without_room_leave_further_texts_out_before_relations(tokenizer):
    settings = dataclasses.replace(with_room(6), text_row_tokens=12)
    roomy = settings.with_level("relation", tokens_per_scene=200.0)
    tight = settings.with_level("relation", tokens_per_scene=6.0)
    batch, _ = pack(items(SOME), tight, tokenizer)
    slots = batch.levels["relation"]
    assert slots.mask.all()
    assert (
        0
        < slots.further.mask.sum()
        < pack(items(SOME), roomy, tokenizer)[0].levels["relation"].further.mask.sum()
    )


def test_room_for_further_texts_changes_nothing_else(tokenizer):
    plain, _ = pack(items(SOME), GROUP, tokenizer)
    batch, _ = pack(items(SOME), with_room(3), tokenizer)
    before, after = plain.levels["relation"], batch.levels["relation"]
    for name in ("scene", "mask", "text", "region", "count"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)
    np.testing.assert_array_equal(after.tokens[:, :8], before.tokens)
    np.testing.assert_array_equal(batch.canvas, plain.canvas)
    assert before.further is None
    # Equal for relations between the same two names only.
    assert (after.pair[0, 0] == after.pair[0, ::2]).all()
    assert after.pair[0, 0] != after.pair[0, 1]


@pytest.mark.parametrize("sentence", [False, True])
def test_a_scene_is_told_one_of_its_captions(sentence, tokenizer):
    captions = ["A dog 1. It is 2.", "A cat 3."]
    settings = dataclasses.replace(GROUP, caption_sentences=sentence)
    settings = with_room(0, settings)
    settings = settings.with_level("global", further_per_scene=1.0, text_length=20)
    given = items(SOME, captions, count=4)
    given[2] = given[2]._replace(text="")  # a scene without a text of its own
    given[3] = given[3]._replace(scene=given[3].scene._replace(captions=[]))
    batch, _ = pack(given, settings, tokenizer)
    slots = batch.levels["global"]
    found = further_texts(slots, tokenizer)
    assert sorted((slot, kind) for slot, kind, _ in found) == [(0, TRUE), (1, TRUE)]
    allowed = (
        {"a dog 1.", "it is 2.", "a cat 3."} if sentence else {"a dog 1. it is 2.", "a cat 3."}
    )
    assert {text for _, _, text in found} <= allowed
    assert slots.further.count[0] == 2


def test_names_have_no_further_texts():
    with pytest.raises(ValueError, match=r"data\.levels\.object\.further_per_scene=1"):
        GROUP.with_level("object", further_per_scene=1)
