"""Groups of photos that belong together by more than one relation."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax.annotate.groups import joined

ids = st.sampled_from("abcdefghij")


def named(kind):
    return st.dictionaries(ids, st.sampled_from([f"{kind}{n}" for n in range(4)]))


@given(near=named("near"), video=named("video"))
def test_everything_linked_is_one_group_and_nothing_else(near, video):
    found = joined([near, video])
    assert found.keys() == near.keys() | video.keys()
    # Reached by walking from photo to photo, over either relation.
    for start in found:
        reached, waiting = set(), [start]
        while waiting:
            id = waiting.pop()
            if id not in reached:
                reached.add(id)
                for relation in (near, video):
                    if id in relation:
                        waiting += [o for o in relation if relation[o] == relation[id]]
        assert {id for id in found if found[id] == found[start]} == reached


@given(near=named("near"), video=named("video"))
def test_a_group_is_named_after_its_first_video(near, video):
    members = defaultdict(set)
    for id, name in joined([near, video]).items():
        members[name].add(id)
    for name, photos in members.items():
        videos = {video[id] for id in photos if id in video}
        assert name == min(videos or {near[id] for id in photos})


def test_the_order_of_photos_does_not_matter():
    near, video = {"a": "n1", "b": "n1", "c": "n2"}, {"b": "v2", "c": "v2", "d": "v1"}
    turned = [dict(reversed(each.items())) for each in (near, video)]
    assert joined([near, video]) == joined(turned)
    assert joined([near, video]) == {"a": "v2", "b": "v2", "c": "v2", "d": "v1"}
