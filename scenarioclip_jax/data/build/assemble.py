"""Turns an annotation record and its files into a `Scene`: reads and repairs boxes, reduces focused regions."""

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import (
    box_sample,
    focus_evidence,
    focus_mistakes,
    focus_parts,
    photo_files,
)
from scenarioclip_jax.data.build.annotations import Box, Record, RelationRecord
from scenarioclip_jax.data.build.box_formats import ORIENTATIONS, BoxReading, misfits, to_pixels
from scenarioclip_jax.data.build.box_votes import BoxDecision
from scenarioclip_jax.data.build.focus import FocusFit, fit_focus
from scenarioclip_jax.data.build.participants import Candidates, Object, candidates, nearest
from scenarioclip_jax.data.build.photo_files import Photo
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.build.problems import DROPPED, FIXED, GUESSED, KEPT, NOTED, Problems
from scenarioclip_jax.data.stored.scene import Relation, Scene

_ROUNDING = 1.0  # a box this many pixels outside the photo is rounded, not wrong
# Properties of a stored photo that give no reason to doubt it.
_USUAL = ("not_rgb", "range_found", "transparent", "exif_rotated", "path_spelling")
_USUAL += ("png_texts_removed",)
_NOT_SHOWN = {
    "empty": ("focus_empty", "is black"),
    "photo": ("focus_is_photo", "shows the whole photo"),
    "unlike": ("focus_unlike_photo", "doesn't show this photo"),
}


def assemble(
    record: Record,
    root: Path | Folders,
    problems: Problems,
    focus_kinds: Counter[str],
    *,
    max_pixels: int = images.MAX_PIXELS,
    boxes: BoxDecision | None = None,
) -> Scene | None:
    """Returns the scene of a record, or None if its photo can't be used.

    A scene without objects or relations is kept, since its action still trains the global level.

    Args:
      record: An annotation.
      root: The data root that its paths are relative to, or the folders to look in.
      problems: Collects what was wrong.
      focus_kinds: Counts how the focused regions are stored.
      max_pixels: Most pixels of the photo.
      boxes: How to read the boxes of the data set (`box_votes.decide`).
    """
    folders = root if isinstance(root, Folders) else Folders(root)
    try:
        photo = photo_files.open_photo(folders, record.image_path, max_pixels=max_pixels)
    except PhotoError as error:
        where = f"{record.where}.image_path"
        problems.add(error.reason, DROPPED, "scene", where, str(error), record.id)
        return None
    if photo.reencoded:
        problems.reencoded[photo.reencoded] += 1
    for reason, detail in photo.repairs:
        effect = NOTED if reason in _USUAL else FIXED
        problems.add(reason, effect, "scene", f"{record.where}.image_path", detail, record.id)
    for reason, detail in photo.doubts:
        problems.add(reason, KEPT, "scene", f"{record.where}.image_path", detail, record.id)
    objects = _objects(record, photo, problems, boxes or BoxDecision(), folders)
    if not record.objects:
        _note_missing(record, "objects", problems)
    elif not any(objects):
        _note_missing(record, "objects", problems, effect=KEPT)
    builder = _Relations(record, objects, photo, folders, problems, focus_kinds)
    relations = [builder.relation(index) for index in range(len(record.relations))]
    relations = [relation for relation in relations if relation]
    if not relations:
        _note_missing(record, "relations", problems, effect=KEPT if record.relations else NOTED)
    kept = [each for each in objects if each]
    return Scene(
        id=record.id,
        photo=photo.encoded,
        width=photo.picture.width,
        height=photo.picture.height,
        action=record.action,
        dense_caption=record.dense_caption,
        object_names=[name for name, _ in kept],
        object_boxes=np.array([box for _, box in kept], np.float32).reshape(-1, 4),
        relations=relations,
    )


def _note_missing(record: Record, field: str, problems: Problems, effect: str = NOTED) -> None:
    detail = f"the scene has no usable {field}; its action is still used"
    problems.add(f"no_{field}", effect, "scene", f"{record.where}.{field}", detail, record.id)


