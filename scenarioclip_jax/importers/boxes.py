"""Boxes [x0, y0, x1, y1], with the origin at the upper left corner of the photo's first pixel."""

import math
from collections.abc import Callable, Sequence

Box = tuple[float, float, float, float]


NOTHING: Box = (math.nan, math.nan, math.nan, math.nan)  # what isn't a box; `is_finite` tells


def numbers(values: object) -> Box:
    """Four numbers of a file, or NOTHING if they are something else."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return NOTHING
    try:
        a, b, c, d = map(float, values)
    except (TypeError, ValueError):
        return NOTHING
    return a, b, c, d


def from_xywh(box: object) -> Box:
    """From [x, y, width, height] as a file has it, or NOTHING."""
    x, y, width, height = numbers(box)
    return x, y, x + width, y + height


def is_finite(box: Sequence[float]) -> bool:
    """Whether it's four finite numbers."""
    return len(box) == 4 and all(math.isfinite(value) for value in box)


def is_empty(box: Sequence[float]) -> bool:
    """Whether it has no area."""
    return box[2] <= box[0] or box[3] <= box[1]


def clip(box: Box, width: float, height: float) -> Box:
    """The part of a box that lies within a photo; it may be empty."""
    return (
        min(max(box[0], 0.0), width),
        min(max(box[1], 0.0), height),
        min(max(box[2], 0.0), width),
        min(max(box[3], 0.0), height),
    )


def mean(boxes: Sequence[Box]) -> Box:
    """The mean of some boxes, coordinate by coordinate."""
    x0, y0, x1, y1 = (sum(values) / len(boxes) for values in zip(*boxes, strict=True))
    return x0, y0, x1, y1


def share(box: Sequence[float], width: float, height: float) -> float:
    """The share of a photo that a box covers."""
    inside = clip((box[0], box[1], box[2], box[3]), width, height)
    return max(inside[2] - inside[0], 0.0) * max(inside[3] - inside[1], 0.0) / (width * height)


def groups(count: int, same: Callable[[int, int], bool]) -> list[list[int]]:
    """Puts 0, 1, …, count - 1 into groups, in order.

    Each joins the first group whose first member is the same thing, so that a chain of boxes, each near
    the next, doesn't become one.

    Args:
      same: Whether two of them are the same thing; its first argument is the first member of a group.
    """
    found: list[list[int]] = []
    for i in range(count):
        group = next((group for group in found if same(group[0], i)), None)
        if group is None:
            found.append([i])
        else:
            group.append(i)
    return found
