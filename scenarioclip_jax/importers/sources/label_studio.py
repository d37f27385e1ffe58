"""Label Studio: tasks of its JSON export, with rectangles, polygons, relations, choices and texts.

Boxes are in percent of the photo, whose size each region tells.
"""

import argparse
import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from scenarioclip_jax.data.build.problems import DROPPED, FIXED, KEPT, NOTED
from scenarioclip_jax.importers import boxes, json_stream, masks, texts
from scenarioclip_jax.importers.draft import Draft
from scenarioclip_jax.importers.photos import Photos
from scenarioclip_jax.importers.source import Record, Run, Source, SourceError
from scenarioclip_jax.storage.cache import local_copy

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploads
_SHAPES = ("rectanglelabels", "rectangle", "polygonlabels", "polygon")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", nargs="+", required=True, metavar="FILE", help="JSON exports")
    parser.add_argument(
        "--image-key",
        default="image",
        metavar="KEY",
        help="key of the photo in a task's data (default: %(default)s)",
    )
    parser.add_argument(
        "--action-name",
        default="action",
        metavar="NAME",
        help="name of the Choices or TextArea that tells the action (default: %(default)s)",
    )
    parser.add_argument(
        "--predictions",
        action="store_true",
        help="use a model's regions for tasks that nobody annotated",
    )


def _records(args: argparse.Namespace, run: Run) -> Iterator[Record]:
    photos = Photos(run.images)
    for path in map(local_copy, args.tasks):
        run.files.append(str(path))
        if not json_stream.is_array(path):
            keys = ", ".join(json_stream.keys(path)[:6])
            raise SourceError(
                f"{path} has {keys or 'nothing'}; export the tasks as JSON, which is an array"
            )
        first = json_stream.first(path, "item")
        if isinstance(first, dict) and "data" not in first:
            raise SourceError(
                f"{path}: a task has no `data`, but {', '.join(list(first)[:6])}; "
                "export as JSON, not as JSON-MIN"
            )
        tasks = json_stream.items(path, "item")
        for number, task in enumerate(run.progress(tasks, f"tasks of {path.name}", "tasks")):
            where = f"{path.name} [{number}]"
            if record := run.attempt(where, _record, args, run, photos, task, where):
                yield record


def _record(
    args: argparse.Namespace, run: Run, photos: Photos, task: dict[str, Any], where: str
) -> Record | None:
    data = task["data"]
    name = data.get(args.image_key)
    if not isinstance(name, str):
        detail = f"its data has {', '.join(data)}, no {args.image_key} (see --image-key)"
        run.problems.add("no_photo", DROPPED, "scene", where, detail, str(task.get("id", "")))
        return None
    result = _result(args, run, task, where)
    shapes = [region for region in result if region.get("type") in _SHAPES]
    size = next(((r["original_width"], r["original_height"]) for r in shapes), None)
    path, is_there = photos.find_end(_path(name))
    own = data.get("meta") or {}
    draft = Draft(
        *(run.problems, own.get("id") or f"ls-{task['id']}", path, where),
        size=(int(size[0]), int(size[1])) if size else None,
        split=run.split or own.get("split"),
        source="Label Studio",
    )
    if not is_there:
        draft.problem("photo_not_found", KEPT, "scene", f"{name} isn't in --images")
    for region in shapes:
        _add_shape(draft, region)
    drawn = {region.get("id") for region in shapes}
    for region in result:
        _add_other(args, draft, region, drawn)
    return draft.finish()


def _result(
    args: argparse.Namespace, run: Run, task: dict[str, Any], where: str
) -> list[dict[str, Any]]:
    """The regions of the first annotation that wasn't canceled."""
    id = str(task.get("id", ""))
    done = [each for each in task.get("annotations") or () if not each.get("was_cancelled")]
    if len(done) > 1:
        detail = f"{len(done)} annotations; the first is taken"
        run.problems.add("several_annotations", NOTED, "scene", where, detail, id)
    if not done and task.get("predictions"):
        if args.predictions:
            done = task["predictions"]
        else:
            detail = "nobody annotated it; --predictions takes the model's regions"
            run.problems.add("predictions_only", NOTED, "scene", where, detail, id)
    return done[0].get("result") or [] if done else []


