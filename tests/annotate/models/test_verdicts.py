import json

import jsonschema
import pytest

from scenarioclip_jax.annotate.models.prompts import (
    VERIFY_PROMPT,
    verdict_schema,
    verify_prompt,
    with_statements,
)
from scenarioclip_jax.annotate.models.verdicts import parse_verdicts
from scenarioclip_jax.annotate.results import Failure
from scenarioclip_jax.annotate.settings import VerifySettings


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"1": "no", "2": "yes", "3": "unsure"}', "false true unsure"),
        ('```json\n{"1": "no", "2": "yes", "3": "unsure"}\n```', "false true unsure"),
        ('<think>{"1": "yes"}</think>{"1": "No.", "2": "YES", "3": false}', "false true false"),
        ('Of {these}: {"note": 1} {"3": "no", "1": true, "2": "True"}', "true true false"),
        ('{"1": "no", "2": "perhaps", "4": "yes"}', "false unanswered unanswered"),
        ('{"1": "no", "2": ["no"], "3": null}', "false unanswered unanswered"),
        ('{"1": "no", "2": 0, "3": "no, since the dog is red"}', "false unanswered unanswered"),
    ],
)
def test_what_is_said_counts_and_what_is_not_said_is_not_guessed(text, wanted):
    assert parse_verdicts(text, 3) == wanted.split()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        ("All are false.", "not_json"),
        ('["no", "no", "no"]', "wrong_shape"),
        ('{"answers": ["no", "no", "no"]}', "no_verdict"),
        ('{"1": "maybe"}', "no_verdict"),
        ('{"1": "no", "2": "n', "not_json"),
    ],
)
def test_answers_that_judge_nothing_are_failures(text, kind):
    found = parse_verdicts(text, 3)
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert text[:20] in found.detail


def test_an_answer_that_was_cut_off_is_a_failure_though_it_can_be_read():
    found = parse_verdicts('{"1": "no"}', 3, cut_off=True)
    assert isinstance(found, Failure)
    assert found.kind == "cut_off"


def test_the_schema_takes_whole_answers_alone():
    schema = verdict_schema(2)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"1": "no", "2": "unsure"}, schema)
    for wrong in ({"1": "no"}, {"1": "no", "2": "maybe"}, {"1": "no", "2": "no", "3": "no"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_prompt_shows_an_answer_that_can_be_read():
    example = VERIFY_PROMPT[VERIFY_PROMPT.rindex("{") :].rstrip(".")
    assert parse_verdicts(example, 3) == ["false", "true", "unsure"]
    assert set(json.loads(example)) == {"1", "2", "3"}


def test_statements_are_numbered_where_the_prompt_says():
    own = VerifySettings(prompt='Judge:\n{statements}\nAs {"1": "no"}.')
    text = with_statements(verify_prompt(own), ["dog on {statements}", "cat on mat"])
    assert text == 'Judge:\n1. dog on {statements}\n2. cat on mat\nAs {"1": "no"}.'
    assert "\n1. a\n" in with_statements(verify_prompt(VerifySettings()), ["a"])
