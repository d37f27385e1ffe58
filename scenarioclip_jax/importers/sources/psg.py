"""PSG (panoptic scene graphs): objects and stuff with masks, and relations, of COCO's photos."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, KEPT
from scenarioclip_jax.importers import boxes, json_stream, texts
from scenarioclip_jax.importers.coco_captions import add_coco_captions
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.panoptic import segment_masks
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

# What a box's four numbers are, by its bbox_mode (Detectron2's numbers).
_MODES = {0: boxes.numbers, 1: boxes.from_xywh}
# Relations that are there but can't be: the predicate, and the class of both ends.
_NOISE = {("wearing", "person")}


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--psg", required=True, metavar="FILE", help="psg.json")
    parser.add_argument(
        "--panoptic-masks",
        metavar="DIR",
        help="folder that has panoptic_train2017 and panoptic_val2017 (default: no masks)",
    )
    parser.add_argument(
        "--coco-captions",
        nargs="+",
        default=[],
        metavar="FILE",
        help="captions_train2017.json, … of COCO, since PSG has no captions",
    )


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    path = local_copy(args.psg)
    run.files.append(str(path))
    lists = {
        name: list(json_stream.items(path, f"{name}.item"))
        for name in ("thing_classes", "stuff_classes", "predicate_classes", "test_image_ids")
    }
    missing = [name for name in ("thing_classes", "predicate_classes") if not lists[name]]
    if missing:
        raise SourceError(
            f"{path} has no {' and no '.join(missing)}; name psg.json (COCO's own files are read by `coco`)"
        )
    folder = local_copy(args.panoptic_masks) if args.panoptic_masks else None
    if folder and not folder.is_dir():
        raise SourceError(
            f"--panoptic-masks={folder} isn't a folder; name that of panoptic_train2017"
        )
    with run.index() as captions:
        add_coco_captions(captions, args.coco_captions, run)
        reader = _Reader(path, lists, folder, captions, run)
        entries = json_stream.items(path, "data.item")
        for number, entry in enumerate(run.progress(entries, "records", "photos")):
            where = f"{path.name} data[{number}]"
            if record := run.attempt(where, reader.record, entry, where):
                yield record


class _Reader:
    def __init__(
        self,
        path: Path,
        lists: dict[str, list[Any]],
        masks_folder: Path | None,
        captions: Index,
        run: Run,
    ):
        # Thing and stuff classes are counted through; stuff is called by what it is.
        things, stuff = lists["thing_classes"], lists["stuff_classes"]
        self._classes = [*map(texts.clean, things), *map(texts.stuff_name, stuff)]
        self._predicates = [texts.clean(name) for name in lists["predicate_classes"]]
        self._test = set(map(str, lists["test_image_ids"]))
        self._path, self._masks_folder, self._captions = path, masks_folder, captions
        self._run, self._photos = run, Photos(run.images)

    def record(self, entry: dict[str, Any], where: str) -> Record | None:
        name, image_id = entry.get("file_name"), entry.get("image_id")
        if not name or image_id is None:
            detail = f"file_name or image_id is missing; it has {', '.join(sorted(entry))}"
            self._run.problems.add("broken_photo", DROPPED, "scene", where, detail)
            return None
        path, is_there = self._photos.find(name)
        split = "test" if str(image_id) in self._test else "train"
        draft = Draft(
            self._run.problems,
            f"psg-{image_id}",
            path,
            where,
            (int(entry["width"]), int(entry["height"])),
            split=self._run.split or split,
            source=f"PSG {self._path.name}",
        )
        if not is_there:
            draft.problem("photo_not_found", KEPT, "scene", f"{name} isn't in --images")
        self._add_segments(draft, entry)
        for relation in entry.get("relations", []):
            self._add_relation(draft, relation)
        with contextlib.suppress(ValueError):  # a photo that isn't COCO's has no number
            draft.add_captions(self._captions.get("caption", int(PurePosixPath(name).stem)))
        return draft.finish()

    def _add_segments(self, draft: Draft, entry: dict[str, Any]) -> None:
        annotations, segments = entry.get("annotations", []), entry.get("segments_info", [])
        if len(annotations) != len(segments):
            detail = f"{len(annotations)} annotations, but {len(segments)} segments_info"
            draft.problem("unequal_lists", DROPPED, "mask", detail)
            segments = [{} for _ in annotations]
        ids = [segment["id"] for segment in segments if segment.get("id") is not None]
        png = entry.get("pan_seg_file_name") or ""
        found = segment_masks(draft, self._masks_folder, png, ids)
        for position, (annotation, segment) in enumerate(zip(annotations, segments, strict=True)):
            where = f"annotations[{position}]"
            name = _listed(self._classes, annotation.get("category_id"))
            if not name:
                detail = (
                    f"category_id {annotation.get('category_id')!r} of {len(self._classes)} classes"
                )
                draft.leave_out(position, "unknown_category", detail, where)
                continue
            if segment.get("iscrowd"):
                detail = f"{name}: a crowd, not one object"
                draft.leave_out(position, "crowd_region", detail, where)
                continue
            mode = annotation.get("bbox_mode", 0)
            if mode not in _MODES:
                draft.leave_out(position, "unknown_box_mode", f"{name}: bbox_mode {mode}", where)
                continue
            box = _MODES[mode](annotation.get("bbox"))
            mask = found.get(segment.get("id", -1))
            draft.add_object(position, name, box, where=where, mask=mask)

    def _add_relation(self, draft: Draft, relation: Any) -> None:
        where = "relations"
        if not (isinstance(relation, list) and len(relation) == 3):
            draft.problem("broken_relation", DROPPED, "relation", f"{relation!r}", where)
            return
        subject, object, number = relation
        predicate = _listed(self._predicates, number)
        if not predicate:
            detail = f"predicate {number!r} of {len(self._predicates)}"
            draft.problem("unknown_predicate", DROPPED, "relation", detail, where)
            return
        ends = {draft.name_of(subject), draft.name_of(object)}
        if len(ends) == 1 and (predicate, next(iter(ends))) in _NOISE:
            detail = f"{ends} {predicate} {ends}: a known fault of these annotations"
            draft.problem("implausible_relation", DROPPED, "relation", detail, where)
            return
        draft.add_relation(subject, predicate, object, where=where)


def _listed(names: list[str], position: Any) -> str:
    """The name at a position that a file tells, or "" if there is none."""
    is_there = isinstance(position, int) and 0 <= position < len(names)
    return names[position] if is_there else ""


SOURCE = Source(
    "psg",
    "PSG: scene graphs of things and stuff, with masks, on COCO's photos",
    _add_flags,
    _records,
)
