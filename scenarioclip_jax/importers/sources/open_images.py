"""Open Images V4 to V7: boxes, visual relationships, and localized narratives.

Boxes are in fractions of the photo. If the photos are there (`--images`), boxes become pixels of the size
that a photo's header tells, and rows of photos that aren't there are skipped, since few people have all nine
million. Without photos, boxes stay fractions, and the command that goes on reads them as such
(`--box-units=unit`).
"""

import argparse
import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, KEPT, NOTED
from scenarioclip_jax.importers import boxes, csv_stream, json_stream, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

_FOLDERS = ("train", "validation", "test")  # as the official downloader makes them
_SAME = 0.002  # of the photo; the boxes of both files are the same ones, but for rounding
_BOX = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_ENDS = [f"{name}{end}" for end in "12" for name in ("LabelName", "XMin", "XMax", "YMin", "YMax")]
_RELATION = "RelationshipLabel|RelationLabel"  # V6 and later, and before


def _add_flags(parser: argparse.ArgumentParser) -> None:
    def add(flag: str, text: str, required: bool = False) -> None:
        default = None if required else []
        parser.add_argument(
            flag, nargs="+", default=default, required=required, metavar="FILE", help=text
        )

    add("--boxes", "oidv6-train-annotations-bbox.csv, validation-annotations-bbox.csv, …")
    add("--relationships", "oidv6-train-annotations-vrd.csv, …")
    add(
        "--narratives",
        "open_images_train_v6_captions.jsonl, or the localized narratives themselves",
    )
    add(
        "--names",
        "oidv7-class-descriptions-boxable.csv, oidv6-attributes-description.csv and "
        "oidv6-relationships-description.csv, which say what is meant by /m/01g317",
        required=True,
    )
    add("--image-info", "train-images-boxable-with-rotation.csv, …, to be told of rotated photos")


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    if not (args.boxes or args.relationships or args.narratives):
        raise SourceError("name what to import: --boxes, --relationships or --narratives")
    names: dict[str, str] = {}
    for path in map(local_copy, args.names):
        run.files.append(str(path))
        names |= {id: _name(text) for id, text in csv_stream.pairs(path)}
    if run.images is None:
        run.build_flags.append("--box-units=unit")
    with run.index() as index:
        reader = _Reader(run, index, names)
        for path in map(local_copy, args.boxes):
            reader.read("box", path, csv_stream.rows(path, "--boxes", _BOX), "ImageID")
        for path in map(local_copy, args.relationships):
            columns = ["ImageID", *_ENDS, _RELATION]
            found = csv_stream.rows(path, "--relationships", columns)
            reader.read("relation", path, found, "ImageID")
        for path in map(local_copy, args.image_info):
            found = csv_stream.rows(path, "--image-info", ["ImageID", "Rotation"])
            reader.read("info", path, found, "ImageID")
        for path in map(local_copy, args.narratives):
            reader.read("narrative", path, _narratives(path), "image_id")
        ids = index.keys("box", "relation", "narrative")
        for id in run.progress(ids, "records", "photos"):
            if record := run.attempt(f"ImageID {id}", reader.record, id):
                yield record


