"""An edit becomes a scene that the format allows, or the page is told what is wrong and where."""

import copy
import math

import pytest

from scenarioclip_jax.annotate.review.edits import EMPTY, edited

SIZE = (640, 480)
MASK = {"size": [480, 640], "counts": "0"}
BASE = {
    "action": "Walking a Dog",
    "captions": ["A man walks\this dog."],
    "objects": [
        {"name": "Man", "box": [10.004, 20, 110, 300], "score": 0.9, "mask": MASK},
        {"name": "leash", "box": [60, 150, 200, 220], "score": 0.5, "mask": MASK},
        {"name": "dog", "box": [200, 200, 400, 400.3], "score": 0.8, "attributes": ["small"]},
    ],
    "relations": [
        {
            "subject": 0,
            "predicate": "holding",
            "object": 1,
            "negatives": [
                ["leash", "holding", "man", "swapped"],
                ["man", "on", "leash", "predicate"],
            ],
            "paraphrases": [["leash", "held by", "man"]],
        },
        {
            "subject": 2,
            "predicate": "near",
            "object": 0,
            "negatives": [["dog", "under", "man", "predicate"], ["man", "holding", "dog", "other"]],
        },
    ],
}


def sent(**changes):
    """What the page sends of BASE when nothing was touched, with changes."""
    values = {
        "action": BASE["action"],
        "captions": list(BASE["captions"]),
        "objects": [
            {"name": thing["name"], "box": [round(x, 2) for x in thing["box"]], "from": i}
            for i, thing in enumerate(BASE["objects"])
        ],
        "relations": [
            {k: r[k] for k in ("subject", "predicate", "object")} | {"from": i}
            for i, r in enumerate(BASE["relations"])
        ],
    }
    return copy.deepcopy(values) | changes


def problems(values):
    found = edited(values, BASE, SIZE)
    assert found.scene is None
    return {each.where: each.what for each in found.problems}


def test_what_nobody_touched_stays_to_the_letter():
    before = copy.deepcopy(BASE)
    found = edited(sent(), BASE, SIZE)
    assert found == (BASE, [], [])
    assert before == BASE


def test_a_changed_box_loses_its_mask_and_only_its_own():
    values = sent()
    values["objects"][0]["box"] = [12, 20, 110, 300]
    scene, _, notes = edited(values, BASE, SIZE)
    assert scene["objects"][0] == {"name": "Man", "box": [12, 20, 110, 300], "score": 0.9}
    assert scene["objects"][1:] == BASE["objects"][1:]
    assert scene["relations"] == BASE["relations"]
    assert notes == ["the mask of Man, whose box has changed"]


def test_a_new_name_is_normal_and_drops_the_texts_of_its_relations():
    values = sent()
    values["objects"][0]["name"] = "  Old\tMAN "
    scene, _, notes = edited(values, BASE, SIZE)
    assert scene["objects"][0]["name"] == "old man"
    assert scene["objects"][0]["mask"] == MASK
    assert not any({"negatives", "paraphrases"} & set(each) for each in scene["relations"])
    assert len(notes) == 3
    assert all("which was changed" in note for note in notes)


def test_a_new_predicate_drops_the_texts_of_its_relation_only():
    values = sent()
    values["relations"][0]["predicate"] = "dropping"
    scene, _, _ = edited(values, BASE, SIZE)
    assert set(scene["relations"][0]) == {"subject", "predicate", "object"}
    assert scene["relations"][1] == BASE["relations"][1]


@pytest.mark.parametrize(
    "relation",
    [
        {"subject": 2, "predicate": "under", "object": 0, "from": None},
        {
            "subject": 2,
            "predicate": "beneath",
            "object": 0,
            "from": None,
        },  # the same in other words
        {"subject": 0, "predicate": "above", "object": 2, "from": None},  # the other way around
    ],
)
def test_negatives_that_became_true_go(relation):
    values = sent()
    values["relations"].append(relation)
    scene, _, notes = edited(values, BASE, SIZE)
    assert scene["relations"][1]["negatives"] == [["man", "holding", "dog", "other"]]
    assert scene["relations"][0] == BASE["relations"][0]
    assert notes == ["1 negative of “dog near Man”, true of the scene now"]


def test_what_was_doubtful_before_the_edit_is_not_the_edits_business():
    base = copy.deepcopy(BASE)
    base["relations"][1]["negatives"].append(["dog", "near", "man", "other"])  # the relation itself
    values = sent()
    values["objects"][0]["box"] = [12, 20, 110, 300]
    scene, _, _ = edited(values, base, SIZE)
    assert scene["relations"] == base["relations"]


