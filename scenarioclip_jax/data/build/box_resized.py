"""Recognizes boxes that were drawn on photos of another size, by where boxes at the photos' edges end."""

from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.build.box_formats import FORMATS, UNITS, BoxReading, corners
from scenarioclip_jax.data.build.box_sample import Sample

_WRONG = 0.02  # share of boxes that may reach further, by mistake
_NEAR, _BELOW = 0.99, 0.97  # of the reach: ends at the edge, and just before it
_FEWEST = 3  # photos with a box that ends at the edge, along each axis
_PILED = 3  # times as many boxes end there as just before it
# Share of the boxes that end there; the second for an edge that isn't as far down as right.
_SOME, _MANY = 0.03, 0.06
_NEARLY = 0.4  # of the ends that speak for one size: another one with so many is possible too
_MANY_ENDS = 15  # fewer leave it open which size it was
_CLOSE, _ABOUT = 0.02, 0.05  # sizes that are equal, or nearly so
_FORMATS = ("xyxy", "xywh")


class Resized(NamedTuple):
    """The size of the photos that boxes were drawn on.

    Attributes:
      what: The size, as "pixels of photos resized to 640 x 640".
      remedy: How to scale the boxes.
      ends: Number of boxes that end at the edge of such photos.
      close: Whether the photos themselves are about as large, the largest of them.
      others: Other sizes at whose edges about as many boxes end, in words for a message, and whether few boxes
        tell; empty if neither is so.
    """

    what: str
    remedy: str
    ends: int
    close: bool
    others: str = ""


def find_resized(sample: Sample) -> Resized | None:
    """Finds a size, other than their own, at whose edge boxes of many photos end; None if there is none.

    Objects that are cut off by a photo's edge have boxes that end right there. So the ends pile up at the edge
    of the photos that were used, in pixels of those, whatever their boxes are like otherwise.
    """
    # Boxes of a photo on its side may be in pixels of the photo as stored, whose edges lie elsewhere.
    sample = _chosen(sample, sample.orientations < 5)
    if len(sample.boxes) < _FEWEST or _end_at_own_edges(sample):
        return None
    longer, shorter = (f(sample.sizes, 1, keepdims=True) for f in (np.max, np.min))
    sizes = sample.sizes.astype(float)
    found = []
    for format in _FORMATS:
        both = corners(sample.boxes, format).reshape(-1, 2, 2)
        ends = both.max(1)
        own = np.abs(ends / sizes - 1) <= 1 - _NEAR  # their own photo's edge explains these
        for kind, unit in (
            ("times", sizes),
            ("fixed", np.ones_like(sizes)),
            ("longer", sizes / longer),
            ("shorter", sizes / shorter),
        ):
            right, bottom = (
                _pile(ends[:, i] / unit[:, i], sample.photo, own[:, i]) for i in (0, 1)
            )
            if right is None or bottom is None:
                continue
            (x, at_right), (y, at_bottom) = right, bottom
            least = min(at_right, at_bottom)
            if abs(x / y - 1) < _CLOSE or (kind == "fixed" and least >= _MANY * len(ends)):
                # Sides of the photos that they were drawn on, by box.
                found.append((least, kind, format, x, y, unit * (x, y)))
    if not found:
        return None
    found.sort(key=lambda each: -each[0])
    ends, kind, format, x, y, _ = found[0]
    own = [1.0] if kind == "times" else [scale for scale in UNITS.values() if scale]
    if any(abs(max(x, y) / scale - 1) < _CLOSE for scale in own):
        return None  # in pixels of the photos themselves, or in shares
    what, remedy = _described(kind, format, x, y)
    largest = {
        "times": np.ones(2),
        "fixed": sizes.max(0),
        "longer": longer.max(0),
        "shorter": shorter.max(0),
    }[kind]
    close = bool((np.abs(np.array([x, y]) / largest - 1) < _ABOUT).all())
    return Resized(what, remedy, int(ends), close, _others(found))


def _others(found: list[tuple]) -> str:
    """Describes up to two other sizes, of those found, that nearly as many boxes speak for as for the first."""
    first, named = found[0], []
    texts = []
    for ends, kind, format, x, y, drawn in found[1:]:
        near = ends >= _NEARLY * first[0] and len(texts) < 2 and format == first[2]
        if near and all(np.abs(drawn / other - 1).max() >= _CLOSE for other in (first[5], *named)):
            named.append(drawn)
            texts.append(": ".join(_described(kind, format, x, y)))
    if first[0] < _MANY_ENDS:
        texts.append(
            "of another size, as few boxes tell: compare with the photos that they were drawn on"
        )
    return "".join(f" (or {text})" for text in texts)


def _chosen(sample: Sample, chosen: np.ndarray) -> Sample:
    """The chosen boxes, bool [N]."""
    of_box = ("boxes", "photo", "sizes", "orientations")
    return sample._replace(**{name: getattr(sample, name)[chosen] for name in of_box})


def _end_at_own_edges(sample: Sample) -> bool:
    """Whether boxes end at the edges of their own photos more often than just before or beyond."""
    ends = sample.boxes.reshape(-1, 2, 2).max(1) / sample.sizes
    off = np.abs(ends - 1)
    at, beside = (off <= 1 - _NEAR).sum(0), ((off > 1 - _NEAR) & (off <= 1 - _BELOW)).sum(0)
    return bool(((at >= max(_FEWEST, _SOME * len(ends))) & (at > 2 * beside)).any())


def _pile(ends: np.ndarray, photo: np.ndarray, own: np.ndarray) -> tuple[float, int] | None:
    """Where ends pile up, [N], and how many; None if they don't, or only at their own photos' edges, [N]."""
    reach = float(np.sort(ends)[::-1][int(_WRONG * len(ends))])
    near = (ends >= _NEAR * reach) & (ends <= reach / _NEAR) & ~own
    below = (ends >= _BELOW * reach) & (ends < _NEAR * reach)
    if reach <= 0 or len(np.unique(photo[near])) < _FEWEST:
        return None
    if near.sum() < max(_PILED * below.sum(), _SOME * len(ends)):
        return None
    return reach, int(near.sum())


def _described(kind: str, format: str, x: float, y: float) -> tuple[str, str]:
    size = f"{x:.0f}"
    what, remedy = {
        "times": (f"of photos {x:.3g} times as large", f"divide them by {x:.3g}"),
        "fixed": (
            f"of photos resized to {x:.0f} x {y:.0f}",
            f"multiply x by the photo's width / {x:.0f} and y by its height / {y:.0f}",
        ),
        "longer": (
            f"of photos resized to a longer side of {size}",
            f"multiply them by the photo's longer side / {size}",
        ),
        "shorter": (
            f"of photos resized to a shorter side of {size}",
            f"multiply them by the photo's shorter side / {size}",
        ),
    }[kind]
    start = "" if format == BoxReading().format else f"{FORMATS[format]} in "
    return f"{start}pixels {what}", remedy