def _narratives(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in json_stream.lines(path):
        if not isinstance(line, dict) or "caption" not in line or "image_id" not in line:
            raise SourceError(
                f"--narratives {path} line {number} has no image_id and caption; "
                "name open_images_train_v6_captions.jsonl or the like"
            )
        yield number, {name: line.get(name) for name in ("image_id", "caption", "dataset_id")}


class _Reader:
    def __init__(self, run: Run, index: Index, names: dict[str, str]):
        self._run, self._index, self._names = run, index, names
        self._photos = Photos(run.images)
        # Rows of a photo are neighbors, nearly always.
        self.find: Callable[[str], tuple[str, bool]] = functools.lru_cache(65_536)(
            lambda id: self._photos.find(f"{id}.jpg", _FOLDERS)
        )

    def read(
        self, kind: str, path: Path, found: Iterator[tuple[int, dict[str, Any]]], key: str
    ) -> None:
        """Puts the rows of photos that are there into the index."""
        self._run.files.append(str(path))
        split, missing = self._run.split_of(path), 0
        for number, row in self._run.progress(found, f"rows of {path.name}", "rows"):
            id = row.pop(key, "")
            if not self.find(id)[1]:
                missing += 1
            else:
                self._index.add(kind, id, [f"{path.name} line {number}", split, row])
        if missing:
            detail = f"{missing:,} rows of photos that aren't in --images"
            self._run.problems.add("photo_not_found", NOTED, "file", path.name, detail)

    def record(self, id: str) -> Record | None:
        found = {
            kind: self._index.get(kind, id) for kind in ("box", "relation", "narrative", "info")
        }
        where, split, _ = next(row for rows in found.values() for row in rows)
        path, size, turned = self.find(id)[0], None, False
        if self._run.images:
            try:
                size = self._photos.size(path)
            except OSError as error:
                detail = f"{path} can't be read ({error.strerror or error})"
                self._run.problems.add("unreadable_photo", DROPPED, "scene", where, detail, id)
                return None
            turned = self._photos.is_turned(path)
        limits = None if size else (1.0, 1.0)
        draft = Draft(
            *(self._run.problems, f"oi-{id}", path, f"ImageID {id}", size, limits),
            split=split,
            source="Open Images",
        )
        if turned:
            detail = "boxes are taken to be those of the photo as viewers show it (see --box-orientation)"
            draft.problem("exif_turned", KEPT, "scene", detail)
        for _, _, row in found["info"]:
            if row["Rotation"] not in ("", "0", "0.0", "nan"):
                detail = (
                    f"is to be turned by {row['Rotation']} degrees; boxes are those of the file"
                )
                draft.problem("rotated_photo", KEPT, "scene", detail)
        scale = size or (1, 1)
        placed: list[tuple[str, boxes.Box, Any]] = []  # with those that are left out
        for number, (line, _, row) in enumerate(found["box"]):
            self._add_box(draft, number, line, row, scale, placed)
        for line, _, row in found["relation"]:
            self._add_relation(draft, line, row, scale, placed)
        for line, _, row in found["narrative"]:
            dataset = str(row.get("dataset_id") or "open_images")
            if dataset.lower().startswith("open"):
                draft.add_captions([row["caption"]])
            else:
                draft.problem("other_data_set", DROPPED, "caption", f"of {dataset}", line)
        return draft.finish()

    def _add_box(
        self,
        draft: Draft,
        key: Any,
        line: str,
        row: dict[str, str],
        scale: tuple[float, float],
        placed: list[tuple[str, boxes.Box, Any]],
    ) -> None:
        label, box = row.get("LabelName", ""), _box(row, "")
        placed.append((label, box, key))
        if not (name := self._names.get(label)):
            draft.leave_out(key, "unknown_label", f"{label!r} isn't in --names", line)
            return
        if row.get("IsGroupOf") == "1":
            draft.leave_out(key, "group_of_objects", f"{name}: a box around more than five", line)
            return
        if (
            draft.add_object(key, name, _scaled(box, scale), where=line)
            and row.get("IsDepiction") == "1"
        ):
            draft.problem("depiction", KEPT, "object", f"{name}: a drawing or the like", line)

    def _add_relation(
        self,
        draft: Draft,
        line: str,
        row: dict[str, str],
        scale: tuple[float, float],
        placed: list[tuple[str, boxes.Box, Any]],
    ) -> None:
        predicate = row.get("RelationshipLabel", row.get("RelationLabel", ""))
        subject = self._end(draft, line, row, "1", scale, placed)
        # The second label of "is" is a property of the first object; their boxes are equal.
        if predicate == "is":
            attribute = self._names.get(row.get("LabelName2", ""))
            if not attribute:
                detail = f"{row.get('LabelName2')!r} isn't in --names"
                draft.problem("unknown_label", DROPPED, "attribute", detail, line)
            elif not draft.add_attribute(subject, attribute):
                draft.problem("participant_left_out", DROPPED, "attribute", attribute, line)
            return
        object = self._end(draft, line, row, "2", scale, placed)
        named = self._names.get(predicate) or texts.label(predicate.replace("_", " "))
        draft.add_relation(subject, named, object, where=line)

    def _end(
        self,
        draft: Draft,
        line: str,
        row: dict[str, str],
        end: str,
        scale: tuple[float, float],
        placed: list[tuple[str, boxes.Box, Any]],
    ) -> Any:
        """The key of the object of the same label and place, which is added if there is none."""
        label, box = row.get(f"LabelName{end}", ""), _box(row, end)
        for other, there, key in placed:
            if other == label and all(abs(a - b) <= _SAME for a, b in zip(box, there, strict=True)):
                return key
        key = f"{label} of {line}"
        self._add_box(draft, key, line, _as_box(row, end), scale, placed)
        return key


def _as_box(row: dict[str, str], end: str) -> dict[str, str]:
    """One end of a relation as a row of the boxes."""
    return {
        name: row[f"{name}{end}"]
        for name in ("LabelName", "XMin", "XMax", "YMin", "YMax")
        if f"{name}{end}" in row
    }


def _box(row: dict[str, str], end: str) -> boxes.Box:
    """In fractions of the photo."""
    with contextlib.suppress(KeyError):
        return boxes.numbers([row[f"{side}{end}"] for side in ("XMin", "YMin", "XMax", "YMax")])
    return boxes.NOTHING


def _scaled(box: boxes.Box, scale: tuple[float, float]) -> boxes.Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]


def _name(text: str) -> str:
    """A class, attribute or predicate as one would say it: "made of leather", not "(made of)Leather"."""
    return texts.label(re.sub(r"^\(made of\)\s*", "made of ", text.replace("_", " ")))


SOURCE = Source(
    "open-images",
    "Open Images V4 to V7: boxes, visual relationships, localized narratives",
    _add_flags,
    _records,
)
