"""Names of objects as language models write them: "person 2", "the second man", "two dogs"."""

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"),
    *("ninth", "tenth"),
)
# Here an ordinal is a part of the noun.
_AFTER_ORDINALS = frozenset("aid base baseman class floor hand lady national".split())
_DETERMINERS = frozenset(
    "a an the this that these those some another other several many multiple various few both "
    "his her its their".split()
)
# "A herd of elephants" is elephants; "a slice of pizza" is a slice.
_COLLECTIVES = frozenset(
    "bunch cluster couple crowd flock group herd lot lots number pack pair pairs pile row rows set "
    "stack team".split()
)
# They look like plurals, or are plurals that name one thing.
_ONE_THING = frozenset(
    "bellows binoculars canvas chaps christmas clothes earbuds earphones eyeglasses gas glasses "
    "goggles fries headphones jeans khakis lens leggings molasses overalls pajamas pants pliers "
    "pyjamas scissors series shears shorts slacks species stairs sunglasses suspenders sweatpants "
    "tights tongs trousers tweezers underpants waders".split()
)
_DRINKING = frozenset("beer champagne cocktail drinking empty juice shot water wine".split())
_SAME_IN_PLURAL = frozenset(
    "aircraft bison cattle deer elk fish luggage moose salmon sheep shrimp".split()
)

_UNCOUNTABLE = frozenset("broccoli corn cream garlic pasta paper rice sushi".split())


class Name(NamedTuple):
    """What the name of an object says.

    Attributes:
      noun: Lower case, in the singular, without articles and numbers.
      number: 2 for "person 2" and "the second person"; None without a number.
      plural: Whether it names several of them.
    """

    noun: str
    number: int | None
    plural: bool


@functools.lru_cache(maxsize=1)
def _english():
    import inflect  # here, because it takes a second, and most commands read no names

    return inflect.engine()


@functools.lru_cache(maxsize=1 << 16)
def read_name(text: str) -> Name:
    """Reads the name of an object. A text without any noun is its own noun."""
    cleaned = " ".join(re.sub(r"[_#()\[\]\"“”.,;:!?]+", " ", text.lower()).split())
    words, number, counted = cleaned.split(), None, False
    if len(words) > 1 and words[-1].isdecimal():
        number = int(words.pop())
    while len(words) > 1:
        if words[0] in _DETERMINERS:
            words.pop(0)
        elif words[0] in _ORDINALS and words[1] not in _AFTER_ORDINALS:
            number = _ORDINALS.index(words.pop(0)) + 1
        elif _is_count(words):
            counted = counted or words[0] not in ("one", "1")
            words.pop(0)
        else:
            break
    if not words:
        return Name("", None, False)
    if "of" in words[1:-1]:
        return _read_phrase(words, number, counted)
    noun, plural = _singular(words)
    return Name(noun, number, plural or counted)


def prompts(names: Iterable[str]) -> list[str]:
    """What a detector is asked for: the noun of each name, once, in order."""
    return list(dict.fromkeys(read_name(name).noun for name in names))


def plural_of(noun: str) -> str:
    """The plural of a noun in the singular; a pair, such as "glasses", stays."""
    *before, head = noun.split()
    if head in _ONE_THING or head in _SAME_IN_PLURAL or head in _UNCOUNTABLE:
        return noun
    return " ".join([*before, _english().plural_noun(head)])


def _is_count(words: list[str]) -> bool:
    """Whether the first word counts the rest: "two dogs", "2 sheep", but not "66 sign" or "two way sign"."""
    if words[0] not in _NUMBERS and not words[0].isdecimal():
        return False
    if words[0] in ("one", "1"):
        return words[1] != "way"
    return "of" in words[1:] or _singular(words[1:])[1] or words[-1] in _SAME_IN_PLURAL


def _read_phrase(words: list[str], number: int | None, counted: bool) -> Name:
    at = words.index("of")
    before, after = words[:at], words[at + 1 :]
    if before[-1] in _COLLECTIVES:
        inner = read_name(" ".join(after))
        return Name(inner.noun, number, inner.plural)
    noun, plural = _singular(before)
    return Name(" ".join([noun, "of", *after]), number, plural or counted)


def _singular(words: list[str]) -> tuple[str, bool]:
    """The singular of a noun, and whether it was in the plural."""
    *before, head = words
    is_glass = head == "glasses" and before and before[-1] in _DRINKING
    looks_singular = head.endswith(("ss", "us", "is")) or len(head) < 4
    if (head in _ONE_THING and not is_glass) or head in _SAME_IN_PLURAL:
        return " ".join(words), False
    if looks_singular and head not in ("skis", "men"):
        return " ".join(words), False
    singular = _english().singular_noun(head)
    if not singular or singular == head:
        return " ".join(words), False
    return " ".join([*before, singular]), True