def test_objects_are_removed_and_added_with_relations_by_their_new_places():
    values = sent()
    del values["objects"][0]
    values["objects"].append({"name": "fence", "box": [0, 0, 640, 480], "from": None})
    values["relations"] = [{"subject": 1, "predicate": "behind", "object": 2, "from": None}]
    scene, _, _ = edited(values, BASE, SIZE)
    assert [thing["name"] for thing in scene["objects"]] == ["leash", "dog", "fence"]
    assert scene["objects"][1] == BASE["objects"][2]
    assert scene["objects"][2] == {"name": "fence", "box": [0, 0, 640, 480]}
    assert scene["relations"] == [{"subject": 1, "predicate": "behind", "object": 2}]


def test_texts_of_the_whole_photo_are_edited_or_taken_away():
    scene, _, _ = edited(sent(action="", captions=[]), BASE, SIZE)
    assert "action" not in scene
    assert "captions" not in scene
    scene, _, _ = edited(sent(action=" Running ", captions=["A  Dog. "]), BASE, SIZE)
    assert (scene["action"], scene["captions"]) == ("running", ["A Dog."])


def test_a_photo_without_a_scene_gets_one():
    values = {"objects": [{"name": "dog", "box": [0, 0, 9, 9], "from": None}]}
    scene, _, _ = edited(values, EMPTY, SIZE)
    assert scene == {"objects": [{"name": "dog", "box": [0, 0, 9, 9]}], "relations": []}
    assert EMPTY == {"objects": [], "relations": []}


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ([-1, 0, 9, 9], "leaves the photo of 640 x 480 pixels"),
        ([0, 0, 641, 9], "leaves the photo"),
        ([0, 0, 9, 480.1], "leaves the photo"),
        ([9, 0, 9.5, 9], "has no area"),
        ([9, 9, 5, 20], "has no area"),
        ([0, 0, 9], "four numbers"),
        ([0, 0, 9, math.nan], "four numbers"),
        ([0, 0, 9, math.inf], "four numbers"),
        ([0, 0, 9, 10**400], "four numbers"),
        ([0, 0, 9, True], "four numbers"),
        ([0, 0, 9, "9"], "four numbers"),
        (None, "four numbers"),
    ],
)
def test_boxes_lie_in_the_photo_and_have_area(box, what):
    values = sent()
    values["objects"][1]["box"] = box
    found = problems(values)
    assert list(found) == ["objects/1/box"]
    assert what in found["objects/1/box"]


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        (lambda v: v["objects"][1].update(name=" \u200b "), "objects/1/name", "is empty"),
        (lambda v: v["objects"][1].update(name=7), "objects/1/name", "should be a text"),
        (lambda v: v["objects"][1].update(name="\ud800"), "objects/1/name", "half of a character"),
        (lambda v: v["objects"][1].update(name="x" * 201), "objects/1/name", "longer than 200"),
        (lambda v: v["objects"][1].update({"from": 3}), "objects", "reload"),
        (lambda v: v["objects"][1].update({"from": True}), "objects", "reload"),
        (lambda v: v["relations"][0].update(predicate=""), "relations/0/predicate", "is empty"),
        (lambda v: v["relations"][0].update(object=3), "relations/0/object", "isn't there"),
        (lambda v: v["relations"][0].update(subject=-1), "relations/0/subject", "isn't there"),
        (lambda v: v["relations"][0].update(subject=None), "relations/0/subject", "isn't there"),
        (lambda v: v["relations"][0].update(object=0), "relations/0/object", "are the same"),
        (lambda v: v["relations"].append(dict(v["relations"][1])), "relations/2", "twice"),
        (lambda v: v.update(captions=["", "x"]), "captions/0", "is empty"),
        (lambda v: v.update(captions="x"), "captions", "should be a list"),
        (lambda v: v.update(objects={}), "objects", "should be a list"),
        (lambda v: v.update(objects=[7]), "objects/0", "should be an object"),
        (lambda v: v.update(action=None), "action", "should be a text"),
        (
            lambda v: v.update(action="", captions=[], objects=[], relations=[]),
            "objects",
            "drop it instead",
        ),
    ],
)
def test_what_is_wrong_is_told_by_its_place(change, where, what):
    values = sent()
    change(values)
    found = problems(values)
    assert what in found[where]


@pytest.mark.parametrize("values", [None, [], "scene", 7])
def test_something_else_than_a_scene_is_refused(values):
    assert "isn't an object" in problems(values)[""]
