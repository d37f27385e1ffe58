"""Geometry of boxes: as two corners (x0, y0, x1, y1), or as a corner and a size (x, y, width, height)."""

import numpy as np
from jaxtyping import Bool, Float


def corners(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 4"]:
    """Turns a corner and a size into two corners."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def overlaps(
    one: Float[np.ndarray, "N 4"], two: Float[np.ndarray, "M 4"]
) -> Float[np.ndarray, "N M"]:
    """Intersection over union of boxes of two corners; 0 of boxes without an area."""
    low = np.maximum(one[:, None, :2], two[:, :2])
    high = np.minimum(one[:, None, 2:], two[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=-1) for each in (one, two)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-6)


def strongest(
    overlapping: Bool[np.ndarray, "N N"], scores: Float[np.ndarray, " N"]
) -> Bool[np.ndarray, " N"]:
    """Tells which boxes remain where one that overlaps a better one is dropped, the best first."""
    kept = np.zeros(len(scores), bool)
    for row in np.argsort(-scores, kind="stable"):
        kept[row] = not (kept & overlapping[row]).any()
    return kept
