"""What refutes a text: the rule that does is told."""

import pytest

from scenarioclip_jax.words.facts import Facts

# A dog on a table, in the left half; a man to the right of them, whose place nobody knows.
FACTS = Facts(
    ["dog", "table", "man"],
    [(10, 20, 40, 60), (5, 50, 45, 80), None],
    [(0, "on", 1), (2, "looking at", 0)],
    (100, 100),
)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("dog|on|table", ()),  # the graph says it
        ("dog|beside|man", ()),  # nobody knows
        ("dog|right of|table", ()),  # level, so that somebody may say so
        ("dog|below|table", ("boxes",)),
        ("table|on|dog", ("graph",)),
        ("dog|under|table", ("boxes",)),
        ("table|chasing|dog", ("predicates",)),  # it can't
        ("man|looking away from|dog", ("predicates",)),  # since he looks at it
        ("cat|on|table", ("names",)),
        ("dog|on|dog", ("names",)),  # there is only one
    ],
)
def test_the_rule_that_refutes_a_text_is_told(text, reasons):
    subject, predicate, object_ = text.split("|")
    assert FACTS.why_false((subject, predicate, object_)) == reasons
    assert FACTS.refute((subject, predicate, object_)) == bool(reasons)


def test_all_pairs_that_a_text_may_mean_have_to_be_refuted():
    two = FACTS._replace(
        objects=["dog 1", "dog 2", "table"],
        boxes=[(10, 20, 40, 60), None, (5, 50, 45, 80)],
        graph=[(0, "on", 2)],
    )
    assert two.why_false(("table", "on", "dog")) == ()
    both = two._replace(graph=[(0, "on", 2), (1, "on", 2)])
    assert both.why_false(("table", "on", "dog")) == ("graph",)
    apart = both._replace(boxes=[(10, 0, 20, 5), *two.boxes[1:]])
    assert apart.why_false(("table", "on", "dog")) == ("boxes", "graph")
