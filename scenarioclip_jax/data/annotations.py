"""Reads annotations in the published format, and checks their form.

    metadata*.json  {"data": [{id, image_path, action, dense_caption,
                               objects: [[name, [x0, y0, x1, y1]], ...],
                               relations: [[focus_image_path, [subject, predicate, object],
                                            [negative triplet, ...] (optional)], ...]}, ...]}
    classes.json    {"actions": [...], "objects": [...], "relations": ["subject predicate object", ...]}

Several `metadata*.json` are read in the order of their names. Paths are relative to their folder, the data
root, and may not leave it. What can't be understood is left out and listed in `Problems`.
"""

import json
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.data.problems import DROPPED, FIXED, AnnotationError, Problems
from scenarioclip_jax.data.scene import Triplet

CLASS_KINDS = ("actions", "objects", "relations")
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


class RelationRecord(NamedTuple):
    focus_path: str  # "" if there is none
    triplet: Triplet
    negatives: list[Triplet]


class Record(NamedTuple):
    """A scene as it is annotated: labels are normalised, boxes and paths are as they were written."""

    id: str
    where: str  # file and index, for messages
    image_path: str
    action: str
    dense_caption: str
    objects: list[tuple[str, Box]]
    relations: list[RelationRecord]


def normalize_label(text: str) -> str:
    """The one form of a label, of classes and annotations alike.

    Lower case, Unicode NFC, runs of white space as one space.
    """
    return " ".join(unicodedata.normalize("NFC", text.lower()).split())


def metadata_files(root: Path) -> list[Path]:
    """The `metadata*.json` files of a data root; raises AnnotationError if there are none."""
    files = sorted(root.glob("metadata*.json"))
    if not files:
        found = "exists, but holds" if root.is_dir() else "isn't a folder, so there is"
        raise AnnotationError(
            f"{root} {found} no metadata*.json. Name the folder that holds the annotations: --metadata DIR"
        )
    return files


def read_records(root: Path, problems: Problems) -> list[Record]:
    """Reads all records of a data root; the first of several with one id is kept.

    Raises:
      AnnotationError: if there is no metadata file, or no usable record in any of them.
    """
    records: dict[str, Record] = {}
    for path in metadata_files(root):
        content = _read_json(path, problems)
        data = content.get("data") if isinstance(content, dict) else None
        if not isinstance(data, list):
            if content is not None:
                detail = 'expected {"data": [record, ...]}'
                problems.add("malformed_file", DROPPED, "file", path.name, detail)
            continue
        for index, entry in enumerate(data):
            record = _parse_record(entry, f"{path.name} data[{index}]", problems)
            if record and record.id in records:
                detail = f"the id was already used by {records[record.id].where}"
                problems.add("duplicate_id", DROPPED, "scene", record.where, detail, record.id)
            elif record:
                records[record.id] = record
    if not records:
        last = problems.found[-1] if problems.found else None
        reason = f" The last problem: {last.where}: {last.reason}: {last.detail}." if last else ""
        raise AnnotationError(f"no usable record in {root}/metadata*.json.{reason}")
    return list(records.values())


def read_classes(root: Path, problems: Problems) -> dict[str, list[str]]:
    """Returns the normalised class texts of `classes.json`, by `CLASS_KINDS`; empty if there is none."""
    path = root / "classes.json"
    classes: dict[str, list[str]] = {kind: [] for kind in CLASS_KINDS}
    content = _read_json(path, problems) if path.exists() else {}
    if content is not None and not isinstance(content, dict):
        detail = f"expected an object with {', '.join(CLASS_KINDS)}"
        problems.add("malformed_file", DROPPED, "file", path.name, detail)
        content = None
    for kind in CLASS_KINDS:
        texts = (content or {}).get(kind, [])
        if not _is_list_of_texts(texts):
            detail = f"{kind} should be a list of texts"
            problems.add("malformed_file", DROPPED, "file", f"{path.name} {kind}", detail)
            continue
        classes[kind] = sorted({normalize_label(text) for text in texts} - {""})
    return classes


def _read_json(path: Path, problems: Problems) -> Any:
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bad UTF-8 and bad JSON
        problems.add("malformed_json", DROPPED, "file", path.name, str(error) or "nested too deep")
        return None