def _objects(
    record: Record, photo: Photo, problems: Problems, decision: BoxDecision, folders: Folders
) -> list[Object]:
    """Returns the objects in pixels of the upright photo; None for a box that shows nothing of it."""
    if not record.objects:
        return []
    written = np.array([box for _, box in record.objects], np.float64)
    reading = _reading(record, written, photo, problems, decision, folders)
    objects: list[Object] = []
    size = photo.picture.size
    for index, box in enumerate(_read(written, reading, photo)):
        where = f"{record.where}.objects[{index}]"
        if box[0] > box[2] or box[1] > box[3]:
            _list_inverted(record, written[index], where, photo, problems, decision)
        box = [*np.minimum(box[:2], box[2:]), *np.maximum(box[:2], box[2:])]
        objects.append(_clipped(record.objects[index][0], box, size, where, record.id, problems))
    return objects


def _read(boxes: np.ndarray, reading: BoxReading, photo: Photo) -> np.ndarray:
    size, orientation = np.array([photo.picture.size]), np.array([photo.orientation])
    count = len(boxes)
    return to_pixels(boxes, reading, size.repeat(count, 0), orientation.repeat(count))


def _list_inverted(
    record: Record,
    box: np.ndarray,
    where: str,
    photo: Photo,
    problems: Problems,
    decision: BoxDecision,
) -> None:
    text = "[" + ", ".join(f"{value:g}" for value in box) + "]"
    detail = f"{text} is inverted; its corners were swapped"
    if decision.reading.format == "xyxy" and decision.reading.units == "pixels":
        other = _read(box[None], decision.reading._replace(format="xywh"), photo)
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


def _reading(
    record: Record,
    boxes: np.ndarray,
    photo: Photo,
    problems: Problems,
    decision: BoxDecision,
    folders: Folders,
) -> BoxReading:
    """How to read this photo's boxes: as in the data set, unless it is EXIF-rotated and indicates otherwise."""
    reading = decision.reading
    if photo.orientation == 1 or not decision.each:
        return reading
    size = np.array([photo.picture.size]).repeat(len(boxes), 0)
    either = [reading._replace(orientation=orientation) for orientation in ORIENTATIONS]
    read = [_read(boxes, each, photo) for each in either]
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


