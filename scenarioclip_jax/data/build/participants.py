"""Which objects of a photo a relation means, where a name occurs more than once."""

from collections.abc import Sequence
from typing import NamedTuple

from scenarioclip_jax.data.build.records import Box, RelationRecord
from scenarioclip_jax.data.photo_boxes import overlap

_SAME = 0.9  # intersection over union above which two boxes of one name are one thing, boxed twice

Object = tuple[str, Box] | None  # None: the object was left out


class Candidates(NamedTuple):
    """Pairs of boxes that (subject, object) of a relation can mean.

    Attributes:
      pairs: The pairs; at least one, unless a participant isn't among the objects that are left.
      indices: Which of the objects they are.
      named: Whether the annotation names the pair, so that there is only one.
      alone: Whether subject and object have the same name, and only one thing with that name is annotated.
      subjects: Number of distinct things that the subject can be.
      objects: Number of distinct things that the object can be.
    """

    pairs: list[tuple[Box, Box]]
    indices: list[tuple[int, int]]
    named: bool
    alone: bool
    subjects: int
    objects: int

    @property
    def ambiguous(self) -> bool:
        """Whether more than one pair of things can be meant."""
        return not self.named and not self.alone and self.subjects * self.objects > 1


def candidates(relation: RelationRecord, objects: Sequence[Object]) -> Candidates:
    """Returns all pairs that a relation can mean, without those that use one thing for both."""
    if relation.pair is not None:
        a, b = (objects[i] for i in relation.pair)
        if not (a and b):  # others of the same name aren't meant
            return Candidates([], [], True, False, 0, 0)
        return Candidates([(a[1], b[1])], [relation.pair], True, False, 1, 1)
    subject, _, object_ = relation.triplet
    boxes = {i: each[1] for i, each in enumerate(objects) if each}
    first = [i for i, each in enumerate(objects) if each and each[0] == subject]
    second = [i for i, each in enumerate(objects) if each and each[0] == object_]
    things = tuple(count([boxes[i] for i in some]) for some in (first, second))
    alone = False
    if subject != object_:
        indices = [(i, j) for i in first for j in second]
    else:
        # "person next to person" means two people; boxes that are about equal are one.
        indices = [
            (i, j) for i in first for j in first if i != j and overlap(boxes[i], boxes[j]) < _SAME
        ]
        alone = bool(first) and not indices
        indices = indices or [(i, i) for i in first[:1]]
    return Candidates([(boxes[i], boxes[j]) for i, j in indices], indices, False, alone, *things)


def count(boxes: Sequence[Box]) -> int:
    """Number of different things: boxes that are about equal count once."""
    things: list[Box] = []
    for box in boxes:
        if all(overlap(box, other) < _SAME for other in things):
            things.append(box)
    return len(things)


def nearest(pairs: Sequence[tuple[Box, Box]]) -> int:
    """Index of the pair whose centers are closest, since without an image related things are assumed near."""

    def distance(pair: tuple[Box, Box]) -> float:
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = pair
        return (ax0 + ax1 - bx0 - bx1) ** 2 + (ay0 + ay1 - by0 - by1) ** 2

    return min(range(len(pairs)), key=lambda i: distance(pairs[i]))
