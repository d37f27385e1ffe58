"""Metadata as COCO files: objects as instances, and captions."""

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from scenarioclip_jax.files import write_whole
from scenarioclip_jax.importers import json_stream, masks, metadata
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Export, Record, Records, SourceError
from scenarioclip_jax.storage.cache import local_copy

_NUMBER = re.compile(r"\d+$")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--captions", metavar="FILE", help="where captions go (default: nowhere)")
    parser.add_argument(
        "--categories",
        metavar="FILE",
        help="a COCO file whose category ids are used, such as instances_val2017.json "
        "(default: 1, 2, … in the order of the names)",
    )


def _write(
    records: Records, path: Path, args: argparse.Namespace, finish: Callable[[], None]
) -> dict[str, int]:
    return _Writer(records, args).write(path, finish)


class _Writer:
    def __init__(self, records: Records, args: argparse.Namespace):
        self._records, self._args = records, args
        self._photos = Photos(local_copy(args.images) if args.images else None)
        self._has_numbers = _have_numbers(records())
        self._counts: Counter[str] = Counter()
        self._categories: dict[str, int] = {}
        if args.categories:
            known = json_stream.items(local_copy(args.categories), "categories.item")
            self._categories = {category["name"]: category["id"] for category in known}
            if not self._categories:
                raise SourceError(
                    f"--categories={args.categories} has no `categories`; name a COCO file"
                )

    def write(self, path: Path, finish: Callable[[], None]) -> dict[str, int]:
        captions = local_copy(self._args.captions) if self._args.captions else None
        if captions and captions.exists() and not self._args.overwrite:
            raise SourceError(f"--captions={captions} is there already; replace it: --overwrite")
        if captions:
            write_whole(captions, self._write_captions)

        def write(stream: BinaryIO) -> None:
            self._write_instances(stream)
            finish()

        try:
            write_whole(path, write)
        except BaseException:
            if captions:
                captions.unlink(missing_ok=True)
            raise
        return dict(self._counts)

    def _numbered(self) -> Iterator[tuple[int, Record]]:
        """Records with the ids of their images: the numbers at the ends of their own, if these differ."""
        for position, record in enumerate(self._records(), 1):
            number = _NUMBER.search(str(record["id"])) if self._has_numbers else None
            yield int(number[0]) if number else position, record

    def _images(self) -> Iterator[dict[str, Any]]:
        for id, record in self._numbered():
            self._counts["images"] += 1
            width, height = metadata.size(record, self._photos)
            yield {"id": id, "file_name": record["image_path"], "width": width, "height": height}

    def _annotations(self) -> Iterator[dict[str, Any]]:
        for id, record in self._numbered():
            self._counts["relations left out"] += len(record.get("relations") or ())
            for thing in metadata.objects(record):
                self._counts["annotations"] += 1
                yield self._annotation(id, thing) | {"id": self._counts["annotations"]}

    def _annotation(self, image_id: int, thing: dict[str, Any]) -> dict[str, Any]:
        x0, y0, x1, y1 = thing["box"]
        box = [round(value, 3) for value in (x0, y0, x1 - x0, y1 - y0)]
        mask = thing.get("mask")
        values = {
            "image_id": image_id,
            "category_id": self._category(thing["name"]),
            "bbox": box,
            "area": masks.area(mask) if mask else round(box[2] * box[3], 3),
            "iscrowd": 0,
            "segmentation": mask or [],
        }
        more = {
            name: thing[name] for name in ("score", "attributes") if thing.get(name) is not None
        }
        return values | more

    def _category(self, name: str) -> int:
        if name not in self._categories:
            self._categories[name] = max(self._categories.values(), default=0) + 1
        return self._categories[name]

    def _write_instances(self, stream: BinaryIO) -> None:
        self._counts.clear()
        _write_array(stream, '{"info":{},"licenses":[],"images":', self._images())
        _write_array(stream, ',"annotations":', self._annotations())
        categories = [{"id": id, "name": name} for name, id in self._categories.items()]
        self._counts["categories"] = len(categories)
        _write_array(stream, ',"categories":', sorted(categories, key=lambda each: each["id"]))
        stream.write(b"}\n")

    def _write_captions(self, stream: BinaryIO) -> None:
        texts = (
            {"image_id": id, "caption": text}
            for id, record in self._numbered()
            for text in metadata.captions(record)
        )
        numbered = ({"id": number} | text for number, text in enumerate(texts, 1))
        _write_array(stream, '{"info":{},"licenses":[],"images":', self._images())
        _write_array(stream, ',"annotations":', numbered)
        stream.write(b"}\n")


def _have_numbers(records: Iterable[Record]) -> bool:
    """Whether the ids of all records end with different numbers."""
    seen: set[int] = set()
    for record in records:
        number = _NUMBER.search(str(record["id"]))
        if not number or int(number[0]) in seen:
            return False
        seen.add(int(number[0]))
    return True


def _write_array(stream: BinaryIO, before: str, values: Iterable[Any]) -> None:
    stream.write(before.encode() + b"[")
    for number, value in enumerate(values):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        stream.write((",\n" if number else "\n").encode() + text.encode())
    stream.write(b"]")


EXPORT = Export(
    "export-coco", "COCO: objects as instances, and captions, of metadata", _add_flags, _write
)
