"""What nouns mean: which may name the same thing, and what stands in the place of another."""

import pytest

from scenarioclip_jax.words import noun_table, nouns
from scenarioclip_jax.words.names import read_name


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("man", "person"),
        ("man", "young man"),
        ("man", "skateboarder"),
        ("child", "girl"),
        ("puppy", "dog"),
        ("dog", "animal"),
        ("duck", "bird"),
        ("car", "white taxi"),
        ("car", "vehicle"),
        ("sign", "stop sign"),
        ("glass", "wine glass"),
        ("sofa", "brown couch"),
        ("blue car", "car"),  # it may be the blue one
        ("red car", "pink car"),  # one's red is another's pink
        ("gronk", "gronk"),
    ],
)
def test_what_may_name_the_same_thing(a, b):
    assert nouns.could_name(a, b)
    assert nouns.could_name(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("man", "woman"),
        ("dog", "cat"),
        ("red car", "blue car"),
        ("man", "horse"),
        ("young man", "old man"),
        ("closed umbrella", "open umbrella"),
        ("red circle", "red square"),
        ("gronk", "zark"),
    ],
)
def test_what_names_different_things(a, b):
    assert not nouns.could_name(a, b)
    assert not nouns.could_name(b, a)


def test_what_stands_in_the_place_of_a_noun_names_something_else():
    for lines in nouns._LINES.values():
        for word in (word for line in lines for word in line):
            assert read_name(word).noun == word, f"{word} isn't in the singular"
            for other in (*nouns.siblings(word), *nouns.siblings(word, in_one_place=True)):
                assert not nouns.could_name(word, other), (word, other)
    for person in noun_table.PEOPLE_SWAPS:
        assert not nouns.could_name(person, nouns.siblings(person)[0])


def test_another_color_is_clearly_another_one():
    found = nouns.recolored("red circle")
    assert {"blue circle", "green circle", "white circle"} <= set(found)
    assert not {"pink circle", "orange circle", "red circle"} & set(found)
    assert nouns.recolored("young man") == ("old man",)
    assert nouns.recolored("wooden table")
    for noun in ("circle", "red panda", "black white dog", "orange", "glass of red wine"):
        assert nouns.recolored(noun) == (), noun


def test_a_color_is_kept():
    assert "red bus" in nouns.siblings("red boat")
    assert "toy bus" not in nouns.siblings("toy boat")


def test_what_is_often_together_is_replaced_by_what_is_out_of_place():
    assert "sink" not in nouns.siblings("toilet")
    assert "bed" not in nouns.siblings("table")
    assert "bed" in nouns.siblings("table", in_one_place=True)


@pytest.mark.parametrize(
    ("noun", "present", "expected"),
    [
        ("dog", ["man", "cat"], True),
        ("dog", ["man", "puppy"], False),
        ("dog", ["man", "animal"], False),
        ("dog", ["dog bowl"], False),
        ("blue circle", ["red circle", "blue square"], True),
        ("blue circle", ["circle"], False),
        ("woman", ["man", "horse"], True),
        ("woman", ["man", "child"], False),
        ("woman", ["man", "gronk"], False),  # a gronk may be a woman
        ("woman", ["man", "catcher"], False),
    ],
)
def test_what_is_absent(noun, present, expected):
    assert nouns.absent(noun, present) is expected


def test_who_can_act():
    assert all(map(nouns.can_act, ("man", "brown dog", "seagull", "animal", "snowboarder")))
    assert nouns.can_act("table") is False
    assert nouns.can_act("red car") is False
    assert nouns.can_act("gronk") is None
    assert nouns.can_act("teddy bear") is None


def test_who_may_face_what():
    assert nouns.may_face("man", "mirror")
    assert nouns.may_face("laptop", "woman")
    assert nouns.may_face("man", "woman")
    assert nouns.may_face("grass", "car")
    assert not nouns.may_face("man", "building")
    assert not nouns.may_face("car", "tree")
