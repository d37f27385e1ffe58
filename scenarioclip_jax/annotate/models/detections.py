"""What a detector's boxes and labels become: names that were asked for, and no box twice.

Folders for PyTorch carry a copy of this module.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.data.photo_boxes import overlap as iou

# x0, y0, x1, y1 in pixels; x1 and y1 are exclusive.
Box = tuple[float, float, float, float]

# Intersection over union from which on two boxes are of the same object, whatever they are called.
OVERLAP = 0.6
MOST = 30  # objects of a picture
# Boxes with a side below that many pixels show nothing.
_LEAST_SIDE = 1.0
_WORD = re.compile(r"##\w+|\w+")


@dataclass(frozen=True)
class Detection:
    """A box of a detector.

    Attributes:
      name: The name that was asked for.
      box: Its place.
      score: From 0 to 1.
      label: What the detector called it, where that differs from `name`.
    """

    name: str
    box: Box
    score: float
    label: str = ""


def match_label(label: str, names: Sequence[str]) -> str | None:
    """The name that a detector's label stands for, or None.

    Grounding DINO's labels are the words of its prompt that it found in a box: all of a name or some of it,
    the end of a word ("##brella"), or the words of two names.

    Args:
      label: The label.
      names: The names that were asked for.

    Returns:
      The name that the label is; else the one with the largest share of its words in the label, among those
      with equal shares the one with more words, among those the first.
    """
    words = _WORD.findall(label.lower())
    best, most = None, (0.0, 0)
    for name in names:
        own = _WORD.findall(name.lower())
        if own and own == words:
            return name
        shared = sum(_has(words, word) for word in own)
        if shared and (shared / len(own), shared) > most:
            best, most = name, (shared / len(own), shared)
    return best


def _has(words: Sequence[str], word: str) -> bool:
    return any(
        word == each or (each.startswith("##") and word.endswith(each[2:])) for each in words
    )


def clip(box: Sequence[float], size: tuple[int, int]) -> Box | None:
    """A box inside a photo; None if it isn't finite or shows less than a pixel of it.

    Args:
      box: x0, y0, x1, y1 in pixels.
      size: Width and height of the photo, in pixels.
    """
    if not np.isfinite(box).all():
        return None
    width, height = size
    x0, x1 = np.clip([box[0], box[2]], 0, width).tolist()
    y0, y1 = np.clip([box[1], box[3]], 0, height).tolist()
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= _LEAST_SIDE else None


def select(found: Sequence[Detection], overlap: float, most: int) -> list[Detection]:
    """Leaves out boxes that repeat a better one of the same name, and those above the limit of a name.

    Args:
      found: Detections.
      overlap: Intersection over union from which on two boxes are the same.
      most: Most boxes of a name.

    Returns:
      The rest, by descending score.
    """
    kept: dict[str, list[Detection]] = {}
    for each in sorted(found, key=lambda detection: -detection.score):
        same = kept.setdefault(each.name, [])
        if len(same) < most and all(iou(each.box, other.box) < overlap for other in same):
            same.append(each)
    return sorted((each for same in kept.values() for each in same), key=lambda d: -d.score)


def object_boxes(found: Sequence[Detection]) -> Float[np.ndarray, "N 4"]:
    """The boxes of a picture's objects: of those that lie on each other, whatever their names, the best."""
    unnamed = [replace(each, name="") for each in found]
    boxes = [each.box for each in select(unnamed, OVERLAP, MOST)]
    return np.array(boxes, np.float32).reshape(-1, 4)