class _Relations:
    """Makes the relations of a photo."""

    def __init__(
        self,
        record: Record,
        objects: list[Object],
        photo: Photo,
        folders: Folders,
        problems: Problems,
        focus_kinds: Counter[str],
    ):
        self._record, self._objects, self._photo = record, objects, photo
        self._folders, self._problems, self._kinds = folders, problems, focus_kinds
        # Focused-region images that are named for different participants, although they can show only one pair.
        users: dict[str, set[tuple[str, str]]] = {}
        for relation in record.relations:
            subject, _, object_ = relation.triplet
            users.setdefault(relation.focus_path, set()).add((subject, object_))
        self._shared = {path for path, pairs in users.items() if path and len(pairs) > 1}

    def relation(self, index: int) -> Relation | None:
        """Returns a relation with its focused region, or None if its place is unknown."""
        relation = self._record.relations[index]
        where = f"{self._record.where}.relations[{index}]"
        meant = candidates(relation, self._objects)
        encoded, fit, reason, detail = b"", None, "", ""
        try:
            focus, encoded = self._open_focus(relation.focus_path)
            focus, mistake = focus_mistakes.undo(self._photo.picture, focus)
            if mistake:
                encoded = photo_files.encode(focus, "JPEG")
                detail = f"{relation.focus_path!r} is the photo's {mistake}; undone. Write it as the photo is"
                self._problems.add(
                    "focus_altered", FIXED, "relation", where, detail, self._record.id
                )
            fit = fit_focus(self._photo.picture, focus, meant.pairs)
            if fit.kind in _NOT_SHOWN:
                reason, said = _NOT_SHOWN[fit.kind]
                detail = f"{relation.focus_path!r} {said}"
            elif relation.focus_path in self._shared and fit.kind != "boxes" and meant.pairs:
                reason = "focus_shared"
                detail = f"{relation.focus_path!r} is named for other participants too, and fits these less"
        except PhotoError as error:
            reason, detail = error.reason.replace("image", "focus"), str(error)
        if reason or fit is None:
            fit = self._rebuilt(relation, meant, where, reason, detail)
            if fit is None:
                return None
        elif fit.kind == "image" and meant.ambiguous and fit.style in ("crop", "other"):
            self._say_guess(relation, meant, where, "the focused-region image doesn't tell which")
        elif fit.pair >= 0:
            self._check_shown(relation, fit, focus, meant.pairs[fit.pair], where)
        self._kinds[fit.kind] += 1
        if fit.kind == "image":
            self._problems.focus_styles[fit.style] += 1
        boxes = meant.pairs[fit.pair] if fit.pair >= 0 else self._ungrounded(relation, fit)
        image = encoded if fit.kind == "image" else b""
        negatives = _false_negatives(self._record, index, self._problems)
        return Relation(relation.triplet, np.array(boxes, np.float32), fit.mask, image, negatives)

    def _rebuilt(
        self, relation: RelationRecord, meant: Candidates, where: str, reason: str, detail: str
    ) -> FocusFit | None:
        """Makes the region from the participants' boxes; None if they are unknown: the relation is left out."""
        unnamed = not relation.focus_path
        id = self._record.id
        if not meant.pairs:
            detail += ", and not both of its participants are among the objects"
            self._problems.add(reason, DROPPED, "relation", where, detail, id)
            return None
        if meant.alone:
            detail += (
                f", and only one {relation.triplet[0]!r} is annotated, so its partner isn't known"
            )
            self._problems.add("ambiguous_participants", DROPPED, "relation", where, detail, id)
            return None
        if meant.ambiguous:
            self._say_guess(relation, meant, where, detail)
        elif not unnamed:
            detail += "; rebuilt from the boxes of its participants"
            self._problems.add(reason, FIXED, "relation", where, detail, id)
        if unnamed:
            self._problems.unnamed_focus += 1
        return FocusFit("boxes", nearest(meant.pairs), b"", (0, 0, 0, 0), 0.0)

    def _check_shown(
        self,
        relation: RelationRecord,
        fit: FocusFit,
        focus: Image.Image,
        pair: tuple[Box, Box],
        where: str,
    ) -> None:
        names = [relation.triplet[0], relation.triplet[2]]
        if doubt := focus_parts.doubt(fit, self._photo.picture, focus, names, pair):
            detail = (
                f"{relation.focus_path!r} {doubt}; is it another relation's, or are the boxes other things'? "
                'Kept; to have it made from the boxes, leave its path empty ("")'
            )
            self._problems.add("focus_elsewhere", KEPT, "relation", where, detail, self._record.id)

    def _say_guess(
        self, relation: RelationRecord, meant: Candidates, where: str, detail: str
    ) -> None:
        counts = {relation.triplet[0]: meant.subjects, relation.triplet[2]: meant.objects}
        several = " and ".join(f"{n} x {name!r}" for name, n in counts.items() if n > 1)
        self._problems.add(
            "ambiguous_participants",
            GUESSED,
            "relation",
            where,
            f"{detail}; the photo has {several}, and which of them is meant was guessed (the nearest). Say it "
            "by a fourth entry of the relation: [subject_index, object_index], counted from 0 in objects",
            self._record.id,
        )

    def _open_focus(self, path: str) -> tuple[Image.Image, bytes]:
        """Returns a focused-region image, rotated like its photo, decoded and encoded."""
        if not path:
            raise PhotoError("missing_image", "no focused-region image is named")
        # Scaled like the photo, if that has more than 8 bits.
        photo = self._photo
        focus = photo_files.open_photo(self._folders, path, backdrop="black", levels=photo.levels)
        # A tool that ignores EXIF rotation cuts its focused regions from the stored image.
        if photo.orientation != 1 and focus.orientation == 1:
            turned = photo_files.turn_like(focus.picture, photo.orientation)
            if focus_evidence.better_turned(photo.picture, focus.picture, turned):
                return turned, photo_files.encode(turned, "JPEG")
        return focus.picture, focus.encoded

    def _ungrounded(self, relation: RelationRecord, fit: FocusFit) -> tuple[Box, Box]:
        """Boxes of a relation whose participants aren't both objects; the visible part replaces them."""
        known = dict(reversed([each for each in self._objects if each]))
        subject, _, object_ = relation.triplet
        return known.get(subject, fit.extent), known.get(object_, fit.extent)


def _false_negatives(record: Record, index: int, problems: Problems) -> list[tuple[str, str, str]]:
    """Returns the negatives of a relation that aren't relations of the same photo."""
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
