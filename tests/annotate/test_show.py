"""What `show` says of a photo beside its picture."""

from scenarioclip_jax.annotate.show import told

NEGATIVES = [
    ["table", "on", "dog", "swapped"],
    ["dog", "below", "table", "predicate"],
    ["cat", "on", "table", "subject"],
]
OUTPUTS = {
    "caption": {
        "action": "resting",
        "objects": ["dog", "table", "lamp"],
        "relations": [["dog", "on", "table"]],
        "caption": "A dog on a table.",
    },
    "detect": {
        "boxes": [
            {"name": "dog", "box": [10, 20, 40, 60], "score": 0.9},
            {"name": "table", "box": [5, 50, 45, 80], "score": 0.8},
        ]
    },
    "regions": {
        "objects": [{"box": 0, "name": "dog"}, {"box": 1, "name": "table"}],
        "relations": [{"subject": 0, "predicate": "on", "object": 1, "fit": 1.0}],
        "dropped": [],
    },
    "negatives": {
        "relations": [{"negatives": NEGATIVES, "paraphrases": [["table", "supporting", "dog"]]}]
    },
}


def lines(**more):
    return [line.strip() for line in told(OUTPUTS | more, (100, 100)).splitlines()]


def test_a_negative_says_which_rule_refutes_it():
    found = lines()
    assert found[found.index("RELATIONS") + 1 :] == [
        "dog on table",
        "not (swapped, by graph): table on dog",
        "not (predicate, by boxes): dog below table",
        "not (subject, by names): cat on table",
        "also: table supporting dog",
    ]


def test_what_nothing_refutes_says_so():
    """As negatives of the method `published` may be."""
    lamp = {"negatives": [["dog", "on", "lamp", "object"]], "paraphrases": []}
    assert "not (object, by nothing): dog on lamp" in lines(negatives={"relations": [lamp]})


def test_the_verifier_is_told_and_what_it_dropped_is_under_left_out():
    verify = {
        "relations": [{"negatives": NEGATIVES[1:], "paraphrases": [["table", "under", "dog"]]}],
        "asked": [
            ["table", "on", "dog", "true"],
            ["dog", "below", "table", "false"],
            ["cat", "on", "table", "unsure"],
            ["table", "supporting", "dog", "false"],
            ["table", "under", "dog", "unanswered"],
        ],
        "removed": [["negative_swapped_true", "table on dog"]],
    }
    validate = {"scene": None, "removed": verify["removed"]}
    text = " ".join(lines(verify=verify, validate=validate))
    assert "not (predicate, by boxes and verifier): dog below table" in text
    assert "not (subject, by names; verifier: unsure): cat on table" in text
    assert "swapped, by" not in text
    assert "also (verifier: unanswered): table under dog" in text
    assert "supporting" not in text
    assert "LEFT OUT negative_swapped_true: table on dog" in text


def test_the_action_of_the_folder_stands_in_place_of_the_captioners():
    assert "ACTION resting" in told(OUTPUTS, (100, 100)).splitlines()
    text = " ".join(told(OUTPUTS, (100, 100), "long jump").split())
    assert "ACTION long jump (of the video's folder; the captioner says: resting)" in text


def test_stages_without_a_result_come_first_and_nothing_else_is_needed():
    assert told({}, (9, 9), "", ["caption failed (not_json): …"]) == "caption failed (not_json): …"
