"""How hard the embedded scenes are."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeVar

End = TypeVar("End")  # an object, its name or its index


class Tier(NamedTuple):
    """What scenes are made of.

    Attributes:
      relations: How many relations are annotated: at least the first number, fewer than the second.
      bystanders: How many objects are added outside of the arrangement: at least the first number, fewer than
        the second. The first one, and half of the others, have the name of an object that is there already.
      inverses: The share of relations that are told from the other end, "B below A" for "A above B".
      sentences: Whether the caption has a sentence for each relation; otherwise it is one sentence that tells
        the first.
    """

    relations: tuple[int, int] = (2, 5)
    bystanders: tuple[int, int] | None = None
    inverses: float = 0.0
    sentences: bool = False


# In the hard tier a name alone tells no object, and a predicate alone tells no order.
TIERS: Mapping[str, Tier] = MappingProxyType(
    {"plain": Tier(), "hard": Tier((3, 7), bystanders=(2, 4), inverses=0.5, sentences=True)}
)
INVERSES: Mapping[str, str] = MappingProxyType(
    {
        "inside": "containing",
        "covering": "covered by",
        "dwarfing": "dwarfed by",
        "left of": "right of",
        "above": "below",
        "above left of": "below right of",
        "above right of": "below left of",
    }
)
_PLAIN = {inverse: predicate for predicate, inverse in INVERSES.items()}


def from_one_end(subject: End, predicate: str, object_: End) -> tuple[End, str, End]:
    """A relation with the predicate that the plain tier has: "B below A" as "A above B"."""
    if predicate in _PLAIN:
        return object_, _PLAIN[predicate], subject
    return subject, predicate, object_


def from_other_end(subject: End, predicate: str, object_: End) -> tuple[End, str, End]:
    """The same relation told from its other end: "A above B" as "B below A"."""
    return object_, INVERSES[predicate], subject
