"""Arithmetic of boxes x0, y0, x1, y1."""

from collections.abc import Sequence


def area(box: Sequence[float]) -> float:
    """The area of a box; 0 if it's inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union, from 0 to 1."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0
