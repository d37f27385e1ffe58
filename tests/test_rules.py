"""(regex, value) lists."""

import pytest

from scenarioclip_jax.rules import match

PATHS = ["vision/stem/cls", "vision/trunk/out/kernel", "text/stem/token"]


def test_the_first_match_decides():
    values = match([(r"vision/stem/.*", 1), (r"vision/.*", 2), (".*", 3)], PATHS, name="x")
    assert values == dict(zip(PATHS, (1, 2, 3), strict=True))


def test_the_whole_path_must_match():
    with pytest.raises(ValueError, match="rules for x: no rule matches vision/stem/cls"):
        match([("stem", 1), ("text/.*", 1), (".*kernel", 1)], PATHS, name="x")


@pytest.mark.parametrize("rules", [(".*", True), (".*",), (("a", 1), ("b",)), ((1, ".*"),)])
def test_what_is_no_list_of_pairs_is_shown(rules):
    with pytest.raises(
        ValueError, match=r"rules for x: \(.* are not \(regex, value\) pairs; write"
    ):
        match(rules, PATHS, name="x")


def test_a_broken_regex_is_named():
    with pytest.raises(ValueError, match=r"rules for x: '\(' is not a regex"):
        match([("(", 1)], PATHS, name="x")
