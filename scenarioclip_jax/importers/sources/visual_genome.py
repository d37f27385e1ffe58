"""Visual Genome 1.2 and 1.4: objects, attributes, relationships, and region descriptions.

Each file is an array with an entry for each photo. They are read as streams and joined in a temporary index
on disk, since nothing says that their order is the same.
"""

import argparse
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scenarioclip_jax.data.build.problems import DROPPED, KEPT, NOTED
from scenarioclip_jax.importers import boxes, json_stream, texts
from scenarioclip_jax.importers.coco_captions import add_coco_captions
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.folders import Files
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.merging import add_merge_flags, is_same
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source

# The two folders of the photos' archives, and what people put both into.
_FOLDERS = ("VG_100K", "VG_100K_2", "images", "images2", "VG_100K_all")
# File, and the array in an entry of it that is kept.
_FILES = {
    "objects": "objects.json",
    "attributes": "attributes.json",
    "relationships": "relationships.json",
    "regions": "region_descriptions.json",
}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="DIR",
        help="folder of image_data.json and any of objects.json, attributes.json, relationships.json, "
        "region_descriptions.json, object_alias.txt, relationship_alias.txt",
    )
    parser.add_argument(
        "--region-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="phrases of regions that cover at least this share of the photo become its captions "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--coco-captions",
        nargs="+",
        default=[],
        metavar="FILE",
        help="captions_train2017.json, … of COCO, for the photos that are also COCO's",
    )
    add_merge_flags(parser, any_name=0.9, same_name=0.6)


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    files = Files(args.annotations, "--annotations", run)
    photos = files.required("image_data.json")
    found = {kind: files.optional(name) for kind, name in _FILES.items()}
    if not (found["objects"] or found["relationships"]):
        raise files.missing(["objects.json", "relationships.json"])
    aliases = {
        kind: _aliases(files.optional(f"{kind}_alias.txt")) for kind in ("object", "relationship")
    }
    with run.index() as index:
        for kind, path in found.items():
            if path:
                entries = run.dicts(json_stream.items(path, "item"), path.name)
                for entry in run.progress(entries, f"photos of {path.name}", "photos"):
                    index.add(kind, _id(entry), entry.get(kind) or [])
        add_coco_captions(index, args.coco_captions, run)
        reader = _Reader(args, run, index, aliases["object"], aliases["relationship"])
        entries = run.dicts(json_stream.items(photos, "item"), photos.name)
        for entry in run.progress(entries, "records", "photos"):
            index.add("photo", _id(entry), 0)
            where = f"{photos.name} image_id {_id(entry)}"
            if record := run.attempt(where, reader.record, entry, where):
                yield record
        for kind in found:
            for key, _ in index.without(kind, ["photo"]):
                detail = f"image_id {key} isn't in {photos.name}"
                run.problems.add("unknown_photo", DROPPED, kind, _FILES[kind], detail)


class _Reader:
    def __init__(
        self,
        args: argparse.Namespace,
        run: Run,
        index: Index,
        object_aliases: Mapping[str, str],
        predicate_aliases: Mapping[str, str],
    ):
        self._args, self._run, self._index = args, run, index
        self._objects, self._predicates = object_aliases, predicate_aliases
        self._photos = Photos(run.images)

    def record(self, entry: dict[str, Any], where: str) -> Record | None:
        id = _id(entry)
        parts = urlsplit(str(entry.get("url") or "")).path.split("/")
        folder = parts[-2] if len(parts) > 1 else ""
        path, is_there = self._photos.find(f"{id}.jpg", [folder, *_FOLDERS])
        if self._run.images is None and folder:
            path = f"{folder}/{path}"
        size = int(entry["width"]), int(entry["height"])
        source = "Visual Genome"
        draft = Draft(
            *(self._run.problems, f"vg-{id}", path, where, size),
            split=self._run.split,
            source=source,
        )
        if not is_there:
            draft.problem("photo_not_found", KEPT, "scene", f"{id}.jpg isn't in --images")
        known: dict[Any, Any] = {}  # ids that were merged by the authors
        for thing in self._all("objects", id):
            self._add(draft, thing, known, "objects")
        for thing in self._all("attributes", id):
            key = self._add(draft, thing, known, "attributes")
            for attribute in thing.get("attributes") or ():
                draft.add_attribute(key, texts.label(attribute))
        for relation in self._all("relationships", id):
            ends = [
                self._add(draft, relation[end], known, "relationships")
                for end in ("subject", "object")
            ]
            predicate = texts.label(relation.get("predicate"), self._predicates)
            place = f"relationship_id {relation.get('relationship_id')}"
            draft.add_relation(ends[0], predicate, ends[1], where=place)
        draft.merge(is_same(self._args))
        self._add_captions(draft, entry, size)
        return draft.finish()

    def _all(self, kind: str, id: Any) -> Iterator[dict[str, Any]]:
        for values in self._index.get(kind, id):
            yield from values

    def _add(self, draft: Draft, thing: dict[str, Any], known: dict[Any, Any], kind: str) -> Any:
        """Adds an object, unless another file did; returns its key."""
        id = thing.get("object_id", thing.get("id"))
        key = known.get(id, id)
        for merged in thing.get("merged_object_ids") or ():
            known.setdefault(merged, key)
        if not draft.knows(key):
            # Objects have `names`, participants of relationships `name`, in some versions `names`, too.
            names = thing.get("names") or [thing.get("name")]
            labels = [texts.label(name, self._objects) for name in names]
            name = next(filter(None, labels), "")
            x, y, w, h = boxes.numbers([thing.get(side) for side in ("x", "y", "w", "h")])
            # Their first pixel is 1, 1.
            box = boxes.from_xywh([x - 1, y - 1, w, h])
            draft.add_object(key, name, box, where=f"{kind} object_id {id}")
        return key

    def _add_captions(self, draft: Draft, entry: dict[str, Any], size: tuple[int, int]) -> None:
        regions = []
        for region in self._all("regions", _id(entry)):
            sides = [region.get(side) for side in ("x", "y", "width", "height")]
            covered = boxes.share(boxes.from_xywh(sides), *size)
            if covered >= self._args.region_share:
                regions.append((covered, region.get("phrase")))
            else:
                detail = f"{region.get('phrase')!r} is of {covered:.0%} of the photo"
                draft.problem("small_region", NOTED, "caption", detail)
        if entry.get("coco_id") is not None:
            draft.add_captions(self._index.get("caption", entry["coco_id"]))
        draft.add_captions(phrase for _, phrase in sorted(regions, key=lambda each: -each[0]))


def _id(entry: dict[str, Any]) -> Any:
    return entry.get("image_id", entry.get("id"))


def _aliases(path: Path | None) -> dict[str, str]:
    """Names by those that mean the same: a line has the name first, then its aliases, with commas between."""
    found: dict[str, str] = {}
    if path is None:
        return found
    with json_stream.opened(path) as file:
        for line in io.TextIOWrapper(file, encoding="utf-8", errors="replace"):
            names = [name for name in map(texts.label, line.split(",")) if name]
            if names:
                target = found.get(names[0], names[0])
                for name in names:
                    found.setdefault(name, target)
    return found


SOURCE = Source(
    "visual-genome",
    "Visual Genome 1.2 and 1.4: objects, attributes, relationships, phrases of regions",
    _add_flags,
    _records,
)
