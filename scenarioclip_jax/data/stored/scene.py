"""`Scene`: one photo with its three levels of annotation, as read from the shards."""

from typing import NamedTuple

import numpy as np

Triplet = tuple[str, str, str]  # subject, predicate, object


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


class Scene(NamedTuple):
    """A photo, its action, its objects and its relations. All boxes are in pixels of the upright photo."""

    id: str
    photo: bytes  # encoded RGB JPEG or PNG, upright (no EXIF rotation left)
    width: int
    height: int
    action: str
    dense_caption: str
    object_names: list[str]
    object_boxes: np.ndarray  # float32 [objects, 4]: x0 < x1, y0 < y1, inside the photo
    relations: list[Relation]


def relation_text(triplet: Triplet) -> str:
    """The text of a relation: its triplet joined by spaces."""
    return " ".join(triplet)
