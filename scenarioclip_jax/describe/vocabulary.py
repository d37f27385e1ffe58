"""The words that a photo is described with: a data set's, those of a file, or any that are given."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from scenarioclip_jax.data.stored import shards
from scenarioclip_jax.describe.word_lists import (
    Words,
    WordsError,
    from_lists,
    predicates_of,
    read_lists,
)
from scenarioclip_jax.paths import Address, address_of, local_path
from scenarioclip_jax.storage.cache import local_copy

Source = str | Path | Address | Mapping[str, Iterable[str]] | Words


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
        return from_lists(source, "the words that were given", names)
    if not isinstance(source, str | Path | Address):
        raise WordsError(
            f"words are a {type(source).__name__}; give a data set's folder, a JSON file or a mapping with "
            "lists of actions, objects and predicates"
        )
    path = local_copy(source) if address_of(source) else local_path(source)
    if path.is_dir() and shards.find_dataset(path) is not None:
        classes = shards.load_classes(path)
        predicates = predicates_of(classes["relations"], classes["objects"])
        return from_lists(classes | {"relations": (), "predicates": predicates}, str(path))
    if not path.is_file():
        raise WordsError(
            f"{source}: neither a data set nor a JSON file; give one of them, or a mapping with lists of "
            "actions, objects and predicates"
        )
    return read_lists(path, names)
