"""Names of objects as language models write them."""

import pytest

from scenarioclip_jax.words.names import plural_of, prompts, read_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("person 2", ("person", 2, False)),
        ("Person #3", ("person", 3, False)),
        ("person_1", ("person", 1, False)),
        ("the second man", ("man", 2, False)),
        ("two dogs", ("dog", None, True)),
        ("2 sheep", ("sheep", None, True)),
        ("a dog", ("dog", None, False)),
        ("One dog", ("dog", None, False)),
        ("people", ("person", None, True)),
        ("men", ("man", None, True)),
        ("children", ("child", None, True)),
        ("street signs", ("street sign", None, True)),
        ("red circle", ("red circle", None, False)),
        ("knives", ("knife", None, True)),
        ("skis", ("ski", None, True)),
        ("herd of elephants", ("elephant", None, True)),
        ("a pair of scissors", ("scissors", None, False)),
        ("slices of pizza", ("slice of pizza", None, True)),
        ("two bottles of wine", ("bottle of wine", None, True)),
        ("wine glasses", ("wine glass", None, True)),
        ("one way sign", ("one way sign", None, False)),
        ("666 sign", ("666 sign", None, False)),
        ("first baseman", ("first baseman", None, False)),
        ("two", ("two", None, False)),
        ("", ("", None, False)),
    ],
)
def test_a_name_is_read(text, expected):
    assert read_name(text) == expected


@pytest.mark.parametrize(
    "noun",
    [
        *("glasses", "scissors", "bus", "grass", "red cross", "dress", "tennis racket", "jeans"),
        *("mattress", "octopus", "cactus", "glass", "lens", "gas", "sheep", "class", "christmas"),
        *(
            "sunglasses",
            "stairs",
            "hippopotamus",
            "compass",
            "species",
            "canvas",
            "iris",
            "french fries",
        ),
    ],
)
def test_what_looks_like_a_plural_stays(noun):
    assert read_name(noun) == (noun, None, False)


def test_reading_twice_changes_nothing():
    for text in ("two dogs", "person 2", "street signs", "herd of elephants", "wine glasses"):
        noun = read_name(text).noun
        assert read_name(noun) == (noun, None, False)
        if text not in ("person 2",):
            assert read_name(plural_of(noun)) == (noun, None, True)


def test_a_detector_is_asked_for_each_noun_once():
    names = ["person 2", "two dogs", "person 1", "dog", "Red circle", "the people"]
    assert prompts(names) == ["person", "dog", "red circle"]
