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
    families = _Families(rows())
    named = _named(rows(), families)

    def of(row: Row) -> str:
        key = families.of(row) if _has_relatives(row) else f"id:{row.id}"
        split = of_family(row, key)
        if held_out and split == "train":
            shares = (1 - held_out, held_out, 0.0)
            return split_of(key.partition(":")[2], shares, salt=_HELD_OUT)
        return split

    def of_family(row: Row, key: str) -> str:
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


class _Families:
    """Scenes that belong together, because they are in one group or show one photo, also by way of others."""

    def __init__(self, rows: Iterable[Row]):
        self._parents: dict[str, str] = {}
        for row in rows:
            if row.group and row.pixels:
                # A group has the smaller name, so that it decides the split, whatever the order of the scenes.
                a, b = sorted((self._root(_group(row)), self._root(_pixels(row))))
                self._parents[b] = a
            elif _has_relatives(row):
                self._root(_key(row))

    def of(self, row: Row) -> str:
        """The key of the family of a scene that is in a group or shares its photo."""
        return self._root(_key(row))

    def _root(self, key: str) -> str:
        parents = self._parents
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = key = parents[parents[key]]
        return key


def _named(rows: Iterable[Row], families: _Families) -> dict[str, tuple[str, Row]]:
    """By family: the split that its scenes name, of several the one used last, and the first to name it."""
    named: dict[str, tuple[str, Row]] = {}
    for row in rows:
        if row.named and _has_relatives(row):
            key = families.of(row)
            if key not in named or SPLITS.index(row.named) > SPLITS.index(named[key][0]):
                named[key] = row.named, row
    return named


def _has_relatives(row: Row) -> bool:
    return bool(row.group or row.pixels)


def _key(row: Row) -> str:
    return _group(row) if row.group else _pixels(row)


def _group(row: Row) -> str:
    return f"group:{row.group}"


def _pixels(row: Row) -> str:
    return f"pixels:{row.pixels}"
