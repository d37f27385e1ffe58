"""Assigns scenes to splits, so that a photo, or a group that belongs together, is never in two of them."""

from collections.abc import Callable, Iterable, Sequence

from scenarioclip_jax.data.build.index import Row
from scenarioclip_jax.data.build.problems import FIXED, Problems
from scenarioclip_jax.data.stored.splits import SPLITS, split_of

_HELD_OUT = "held out of training"  # salt of a hash that tells nothing about other splits


def assign_splits(
    rows: Callable[[], Iterable[Row]],
    fractions: Sequence[float],
    problems: Problems,
    *,
    held_out: float = 0.0,
) -> Callable[[Row], str]:
    """Returns a function that gives the split of a scene.

    Scenes that show the same photo or are in the same group go into one split: the one that a record names, or
    else that of a hash of the group, of the photo's pixels, or of the id if the scene is alone. If they name
    several, the split that is used last counts (test, then validation), since a photo that was trained on is
    lost for testing.

    Memory grows with the number of groups and of shared photos, not with that of scenes.

    Args:
      rows: Function that returns all scenes, in order.
      fractions: Shares of train, validation and test, for scenes that name no split.
      problems: Collects scenes that are moved.
      held_out: Share of the training split, official or not, that becomes the validation split, by a hash.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key

    for row in rows():
        if row.group and row.pixels:
            # A group has the smaller name, so that it decides the split, whatever the order of the scenes.
            a, b = sorted((root(_group(row)), root(_pixels(row))))
            parents[b] = a
        elif row.group or row.pixels:
            root(_key(row))
    named: dict[str, tuple[str, Row]] = {}  # by root: the split, and the first scene that names it
    for row in rows():
        if row.named and (row.group or row.pixels):
            key = root(_key(row))
            if key not in named or SPLITS.index(row.named) > SPLITS.index(named[key][0]):
                named[key] = row.named, row

    def of(row: Row) -> str:
        key = root(_key(row)) if row.group or row.pixels else f"id:{row.id}"
        split = _of_key(row, key)
        if held_out and split == "train":
            shares = (1 - held_out, held_out, 0.0)
            return split_of(key.partition(":")[2], shares, salt=_HELD_OUT)
        return split

    def _of_key(row: Row, key: str) -> str:
        if key.startswith("id:"):
            return row.named or split_of(row.id, fractions)
        if key not in named:
            return split_of(key.partition(":")[2], fractions)
        split, holder = named[key]
        if row.named and row.named != split:
            detail = (
                f"the record names the split {row.named!r}, but shares its photo or its group with "
                f"{holder.where} (id {holder.id}), which names {split!r}; both are in {split!r}"
            )
            problems.add("split_conflict", FIXED, "scene", f"{row.where}.split", detail, row.id)
        return split

    return of


def _key(row: Row) -> str:
    return _group(row) if row.group else _pixels(row)


def _group(row: Row) -> str:
    return f"group:{row.group}"


def _pixels(row: Row) -> str:
    return f"pixels:{row.pixels}"
