"""Reads metadata of our format, for exports, as a stream."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scenarioclip_jax.importers import boxes, json_stream, texts
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import SPLITS, Record, SourceError

_NAME = re.compile(r"metadata.*\.jsonl?(\.gz)?", re.IGNORECASE)


def files(folder: Path) -> list[Path]:
    """The files metadata*.json(l)(.gz) of a folder, sorted; a file is taken as it is.

    Raises:
      SourceError: There are none.
    """
    if folder.is_file():
        return [folder]
    found = (
        sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name)) if folder.is_dir() else []
    )
    if not found:
        reason = "holds no metadata*.json or .jsonl" if folder.is_dir() else "isn't there"
        raise SourceError(f"{folder} {reason}; name the folder that an import wrote, or the file")
    return found


def records(paths: list[Path], split: str | None = None) -> Iterator[Record]:
    """Yields the records of some files; objects and relations as they are there.

    Args:
      split: The split whose records are wanted; None for all.

    Raises:
      SourceError: A file can't be read.
    """
    for record in _all(paths):
        told = record.get("split")
        if split is None or (SPLITS.get(told, told) if told else None) == split:
            yield record


def _all(paths: list[Path]) -> Iterator[Record]:
    for path in paths:
        if ".jsonl" in path.name.lower():
            for number, record in json_stream.lines(path):
                yield _checked(record, f"{path} line {number}")
        else:
            prefix = "item" if json_stream.is_array(path) else "data.item"
            for number, record in enumerate(json_stream.items(path, prefix)):
                yield _checked(record, f"{path} data[{number}]")


def _checked(record: object, where: str) -> Record:
    if not isinstance(record, dict) or "id" not in record or "image_path" not in record:
        raise SourceError(f"{where} isn't a record: it needs an object with id and image_path")
    for position, thing in enumerate(record.get("objects") or ()):
        values = thing
        if isinstance(thing, dict):
            values = [thing.get("name"), thing.get("box")]
        is_object = isinstance(values, list) and len(values) > 1 and isinstance(values[0], str)
        if not is_object or not boxes.is_finite(boxes.numbers(values[1])):
            raise SourceError(
                f"{where}, objects[{position}] isn't an object: it needs a name and a box of four numbers"
            )
    return record


def objects(record: Record) -> list[dict[str, Any]]:
    """The objects of a record, each with name and box, whether written as an object or as [name, box]."""
    return [
        {"name": thing[0], "box": thing[1]} if isinstance(thing, list) else thing
        for thing in record.get("objects") or ()
    ]


def captions(record: Record) -> list[str]:
    """All captions of a record."""
    return texts.captions([record.get("dense_caption"), *(record.get("captions") or ())])


def relations(record: Record) -> list[tuple[int, str, int]]:
    """Relations that say which objects take part: subject, predicate, object; objects by position."""
    found = []
    for relation in record.get("relations") or ():
        if isinstance(relation, dict):
            predicate = relation.get("predicate") or (relation.get("triplet") or ["", ""])[1]
            ends = relation.get("subject"), relation.get("object")
        else:
            predicate = relation[1][1]
            ends = relation[3] if len(relation) > 3 and relation[3] else (None, None)
        if ends[0] is not None and ends[1] is not None:
            found.append((ends[0], predicate, ends[1]))
    return found


def size(record: Record, photos: Photos) -> tuple[int, int]:
    """Width and height that a record's boxes refer to: its own, else the photo's.

    Raises:
      SourceError: The record has none, and the photo can't be read.
    """
    if record.get("width") and record.get("height"):
        return record["width"], record["height"]
    try:
        return photos.size(record["image_path"])
    except OSError as error:
        raise SourceError(
            f"record {record['id']} has no width and height, and {record['image_path']} can't be read "
            f"({error.strerror or error}); name the folder of the photos: --images DIR"
        ) from error
