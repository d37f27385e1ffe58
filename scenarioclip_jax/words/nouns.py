"""What nouns mean: which may name the same thing, who can act, and what stands in the place of another.

The knowledge is data in `noun_table.py`. Nouns are in the singular, as `names.read_name` gives them.
"""

import functools
from collections.abc import Iterable

from scenarioclip_jax.words import noun_table as table


def _lines(text: str) -> list[list[str]]:
    lines = (line.removeprefix("-").split() for line in _stripped(text))
    return [[word.replace("_", " ") for word in line] for line in lines]


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _replacements(text: str) -> list[list[str]]:
    """The lines whose first word may stand in the place of another thing."""
    return _lines("\n".join(line for line in _stripped(text) if not line.startswith("-")))


_LINES = {category: _lines(text) for category, text in table.CATEGORIES.items()}
_REPLACEMENTS = {c: _replacements(text) for c, text in table.CATEGORIES.items()}
_BROAD = {c: frozenset(w.replace("_", " ") for w in t.split()) for c, t in table.BROAD.items()}
_FIXED = frozenset(word.replace("_", " ") for word in table.FIXED)
_COLORS = {kind: _lines(text) for kind, text in table.ATTRIBUTES.items()}
_NAMED = frozenset(w for lines in _LINES.values() for line in lines for w in line)


def _places() -> dict[str, list[tuple[str, int]]]:
    """Where each word stands: its categories and lines."""
    places: dict[str, list[tuple[str, int]]] = {}
    for category, lines in _LINES.items():
        for number, line in enumerate(lines):
            for word in line:
                places.setdefault(word, []).append((category, number))
    return places


_PLACES = _places()


@functools.lru_cache(maxsize=1 << 14)
def split_noun(noun: str) -> tuple[tuple[str, ...], str]:
    """Modifiers and head: "small red tennis racket" is (("small", "red"), "tennis racket")."""
    words = noun.split(" of ")[0].split()
    for start in range(len(words)):
        head = " ".join(words[start:])
        if head in _NAMED or head in _FIXED or head in table.PEOPLE:
            return tuple(words[:start]), head
    return tuple(words[:-1]), words[-1] if words else ""


def head_of(noun: str) -> str:
    return split_noun(noun)[1]


def is_person(noun: str) -> bool:
    """Whether a noun is that of a person, or may be."""
    head = head_of(noun)
    return head in table.PEOPLE or head.endswith(table.PEOPLE_ENDINGS)


def categories(noun: str) -> tuple[str, ...]:
    """The categories of the table that a noun is in; none if the table doesn't know it."""
    return tuple(dict.fromkeys(category for category, _ in _PLACES.get(head_of(noun), ())))


@functools.lru_cache(maxsize=1 << 14)
def can_act(noun: str) -> bool | None:
    """Whether a noun names people or animals; None if unknown, as with toys and statues."""
    found = categories(noun)
    if head_of(noun) in table.AMBIGUOUS:
        return None
    if is_person(noun) or {"animal", "bird"} & set(found):
        return True
    if head_of(noun) in _BROAD["animal"] | _BROAD["bird"]:
        return True
    if not found or "toy" in found or head_of(noun) in ("statue", "sculpture", "monument"):
        return None
    return False


def may_face(a: str, b: str) -> bool:
    """Whether each of two things may be in front of the other: one of them faces it, or is all around."""
    if head_of(a) in table.ALL_AROUND or head_of(b) in table.ALL_AROUND:
        return True
    actors = [can_act(noun) is True for noun in (a, b)]
    if not any(actors) or all(actors):
        return all(actors)
    other = b if actors[0] else a
    in_categories, things = table.BACKDROPS
    return head_of(other) not in things and not in_categories & set(categories(other))


@functools.lru_cache(maxsize=1 << 16)
def could_name(a: str, b: str) -> bool:
    """Whether a lenient reader may say noun `a` of a thing that is called `b`, or the other way round."""
    if a == b:
        return True
    (before_a, head_a), (before_b, head_b) = split_noun(a), split_noun(b)
    if any(_differ(x, y) for x in before_a for y in before_b) and not (
        set(before_a) & set(before_b)
    ):
        return False
    if is_person(a) and is_person(b):
        return not (
            (head_a in table.MALE and head_b in table.FEMALE)
            or (head_a in table.FEMALE and head_b in table.MALE)
        )
    if head_a == head_b or head_a.split()[-1] == head_b.split()[-1]:
        # A wine glass is a glass; a teddy bear isn't a bear, but a reader may say so.
        return True
    places_a, places_b = _PLACES.get(head_a, []), _PLACES.get(head_b, [])
    if set(places_a) & set(places_b):
        return True
    return any(head_a in _BROAD[category] for category, _ in places_b) or any(
        head_b in _BROAD[category] for category, _ in places_a
    )


@functools.lru_cache(maxsize=1 << 14)
def recolored(noun: str) -> tuple[str, ...]:
    """The noun with another attribute that excludes its own: "red circle" gives "green circle" and others."""
    before, head = split_noun(noun)
    if head in _FIXED or " of " in noun:
        return ()
    found = []
    for at, word in enumerate(before):
        for lines in _COLORS.values():
            own = [line for line in lines if word in line]
            for line in lines if own else ():
                if _differ(word, line[0]):
                    new = [*before[:at], line[0], *before[at + 1 :], head]
                    found.append(" ".join(new))
    known_words = sum(
        any(w in line for lines in _COLORS.values() for line in lines) for w in before
    )
    return tuple(found) if known_words == 1 else ()  # a black and white dog has no other color


def siblings(noun: str, in_one_place: bool = False) -> list[str]:
    """Other things of the noun's categories: "dog" gives "cat", "horse" and others.

    A noun with an attribute keeps it ("red car" gives "red bus"). Where things of a category are often
    together, what is out of place takes their place, unless `in_one_place`: what is on a table isn't on a bed,
    even if there is one.
    """
    before, head = split_noun(noun)
    if " of " in noun:
        return []
    kept = [w for w in before if any(w in line for lines in _COLORS.values() for line in lines)]
    if head in table.PEOPLE_SWAPS:
        return [" ".join([*kept, table.PEOPLE_SWAPS[head]])]
    found = []
    for own in categories(noun):
        away = () if in_one_place else table.OUT_OF_PLACE.get(own, ())
        for category in away or (own,):
            found += [line[0] for line in _REPLACEMENTS[category] if head not in line]
    return [" ".join([*kept, word]) for word in dict.fromkeys(found)]


def part_of_name(a: str, b: str) -> bool:
    """Whether one noun is named after the other, as "bus wheel" is after "bus"."""
    return head_of(a) in b.split() or head_of(b) in a.split()


def absent(noun: str, present: Iterable[str]) -> bool:
    """Whether a noun names nothing of a photo, as far as the names of what is in it tell.

    A person is absent only if nothing in the photo may be one.
    """
    others = list(present)
    if any(could_name(noun, other) for other in others):
        return False
    head = head_of(noun)
    # A "dog bowl" may be there because of a dog.
    if any(
        head in " ".join(split_noun(other)[0]) or f" {head}" in other
        for other in others
        if head_of(other) != head
    ):
        return False
    if is_person(noun):
        return all(is_person(other) or can_act(other) is not None for other in others)
    return True


def _differ(a: str, b: str) -> bool:
    """Whether two words are attributes of one kind that exclude each other: "red" and "blue"."""
    for lines in _COLORS.values():
        at_a = {n for n, line in enumerate(lines) if a in line}
        at_b = {n for n, line in enumerate(lines) if b in line}
        if at_a and at_b and not at_a & at_b:
            return True
    return False
