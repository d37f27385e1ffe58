"""COCO: instances, captions and panoptic segments.

In a COCO file all annotations are one array, which isn't sorted by photo, and their categories follow after
it. So a file is read three times as a stream (categories, images, annotations), and annotations are joined to
their photos in a temporary index on disk.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scenarioclip_jax.data.build.problems import DROPPED, KEPT
from scenarioclip_jax.importers import boxes, json_stream, masks, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.panoptic import segment_masks
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

_FOLDER = re.compile(r"(?:train|val|test)\d{4}")  # as in instances_train2017.json
# A field that only annotations of one kind of file have, and the flag that reads it.
_KINDS = {"segments_info": "--panoptic", "caption": "--captions", "keypoints": "--instances"}
_KINDS |= {"bbox": "--instances", "category_id": "--instances"}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--instances", nargs="+", default=[], metavar="FILE", help="instances_train2017.json, …")
    add("--captions", nargs="+", default=[], metavar="FILE", help="captions_train2017.json, …")
    add("--panoptic", nargs="+", default=[], metavar="FILE", help="panoptic_train2017.json, …")
    add(
        "--panoptic-masks",
        metavar="DIR",
        help="folder of the panoptic PNG files (default: beside the JSON file, named like it)",
    )
    add("--without-masks", action="store_true", help="boxes only")


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    if not (args.instances or args.captions or args.panoptic):
        raise SourceError("name what to import: --instances, --captions or --panoptic")
    with run.index() as index:
        reader = _Reader(args, run, index)
        for flag, read in (
            ("instances", reader.instance),
            ("captions", reader.caption),
            ("panoptic", reader.panoptic),
        ):
            for name in getattr(args, flag):
                reader.read(local_copy(name), f"--{flag}", read)
        yield from _Joiner(args, run, index).records()


class _Reader:
    """Puts annotations into the index, by split and photo."""

    def __init__(self, args: argparse.Namespace, run: Run, index: Index):
        self._args, self._run, self._index = args, run, index

    def read(self, path: Path, flag: str, add: Any) -> None:
        _check_kind(path, flag)
        split = self._run.split_of(path)
        self._run.files.append(str(path))
        categories = {
            str(category.get("id")): (texts.clean(category.get("name")), category.get("isthing", 1))
            for category in self._run.dicts(
                json_stream.items(path, "categories.item"), f"{path.name} categories"
            )
        }
        if not categories and flag != "--captions":
            raise SourceError(
                f"{path} has no `categories`, which tell what the category_id of a box means"
            )
        photos = json_stream.items(path, "images.item")
        photos = self._run.dicts(photos, f"{path.name} images")
        for photo in self._run.progress(photos, f"photos of {path.name}", "photos"):
            self._photo(photo, split, path)
        found = json_stream.items(path, "annotations.item")
        found = self._run.dicts(found, f"{path.name} annotations")
        for number, annotation in enumerate(
            self._run.progress(found, f"annotations of {path.name}", "annotations")
        ):
            where = f"{path.name} annotations[{number}]"
            key = f"{split}/{annotation.get('image_id')}"
            self._run.attempt(where, add, annotation, key, where, path, categories)

    def _photo(self, photo: dict[str, Any], split: str | None, path: Path) -> None:
        name = photo.get("file_name")
        if "id" not in photo or not isinstance(name, str) or not name:
            detail = f"a photo needs id and file_name; got {sorted(photo)}"
            self._run.problems.add("broken_photo", DROPPED, "scene", f"{path.name} images", detail)
            return
        url = urlsplit(str(photo.get("coco_url") or "")).path.split("/")
        folders = [*_FOLDER.findall(path.name), *url[-2:-1]]
        row = {"name": name, "size": [photo.get("width"), photo.get("height")]}
        row |= {"id": photo["id"], "split": split, "file": path.name, "folders": folders}
        self._index.add("photo", f"{split}/{photo['id']}", row)
        self._index.add("id", photo["id"], split)

    def instance(
        self, annotation: dict[str, Any], key: str, where: str, path: Path, categories: dict
    ) -> None:
        name = categories.get(str(annotation.get("category_id")), ("", 1))[0]
        row = {"where": where, "name": name}
        row |= {
            f: annotation.get(f) for f in ("category_id", "bbox", "iscrowd", "score", "attributes")
        }
        if not self._args.without_masks:
            row["segmentation"] = annotation.get("segmentation")
        self._index.add("instance", key, row)

    def caption(
        self, annotation: dict[str, Any], key: str, where: str, path: Path, categories: dict
    ) -> None:
        self._index.add("caption", key, annotation.get("caption"))

    def panoptic(
        self, annotation: dict[str, Any], key: str, where: str, path: Path, categories: dict
    ) -> None:
        segments = []
        for segment in annotation.get("segments_info") or []:
            name, is_thing = categories.get(str(segment.get("category_id")), ("", 1))
            name = name if is_thing else texts.stuff_name(name)
            if is_thing and self._args.instances:
                continue  # they are there as instances
            row = {"name": name, "id": segment.get("id")}
            segments.append(row | {f: segment.get(f) for f in ("category_id", "bbox", "iscrowd")})
        folder = self._args.panoptic_masks or path.with_name(path.name.partition(".")[0])
        row = {"where": where, "segments": segments, "png": annotation.get("file_name", "")}
        self._index.add("panoptic", key, row | {"folder": str(folder)})


class _Joiner:
    """Makes a record of all that the index has of a photo."""

    def __init__(self, args: argparse.Namespace, run: Run, index: Index):
        self._args, self._run, self._index = args, run, index
        self._photos = Photos(run.images)

    def records(self) -> Iterator[Record]:
        for kind in ("instance", "caption", "panoptic"):
            for key, count in self._index.without(kind, ["photo"]):
                detail = f"{count} annotations of image_id {key.partition('/')[2]}, which `images` doesn't have"
                self._run.problems.add("unknown_photo", DROPPED, kind, "annotations", detail)
        keys, total = self._index.keys("photo"), self._index.count("photo")
        for key in self._run.progress(keys, "records", "photos", total):
            where = f"image_id {key.partition('/')[2]}"
            if record := self._run.attempt(where, self._record, key):
                yield record

    def _record(self, key: str) -> Record | None:
        photos = self._index.get("photo", key)
        photo = photos[0]
        for other in photos[1:]:
            if other["name"] != photo["name"]:
                raise SourceError(
                    f"image_id {photo['id']} is {photo['name']} in {photo['file']} and {other['name']} in "
                    f"{other['file']}; import these files one by one, each to its own folder"
                )
        several = len(set(self._index.get("id", photo["id"]))) > 1
        id = f"coco-{photo['split']}-{photo['id']}" if several else f"coco-{photo['id']}"
        path, is_there = self._photos.find(photo["name"], photo["folders"])
        width, height = photo["size"]
        size = (int(width), int(height)) if width and height else None
        draft = Draft(
            self._run.problems,
            id,
            path,
            f"{photo['file']} image_id {photo['id']}",
            size,
            split=photo["split"],
            source=f"COCO {photo['file']}",
        )
        if not is_there:
            draft.problem("photo_not_found", KEPT, "scene", f"{photo['name']} isn't in --images")
        for number, row in enumerate(self._index.get("instance", key)):
            self._instance(draft, number, row)
        for row in self._index.get("panoptic", key):
            self._panoptic(draft, row)
        draft.add_captions(self._index.get("caption", key))
        return draft.finish()

    def _instance(self, draft: Draft, number: int, row: dict[str, Any]) -> None:
        where, name = row["where"], row["name"]
        if _left_out(draft, number, row, where):
            return
        mask = None
        if row.get("segmentation") and draft.size:
            try:
                mask = masks.from_coco(row["segmentation"], *draft.size)
            except (ValueError, TypeError) as error:
                draft.problem("broken_mask", DROPPED, "mask", f"{name}: {error}", where)
            else:
                if mask is None or masks.area(mask) == 0:
                    draft.problem("empty_mask", DROPPED, "mask", f"{name}: covers no pixel", where)
                    mask = None
        attributes = row["attributes"] if isinstance(row["attributes"], list) else ()
        draft.add_object(
            *(number, name, _box(row["bbox"], mask)),
            where=where,
            mask=mask,
            score=row["score"],
            attributes=attributes,
        )

    def _panoptic(self, draft: Draft, row: dict[str, Any]) -> None:
        segments = {f"segment {s['id']}": s for s in row["segments"]}
        kept = [k for k, s in segments.items() if not _left_out(draft, k, s, row["where"])]
        found = {}
        if not self._args.without_masks:
            ids = [segments[key]["id"] for key in kept]
            found = segment_masks(draft, local_copy(row["folder"]), row["png"], ids)
        for key in kept:
            segment = segments[key]
            mask = found.get(segment["id"])
            box = _box(segment["bbox"], mask)
            draft.add_object(key, segment["name"], box, where=row["where"], mask=mask)


def _box(given: Any, mask: dict[str, Any] | None) -> boxes.Box:
    """The box of an annotation, or that around its mask if it has none."""
    return masks.box(mask) if mask and not given else boxes.from_xywh(given)


def _left_out(draft: Draft, key: Any, row: dict[str, Any], where: str) -> bool:
    """Leaves out crowds, which are no single object, and what has no category."""
    if not row["name"]:
        detail = f"category_id {row['category_id']!r} isn't one of `categories`"
        draft.leave_out(key, "unknown_category", detail, where)
    elif row.get("iscrowd"):
        draft.leave_out(key, "crowd_region", f"{row['name']}: a crowd, not one object", where)
    else:
        return False
    return True


def _check_kind(path: Path, flag: str) -> None:
    """Raises a SourceError if a file is of another kind than its flag says."""
    if json_stream.is_array(path):
        raise SourceError(
            f"{path} is an array, as results of a detector are; "
            "an annotation file has `images` and `annotations`"
        )
    found = json_stream.first(path, "annotations.item")
    if not isinstance(found, dict):
        keys = json_stream.keys(path)
        reason = (
            "has no annotations"
            if "annotations" in keys
            else f"has {', '.join(keys[:6]) or 'nothing'}"
        )
        hint = "; PSG's file is read by `psg`" if "predicate_classes" in keys else ""
        raise SourceError(f"{path} {reason}; COCO's files have images and annotations{hint}")
    kind = next((right for name, right in _KINDS.items() if name in found), None)
    if kind != flag:
        what = {"--captions": "a captions file", "--panoptic": "a panoptic file"}
        what = what.get(kind or "", "a file of instances" if kind else "something else")
        raise SourceError(
            f"{path} is {what}: its annotations have {', '.join(sorted(found))}"
            + (f"; give it as {kind}" if kind else f"; {flag} reads another kind")
        )


SOURCE = Source("coco", "COCO: boxes and masks, captions, panoptic segments", _add_flags, _records)
