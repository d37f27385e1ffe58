"""Negatives that are false of the photo as far as its graph and its boxes tell, and paraphrases.

How certain each kind is:

- `swapped` and `predicate`: false by meaning (a predicate that excludes what the graph says of the pair) or by
  the boxes, for every pair of objects that the text may mean. Wrong where the graph is, or where an object was
  missed that has the same name.
- `object`, `subject` with the name of something in the photo: the same.
- `object`, `subject` with another name: false if nothing by that name, nor anything that a reader may call
  so, is in the photo. Wrong where the caption and the detector left it out. So things that are in most photos
  without being named (parts, ground, sky, shirts) are never used.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.words import nouns, predicates
from scenarioclip_jax.words.box_rules import Box
from scenarioclip_jax.words.facts import Fact, Facts
from scenarioclip_jax.words.names import plural_of, read_name

# Tried beside a predicate's opposites and the photo's own predicates; kept where boxes show that they
# are false.
_PLACES = ("left of", "right of", "above", "below", "inside", "on", "next to")
_MOVED = {"vehicle", "toy", "thing of cloth", "animal"}  # what somebody flies or drives


class Negative(NamedTuple):
    """A triplet that is false of the photo.

    Attributes:
      triplet: Subject, predicate, object.
      kind: How it differs from its relation, one of `scene.NEGATIVE_KINDS`.
    """

    triplet: Triplet
    kind: str


def negatives(
    relation: Fact,
    objects: Sequence[str],
    boxes: Sequence[Box | None],
    graph: Sequence[Fact],
    size: tuple[int, int],
    *,
    id: str,
    position: int,
    count: int,
    seed: int,
) -> list[Negative]:
    """Returns up to `count` different negatives of a relation, as many of each kind as there are.

    They are a pure function of the arguments: the order is drawn by SHA-256 of seed, id, position and text.

    Args:
      relation: Index of the subject, predicate, index of the object.
      objects: Names of all objects of the photo. Add those that were named but not found, too.
      boxes: Their boxes in pixels; None where nothing was found.
      graph: All relations of the photo; `relation` is one of them.
      size: Width and height of the photo, in pixels.
      id: The photo's id.
      position: Place of the relation among the photo's relations.
      count: Most negatives.
      seed: Seed of what is drawn.
    """
    facts = Facts(objects, boxes, [*graph, relation], size)
    subject, predicate, object_ = relation
    own = (objects[subject], predicate, objects[object_])

    def drawn(texts: Iterable[str]) -> list[str]:
        def key(text: str) -> bytes:
            drawn_by = f"{seed}\n{id}\n{position}\n{text}"
            return hashlib.sha256(drawn_by.encode()).digest()

        return sorted(dict.fromkeys(texts), key=key)

    # A bus may be said to be on its bus wheels.
    related = nouns.part_of_name(facts.noun(own[0]), facts.noun(own[2]))
    apart = own[0] != own[2] and not (related and predicates.same(predicate, "on"))
    pools: dict[str, Iterable[Triplet]] = {  # only as many of each are made as are asked for
        "swapped": [(own[2], predicate, own[0])] if apart else [],
        "predicate": ((own[0], p, own[2]) for p in _other_predicates(own, facts, drawn)),
        "object": ((*own[:2], name) for name in _other_names(2, own, facts, drawn)),
        "subject": ((name, *own[1:]) for name in _other_names(0, own, facts, drawn)),
    }
    return _balanced(pools, facts, count)


def paraphrases(triplet: Triplet, count: int | None = None) -> list[Triplet]:
    """Returns up to `count` other triplets that say what this one says, or a little less; the inverse first.

    None: all of them.
    """
    subject, predicate, object_ = triplet
    back = predicates.inverse(predicate)
    if back == "behind" and nouns.may_face(*(read_name(end).noun for end in (subject, object_))):
        back = None
    if predicates.same(predicate, "flying") or predicates.same(predicate, "driving"):
        # A kite is flown; the sky that a helicopter is flying (through), or the bridge below it, isn't.
        back = back if _MOVED & set(nouns.categories(read_name(object_).noun)) else None
    forward = [(subject, text, object_) for text in predicates.wordings(predicate)]
    backward = []
    if back is not None and subject != object_:
        texts = dict.fromkeys((back, *predicates.wordings(back)))
        if back == "has" and read_name(object_).plural:
            texts = {"have": None}
        backward = [(object_, text, subject) for text in texts]
    found = backward[:1] + forward + backward[1:]
    return [t for t in dict.fromkeys(found) if t != triplet][:count]


def _balanced(pools: dict[str, Iterable[Triplet]], facts: Facts, count: int) -> list[Negative]:
    """One of each kind in turn, as long as there are any."""
    found: list[Negative] = []
    rest = {kind: iter(pool) for kind, pool in pools.items()}
    while rest and len(found) < count:
        for kind in list(rest):
            taken = {negative.triplet for negative in found}
            triplet = next((t for t in rest[kind] if t not in taken and facts.refute(t)), None)
            if triplet is None:
                del rest[kind]
            elif len(found) < count:
                found.append(Negative(triplet, kind))
    return found


def _other_predicates(
    own: Triplet, facts: Facts, drawn: Callable[[Iterable[str]], list[str]]
) -> list[str]:
    """Predicates to try: first what excludes the true one, then the photo's own, then places."""
    of_person = nouns.is_person(read_name(own[0]).noun)
    tiers = (
        predicates.opposites(own[1], of_person),
        [predicates.clean(p) for _, p, _ in facts.graph],
        _PLACES,
    )
    ordered = dict.fromkeys(p for tier in tiers for p in drawn(tier))
    acts: dict[str | None, bool | None] = {
        end: nouns.can_act(read_name(name).noun)
        for end, name in (("subject", own[0]), ("object", own[2]))
    }
    # Nobody has to be told that a plate doesn't chase anything.
    return [
        p
        for p in ordered
        if not predicates.same(p, own[1]) and acts.get(predicates.needs_actor(p)) is not False
    ]


def _other_names(
    end: int, own: Triplet, facts: Facts, drawn: Callable[[Iterable[str]], list[str]]
) -> Iterator[str]:
    """Names to try in the place of an end: other objects of the photo, another color, a thing of its kind."""
    name = read_name(own[end])
    here = [
        other
        for other in facts.objects
        if not any(nouns.could_name(facts.noun(other), facts.noun(kept)) for kept in own[::2])
    ]

    def gone(found: Iterable[str]) -> Iterator[str]:
        noun_of = {plural_of(noun) if name.plural else noun: noun for noun in found}
        # Whether something is absent takes longest to find out, and few are asked for.
        yield from (text for text in drawn(noun_of) if facts.absent(noun_of[text]))

    in_one_place = end == 2 and predicates.in_one_place(own[1])
    siblings = nouns.siblings(name.noun, in_one_place)
    usual = predicates.usual_objects(own[1]) if end == 2 else ()
    tiers = (drawn(here), gone(nouns.recolored(name.noun)), gone(usual), gone(siblings))
    seen = set()
    for text in itertools.chain.from_iterable(tiers):
        if text not in seen:
            seen.add(text)
            yield text
