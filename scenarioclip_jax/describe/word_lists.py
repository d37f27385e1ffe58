"""Words to choose from as lists, in a mapping or a JSON file.

Folders for PyTorch carry a copy of this module.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.errors import ReadableError

_KINDS = ("actions", "objects", "predicates", "relations")


class WordsError(ReadableError, ValueError):
    """There are no words where they were said to be. The message says what was found and what to give."""


class Words(NamedTuple):
    """Texts to choose from, each once, in the form that labels have in training."""

    actions: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()


def read_lists(path: Path, names: Collection[str] = ()) -> Words:
    """Reads a JSON file, see `from_lists`.

    Raises:
      WordsError: It can't be read, or has another form.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WordsError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise WordsError(
            f"{path}: holds a {type(found).__name__}; an object with lists is expected"
        )
    return from_lists(found, str(path), names)


def from_lists(lists: Mapping[str, Any], where: str, names: Collection[str] = ()) -> Words:
    """Makes words of lists of `actions`, `objects`, and `predicates` or whole `relations`.

    Args:
      where: Where they come from, for errors.
      names: More names of objects, that relations may begin and end with.

    Raises:
      WordsError: They have another form, or there are none.
    """
    unknown = [str(key) for key in lists if key not in _KINDS]
    if unknown:
        raise WordsError(f"{where}: {unknown[0]!r} isn't one of {', '.join(_KINDS)}")
    found = {}
    for kind in _KINDS:
        texts = lists.get(kind, ())
        if isinstance(texts, str) or not isinstance(texts, Iterable):
            raise WordsError(f"{where}: {kind} is {texts!r}; a list of texts is expected")
        try:
            found[kind] = tuple(text for text in dict.fromkeys(labels_of(list(texts))) if text)
        except ValueError as error:
            raise WordsError(f"{where}: {kind}: {error}") from None
    ends = {*found["objects"], *names}
    predicates = found["predicates"] or predicates_of(found["relations"], ends)
    if found["relations"] and not predicates:
        raise WordsError(
            f"{where}: no relation begins and ends with the name of an object, so no predicate is known; give "
            "the objects' names, or predicates instead of relations"
        )
    words = Words(found["actions"], found["objects"], predicates)
    if not any(words):
        raise WordsError(f"{where}: there is no text in it")
    return words


def predicates_of(relations: Iterable[str], objects: Collection[str]) -> tuple[str, ...]:
    """The predicates of relations that are given as texts, the most frequent first.

    A text is cut where the longest names of objects begin and end it. Texts that don't begin and end with a
    name are left out.
    """
    names, found = set(objects), Counter()
    for text in relations:
        words = text.split()
        subject = next((i for i in range(len(words) - 2, 0, -1) if " ".join(words[:i]) in names), 0)
        ends = range(subject + 1, len(words))
        object_ = next((i for i in ends if " ".join(words[i:]) in names), 0)
        if subject and object_:
            found[" ".join(words[subject:object_])] += 1
    return tuple(text for text, _ in found.most_common())
