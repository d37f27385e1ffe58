"""Words come from data sets, files and mappings, and are what labels are in training."""

import json

import pytest

from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.describe.word_lists import Words, WordsError, predicates_of

OBJECTS = ["man", "tennis", "tennis racket", "racket", "dog"]


def test_predicates_are_between_the_longest_names():
    texts = ["man holding tennis racket", "dog near man", "tennis racket on dog", "man near dog"]
    assert predicates_of(texts, OBJECTS) == ("near", "holding", "on")
    # Nothing can be said of what doesn't begin and end with a name, or has nothing between.
    assert predicates_of(["cat near dog", "man near tree", "man dog", "man", ""], OBJECTS) == ()


def test_words_of_a_data_set(small_data):
    classes = shards.load_classes(small_data)
    words = read_words(small_data)
    assert list(words.actions) == classes["actions"]
    assert list(words.objects) == classes["objects"]
    # Each of the data set's relations is an object, a predicate and an object.
    for text in classes["relations"]:
        assert any(f" {predicate} " in text for predicate in words.predicates)
    assert {"above", "left of"} <= set(words.predicates)


def test_words_of_a_file_and_of_a_mapping(tmp_path):
    lists = {"objects": ["Dog ", "dog", "a  man"], "predicates": ["near", "HOLDING"]}
    (tmp_path / "words.json").write_text(json.dumps(lists))
    wanted = Words((), ("dog", "a man"), ("near", "holding"))
    assert read_words(tmp_path / "words.json") == read_words(lists) == wanted
    assert read_words(wanted) == wanted
    found = read_words({"objects": ["dog", "man"], "relations": ["dog near man"]})
    assert found.predicates == ("near",)
    # Relations may also begin and end with names that come from elsewhere.
    found = read_words({"relations": ["dog near man"]}, names=["dog", "man"])
    assert found.predicates == ("near",)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "there is no text in it"),
        ({"objects": []}, "there is no text in it"),
        ({"object": ["dog"]}, "'object' isn't one of actions, objects, predicates, relations"),
        ({"objects": "dog"}, "objects is 'dog'; a list of texts is expected"),
        ({"objects": [1]}, "objects: expected a string"),
        ("nowhere", "nowhere: neither a data set nor a JSON file"),
        ({"actions": ["a"], "relations": ["b on c"]}, "no relation begins and ends with the name"),
        (5, "words are a int; give a data set's folder"),
    ],
)
def test_what_holds_no_words(source, message):
    with pytest.raises(WordsError, match=message):
        read_words(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "holds a list; an object with lists"), ("{", "can't be read as JSON")],
)
def test_a_file_that_holds_none(tmp_path, content, message):
    (tmp_path / "words.json").write_text(content)
    with pytest.raises(WordsError, match=rf"words\.json: {message}"):
        read_words(tmp_path / "words.json")
