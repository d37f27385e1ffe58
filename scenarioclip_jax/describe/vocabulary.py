"""The words that a photo is described with: a data set's, those of a file, or any that are given."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.data.stored.labels import labels_of
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import Address, address_of, local_path
from scenarioclip_jax.storage.cache import local_copy


class WordsError(ReadableError, ValueError):
    """There are no words where they were said to be. The message says what was found and what to give."""


class Words(NamedTuple):
    """Texts to choose from, each once, in the form that labels have in training."""

    actions: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    predicates: tuple[str, ...] = ()


Source = str | Path | Address | Mapping[str, Iterable[str]] | Words
_KINDS = ("actions", "objects", "predicates", "relations")


def read_words(source: Source, names: Collection[str] = ()) -> Words:
    """Returns words.

    Args:
      names: More names of objects, that relations may begin and end with.
      source: A data set's folder or address, whose classes are used; a JSON file or a mapping with lists of
        `actions`, `objects` and `predicates`, of which some may be missing. Instead of `predicates` there may
        be `relations`, whole triplets as in `classes.json`, from which predicates are taken.

    Raises:
      WordsError: There is no such file or data set, or it has another form.
    """
    if isinstance(source, Words):
        source = source._asdict()
    if isinstance(source, Mapping):
        return _from_lists(source, "the words that were given", names)
    if not isinstance(source, str | Path | Address):
        raise WordsError(
            f"words are a {type(source).__name__}; give a data set's folder, a JSON file or a mapping with "
            "lists of actions, objects and predicates"
        )
    path = local_copy(source) if address_of(source) else local_path(source)
    if path.is_dir() and shards.find_dataset(path) is not None:
        classes = shards.load_classes(path)
        predicates = predicates_of(classes["relations"], classes["objects"])
        return _from_lists(classes | {"relations": (), "predicates": predicates}, str(path))
    if not path.is_file():
        raise WordsError(
            f"{source}: neither a data set nor a JSON file; give one of them, or a mapping with lists of "
            "actions, objects and predicates"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WordsError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise WordsError(
            f"{path}: holds a {type(found).__name__}; an object with lists is expected"
        )
    return _from_lists(found, str(path), names)


def _from_lists(lists: Mapping[str, Any], where: str, names: Collection[str] = ()) -> Words:
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
