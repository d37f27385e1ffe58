"""Tells which of two readings puts boxes where things in the photos end, by looking at the photos.

Boxes in shares of a photo still fit it with x and y swapped, so only the image can tell.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scenarioclip_jax.data.build import focus_evidence
from scenarioclip_jax.data.build.box_sample import Sample

_PHOTOS = 60  # that are looked at, evenly over the data set
_NEAR = 2  # pixels that a border may be off
_MOST = 20.0  # nats
_FEWEST = 8  # boxes


def edge_evidence(
    sample: Sample,
    first: np.ndarray,
    second: np.ndarray,
    find: Callable[[str], Path],
) -> float:
    """Nats for the first of two readings of all boxes, against the second: minus 20 to 20.

    It's half of the squared t statistic of what the borders of the boxes gain in contrast.

    Args:
      sample: The N boxes.
      first, second: The boxes as each reading has them, in pixels of the upright photos, [N, 4].
      find: Function that returns the file of a path.
    """
    boxes = first, second
    gains = []
    photos = np.unique(sample.photo[(first != second).any(1)])
    for photo in photos[:: max(1, -(-len(photos) // _PHOTOS))]:
        start = sample.first[photo]
        own = slice(start, start + len(sample.records[photo].objects))
        try:
            picture = focus_evidence.small(find(sample.records[photo].image_path).read_bytes())
        except (OSError, ValueError):
            continue
        ranked = _ranked(np.asarray(picture.convert("L"), np.float64))
        scale = np.tile(picture.size / sample.sizes[start], 2)
        contrasts = [[_border(ranked, box * scale) for box in each[own]] for each in boxes]
        gains += [a - b for a, b in zip(*contrasts, strict=True) if np.isfinite(a - b)]
    found = np.array([gain for gain in gains if gain])
    if len(found) < _FEWEST or not found.std():
        return 0.0
    t = found.mean() / (found.std() / np.sqrt(len(found)))
    return float(np.sign(t) * min(t * t / 2, _MOST))


def _ranked(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The contrast across columns and across rows as its rank in the photo, 0 to 1: float [H, W] both."""
    found = []
    for axis in (1, 0):
        slope = np.abs(np.gradient(gray, axis=axis)) if gray.shape[axis] > 1 else 0 * gray
        # Along the other axis it is the same border; across, it may be off.
        reach = [np.roll(slope, shift, axis) for shift in range(-_NEAR, _NEAR + 1)]
        slope = np.max(reach, 0)
        found.append(slope.ravel().argsort().argsort().reshape(gray.shape) / max(gray.size - 1, 1))
    return found[0], found[1]


def _border(ranked: tuple[np.ndarray, np.ndarray], box: np.ndarray) -> float:
    """Mean rank of the contrast along a box's borders; NaN if it has none within the photo."""
    height, width = ranked[0].shape
    if not np.isfinite(box).all():
        return np.nan
    x0, x1 = np.sort(np.round(box[[0, 2]])).astype(int)
    y0, y1 = np.sort(np.round(box[[1, 3]])).astype(int)
    rows = slice(max(y0, 0), min(y1 + 1, height))
    columns = slice(max(x0, 0), min(x1 + 1, width))
    lines = [ranked[0][rows, x] for x in (x0, x1) if 1 < x < width - 2]
    lines += [ranked[1][y, columns] for y in (y0, y1) if 1 < y < height - 2]
    means = [line.mean() for line in lines if line.size]
    return float(np.mean(means)) if means else np.nan
