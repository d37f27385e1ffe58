"""Assigns records to splits, so that a photo, or a group that belongs together, is never in two of them."""

from collections.abc import Mapping, Sequence

from scenarioclip_jax.data.build.problems import FIXED, Problems
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.stored.splits import SPLITS, split_of


def assign_splits(
    records: Sequence[Record],
    shared: Mapping[str, Sequence[str]],
    fractions: Sequence[float],
    problems: Problems,
) -> dict[str, str]:
    """Returns the split of each record by its id.

    Records that show the same photo or are in the same group go into one split: the one that a record names, or
    else that of a hash of the group, of the photo's pixels, or of the id if the record is alone. If they name
    several, the split that is used last counts (test, then validation), since a photo that was trained on is
    lost for testing.

    Args:
      records: Annotations with different ids.
      shared: The ids of records that show the same photo, by a digest of its pixels.
      fractions: Shares of train, validation and test, for records that name no split.
      problems: Collects records that are moved.
    """
    parents = {record.id: record.id for record in records}

    def root(id: str) -> str:
        while parents[id] != id:
            parents[id] = id = parents[parents[id]]
        return id

    key = {record.id: record.id for record in records}
    for digest, ids in shared.items():
        for id in ids:
            parents[root(id)] = root(ids[0])
            key[id] = digest
    first: dict[str, str] = {}
    for record in records:
        if record.group:
            parents[root(record.id)] = root(first.setdefault(record.group, record.id))
            key[record.id] = f"group:{record.group}"
    together: dict[str, list[Record]] = {}
    for record in records:
        together.setdefault(root(record.id), []).append(record)
    found = {}
    for some in together.values():
        named = [record.split for record in some if record.split]
        if named:
            split = max(named, key=SPLITS.index)
            _list_moved(some, split, problems)
        else:
            # Of several keys (groups that share a photo), the same one whatever the order of the records.
            split = split_of(min(key[record.id] for record in some), fractions)
        found |= {record.id: split for record in some}
    return found


def _list_moved(together: Sequence[Record], split: str, problems: Problems) -> None:
    holder = next(record for record in together if record.split == split)
    for record in together:
        if record.split and record.split != split:
            detail = (
                f"the record names the split {record.split!r}, but shares its photo or its group with "
                f"{holder.where} (id {holder.id}), which names {split!r}; both are in {split!r}"
            )
            problems.add(
                "split_conflict", FIXED, "scene", f"{record.where}.split", detail, record.id
            )
