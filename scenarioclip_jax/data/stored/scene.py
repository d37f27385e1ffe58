"""`Scene`: one photo with its three levels of annotation, as read from the shards."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Triplet = tuple[str, str, str]  # subject, predicate, object

# What tells a negative from the triplet that is true, see `negative_kind`.
NEGATIVE_KINDS = ("swapped", "predicate", "object", "subject", "other")


class Relation(NamedTuple):
    """A relation and its focused region.

    The region is stored in the smallest form that reproduces the published focused-region image: no bytes at
    all (the union of `boxes`), a mask of the photo's size (`data.stored.masks`), or the image itself if no mask
    of the photo reproduces it.
    """

    triplet: Triplet
    boxes: np.ndarray  # float32 [2, 4]: subject and object, x0, y0, x1, y1 in photo pixels
    mask: bytes  # `masks.encode`; empty: the union of the boxes
    image: bytes  # JPEG or PNG; empty: the photo under the mask
    negatives: list[Triplet]  # triplets that are false for the photo
    # Which of the scene's objects take part; None: a participant isn't among them.
    pair: tuple[int, int] | None = None
    paraphrases: Sequence[str] = ()  # other texts that are true of the relation


class Scene(NamedTuple):
    """A photo, its texts, its objects and its relations. All boxes are in pixels of the upright photo."""

    id: str
    photo: bytes  # encoded RGB JPEG or PNG, upright (no EXIF rotation left)
    width: int
    height: int
    action: str  # "" if there is none
    captions: Sequence[str]
    object_names: list[str]
    object_boxes: np.ndarray  # float32 [objects, 4]: x0 < x1, y0 < y1, inside the photo
    relations: list[Relation]
    # One entry per object, or no entries at all if none of the scene's objects has any.
    object_masks: Sequence[bytes] = ()  # `masks.encode`; empty: unknown
    object_scores: Sequence[float] = ()  # of a detector, 0 to 1; NaN: unknown
    object_attributes: Sequence[Sequence[str]] = ()
    source: str = ""  # where the annotation comes from


def negative_kind(own: Triplet, negative: Triplet) -> str:
    """How a negative differs, one of NEGATIVE_KINDS; a change of several parts that isn't a swap is `other`."""
    subject, predicate, object_ = own
    if negative == (object_, predicate, subject):
        return "swapped"
    changed = [
        part
        for part, a, b in zip(("subject", "predicate", "object"), own, negative, strict=True)
        if a != b
    ]
    return changed[0] if len(changed) == 1 else "other"
