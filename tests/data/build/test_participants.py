"""Which of several objects of a name a relation means, and what is said where it's a guess."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.problems import Problems
from tests.data.build.test_annotations import load
from tests.data.builder_inputs import focus_of, photo, record, write_root

NEAR, FAR, LEASH = [60, 5, 80, 60], [5, 5, 35, 60], [85, 30, 110, 60]
MEN = [["man", FAR], ["man", NEAR], ["leash", LEASH]]
HOLDS = ["man", "holding", "leash"]
NOISE = Image.fromarray(
    np.random.default_rng(0).integers(40, 256, (*photo().size[::-1], 3), np.uint8)
).resize(photo().size)


def relation_of(root, objects, *relation, focus=None, **options):
    """Returns the boxes of the relation, None if it was left out, and the reasons and effects listed."""
    write_root(root, record("a", objects=objects, relations=[list(relation)]))
    if focus is not None:
        focus.save(root / "focus/a_0.jpg", quality=90)
    scenes, problems = load(root, **options)
    found = scenes["a"].relations
    listed = [p[:2] for p in problems if p[0] not in ("no_relations", "no_objects")]
    return (found[0].boxes.astype(int).tolist() if found else None), listed


def test_a_guess_is_said(tmp_path):
    boxes, problems = relation_of(tmp_path, MEN, "", HOLDS)
    assert boxes == [NEAR, LEASH]
    assert problems == [("ambiguous_participants", "guessed")]


def test_the_indices_say_which(tmp_path):
    for index, box in enumerate((FAR, NEAR)):
        found = relation_of(tmp_path, MEN, "", HOLDS, [], [index, 2], strict=True)
        assert found == ([box, LEASH], [])
    # Objects that can't be understood count, too.
    found = relation_of(tmp_path, [["hat"], *MEN], None, HOLDS, None, [1, 3])
    assert found == ([FAR, LEASH], [("malformed_object", "dropped")])
    outside = [["man", [900, 900, 950, 950]], *MEN]
    found = relation_of(tmp_path, outside, None, HOLDS, None, [1, 3])
    assert found == ([FAR, LEASH], [("box_empty", "dropped")])


@pytest.mark.parametrize(
    "indices", [5, [0], [0, 2, 1], [0, 3], [-1, 2], [2, 0], ["0", "2"], [True, 2], [0.0, 2], {}]
)
def test_indices_that_make_no_sense_are_listed(indices, tmp_path):
    boxes, problems = relation_of(tmp_path, MEN, "", HOLDS, [], indices)
    assert boxes == [NEAR, LEASH]
    assert problems == [("malformed_indices", "guessed"), ("ambiguous_participants", "guessed")]


def test_further_entries_are_listed(tmp_path):
    _, problems = relation_of(tmp_path, MEN, "", HOLDS, [], [0, 2], "more", None)
    assert problems == [("unknown_entry", "guessed")] * 2


def test_boxes_of_one_thing_are_never_both_participants(tmp_path):
    twice = [["man", FAR], ["man", [6, 5, 35, 60]], ["man", NEAR]]
    beside = ["man", "next to", "man"]
    boxes, problems = relation_of(tmp_path, twice, "", beside)
    assert NEAR in boxes
    assert problems == [("ambiguous_participants", "guessed")]
    # Only one is annotated, once or twice: its partner isn't known.
    for objects in (twice[:2], twice[:1]):
        boxes, problems = relation_of(tmp_path, objects, "", beside)
        assert boxes is None
        assert problems == [("ambiguous_participants", "dropped")]


def test_twice_the_same_thing_is_no_guess(tmp_path):
    twice = [["man", FAR], ["man", [6, 5, 35, 60]], ["leash", LEASH]]
    boxes, problems = relation_of(tmp_path, twice, "", HOLDS)
    assert (boxes[1], problems) == (LEASH, [])


def test_a_focused_region_tells_which(tmp_path):
    focus = focus_of(photo(), (FAR, LEASH))
    found = relation_of(tmp_path, MEN, "focus/a_0.jpg", HOLDS, focus=focus)
    assert found == ([FAR, LEASH], [])
    white = photo().point(lambda value: 255)
    for box in (FAR, LEASH):
        white.paste(photo().crop(box), box[:2])
    found = relation_of(tmp_path, MEN, "focus/a_0.jpg", HOLDS, focus=white)
    assert found == ([FAR, LEASH], [])


@pytest.mark.parametrize(
    ("focus", "reason"),
    [
        (photo(), "focus_is_photo"),
        (
            focus_of(NOISE, (FAR, LEASH)),
            "focus_unlike_photo",
        ),
        (photo().point(lambda value: 3), "focus_empty"),
    ],
)
def test_pictures_that_show_no_region_are_rebuilt_from_the_boxes(focus, reason, tmp_path):
    boxes, problems = relation_of(tmp_path, MEN[1:], "focus/a_0.jpg", HOLDS, focus=focus)
    assert boxes == [NEAR, LEASH]
    assert problems == [(reason, "fixed")]
    boxes, problems = relation_of(tmp_path, MEN[:2], "focus/a_0.jpg", HOLDS, focus=focus)
    assert boxes is None
    assert problems == [(reason, "dropped")]


def test_one_picture_for_different_participants_fits_one_of_them(tmp_path):
    objects = [["man", NEAR], ["leash", LEASH], ["hat", FAR]]
    relations = [["focus/a_0.jpg", HOLDS], ["focus/a_0.jpg", ["man", "wearing", "hat"]]]
    write_root(tmp_path, record("a", objects=objects, relations=relations))
    focus_of(photo(), (NEAR, LEASH)).save(tmp_path / "focus/a_0.jpg", quality=90)
    scenes, problems = load(tmp_path)
    first, second = scenes["a"].relations
    np.testing.assert_array_equal(first.boxes, [NEAR, LEASH])
    np.testing.assert_array_equal(second.boxes, [NEAR, FAR])
    assert (second.mask, second.image) == (b"", b"")
    assert problems == [("focus_shared", "fixed", "relation")]


@pytest.mark.parametrize(
    ("background", "shown", "said"),
    [
        ("black", (NEAR,), "nothing of 'leash' at [85, 30, 110, 60]"),
        ("white", (NEAR,), "nothing of 'leash' at [85, 30, 110, 60]"),
        ("black", (LEASH, FAR), "nothing of 'man' at [60, 5, 80, 60]"),
        ("white", (LEASH, FAR), "nothing of 'man' at [60, 5, 80, 60]"),
        ("black", (FAR,), "nothing of 'man' at [60, 5, 80, 60] and 'leash'"),
    ],
)
def test_the_region_of_another_relation_is_doubtful(background, shown, said, tmp_path):
    """It fits the photo, so nothing else would say so."""
    focus = photo().point(lambda value: 255 if background == "white" else 0)
    for box in shown:
        focus.paste(photo().crop(box), box[:2])
    objects = [["man", NEAR], ["leash", LEASH], ["hat", FAR]]
    write_root(tmp_path, record("a", objects=objects, relations=[["focus/a_0.jpg", HOLDS]]))
    focus.save(tmp_path / "focus/a_0.jpg", quality=90)
    problems = Problems()
    records = read_records(tmp_path, problems)
    scene = assemble(records[0], tmp_path, problems, Counter())
    assert len(scene.relations) == 1
    assert [(p.reason, p.effect) for p in problems.found] == [("focus_elsewhere", "kept")]
    assert said in problems.found[0].detail


@pytest.mark.parametrize("form", ["ellipses", "hull", "leash alone in a corner of its box"])
def test_regions_of_any_form_that_show_both_participants_are_not_doubtful(form, tmp_path):
    mask = Image.new("1", photo().size)
    draw = ImageDraw.Draw(mask)
    if form == "hull":
        draw.rectangle((60, 5, 109, 59), fill=1)
    else:
        draw.ellipse((60, 5, 79, 59), fill=1)
        draw.ellipse((85, 30, 109, 59) if form == "ellipses" else (86, 31, 92, 38), fill=1)
    focus = Image.composite(photo(), photo().point(lambda value: 0), mask)
    found = relation_of(tmp_path, MEN[1:], "focus/a_0.jpg", HOLDS, focus=focus)
    assert found == ([NEAR, LEASH], [])
