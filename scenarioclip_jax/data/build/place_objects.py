"""Reads the boxes and masks of a record in pixels of its upright photo, and repairs them."""

import numpy as np

from scenarioclip_jax.data.build import box_sample, focus_evidence
from scenarioclip_jax.data.build.box_formats import ORIENTATIONS, BoxReading, misfits, to_pixels
from scenarioclip_jax.data.build.box_votes import BoxDecision
from scenarioclip_jax.data.build.object_masks import fit_mask
from scenarioclip_jax.data.build.participants import Object
from scenarioclip_jax.data.build.photo_files import Photo
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.photo_sizes import AnnotatedSize
from scenarioclip_jax.data.build.problems import DROPPED, FIXED, GUESSED, NOTED, Problems
from scenarioclip_jax.data.build.records import Record

_ROUNDING = 1.0  # a box this many pixels outside the photo is rounded, not wrong


def place_objects(
    record: Record,
    photo: Photo,
    annotated: AnnotatedSize,
    reading: BoxReading,
    problems: Problems,
) -> list[Object]:
    """Returns the objects in pixels of the upright photo; None for a box that shows nothing of it."""
    objects: list[Object] = []
    written = _written(record)
    for index, box in enumerate(_read(written, reading, photo, annotated)):
        where = f"{record.where}.objects[{index}]"
        if box[0] > box[2] or box[1] > box[3]:
            _list_inverted(record, written[index], where, photo, annotated, problems, reading)
        box = [*np.minimum(box[:2], box[2:]), *np.maximum(box[:2], box[2:])]
        name, size = record.objects[index].name, photo.picture.size
        objects.append(_clipped(name, box, size, where, record.id, problems))
    return objects


def _written(record: Record) -> np.ndarray:
    return np.array([each.box for each in record.objects], np.float64)


def _read(
    boxes: np.ndarray, reading: BoxReading, photo: Photo, annotated: AnnotatedSize
) -> np.ndarray:
    """Boxes [N, 4] as written, in pixels of the upright photo."""
    size, orientation = np.array([annotated.size]), np.array([photo.orientation])
    count = len(boxes)
    found = to_pixels(boxes, reading, size.repeat(count, 0), orientation.repeat(count))
    if annotated.size == photo.picture.size:
        return found
    return found * np.tile(np.divide(photo.picture.size, annotated.size), 2)


def place_masks(
    record: Record, objects: list[Object], photo: Photo, reading: BoxReading, problems: Problems
) -> list[np.ndarray | None]:
    """Returns the masks of the objects, bool [height, width] of the upright photo; None where there is none."""
    found: list[np.ndarray | None] = []
    for index, (written, usable) in enumerate(zip(record.objects, objects, strict=True)):
        mask = None
        if written.mask and usable:
            stored = reading.orientation == "stored"
            try:
                size = photo.picture.size
                mask = fit_mask(written.mask, usable[1], size, photo.orientation, stored=stored)
            except ValueError as error:
                where = f"{record.where}.objects[{index}].mask"
                detail = f"{error}; the box is used without it"
                problems.add("mask_unusable", DROPPED, "mask", where, detail, record.id)
        found.append(mask)
    return found


def _list_inverted(
    record: Record,
    box: np.ndarray,
    where: str,
    photo: Photo,
    annotated: AnnotatedSize,
    problems: Problems,
    reading: BoxReading,
) -> None:
    text = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    detail = f"{text} is inverted; its corners were swapped"
    if reading.format == "xyxy" and reading.units == "pixels":
        other = _read(box[None], reading._replace(format="xywh"), photo, annotated)
        size = np.array([photo.picture.size])
        if not misfits(other, size)[0]:
            x0, y0, x1, y1 = other[0]
            detail += (
                f". (As [x, y, width, height] it would be [{x0:g}, {y0:g}, {x1:g}, {y1:g}]; if all boxes are "
                "written so, add --boxes=xywh)"
            )
    problems.add("box_inverted", FIXED, "object", where, detail, record.id)


def _clipped(
    name: str, box: list[float], size: tuple[int, int], where: str, id: str, problems: Problems
) -> Object:
    x0, y0, x1, y1 = map(float, box)
    width, height = size
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    text = f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] of a photo of {width} x {height} pixels"
    if inside[2] - inside[0] < 1 or inside[3] - inside[1] < 1:
        detail = f"less than a pixel of {text} is left"
        problems.add("box_empty", DROPPED, "object", where, detail, id)
        return None
    if max(-x0, -y0, x1 - width, y1 - height) > _ROUNDING:
        problems.add("box_outside", FIXED, "object", where, f"clipped {text}", id)
    return name, inside


def reading_of(
    record: Record,
    photo: Photo,
    annotated: AnnotatedSize,
    problems: Problems,
    decision: BoxDecision,
    folders: Folders,
) -> BoxReading:
    """How to read this photo's boxes: as in the data set, unless it is EXIF-rotated and indicates otherwise."""
    reading, boxes = decision.reading, _written(record)
    if annotated.stored is not None:  # the record itself says which
        return reading._replace(orientation="stored" if annotated.stored else "upright")
    if photo.orientation == 1 or not decision.each:
        return reading
    size = np.array([photo.picture.size]).repeat(len(boxes), 0)
    either = [reading._replace(orientation=orientation) for orientation in ORIENTATIONS]
    read = [_read(boxes, each, photo, annotated) for each in either]
    ordered = [
        np.concatenate([np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])], 1)
        for b in read
    ]
    # Even one pixel too far counts here, because these are the boxes of one tool.
    beyond = [
        ((b < -_ROUNDING) | (b > np.concatenate([size, size], 1) + _ROUNDING)).any()
        for b in ordered
    ]
    scores = np.array([0.0 if out else 0.5 for out in beyond])
    scores += _shown_where(record, either, read, photo, folders)
    where = f"{record.where}.objects"
    said = f"EXIF orientation {photo.orientation}"
    chosen = either[int(scores[1] > scores[0])] if scores[0] != scores[1] else reading
    if scores[0] == scores[1]:
        detail = (
            f"the photo has {said}, and its boxes fit in pixels of the photo as stored as well as in "
            f"those of the upright one; read as {chosen.orientation}. To settle it, add "
            "--box-orientation=upright or --box-orientation=stored"
        )
        effect = GUESSED if reading.orientation == "stored" or not decision.doubtful else NOTED
        problems.add("boxes_ambiguous", effect, "scene", where, detail, record.id)
    elif chosen.orientation == "stored":
        detail = (
            f"the photo has {said}, and its boxes fit in pixels of the photo as stored only; turned with "
            "it. If all are so, add --box-orientation=stored"
        )
        problems.add("boxes_turned", FIXED, "scene", where, detail, record.id)
    return chosen


def _shown_where(
    record: Record,
    readings: list[BoxReading],
    read: list[np.ndarray],
    photo: Photo,
    folders: Folders,
) -> np.ndarray:
    """Counts the focused-region images that support each of two readings."""
    found = np.zeros(len(readings))
    for relation in [each for each in record.relations if each.focus_path][:2]:
        pairs = box_sample.pairs_of(record, relation)
        if not pairs or relation.focus_path == record.image_path:
            continue
        changed = box_sample.changes(record, relation.focus_path, photo.orientation, folders.find)
        if changed is None:
            continue
        agreements = [
            max(
                focus_evidence.agreement(changed, boxes[list(pair)], photo.picture.size)
                for pair in pairs
            )
            for boxes in read
        ]
        right = focus_evidence.telling(np.array(agreements))
        if right is not None:
            found += right
    return found
