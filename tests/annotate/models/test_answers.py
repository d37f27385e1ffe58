import json

import jsonschema
import pytest

from scenarioclip_jax.annotate.models.answers import normalize_answer, parse
from scenarioclip_jax.annotate.models.prompts import prompt, schema
from scenarioclip_jax.annotate.results import Caption, Failure
from scenarioclip_jax.annotate.settings import CaptionSettings

ANSWER = {
    "action": "Riding.",
    "objects": ["Person 1", "person_2", "bike", "bike"],
    "relations": [["person 1", "Riding", "bike"], ["person 2", "next_to", "bike"]],
    "caption": "Two people.\nOne rides a bike.",
}
WANTED = Caption(
    "riding",
    ("person 1", "person 2", "bike"),
    (("person 1", "riding", "bike"), ("person 2", "next to", "bike")),
    "Two people. One rides a bike.",
)
PLAIN = json.dumps(ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"Here is what {{I}} see:\n```\n{json.dumps(ANSWER, indent=2)}\n```\nIs there more?",
        f'<think>Is it {{"objects": []}}?</think>{PLAIN}',
        f'{{"note": "first"}} {PLAIN}',
        PLAIN.replace("\\n", "\n"),  # a line break within a text, which JSON forbids
        PLAIN.replace('"caption"', '"dense caption"'),
        PLAIN.replace('"caption"', '"dense_caption"'),
    ],
)
def test_an_answer_is_found_in_what_stands_around_it(text):
    assert parse(text) == WANTED


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>What is it? {}", "empty"),
        ("I can't see a photo.", "not_json"),
        (PLAIN[:-20], "not_json"),
        (PLAIN.replace(":", "="), "not_json"),
        ("[1, 2]", "wrong_shape"),
        ("[" * 10_000, "not_json"),
        ("{" * 2_000, "not_json"),
        (json.dumps(ANSWER | {"objects": "bike"}), "wrong_shape"),
        (json.dumps(ANSWER | {"relations": {"a": 1}}), "wrong_shape"),
        (json.dumps(ANSWER | {"caption": ["a"]}), "wrong_shape"),
        (json.dumps(ANSWER | {"action": "..."}), "no_action"),
        (json.dumps(ANSWER | {"objects": [1, ""], "relations": []}), "no_objects"),
        (json.dumps({k: v for k, v in ANSWER.items() if k != "caption"}), "no_caption"),
    ],
)
def test_what_cannot_be_used_is_a_failure_of_a_kind(text, kind):
    found = parse(text)
    assert isinstance(found, Failure)
    assert found.kind == kind, found
    assert text.strip()[:5] in found.detail


@pytest.mark.parametrize("text", [PLAIN, PLAIN[:-20], f"{PLAIN} And"])
def test_nothing_of_an_answer_that_is_cut_off_is_used(text):
    found = parse(text, cut_off=True)
    assert isinstance(found, Failure)
    assert found.kind == "cut_off"


def test_a_part_of_an_answer_that_is_cut_off_is_not_taken_for_it():
    nested = '{"scene": {"subject": "dog", "color": "red"}, "objects": ["dog'
    assert parse(nested).kind != "cut_off"
    assert isinstance(parse(nested), Failure)


def test_triplets_of_another_length_are_left_out_and_their_ends_with_them():
    relations = [
        ["cat", "on"],
        ["cat", "on", "the", "mat"],
        ["cat", "", "mat"],
        "cat on mat",
        ["a", 1, "b"],
    ]
    found = parse(json.dumps(ANSWER | {"relations": [*relations, ["dog", "by", "bike"]]}))
    assert found.relations == (("dog", "by", "bike"),)
    assert found.objects == ("person 1", "person 2", "bike", "dog")


def test_more_than_was_asked_for_is_left_out_but_for_what_relations_name():
    relations = [["a", "on", "b"], ["a", "on", "b"], ["c", "on", "d"], ["e", "on", "f"]]
    answer = ANSWER | {"objects": ["a", "a", "x", "y"], "relations": relations}
    found = parse(json.dumps(answer), max_objects=2, max_relations=2)
    assert found.relations == (("a", "on", "b"), ("c", "on", "d"))
    assert found.objects == ("a", "x", "b", "c", "d")


def test_names_are_normalized():
    assert normalize_answer("  Traffic_Light. ") == "traffic light"
    assert normalize_answer("'T-shirt'") == "t-shirt"
    assert normalize_answer("cafe\u0301") == "caf\u00e9"


def test_the_schema_allows_what_is_asked_for_and_no_more():
    wanted = schema(2, 1)
    good = {"caption": "c", "action": "a", "objects": ["x", "y"], "relations": [["x", "on", "y"]]}
    jsonschema.validate(good, wanted)
    for bad in (
        good | {"objects": ["x", "y", "z"]},
        good | {"objects": []},
        good | {"relations": [["x", "on", "y"]] * 2},
        good | {"relations": [["x", "on"]]},
        good | {"relations": [["x", "on", "a", "y"]]},
        good | {"more": 1},
        {key: good[key] for key in ("caption", "action", "objects")},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, wanted)
    # What satisfies the schema can be read.
    assert isinstance(parse(json.dumps(good)), Caption)


def test_the_prompt_names_the_limits():
    text = prompt(CaptionSettings(max_objects=7, max_relations=9))
    assert "at most 7 names" in text
    assert "at most 9 lists" in text
    assert all(f'"{key}"' in text for key in schema(7, 9)["properties"])
    own = CaptionSettings(prompt='Answer {"objects": [...]} of at most {max_objects}.')
    assert prompt(own) == 'Answer {"objects": [...]} of at most 10.'
