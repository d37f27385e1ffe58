"""Reads annotations and checks their form; docs/guides/format.md specifies it.

`data.build.metadata_files` lists the file formats that can be read. Anything that can't be understood is left
out and listed in `Problems`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from scenarioclip_jax.data.build import metadata_files as files
from scenarioclip_jax.data.build.class_lists import CLASS_KINDS, read_classes
from scenarioclip_jax.data.build.index import Index
from scenarioclip_jax.data.build.metadata_files import metadata_files, show
from scenarioclip_jax.data.build.problems import (
    DROPPED,
    FIXED,
    GUESSED,
    AnnotationError,
    Problems,
)
from scenarioclip_jax.data.build.record_parts import PartReader
from scenarioclip_jax.data.build.records import Box, ObjectRecord, Record, RelationRecord
from scenarioclip_jax.data.stored.labels import normalize_caption, normalize_label
from scenarioclip_jax.data.stored.splits import SPLITS
from scenarioclip_jax.json_values import is_number

__all__ = [
    "CLASS_KINDS",
    "Box",
    "ObjectRecord",
    "Record",
    "RelationRecord",
    "iterate_records",
    "metadata_files",
    "normalize_label",
    "read_classes",
    "read_records",
]

_FIELDS = (
    *("id", "image_path", "action", "dense_caption", "captions", "objects", "relations"),
    *("width", "height", "split", "group", "source"),
)
_SPLITS = {split: split for split in SPLITS} | {"val": "validation"}


MANY = 10  # malformed objects or relations, if they are the most, are no slips


def read_records(root: Path, problems: Problems, *, skip_broken: bool = False) -> list[Record]:
    """Reads all records of a data root into memory, see `iterate_records`."""
    return list(iterate_records(root, problems, Index(), skip_broken=skip_broken))


def iterate_records(
    root: Path, problems: Problems, index: Index, *, skip_broken: bool = False
) -> Iterator[Record]:
    """Yields the records of a data root in order; of several with the same id, the first.

    Args:
      root: The data root.
      problems: Collects what is left out.
      index: A new index, to which they are added.
      skip_broken: Whether to list files that can't be parsed, and read their intact parts, instead of stopping.

    Raises:
      AnnotationError: There is no metadata file, one can't be parsed, or none has a usable record; at the end,
        most objects or relations are written in some other form.
    """
    reader = _Reader(problems)
    paths = metadata_files(root)
    files.note_copies(paths, problems)
    usable: Counter[str] = Counter()
    for path in paths:
        for where, entry in files.entries(path, problems, skip_broken=skip_broken):
            record = reader.record(entry, where)
            if not record:
                continue
            if known := index.add(record):
                first, same = known
                detail = f"the id was already used by {first}, " + (
                    "with the same content" if same else "which differs and is kept"
                )
                problems.add("duplicate_id", DROPPED, "scene", where, detail, record.id)
                continue
            usable.update(record=1, object=len(record.objects), relation=len(record.relations))
            yield record
    if not usable["record"]:
        last = problems.last
        reason = f" The last problem: {last.where}: {last.reason}: {last.detail}." if last else ""
        names = ", ".join(path.name for path in paths[:5])
        raise AnnotationError(f"no usable record in {root} ({names}).{reason}")
    _check_form(usable, problems)
    reader.list_merged()


def _check_form(usable: Mapping[str, int], problems: Problems) -> None:
    """Raises AnnotationError if most objects, or most relations, are written in some other form."""
    for what in ("object", "relation"):
        reason = f"malformed_{what}"
        malformed = problems.number(reason)
        if malformed >= MANY and malformed > usable[what]:
            first = problems.first(reason, DROPPED)
            raise AnnotationError(
                f"{malformed} of {malformed + usable[what]} {what}s are written in another form than the "
                f"published one, so they would all be left out; the first is {first.where}: {first.detail}. "
                "Write them in that form"
            )


class _Reader(PartReader):
    """Reads whole records."""

    def record(self, entry: Any, where: str) -> Record | None:
        """Returns the record, or None if the scene has to be left out."""
        if not isinstance(entry, dict):
            detail = f"a record should be an object, got {show(entry)}"
            self.problems.add("malformed_record", DROPPED, "scene", where, detail)
            return None
        if field := next((key for key, value in entry.items() if _broken(key, value)), None):
            detail = f"{field!a} holds half of a surrogate pair, which is no text"
            self.problems.add("malformed_record", DROPPED, "scene", where, detail)
            return None
        id = _as_text(entry.get("id"))
        for field, value in {"id": id, "image_path": entry.get("image_path")}.items():
            if not isinstance(value, str) or not value.strip():
                detail = f"{field} should be a text that isn't empty, got {show(value)}"
                named = id if isinstance(id, str) else ""
                self._add("malformed_field", DROPPED, "scene", f"{where}.{field}", detail, named)
                return None
        assert isinstance(id, str)  # the loop has looked
        if (split := self._split(entry, where, id)) is None:
            return None
        if (group := self._group(entry, where, id)) is None:
            return None
        self._check_fields(entry, where, id)
        # By their place in the list; None for those that can't be used.
        objects = [
            self.object(item, f"{where}.objects[{index}]", id)
            for index, item in enumerate(self._list(entry, "objects", where, id))
        ]
        relations = [
            self.relation(item, f"{where}.relations[{index}]", id, objects)
            for index, item in enumerate(self._list(entry, "relations", where, id))
        ]
        record = Record(
            id=id,
            where=where,
            image_path=entry["image_path"],
            action=self.label(self._text(entry, "action", where, id)),
            captions=self._captions(entry, where, id),
            objects=tuple(item for item in objects if item),
            relations=tuple(item for item in relations if item),
            size=self._size(entry, where, id),
            split=split,
            group=group,
            source=normalize_caption(self._text(entry, "source", where, id)),
        )
        if not (record.action or record.captions or record.objects or record.relations):
            detail = "the record has no usable action, caption, object or relation to learn from"
            self._add("nothing_to_learn", DROPPED, "scene", where, detail, id)
            return None
        return record

    def _split(self, entry: dict[str, Any], where: str, id: str) -> str | None:
        """The split that a record names; "" for none, None if the scene has to be left out."""
        split = given = entry.get("split")
        if isinstance(split, str):
            split = split.strip().lower() or None
        if split is None:
            return ""
        if isinstance(split, str) and split in _SPLITS:
            return _SPLITS[split]
        detail = (
            f"split should be {', '.join(SPLITS)} or nothing, got {show(given)}; as a wrong guess could "
            "put test photos into training, the scene isn't used"
        )
        self._add("malformed_field", DROPPED, "scene", f"{where}.split", detail, id)
        return None

    def _group(self, entry: dict[str, Any], where: str, id: str) -> str | None:
        """The group that a record names; "" for none, None if the scene has to be left out."""
        group = _as_text(entry.get("group"))
        if group is None or isinstance(group, str):
            return (group or "").strip()
        detail = (
            f"group should be a text or a whole number, got {show(group)}; as its photos could fall into "
            "several splits, the scene isn't used"
        )
        self._add("malformed_field", DROPPED, "scene", f"{where}.group", detail, id)
        return None

    def _check_fields(self, entry: dict[str, Any], where: str, id: str) -> None:
        if isinstance(entry, files.Repeated):
            keys = ", ".join(entry.keys_given_twice)
            detail = f"the record has {keys} twice; the last counts"
            self._add("duplicate_key", GUESSED, "scene", where, detail, id)
        lower = {field.lower(): field for field in entry if field not in _FIELDS}
        for field in _FIELDS:
            if field not in entry and field in lower:
                detail = f"{lower[field]!r} is ignored; did you mean {field!r}?"
                self._add("unknown_field", GUESSED, "scene", where, detail, id)

    def _list(self, entry: dict[str, Any], field: str, where: str, id: str) -> list[Any]:
        value = entry.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            detail = f"{field} should be a list, got {show(value)}; taken as none"
            self._add("malformed_field", FIXED, "scene", f"{where}.{field}", detail, id)
            return []
        return value

    def _text(self, entry: dict[str, Any], field: str, where: str, id: str) -> str:
        """An optional text; "" for none."""
        value = entry.get(field)
        if value is None or isinstance(value, str):
            return value or ""
        detail = f"{field} should be a text, got {show(value)}; taken as none"
        self._add("malformed_field", FIXED, "scene", f"{where}.{field}", detail, id)
        return ""

    def _captions(self, entry: dict[str, Any], where: str, id: str) -> tuple[str, ...]:
        found = [normalize_caption(self._text(entry, "dense_caption", where, id))]
        given = entry.get("captions")
        one = {"captions": [given]} if isinstance(given, str) else entry
        for index, caption in enumerate(self._list(one, "captions", where, id)):
            if isinstance(caption, str):
                found.append(normalize_caption(caption))
                continue
            detail = f"a caption should be a text, got {show(caption)}"
            place = f"{where}.captions[{index}]"
            self._add("malformed_caption", DROPPED, "caption", place, detail, id)
        return tuple(dict.fromkeys(caption for caption in found if caption))

    def _size(self, entry: dict[str, Any], where: str, id: str) -> tuple[int, int] | None:
        width, height = entry.get("width"), entry.get("height")
        if width is None and height is None:
            return None
        if _is_size(width) and _is_size(height):
            return int(width), int(height)
        detail = (
            f"width and height should both be whole numbers of pixels, got {show(width)} and {show(height)}; "
            "boxes are taken to be in pixels of the photo"
        )
        self._add("malformed_field", GUESSED, "scene", f"{where}.width", detail, id)
        return None


def _as_text(value: Any) -> Any:
    """Whole numbers as text, also those that pandas writes with a point, where others are missing."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(int(value)) if number and abs(value) < 1e15 and value == int(value) else value


def _is_size(value: Any) -> TypeGuard[int | float]:
    return is_number(value) and value > 0 and value == value // 1


def _broken(key: Any, value: Any) -> bool:
    """Whether a JSON value contains half of a surrogate pair, which isn't text and can't be stored."""
    waiting = [key, value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if not item.isascii():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    return True
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
    return False
