"""What follows from decisions: undo, merging, agreement, and those on scenes that were made anew."""

import shutil

from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax.annotate.review.decisions import Decision
from scenarioclip_jax.annotate.review.reviews import Dropped, Reviews

SCENE = {"objects": [{"name": "dog", "box": [0, 0, 9, 9]}], "relations": []}
OTHER = {"objects": [], "relations": [], "action": "running"}


def of(folder, id="a", digest="d"):
    reviews = Reviews(folder)
    found = reviews.of(id, digest)
    reviews.close()
    return found


def test_each_action_has_its_result(tmp_path, say):
    say("ann", ("a", "d", "keep"), ("b", "d", "drop"), ("c", "d", "edit", SCENE))
    reviews = Reviews(tmp_path)
    assert reviews.of("a", "d") is None
    assert reviews.of("b", "d") == Dropped("ann")
    assert reviews.of("c", "d") == SCENE
    assert reviews.of("unknown", "d") is None
    reviews.of("b", "d")  # asked twice, counted once
    assert reviews.counts() == {"keep": 1, "drop": 1, "edit": 1}


def test_undo_takes_back_the_last_decision_of_its_reviewer_on_that_photo(tmp_path, say):
    say("ann", ("a", "d", "edit", SCENE), ("a", "d", "drop"), ("b", "d", "drop"))
    assert of(tmp_path) == Dropped("ann")
    say("ann", ("a", "d", "undo"))
    assert of(tmp_path) == SCENE
    assert of(tmp_path, "b") == Dropped("ann")
    say("ann", ("a", "d", "undo"))
    assert of(tmp_path) is None
    say("ben", ("b", "d", "undo"))
    assert of(tmp_path, "b") == Dropped("ann"), "a reviewer takes back what another decided"


def test_the_latest_decision_counts(tmp_path, say):
    say("ben", ("a", "d", "drop"))
    say("ann", ("a", "d", "edit", SCENE))
    assert of(tmp_path) == SCENE
    say("ben", ("a", "d", "keep"))
    assert of(tmp_path) is None
    say("ben", ("a", "d", "undo"))
    assert of(tmp_path) == SCENE


def test_decisions_on_a_scene_that_was_made_anew_are_shown_and_counted_but_do_not_count(
    tmp_path, say
):
    say("ann", ("a", "old", "drop"), ("b", "old", "drop"), ("b", "new", "keep"))
    say("ann", ("gone", "old", "drop"))
    reviews = Reviews(tmp_path)
    assert reviews.of("a", "new") is None
    assert reviews.of("b", "new") is None
    assert reviews.counts() == {"keep": 1, "stale": 2}
    assert [each.action for each in reviews.stale("a", "new")] == ["drop"]
    assert reviews.of("a", "old") == Dropped("ann"), "it is back, and so is what was decided"


def test_agreement_is_of_what_two_or_more_decided(tmp_path, say):
    say("ann", *((id, "d", "keep") for id in "abc"), ("e", "d", "edit", SCENE))
    say("ann", ("f", "d", "edit", SCENE), ("g", "d", "drop"))
    say("ben", ("a", "d", "keep"), ("b", "d", "drop"), ("e", "d", "edit", dict(SCENE)))
    say("ben", ("f", "d", "edit", OTHER), ("h", "d", "drop"))
    reviews = Reviews(tmp_path)
    ids = [(id, "d") for id in "abcefgh"]
    assert reviews.agreement(iter(ids)) == (4, 2)  # alike on a and e, not on b and f
    say("cem", ("a", "d", "drop"))
    reviews.refresh()
    assert reviews.agreement(iter(ids)) == (4, 1)


def test_files_of_other_machines_are_merged_by_copying_them(tmp_path, say):
    here, there = tmp_path / "here", tmp_path / "there"
    say("ann", ("a", "d", "keep"), folder=here)
    reviews = Reviews(here)
    say("ben", ("a", "d", "drop"), ("b", "d", "drop"), folder=there)
    shutil.copy(there / "review/ben.jsonl", here / "review")
    assert reviews.refresh() == {"a", "b"}
    assert reviews.reviewers == ["ann", "ben"]
    assert reviews.of("a", "d") == Dropped("ben")
    say("ben", ("a", "d", "undo"), folder=there)
    (here / "review/ben.jsonl").unlink()
    shutil.copy(there / "review/ben.jsonl", here / "review")  # a newer copy
    assert reviews.refresh() >= {"a"}
    assert reviews.of("a", "d") is None
    (here / "review/ben.jsonl").unlink()
    assert reviews.refresh() >= {"b"}
    assert reviews.of("b", "d") is None
    assert reviews.refresh() == set()


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["keep", "drop", "undo"])), max_size=30
    )
)
def test_any_order_of_decisions_gives_what_a_stack_gives(said):
    """Against the plainest way to say it: go through all lines of a reviewer each time."""
    reviews = Reviews.__new__(Reviews)
    reviews._stacks, reviews._readers, reviews._applied = {}, {}, {}
    for at, (reviewer, action) in enumerate(said):
        reviews._add(Decision("x", "d", action, at, reviewer, "", 0))
    stands = {}
    for name in "ab":
        own = []
        for at, (reviewer, action) in enumerate(said):
            if reviewer == name:
                own = own[:-1] if action == "undo" else [*own, (at, action)]
        if own:
            stands[name] = own[-1]
    latest = max(stands.values(), default=None)
    standing = reviews.standing("x", "d")
    assert {each.reviewer: (each.at, each.action) for each in standing} == stands
    expected = latest and latest[1] == "drop"
    assert isinstance(reviews.of("x", "d"), Dropped) == bool(expected)


def test_no_decisions_no_folder(tmp_path):
    reviews = Reviews(tmp_path)
    assert reviews.counts() == {}
    assert reviews.agreement(iter([("a", "d")])) == (0, 0)
    assert not list(tmp_path.iterdir())
