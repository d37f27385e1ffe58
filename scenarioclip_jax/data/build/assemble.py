"""Turns an annotation record and its files into a `Scene`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import photo_files
from scenarioclip_jax.data.build.box_votes import BoxDecision
from scenarioclip_jax.data.build.limit_size import limit_size
from scenarioclip_jax.data.build.participants import Object
from scenarioclip_jax.data.build.photo_files import Photo
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.build.photo_sizes import AnnotatedSize, annotated_size
from scenarioclip_jax.data.build.place_objects import place_masks, place_objects, reading_of
from scenarioclip_jax.data.build.place_relations import RelationPlacer
from scenarioclip_jax.data.build.problems import DROPPED, FIXED, KEPT, NOTED, Problems
from scenarioclip_jax.data.build.records import Record
from scenarioclip_jax.data.photo_digests import digest_of_pixels
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.stored.scene import Relation, Scene

# Properties of a stored photo that give no reason to doubt it.
_USUAL = ("not_rgb", "range_found", "transparent", "exif_rotated", "path_spelling")
_USUAL += ("png_texts_removed",)


def assemble(
    record: Record,
    root: Path | Folders,
    problems: Problems,
    focus_kinds: Counter[str],
    *,
    max_pixels: int = images.MAX_PIXELS,
    max_side: int | None = None,
    keep_metadata: bool = False,
    boxes: BoxDecision | None = None,
    digests: dict[str, str] | None = None,
) -> Scene | None:
    """Returns the scene of a record, or None if its photo can't be used.

    A scene without objects or relations is kept, since its texts still train the global level.

    Args:
      record: An annotation.
      root: The data root that its paths are relative to, or the folders to look in.
      problems: Collects what was wrong.
      focus_kinds: Counts how the focused regions are stored.
      max_pixels: Most pixels of the photo.
      max_side: Longest side of the stored photo in pixels; None for any.
      keep_metadata: Whether the photo's metadata are stored, such as the place where it was taken.
      boxes: How to read the boxes of the data set (`box_votes.decide`).
      digests: Takes a digest of the photo's pixels, by the id of the scene.
    """
    folders = root if isinstance(root, Folders) else Folders(root)
    try:
        photo = photo_files.open_photo(
            folders, record.image_path, max_pixels=max_pixels, keep_metadata=keep_metadata
        )
    except PhotoError as error:
        where = f"{record.where}.image_path"
        problems.add(error.reason, DROPPED, "scene", where, str(error), record.id)
        return None
    _list_photo(record, photo, problems)
    annotated = _sized(record, photo, problems)
    if annotated is None:
        return None
    objects, shapes = _placed(record, photo, annotated, boxes or BoxDecision(), folders, problems)
    placer = RelationPlacer(record, objects, shapes, photo, folders, problems, focus_kinds)
    relations = [placer.relation(index) for index in range(len(record.relations))]
    relations = [relation for relation in relations if relation]
    if not relations:
        _note_missing(record, "relations", problems, effect=KEPT if record.relations else NOTED)
    if not (record.action or record.captions or any(objects) or relations):
        detail = "no object or relation is left, and there is no action or caption to learn from"
        problems.add("nothing_to_learn", DROPPED, "scene", record.where, detail, record.id)
        return None
    if digests is not None:
        digests[record.id] = digest_of_pixels(photo.read)
    scene = _scene(record, photo, objects, shapes, relations)
    return limit_size(scene, photo.picture, max_side)


def _placed(
    record: Record,
    photo: Photo,
    annotated: AnnotatedSize,
    boxes: BoxDecision,
    folders: Folders,
    problems: Problems,
) -> tuple[list[Object], list[np.ndarray | None]]:
    """The objects of a record in pixels of its photo, and their masks; None for those that can't be used."""
    if not record.objects:
        _note_missing(record, "objects", problems)
        return [], []
    reading = reading_of(record, photo, annotated, problems, boxes, folders)
    objects = place_objects(record, photo, annotated, reading, problems)
    shapes = place_masks(record, objects, photo, reading, problems)
    if not any(objects):
        _note_missing(record, "objects", problems, effect=KEPT)
    return objects, shapes


def _scene(
    record: Record,
    photo: Photo,
    objects: list[Object],
    shapes: list[np.ndarray | None],
    relations: list[Relation],
) -> Scene:
    """The scene of what can be used of a record."""
    kept = [each for each in objects if each]
    details = [each for each, usable in zip(record.objects, objects, strict=True) if usable]
    encoded = [
        b"" if shape is None else masks.encode(shape)
        for shape, usable in zip(shapes, objects, strict=True)
        if usable
    ]
    scores = [np.nan if each.score is None else each.score for each in details]
    return Scene(
        id=record.id,
        photo=photo.encoded,
        width=photo.picture.width,
        height=photo.picture.height,
        action=record.action,
        captions=list(record.captions),
        object_names=[name for name, _ in kept],
        object_boxes=np.array([box for _, box in kept], np.float32).reshape(-1, 4),
        relations=relations,
        object_masks=_unless_empty(encoded),
        object_scores=scores if any(each.score is not None for each in details) else [],
        object_attributes=_unless_empty([each.attributes for each in details]),
        source=record.source,
    )


def _unless_empty(values: list[Any]) -> list[Any]:
    return values if any(values) else []


def _note_missing(record: Record, field: str, problems: Problems, effect: str = NOTED) -> None:
    detail = f"the scene has no usable {field}; its texts are still used"
    problems.add(f"no_{field}", effect, "scene", f"{record.where}.{field}", detail, record.id)


def _list_photo(record: Record, photo: Photo, problems: Problems) -> None:
    """Lists what was changed of a photo, and what is doubtful about it."""
    if photo.reencoded:
        problems.reencoded[photo.reencoded] += 1
    for reason, detail in photo.repairs:
        effect = NOTED if reason in _USUAL else FIXED
        problems.add(reason, effect, "scene", f"{record.where}.image_path", detail, record.id)
    for reason, detail in photo.doubts:
        problems.add(reason, KEPT, "scene", f"{record.where}.image_path", detail, record.id)


def _sized(record: Record, photo: Photo, problems: Problems) -> AnnotatedSize | None:
    """Returns the size that boxes refer to; None if the photo isn't the annotated one."""
    annotated = annotated_size(record.size, photo.picture.size, photo.orientation)
    if annotated is None:
        assert record.size is not None
        detail = (
            f"the record says {record.size[0]} x {record.size[1]} pixels, and the photo has "
            f"{photo.picture.width} x {photo.picture.height}: it isn't the annotated photo, or was cropped"
        )
        problems.add("other_shape", DROPPED, "scene", f"{record.where}.width", detail, record.id)
        return None
    if annotated.size != photo.picture.size and record.objects:
        detail = (
            f"boxes were scaled from {annotated.size[0]} x {annotated.size[1]} pixels to the photo's "
            f"{photo.picture.width} x {photo.picture.height}"
        )
        problems.add("boxes_scaled", NOTED, "scene", f"{record.where}.width", detail, record.id)
    return annotated