def _add_shape(draft: Draft, region: dict[str, Any]) -> None:
    value, where = region["value"], f"region {region.get('id')}"
    width, height = draft.size or (0, 0)  # all regions are of the same photo
    labels = next((v for k, v in value.items() if k.endswith("labels") and v), [])
    name, mask = texts.clean(labels[0] if labels else ""), None
    if "points" in value:
        points = [(x * width / 100, y * height / 100) for x, y in value["points"]]
        if len(points) >= 3:
            mask = masks.from_coco([[side for point in points for side in point]], width, height)
        if mask is not None and not masks.area(mask):
            mask = None
    else:
        points, turned = _corners(value, width, height)
        if turned:
            detail = f"{name}: turned by {value['rotation']} degrees; the box around it is taken"
            draft.problem("rotated_box", FIXED, "object", detail, where)
    box = boxes.NOTHING
    if points:
        xs, ys = zip(*points, strict=True)
        box = min(xs), min(ys), max(xs), max(ys)
    score = region.get("score")
    draft.add_object(
        region.get("id"), name, box, where=where, mask=mask, score=score, attributes=labels[1:]
    )


def _corners(
    value: dict[str, Any], width: int, height: int
) -> tuple[list[tuple[float, float]], bool]:
    """The corners of a rectangle, in pixels; it's turned clockwise around its upper left corner."""
    x, y = value["x"] * width / 100, value["y"] * height / 100
    w, h = value["width"] * width / 100, value["height"] * height / 100
    angle = math.radians(value.get("rotation") or 0)
    sine, cosine = math.sin(angle), math.cos(angle)
    sides = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)]
    if not angle:
        return [(x + a, y + b) for a, b in sides], False
    return [(x + a * cosine - b * sine, y + a * sine + b * cosine) for a, b in sides], True


def _add_other(
    args: argparse.Namespace, draft: Draft, region: dict[str, Any], drawn: set[Any]
) -> None:
    """Adds relations, and what is told of the photo or of a region."""
    kind, name, value = region.get("type"), region.get("from_name"), region.get("value") or {}
    if kind in _SHAPES:
        return
    if kind == "relation":
        ends = region.get("from_id"), region.get("to_id")
        back = ends[1], ends[0]
        pairs = {"left": [back], "bi": [ends, back]}.get(region.get("direction") or "", [ends])
        for predicate in region.get("labels") or [""]:
            for subject, object in pairs:
                draft.add_relation(subject, texts.clean(predicate), object, where="relation")
        return
    if kind not in ("choices", "textarea"):
        detail = f"{kind} of {name}: neither rectangle nor polygon"
        draft.problem("other_region", DROPPED, "object", detail, f"region {region.get('id')}")
        return
    told = value.get("choices") or value.get("text") or []
    told = told if isinstance(told, list) else [told]
    if region.get("id") in drawn:  # of a region, which has the same id
        for text in map(texts.clean, told):
            draft.add_attribute(region["id"], text)
    elif name == args.action_name:
        draft.set_field("action", texts.clean(told[0] if told else ""))
    elif kind == "textarea":
        draft.add_captions(told)
    else:
        draft.problem("other_choice", NOTED, "scene", f"{name}: {', '.join(map(str, told))}")


def _path(address: str) -> str:
    """The path of a photo, from its address in Label Studio."""
    parts = urlsplit(address)
    if parts.path.endswith("/local-files/") and (found := parse_qs(parts.query).get("d")):
        return found[0]
    path = PurePosixPath(unquote(parts.path))
    if "upload" in path.parts:
        return _UPLOADED.sub("", path.name)
    return str(path)


SOURCE = Source("label-studio", "Label Studio: its JSON export", _add_flags, _records)
