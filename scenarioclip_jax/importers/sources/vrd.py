"""VRD (Stanford's visual relationship detection): relations, and their participants as boxes."""

import argparse
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, KEPT
from scenarioclip_jax.importers import boxes, json_stream, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.folders import Files
from scenarioclip_jax.importers.merging import add_merge_flags, is_same
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError

_FOLDERS = (
    *("sg_train_images", "sg_test_images"),
    *("sg_dataset/sg_train_images", "sg_dataset/sg_test_images"),
)
_SUFFIXES = (".jpg", ".png", ".gif")  # a few files have another one than the annotations tell


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--annotations",
        required=True,
        metavar="DIR",
        help="folder of annotations_train.json, annotations_test.json, objects.json, predicates.json",
    )
    add_merge_flags(parser, any_name=2, same_name=0.9)


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    files = Files(args.annotations, "--annotations", run)
    lists = []
    for name in ("objects.json", "predicates.json"):
        path = files.required(name)
        names = list(json_stream.items(path, "item")) if json_stream.is_array(path) else []
        if not names or not all(isinstance(each, str) for each in names):
            raise SourceError(f"{path} isn't a list of names; name the folder of VRD's JSON files")
        lists.append([texts.clean(each) for each in names])
    photos, found = Photos(run.images), False
    for name in ("annotations_train.json", "annotations_test.json"):
        if not (path := files.find(name)):
            continue
        found, split = True, run.split_of(path)
        for photo, rows in run.progress(json_stream.pairs(path), f"photos of {name}", "photos"):
            where = f"{name} {photo}"
            inputs = (args, run, photos, lists, photo, rows, where, split)
            if record := run.attempt(where, _record, *inputs):
                yield record
    if not found:
        raise files.missing(["annotations_train.json", "annotations_test.json"])


def _record(
    args: argparse.Namespace,
    run: Run,
    photos: Photos,
    lists: list[list[str]],
    name: str,
    rows: list[dict[str, Any]],
    where: str,
    split: str | None,
) -> Record | None:
    stem = PurePosixPath(name).stem
    places = [photos.find(each, _FOLDERS) for each in (name, *(f"{stem}{s}" for s in _SUFFIXES))]
    path, is_there = next((place for place in places if place[1]), places[0])
    size = None
    if run.images and is_there:
        try:
            size = photos.size(path)
        except OSError as error:
            detail = f"{path} can't be read ({error.strerror or error})"
            run.problems.add("unreadable_photo", DROPPED, "scene", where, detail)
            return None
    draft = Draft(run.problems, f"vrd-{stem}", path, where, size, split=split, source="VRD")
    if not is_there:
        draft.problem("photo_not_found", KEPT, "scene", f"{name} isn't in --images")
    for position, row in enumerate(rows):
        place = f"[{position}]"
        # There are no ids: an object is its category and box.
        ends = [
            _add_end(draft, row[end], lists[0], f"{place}.{end}") for end in ("subject", "object")
        ]
        predicate = _listed(lists[1], row.get("predicate"))
        if predicate:
            draft.add_relation(ends[0], predicate, ends[1], where=place)
        else:
            detail = f"predicate {row.get('predicate')!r} of {len(lists[1])}"
            draft.problem("unknown_predicate", DROPPED, "relation", detail, place)
    draft.merge(is_same(args))
    return draft.finish()


def _add_end(draft: Draft, end: dict[str, Any], names: list[str], where: str) -> Any:
    """Adds a participant, unless it's there; returns its key."""
    y0, y1, x0, x1 = boxes.numbers(end.get("bbox"))
    key = end.get("category"), y0, y1, x0, x1
    if not draft.knows(key):
        name = _listed(names, end.get("category"))
        if name:
            draft.add_object(key, name, (x0, y0, x1, y1), where=where)
        else:
            detail = f"category {end.get('category')!r} of {len(names)}"
            draft.leave_out(key, "unknown_category", detail, where)
    return key


def _listed(names: list[str], position: Any) -> str:
    is_there = isinstance(position, int) and 0 <= position < len(names)
    return names[position] if is_there else ""


SOURCE = Source("vrd", "VRD (Stanford): visual relationships", _add_flags, _records)
