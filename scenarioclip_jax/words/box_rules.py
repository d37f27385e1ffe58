"""What boxes tell of a predicate: whether a lenient reader could call it true.

The rules say no only where nobody would say yes, since what is no here may be called a negative. "In front of",
"behind" and "far from" have no rule, because boxes don't know depth. Sizes are those in the photo.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

Box = tuple[float, float, float, float]  # x0, y0, x1, y1

MARGIN = 0.02  # of the photo's width or height: centers nearer than that are level
TOUCH = 0.03  # of the photo's diagonal: boxes nearer than that may touch


class Pair(NamedTuple):
    """Two boxes in a photo; boxes in pixels, `size` is its width and height."""

    subject: Box
    object: Box
    size: tuple[int, int]

    @property
    def diagonal(self) -> float:
        return math.hypot(*self.size)

    def turned(self) -> "Pair":
        return Pair(self.object, self.subject, self.size)


def center(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def gap(a: Box, b: Box) -> float:
    """How far two boxes are apart, in pixels; 0 if they meet."""
    return math.hypot(
        max(a[0] - b[2], b[0] - a[2], 0),
        max(a[1] - b[3], b[1] - a[3], 0),
    )


def shared(a: Box, b: Box) -> float:
    """The area that both boxes cover, in square pixels."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def touch(pair: Pair) -> bool:
    return gap(pair.subject, pair.object) <= TOUCH * pair.diagonal


def _contained(pair: Pair) -> bool:
    """Whether one box is mostly in the other, so that what is above in space may be lower in the photo."""
    smaller = min(area(pair.subject), area(pair.object))
    return shared(pair.subject, pair.object) >= 0.7 * smaller


def _left(pair: Pair) -> bool:
    return center(pair.subject)[0] < center(pair.object)[0] + MARGIN * pair.size[0]


def _above(pair: Pair) -> bool:
    higher = center(pair.subject)[1] < center(pair.object)[1] + MARGIN * pair.size[1]
    return higher or pair.subject[1] < pair.object[1] or _contained(pair)


def _right(pair: Pair) -> bool:
    return _left(pair.turned())


def _below(pair: Pair) -> bool:
    return _above(pair.turned())


def _inside(pair: Pair) -> bool:
    return touch(pair) and area(pair.subject) <= 2 * area(pair.object)


def _on(pair: Pair) -> bool:
    return touch(pair) and pair.subject[1] < pair.object[3]


def _larger(pair: Pair) -> bool:
    return math.sqrt(area(pair.subject)) >= 0.85 * math.sqrt(area(pair.object))


def _toward(x: float, y: float) -> Callable[[Pair], float]:
    """The cosine between a direction, a unit vector, and the way from the object's center to the subject's."""

    def cosine(pair: Pair) -> float:
        (sx, sy), (ox, oy) = center(pair.subject), center(pair.object)
        away = math.hypot(sx - ox, sy - oy)
        return max((x * (sx - ox) + y * (sy - oy)) / away, 0.0) if away else 0.0

    return cosine


def _share_inside(pair: Pair) -> float:
    return shared(pair.subject, pair.object) / max(area(pair.subject), 1e-9)


def _share_covered(pair: Pair) -> float:
    smaller = min(area(pair.subject), area(pair.object))
    return shared(pair.subject, pair.object) / max(smaller, 1e-9)


def _share_larger(pair: Pair) -> float:
    """1 for a subject that is twice as wide and high, 0 for one of the object's size."""
    ratio = math.sqrt(area(pair.subject) / max(area(pair.object), 1e-9))
    return min(max(ratio - 1, 0.0), 1.0)


def _within(share: float) -> Callable[[Pair], bool]:
    return lambda pair: gap(pair.subject, pair.object) <= share * pair.diagonal


RULES: dict[str, Callable[[Pair], bool]] = {
    "left of": _left,
    "right of": _right,
    "above": _above,
    "below": _below,
    "over": _above,
    "above left of": lambda pair: _above(pair) and _left(pair),
    "above right of": lambda pair: _above(pair) and _right(pair),
    "below left of": lambda pair: _below(pair) and _left(pair),
    "below right of": lambda pair: _below(pair) and _right(pair),
    "on": _on,
    "in": touch,
    "inside": _inside,
    "containing": lambda pair: _inside(pair.turned()),
    "full of": lambda pair: _inside(pair.turned()),
    "covering": touch,
    "covered by": touch,
    "overlapping": touch,
    "touching": touch,
    "next to": _within(0.25),
    "near": _within(0.4),
    "larger than": _larger,
    "dwarfing": _larger,
    "smaller than": lambda pair: _larger(pair.turned()),
    "dwarfed by": lambda pair: _larger(pair.turned()),
}

_DIAGONAL = math.sqrt(0.5)
# How good an example of a predicate a pair is, from 0 to 1; y points down.
EXAMPLES: dict[str, Callable[[Pair], float]] = {
    "left of": _toward(-1, 0),
    "right of": _toward(1, 0),
    "above": _toward(0, -1),
    "below": _toward(0, 1),
    "above left of": _toward(-_DIAGONAL, -_DIAGONAL),
    "above right of": _toward(_DIAGONAL, -_DIAGONAL),
    "below left of": _toward(-_DIAGONAL, _DIAGONAL),
    "below right of": _toward(_DIAGONAL, _DIAGONAL),
    "inside": _share_inside,
    "containing": lambda pair: _share_inside(pair.turned()),
    "covering": _share_covered,
    "covered by": _share_covered,
    "larger than": _share_larger,
    "dwarfing": _share_larger,
    "smaller than": lambda pair: _share_larger(pair.turned()),
    "dwarfed by": lambda pair: _share_larger(pair.turned()),
}
