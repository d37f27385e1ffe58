"""Boxes in a photo: a check of those that somebody gives, and how far two are the same.

A folder for PyTorch holds a copy of this module, which must need no more than NumPy.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Relative, because the modules are copied as well.
from .image_arrays import is_array, to_array

ENDS = {"object": 1, "relation": 2}  # boxes of each part, by level


def check_boxes(boxes: Any, level: str, size: tuple[int, int]) -> np.ndarray:
    """Returns boxes as one array [N, E, 4], E = 1 for objects and 2 for relations.

    Args:
      boxes: [N, 4] for objects, [N, 2, 4] for relations, in pixels of the upright photo.
      level: `object` or `relation`.
      size: Width and height of the photo, in pixels.

    Raises:
      ValueError: There are none, they have another form, or one is empty or lies outside of the photo.
    """
    form = "[N, 4]: x0, y0, x1, y1" if level == "object" else "[N, 2, 4]: two boxes x0, y0, x1, y1"
    try:
        given = to_array(boxes) if is_array(boxes) else boxes
        found = np.asarray(given, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"boxes aren't numbers; expected {form} in pixels") from None
    if found.ndim != 1 + ENDS[level] or found.shape[-1] != 4 or not len(found):
        raise ValueError(f"boxes are {list(found.shape)}; expected {form} in pixels, at least one")
    if level == "relation" and found.shape[1] != 2:
        raise ValueError(f"boxes are {list(found.shape)}; expected {form} in pixels")
    found = found.reshape(len(found), ENDS[level], 4)
    wrong = ~np.isfinite(found).all(-1)
    wrong |= (found[..., 2:] <= found[..., :2]).any(-1)
    wrong |= (found[..., :2] >= np.array(size)).any(-1) | (found[..., 2:] <= 0).any(-1)
    if wrong.any():
        first, end = np.argwhere(wrong)[0]
        raise ValueError(
            f"box {first}{f', end {end}' if level == 'relation' else ''} is {found[first, end].tolist()}: "
            f"it must have x0 < x1 and y0 < y1 and meet the photo of {size[0]} x {size[1]} pixels"
        )
    return found


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
