"""What a metadata file says about a photo: labels are normalized, boxes, masks and paths are as written."""

from collections.abc import Sequence
from typing import NamedTuple

from scenarioclip_jax.data.stored.scene import Triplet

# x0, y0, x1, y1 in pixels; before it is interpreted, as written
Box = tuple[float, float, float, float]


class MaskRecord(NamedTuple):
    """A mask as in COCO, not decoded yet (`data.build.coco_masks`)."""

    width: int
    height: int
    counts: str | tuple[int, ...]  # run lengths column by column, compressed or not


class ObjectRecord(NamedTuple):
    name: str
    box: Box
    mask: MaskRecord | None = None
    score: float | None = None  # of a detector, 0 to 1
    attributes: tuple[str, ...] = ()


class RelationRecord(NamedTuple):
    focus_path: str  # "" if there is none
    triplet: Triplet
    negatives: Sequence[Triplet]
    # Indices of subject and object among the record's objects; None: they are found by name.
    pair: tuple[int, int] | None = None
    paraphrases: tuple[str, ...] = ()


class Record(NamedTuple):
    """An annotated scene."""

    id: str
    where: str  # file and index, for messages
    image_path: str
    action: str  # "" if there is none
    captions: tuple[str, ...]  # `dense_caption` first
    objects: Sequence[ObjectRecord]
    relations: Sequence[RelationRecord]
    size: tuple[int, int] | None = None  # width and height that boxes refer to; None: the photo's
    split: str = ""  # "" if none is given
    group: str = ""
    source: str = ""
