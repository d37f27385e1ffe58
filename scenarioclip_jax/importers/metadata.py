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
      SourceError: A file can't be read, or a record can't be exported.
    """
    for where, record in entries(paths):
        try:
            _check(record)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise SourceError(
                f"{where} isn't a record that can be exported ({type(error).__name__}: {error}); "
                "see docs/guides/format.md, and correct it there"
            ) from error
        told = record.get("split")
        if split is None or (SPLITS.get(told, told) if told else None) == split:
            yield record


def entries(paths: list[Path]) -> Iterator[tuple[str, Any]]:
    """Yields (where, value) for what should be records; raises SourceError if a file can't be read."""
    for path in paths:
        if ".jsonl" in path.name.lower():
            for number, value in json_stream.lines(path):
                yield f"{path} line {number}", value
        else:
            prefix = "item" if json_stream.is_array(path) else "data.item"
            for number, value in enumerate(json_stream.items(path, prefix)):
                yield f"{path} data[{number}]", value


def _check(record: Any) -> None:
    """Raises an error of Python if a record lacks what exports need."""
    if not isinstance(record["image_path"], str) or not isinstance(record["id"], str | int):
        raise ValueError("id and image_path have to be texts")
    things, _ = objects(record), captions(record)
    for position, thing in enumerate(things):
        if not isinstance(thing["name"], str) or not boxes.is_finite(boxes.numbers(thing["box"])):
            raise ValueError(f"objects[{position}] needs a name and a box of four numbers")
    for subject, predicate, object in relations(record):
        if not isinstance(predicate, str) or not 0 <= min(subject, object) <= max(
            subject, object
        ) < len(things):
            raise ValueError(f"a relation of objects {subject} and {object} of {len(things)}")


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
