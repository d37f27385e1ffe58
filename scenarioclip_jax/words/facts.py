"""What is known of a photo: its objects, their boxes and its relations, and which triplets these refute."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.words import nouns, predicates
from scenarioclip_jax.words.box_rules import Box
from scenarioclip_jax.words.names import read_name

Fact = tuple[int, str, int]  # index of the subject, predicate, index of the object
# What shows that a text is false: no two things are called so; the table of predicates, by what the graph says
# or who can act; the boxes; the graph, which says it the other way round.
Reason = Literal["names", "predicates", "boxes", "graph"]


class Facts(NamedTuple):
    """What is known of a photo.

    Attributes:
      objects: Names, one for each object.
      boxes: Their boxes in pixels; None where the place is unknown.
      graph: All relations of the photo.
      size: Width and height of the photo, in pixels.
    """

    objects: Sequence[str]
    boxes: Sequence[Box | None]
    graph: Sequence[Fact]
    size: tuple[int, int]

    def named(self, name: str) -> list[int]:
        """Indices of all objects that a reader may call by this name."""
        noun = read_name(name).noun
        return [
            i for i, other in enumerate(self.objects) if nouns.could_name(noun, self.noun(other))
        ]

    def noun(self, name: str) -> str:
        return read_name(name).noun

    def refute(self, triplet: Triplet) -> bool:
        """Whether a text is false of the photo: of each pair of objects that it may mean.

        What isn't known isn't false. A text that names what isn't there is false.
        """
        return bool(self.why_false(triplet))

    def why_false(self, triplet: Triplet) -> tuple[Reason, ...]:
        """What refutes a text, each once, of the pairs of objects that it may mean; empty if it may be true."""
        subject, predicate, object_ = triplet
        pairs = [(i, j) for i in self.named(subject) for j in self.named(object_) if i != j]
        found: dict[Reason, None] = {}
        for i, j in pairs:
            reason = self._reason(i, predicate, j)
            if reason is None or self._may_be_true(i, predicate, j):
                return ()
            found[reason] = None
        return tuple(found) or ("names",)

    def absent(self, name: str) -> bool:
        """Whether a name is that of nothing in the photo, as far as the objects' names tell."""
        return nouns.absent(read_name(name).noun, [self.noun(other) for other in self.objects])

    def _between(self, i: int, j: int) -> list[str]:
        """The predicates of a pair, from `i` to `j`; inverses of those from `j` to `i` among them."""
        found = [p for s, p, o in self.graph if (s, o) == (i, j)]
        backward = [predicates.inverse(p) for s, p, o in self.graph if (s, o) == (j, i)]
        return found + [p for p in backward if p]

    def _may_be_true(self, i: int, predicate: str, j: int) -> bool:
        """Whether the graph says the triplet, or something of which a reader may conclude it."""
        if any(predicates.may_be_said(p, predicate) for p in self._between(i, j)):
            return True
        back = predicates.inverse(predicate)
        return back is not None and any(
            predicates.may_be_said(p, back) for p in self._between(j, i)
        )

    def _reason(self, i: int, predicate: str, j: int) -> Reason | None:
        """What shows that a predicate is false of a pair, the first that does; None if nothing does."""
        acts = [nouns.can_act(self.noun(self.objects[k])) for k in (i, j)]
        actor = predicates.needs_actor(predicate)
        if actor and acts[actor == "object"] is False:
            return "predicates"
        boxes = self.boxes[i], self.boxes[j]
        if boxes[0] is not None and boxes[1] is not None:
            if predicates.could_hold(predicate, boxes[0], boxes[1], self.size) is False:
                return "boxes"
        both_can_act = False not in acts
        if predicates.tells_depth(predicate) and nouns.may_face(
            *(self.noun(self.objects[k]) for k in (i, j))
        ):
            return None
        person = nouns.is_person(self.noun(self.objects[i]))
        if any(
            predicates.excludes(p, predicate, person, both_can_act) for p in self._between(i, j)
        ):
            return "predicates"
        # "Hanging from" has no inverse, but is false with its ends swapped.
        turned = any(
            (s, o) == (j, i)
            and predicates.same(p, predicate)
            and predicates.asymmetric(p, both_can_act)
            for s, p, o in self.graph
        )
        return "graph" if turned else None
