"""From an annotation record and its files to a `Scene`: boxes repaired, focused regions reduced."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images, photo_files
from scenarioclip_jax.data.annotations import Box, Record, RelationRecord
from scenarioclip_jax.data.focus import FocusFit, fit_focus
from scenarioclip_jax.data.photo_files import Photo, PhotoError
from scenarioclip_jax.data.problems import DROPPED, FIXED, KEPT, Problems
from scenarioclip_jax.data.scene import Relation, Scene

_ROUNDING = 1.0  # a box this many pixels outside the photo is rounded, not wrong


def assemble(
    record: Record,
    root: Path,
    problems: Problems,
    focus_kinds: Counter[str],
    *,
    max_pixels: int = images.MAX_PIXELS,
) -> Scene | None:
    """Returns the scene of a record, or None if its photo can't be used.

    A scene without objects or relations is kept, its action still trains the global level.

    Args:
      record: an annotation.
      root: the data root that its paths are relative to.
      problems: collects what was wrong.
      focus_kinds: counts how the focused regions are stored.
      max_pixels: most pixels of the photo.
    """
    try:
        photo = photo_files.open_photo(root, record.image_path, max_pixels=max_pixels)
    except PhotoError as error:
        where = f"{record.where}.image_path"
        problems.add(error.reason, DROPPED, "scene", where, str(error), record.id)
        return None
    if photo.reencoded:
        problems.reencoded[photo.reencoded] += 1
    for reason, detail in photo.repairs:
        problems.add(reason, FIXED, "scene", f"{record.where}.image_path", detail, record.id)
    for reason, detail in photo.doubts:
        problems.add(reason, KEPT, "scene", f"{record.where}.image_path", detail, record.id)
    objects = _objects(record, photo, problems)
    relations = [
        _relation(record, index, objects, photo, root, problems, focus_kinds)
        for index in range(len(record.relations))
    ]
    relations = [relation for relation in relations if relation]
    for field, found in (("objects", objects), ("relations", relations)):
        if not found:
            where = f"{record.where}.{field}"
            detail = f"the scene has no usable {field}; its action is still used"
            problems.add(f"no_{field}", KEPT, "scene", where, detail, record.id)
    return Scene(
        id=record.id,
        photo=photo.encoded,
        width=photo.picture.width,
        height=photo.picture.height,
        action=record.action,
        dense_caption=record.dense_caption,
        object_names=[name for name, _ in objects],
        object_boxes=np.array([box for _, box in objects], np.float32).reshape(-1, 4),
        relations=relations,
    )


def _objects(record: Record, photo: Photo, problems: Problems) -> list[tuple[str, Box]]:
    """Returns the objects whose boxes show something of the photo, in pixels of the upright photo."""
    boxes = []
    for index, (_, (x0, y0, x1, y1)) in enumerate(record.objects):
        if x0 > x1 or y0 > y1:
            where = f"{record.where}.objects[{index}]"
            detail = f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] is inverted; its corners were swapped"
            problems.add("box_inverted", FIXED, "object", where, detail, record.id)
        boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    boxes = photo_files.boxes_upright(boxes, photo)
    width, height = photo.picture.size
    objects = []
    for index, ((name, _), (x0, y0, x1, y1)) in enumerate(zip(record.objects, boxes, strict=True)):
        where = f"{record.where}.objects[{index}]"
        box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        text = f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}] of a photo of {width} x {height} pixels"
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            detail = f"less than a pixel of {text} is left"
            problems.add("box_empty", DROPPED, "object", where, detail, record.id)
            continue
        if max(-x0, -y0, x1 - width, y1 - height) > _ROUNDING:
            problems.add("box_outside", FIXED, "object", where, f"clipped {text}", record.id)
        objects.append((name, box))
    return objects


def _relation(
    record: Record,
    index: int,
    objects: list[tuple[str, Box]],
    photo: Photo,
    root: Path,
    problems: Problems,
    focus_kinds: Counter[str],
) -> Relation | None:
    """Returns a relation with its focused region, or None if nothing tells where that is."""
    relation = record.relations[index]
    where = f"{record.where}.relations[{index}]"
    pairs = _pairs(relation, objects)
    try:
        focus, encoded = _open_focus(root, relation.focus_path, photo)
        fit = fit_focus(photo.picture, focus, pairs)
        reason, detail = "focus_empty", f"{relation.focus_path!r} is black"
    except PhotoError as error:
        fit = None
        reason, detail = error.reason.replace("image", "focus"), str(error)
    if fit is None or fit.kind == "empty":
        if not pairs:
            detail += ", and not both of its participants are among the objects"
            problems.add(reason, DROPPED, "relation", where, detail, record.id)
            return None
        detail += "; rebuilt from the boxes of its participants"
        problems.add(reason, FIXED, "relation", where, detail, record.id)
        fit = FocusFit("boxes", _nearest(pairs), b"", (0, 0, 0, 0), 0.0)
    focus_kinds[fit.kind] += 1
    boxes = pairs[fit.pair] if fit.pair >= 0 else _ungrounded(relation, objects, fit)
    image = encoded if fit.kind == "image" else b""
    negatives = _false_negatives(record, index, problems)
    return Relation(relation.triplet, np.array(boxes, np.float32), fit.mask, image, negatives)


def _open_focus(root: Path, path: str, photo: Photo) -> tuple[Image.Image, bytes]:
    """Returns a focused-region image, as turned as its photo, decoded and encoded."""
    if not path:
        raise PhotoError("missing_image", "no focused-region image is named")
    # As bright as the photo, where that has more than 8 bits.
    focus = photo_files.open_photo(root, path, backdrop="black", levels=photo.levels)
    size = photo.picture.size
    # A tool that ignores EXIF rotation cuts its focused regions from the stored picture.
    if photo.orientation >= 5 and focus.picture.size == size[::-1] != size:
        turned = photo_files.turn_like(focus.picture, photo.orientation)
        return turned, photo_files.encode(turned, "JPEG")
    return focus.picture, focus.encoded


def _pairs(relation: RelationRecord, objects: list[tuple[str, Box]]) -> list[tuple[Box, Box]]:
    """All boxes that (subject, object) can mean; a name can occur more than once in a photo."""
    subject, _, object_ = relation.triplet
    first = [i for i, (name, _) in enumerate(objects) if name == subject]
    second = [i for i, (name, _) in enumerate(objects) if name == object_]
    # "person next to person" means two people, unless only one is annotated.
    pairs = [(i, j) for i in first for j in second if i != j] or [
        (i, j) for i in first for j in second
    ]
    return [(objects[i][1], objects[j][1]) for i, j in pairs]


def _nearest(pairs: list[tuple[Box, Box]]) -> int:
    """Index of the pair whose centres are closest: with no picture, things that relate are near."""

    def distance(pair: tuple[Box, Box]) -> float:
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = pair
        return (ax0 + ax1 - bx0 - bx1) ** 2 + (ay0 + ay1 - by0 - by1) ** 2

    return min(range(len(pairs)), key=lambda i: distance(pairs[i]))


def _ungrounded(
    relation: RelationRecord, objects: list[tuple[str, Box]], fit: FocusFit
) -> tuple[Box, Box]:
    """Boxes of a relation whose participants aren't both objects: the visible part stands in."""
    known = dict(reversed(objects))
    return known.get(relation.triplet[0], fit.extent), known.get(relation.triplet[2], fit.extent)


def _false_negatives(record: Record, index: int, problems: Problems) -> list[tuple[str, str, str]]:
    """Returns the negatives of a relation that are no relation of the same photo."""
    true = {relation.triplet for relation in record.relations}
    negatives = []
    for negative in record.relations[index].negatives:
        if negative in true:
            where = f"{record.where}.relations[{index}]"
            detail = f"{' '.join(negative)!r} is a relation of this photo, so no negative of it"
            problems.add("negative_is_true", DROPPED, "negative", where, detail, record.id)
        else:
            negatives.append(negative)
    return negatives
