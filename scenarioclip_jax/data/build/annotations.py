"""Reads annotations in the published format and checks their form.

    metadata*.json  {"data": [{id, image_path, action, dense_caption,
                               objects: [[name, [x0, y0, x1, y1]], ...],
                               relations: [[focus_image_path, [subject, predicate, object],
                                            [negative triplet, ...] (optional),
                                            [subject_index, object_index] (optional)], ...]}, ...]}
    classes.json    {"actions": [...], "objects": [...], "relations": ["subject predicate object", ...]}

`data.build.metadata_files` lists the other file formats that can be read. The two indices of a relation tell
which of several objects with the same name take part, counted from 0 in the order of `objects`. Anything that
can't be understood is left out and listed in `Problems`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.build import metadata_files as files
from scenarioclip_jax.data.build.class_lists import CLASS_KINDS, read_classes
from scenarioclip_jax.data.build.metadata_files import metadata_files, show
from scenarioclip_jax.data.build.problems import (
    DROPPED,
    FIXED,
    GUESSED,
    NOTED,
    AnnotationError,
    Problems,
)
from scenarioclip_jax.data.stored.labels import looks_the_same, normalize_caption, normalize_label
from scenarioclip_jax.data.stored.scene import Triplet

__all__ = [
    "CLASS_KINDS",
    "Box",
    "Record",
    "RelationRecord",
    "metadata_files",
    "normalize_label",
    "read_classes",
    "read_records",
]

Box = tuple[
    float, float, float, float
]  # x0, y0, x1, y1 in pixels; before it is interpreted, as written
_FIELDS = ("id", "image_path", "action", "dense_caption", "objects", "relations")


MANY = 10  # malformed objects or relations, if they are the most, are no slips


class RelationRecord(NamedTuple):
    focus_path: str  # "" if there is none
    triplet: Triplet
    negatives: Sequence[Triplet]
    # Indices of subject and object among the record's objects; None: they are found by name.
    pair: tuple[int, int] | None = None


class Record(NamedTuple):
    """An annotated scene: labels are normalized, boxes and paths are as written."""

    id: str
    where: str  # file and index, for messages
    image_path: str
    action: str
    dense_caption: str
    objects: Sequence[tuple[str, Box]]
    relations: Sequence[RelationRecord]


def read_records(root: Path, problems: Problems, *, skip_broken: bool = False) -> list[Record]:
    """Reads all records of a data root; of several with the same id, the first is kept.

    Args:
      root: The data root.
      problems: Collects what is left out.
      skip_broken: Whether to list files that can't be parsed, and read their intact parts, instead of stopping.

    Raises:
      AnnotationError: There is no metadata file, one can't be parsed, or none has a usable record.
    """
    records: dict[str, Record] = {}
    reader = _Reader(problems)
    paths = metadata_files(root)
    files.note_copies(paths, problems)
    for path in paths:
        for where, entry in files.entries(path, problems, skip_broken=skip_broken):
            record = reader.record(entry, where)
            if record and record.id in records:
                first = records[record.id]
                same = first._replace(where="") == record._replace(where="")
                detail = f"the id was already used by {first.where}, " + (
                    "with the same content" if same else "which differs and is kept"
                )
                problems.add("duplicate_id", DROPPED, "scene", where, detail, record.id)
            elif record:
                records[record.id] = record
    if not records:
        last = problems.found[-1] if problems.found else None
        reason = f" The last problem: {last.where}: {last.reason}: {last.detail}." if last else ""
        names = ", ".join(path.name for path in paths[:5])
        raise AnnotationError(f"no usable record in {root} ({names}).{reason}")
    _check_form(records.values(), problems)
    reader.list_merged(problems)
    return list(records.values())


def _check_form(records: Iterable[Record], problems: Problems) -> None:
    """Raises AnnotationError if most objects, or most relations, are written in some other form."""
    kinds = {
        "object": sum(obj is not None for record in records for obj in record.objects),
        "relation": sum(len(record.relations) for record in records),
    }
    for what, usable in kinds.items():
        malformed = [p for p in problems.found if p.reason == f"malformed_{what}"]
        if len(malformed) >= MANY and len(malformed) > usable:
            first = malformed[0]
            raise AnnotationError(
                f"{len(malformed)} of {len(malformed) + usable} {what}s are written in another form than the "
                f"published one, so they would all be left out; the first is {first.where}: {first.detail}. "
                "Write them in that form"
            )


class _Reader:
    """Reads entries; equal texts and triplets are stored once, since a data set has few distinct ones."""

    def __init__(self, problems: Problems):
        self.problems = problems
        self.merged: Counter[str] = Counter()  # labels by their spelling, if that is unusual
        self._known: dict[Any, Any] = {}

    def list_merged(self, problems: Problems) -> None:
        for text, count in sorted(self.merged.items()):
            detail = f"{text!a} ({count} x) is read as {normalize_label(text)!r}"
            problems.add("label_spelling", NOTED, "label", "all metadata", detail)

    def label(self, text: str) -> str:
        if not looks_the_same(text):
            self.merged[text] += 1
        return self._once(normalize_label(text))

    def _once(self, value: Any) -> Any:
        return self._known.setdefault(value, value)

    def record(self, entry: Any, where: str) -> Record | None:
        """Returns the record, or None if the scene has to be left out."""
        problems = self.problems
        if not isinstance(entry, dict):
            detail = f"a record should be an object, got {show(entry)}"
            problems.add("malformed_record", DROPPED, "scene", where, detail)
            return None
        if field := next((key for key, value in entry.items() if _broken(key, value)), None):
            detail = f"{field!a} holds half of a surrogate pair, which is no text"
            problems.add("malformed_record", DROPPED, "scene", where, detail)
            return None
        id = entry.get("id")
        id = str(id) if isinstance(id, int) and not isinstance(id, bool) else id
        values = {"id": id, "image_path": entry.get("image_path"), "action": entry.get("action")}
        for field, value in values.items():
            empty = field == "action" and isinstance(value, str) and not normalize_label(value)
            if not isinstance(value, str) or not value.strip() or empty:
                detail = f"{field} should be a text that isn't empty, got {show(value)}"
                named = id if isinstance(id, str) else ""
                problems.add("malformed_field", DROPPED, "scene", f"{where}.{field}", detail, named)
                return None
        assert isinstance(id, str)  # the loop has looked
        self._check_fields(entry, where, id)
        caption = entry.get("dense_caption")
        if caption is not None and not isinstance(caption, str):
            detail = f"dense_caption should be a text, got {show(caption)}; taken as none"
            problems.add("malformed_field", FIXED, "scene", f"{where}.dense_caption", detail, id)
            caption = None
        objects = [
            self._object(item, f"{where}.objects[{index}]", id)
            for index, item in enumerate(self._list(entry, "objects", where, id))
        ]
        relations = [
            self._relation(item, f"{where}.relations[{index}]", id, objects)
            for index, item in enumerate(self._list(entry, "relations", where, id))
        ]
        return Record(
            id=id,
            where=where,
            image_path=entry["image_path"],
            action=self.label(entry["action"]),
            dense_caption=normalize_caption(caption or ""),
            objects=tuple(item for item in objects if item),
            relations=tuple(item for item in relations if item),
        )

    def _check_fields(self, entry: dict[str, Any], where: str, id: str) -> None:
        if isinstance(entry, files.Repeated):
            keys = ", ".join(entry.keys_given_twice)
            detail = f"the record has {keys} twice; the last counts"
            self.problems.add("duplicate_key", GUESSED, "scene", where, detail, id)
        lower = {field.lower(): field for field in entry if field not in _FIELDS}
        for field in _FIELDS:
            if field not in entry and field in lower:
                detail = f"{lower[field]!r} is ignored; did you mean {field!r}?"
                self.problems.add("unknown_field", GUESSED, "scene", where, detail, id)

    def _list(self, entry: dict[str, Any], field: str, where: str, id: str) -> list[Any]:
        value = entry.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            detail = f"{field} should be a list, got {show(value)}; taken as none"
            self.problems.add("malformed_field", FIXED, "scene", f"{where}.{field}", detail, id)
            return []
        return value

    def _object(self, item: Any, where: str, id: str) -> tuple[str, Box] | None:
        if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
            box = item[1]
            if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
                name = self.label(item[0])
                if name:
                    x0, y0, x1, y1 = (float(value) for value in box)
                    return name, (x0, y0, x1, y1)
        detail = f"an object should be [name, [x0, y0, x1, y1]], got {show(item)}"
        self.problems.add("malformed_object", DROPPED, "object", where, detail, id)
        return None

    def _relation(
        self, item: Any, where: str, id: str, objects: Sequence[tuple[str, Box] | None]
    ) -> RelationRecord | None:
        triplet = self._triplet(item[1]) if isinstance(item, list) and len(item) > 1 else None
        if not triplet:
            detail = f"a relation should be [path, [subject, predicate, object]], got {show(item)}"
            self.problems.add("malformed_relation", DROPPED, "relation", where, detail, id)
            return None
        path = item[0] if isinstance(item[0], str) and item[0].strip() else ""
        if not path and item[0] not in ("", None) and not isinstance(item[0], str):
            detail = f"the path of a focused-region image should be a text, got {show(item[0])}"
            self.problems.add("malformed_focus", GUESSED, "relation", f"{where}[0]", detail, id)
        given = item[2] if len(item) > 2 and item[2] is not None else []
        if self._triplet(given):  # a single triplet, not in a list
            given = [given]
        negatives = []
        for index, negative in enumerate(given if isinstance(given, list) else [given]):
            if found := self._triplet(negative):
                negatives.append(found)
                continue
            detail = f"a negative should be [subject, predicate, object], got {show(negative)}"
            place = f"{where}[2][{index}]"
            self.problems.add("malformed_negative", DROPPED, "negative", place, detail, id)
        pair = None
        if len(item) > 3 and item[3] is not None:
            pair = self._pair(item[3], triplet, f"{where}[3]", id, objects)
        for index, extra in enumerate(item[4:], 4):
            detail = f"a relation has four entries at most, {show(extra)} is ignored"
            self.problems.add("unknown_entry", GUESSED, "relation", f"{where}[{index}]", detail, id)
        return RelationRecord(path, triplet, tuple(negatives), pair)

    def _pair(
        self,
        item: Any,
        triplet: Triplet,
        where: str,
        id: str,
        objects: Sequence[tuple[str, Box] | None],
    ) -> tuple[int, int] | None:
        """Reads which objects take part, as indices among those that were understood."""
        reason = ""
        if not (isinstance(item, list) and len(item) == 2 and all(type(i) is int for i in item)):
            reason = "should be [subject_index, object_index]"
        elif not all(0 <= i < len(objects) for i in item):
            reason = f"should be below the number of objects, {len(objects)}"
        elif not all(objects[i] for i in item):
            reason = "names an object that was left out"
        else:
            names = [objects[i][0] for i in item]
            if names != [triplet[0], triplet[2]]:
                reason = (
                    f"names {names[0]!r} and {names[1]!r}, not {triplet[0]!r} and {triplet[2]!r}"
                )
        if reason:
            detail = f"{show(item)} {reason}; the participants are found by their names"
            self.problems.add("malformed_indices", GUESSED, "relation", where, detail, id)
            return None
        place = {i: at for at, i in enumerate(i for i, each in enumerate(objects) if each)}
        return place[item[0]], place[item[1]]

    def _triplet(self, item: Any) -> Triplet | None:
        if not (isinstance(item, list) and len(item) == 3 and _are_texts(item)):
            return None
        if not all(map(normalize_label, item)):
            return None
        subject, predicate, object_ = map(self.label, item)
        return self._once((subject, predicate, object_))


def _are_texts(item: list[Any]) -> bool:
    return all(isinstance(part, str) for part in item)


def _is_number(value: Any) -> bool:
    # The comparison is False for NaN and accepts integers of any length.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


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