def _parse_record(entry: Any, where: str, problems: Problems) -> Record | None:
    """Returns the record, or None where the scene has to be left out."""
    if not isinstance(entry, dict):
        detail = f"a record should be an object, got {_show(entry)}"
        problems.add("malformed_record", DROPPED, "scene", where, detail)
        return None
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair: no text, can't be stored
        problems.add("malformed_record", DROPPED, "scene", where, f"broken Unicode: {error.reason}")
        return None
    id = entry.get("id")
    id = str(id) if isinstance(id, int) and not isinstance(id, bool) else id
    values = {"id": id, "image_path": entry.get("image_path"), "action": entry.get("action")}
    for field, value in values.items():
        if not isinstance(value, str) or not value.strip():
            detail = f"{field} should be a text that isn't empty, got {_show(value)}"
            named = id if isinstance(id, str) else ""
            problems.add("malformed_field", DROPPED, "scene", f"{where}.{field}", detail, named)
            return None
    caption = entry.get("dense_caption", "")
    if not isinstance(caption, str):
        detail = f"dense_caption should be a text, got {_show(caption)}; taken as none"
        problems.add("malformed_field", FIXED, "scene", f"{where}.dense_caption", detail, id)
        caption = ""
    lists = {}
    for field in ("objects", "relations"):
        lists[field] = entry.get(field) or []
        if not isinstance(lists[field], list):
            detail = f"{field} should be a list, got {_show(lists[field])}; taken as none"
            problems.add("malformed_field", FIXED, "scene", f"{where}.{field}", detail, id)
            lists[field] = []
    objects = [
        _parse_object(item, f"{where}.objects[{i}]", id, problems)
        for i, item in enumerate(lists["objects"])
    ]
    relations = [
        _parse_relation(item, f"{where}.relations[{i}]", id, problems)
        for i, item in enumerate(lists["relations"])
    ]
    return Record(
        id=id,
        where=where,
        image_path=entry["image_path"],
        action=normalize_label(entry["action"]),
        dense_caption=unicodedata.normalize("NFC", " ".join(caption.split())),
        objects=[item for item in objects if item],
        relations=[item for item in relations if item],
    )


def _parse_object(item: Any, where: str, id: str, problems: Problems) -> tuple[str, Box] | None:
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
        name, box = normalize_label(item[0]), item[1]
        if name and isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
            return name, tuple(float(value) for value in box)
    detail = f"an object should be [name, [x0, y0, x1, y1]], got {_show(item)}"
    problems.add("malformed_object", DROPPED, "object", where, detail, id)
    return None


def _parse_relation(item: Any, where: str, id: str, problems: Problems) -> RelationRecord | None:
    if not isinstance(item, list) or len(item) < 2 or not _triplet(item[1]):
        detail = f"a relation should be [path, [subject, predicate, object]], got {_show(item)}"
        problems.add("malformed_relation", DROPPED, "relation", where, detail, id)
        return None
    given = item[2] if len(item) > 2 and item[2] is not None else []
    if _triplet(given):  # a single triplet, not in a list
        given = [given]
    negatives = []
    for index, negative in enumerate(given if isinstance(given, list) else [given]):
        triplet = _triplet(negative)
        if triplet:
            negatives.append(triplet)
        else:
            detail = f"a negative should be [subject, predicate, object], got {_show(negative)}"
            place = f"{where}[2][{index}]"
            problems.add("malformed_negative", DROPPED, "negative", place, detail, id)
    return RelationRecord(item[0] if isinstance(item[0], str) else "", _triplet(item[1]), negatives)


def _triplet(item: Any) -> Triplet | None:
    if not _is_list_of_texts(item) or len(item) != 3:
        return None
    subject, predicate, object_ = (normalize_label(part) for part in item)
    return (subject, predicate, object_) if subject and predicate and object_ else None


def _is_list_of_texts(item: Any) -> bool:
    return isinstance(item, list) and all(isinstance(part, str) for part in item)


def _is_number(value: Any) -> bool:
    # The comparison is False for NaN and takes integers of any length.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _show(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "..."
