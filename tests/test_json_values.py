"""Numbers of annotations, and what JSON has beside them."""

import json

import pytest

from scenarioclip_jax.json_values import is_number


@pytest.mark.parametrize("text", ["0", "-0.5", "1e8", "999999999"])
def test_a_number(text):
    assert is_number(json.loads(text))


@pytest.mark.parametrize(
    "text", ["true", "null", '"1"', "[1]", "NaN", "Infinity", "-Infinity", "1e9", "1" + 400 * "0"]
)
def test_not_a_number(text):
    assert not is_number(json.loads(text))
