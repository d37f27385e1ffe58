"""Objects with a place, and what is true of two of them: geometry alone decides.

A pair has at most one predicate, in the order of `PREDICATES`; pairs near a border between two predicates have
none.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.embedded import drawing
from scenarioclip_jax.data.embedded.tier import from_one_end

# In order of priority: the first predicate that is true names the pair.
PREDICATES = (
    "inside",
    "covering",
    "dwarfing",
    "left of",
    "above",
    "above left of",
    "above right of",
)


class Placed(NamedTuple):
    """An object of a scene. Objects later in the scene's list are in front."""

    name: str
    color: str
    shape: str
    side: int  # pixels
    angle: int  # degrees
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 exclusive

    @property
    def center(self) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@functools.lru_cache(maxsize=4096)
def solid(shape: str, side: int, angle: int) -> np.ndarray:
    return np.asarray(drawing.shape_masks(shape, side, angle)[0]) >= 128


def footprint(placed: Placed, size: int) -> np.ndarray:
    """The pixels of an object as if nothing were in front of it: bool [size, size]."""
    x0, y0, x1, y1 = placed.box
    pixels = np.zeros((size, size), bool)
    pixels[y0:y1, x0:x1] = solid(placed.shape, placed.side, placed.angle)
    return pixels


def relation_between(
    back: Placed, front: Placed, shared: float, size: int
) -> tuple[str, bool] | None:
    """Returns the predicate of a pair, and whether its subject is `front`; None if it is unclear.

    Args:
      back: The object behind.
      front: The object in front.
      shared: Pixels that both cover, as a share of the smaller object.
      size: Side of the image, in pixels.
    """
    for container, content, content_is_front in ((back, front, True), (front, back, False)):
        if container.shape == "ring" and shared == 0:
            away = math.dist(container.center, content.center)
            if away + content.side / 2 <= drawing.RING_HOLE * container.side / 2 + 1:
                return "inside", content_is_front
    if shared >= 0.1:
        return "covering", True
    if shared > 0:
        return None
    ratio = max(back.side, front.side) / min(back.side, front.side)
    gap = _gap(back.box, front.box) / size
    if ratio >= 1.5 and gap <= 0.08:
        return "dwarfing", front.side > back.side
    if ratio >= 1.3 and gap <= 0.12:
        return None
    dx, dy = (f - b for f, b in zip(front.center, back.center, strict=True))
    direction = math.degrees(math.atan2(abs(dy), abs(dx)))
    if direction <= 23:
        return "left of", dx < 0
    if direction >= 67:
        return "above", dy < 0
    if 33 <= direction <= 57:
        return ("above left of" if dx * dy > 0 else "above right of"), dy < 0
    return None


def _gap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    return max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3], 0)


def could_be_said(predicate: str, subject: Placed, object_: Placed, in_front: bool) -> bool:
    """Whether a lenient reader might call the triplet true, ignoring priorities.

    Negatives are taken only from triplets that even this reader would reject.

    Args:
      predicate: One of `PREDICATES` or of their inverses.
      subject, object_: The two objects.
      in_front: Whether the subject is in front of the object.
    """
    if predicate not in PREDICATES:
        subject, predicate, object_ = from_one_end(subject, predicate, object_)
        in_front = not in_front
    (sx, sy), (ox, oy) = subject.center, object_.center
    boxes_meet = _gap(subject.box, object_.box) == 0
    return {
        "inside": boxes_meet and subject.side < object_.side,
        "covering": boxes_meet and in_front,
        "dwarfing": subject.side > 1.15 * object_.side,
        "left of": sx < ox,
        "above": sy < oy,
        "above left of": sx < ox and sy < oy,
        "above right of": sx > ox and sy < oy,
    }[predicate]
