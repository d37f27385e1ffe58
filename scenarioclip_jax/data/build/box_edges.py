"""Tells which of two readings puts boxes where things in the photos end, by looking at the photos.

Boxes in shares of a photo still fit it with x and y swapped, so only the image can tell.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scenarioclip_jax import faults
from scenarioclip_jax.data.build import focus_evidence
from scenarioclip_jax.data.build.box_sample import Sample

_PHOTOS = 60  # that are looked at, evenly over the data set
_NEAR = 2  # pixels that a border may be off
_OUTSIDE = 2 * _NEAR + 1  # pixels from a border to where it can't be
_PLACES = 20  # along each side of a photo, that are told apart
_MOST = 20.0  # nats
_FEWEST = 8  # boxes


def edge_evidence(
    sample: Sample,
    first: np.ndarray,
    second: np.ndarray,
    find: Callable[[str], Path],
) -> float:
    """Nats for the first of two readings of all boxes, against the second: minus 20 to 20.

    See `nats`, of what the borders of the boxes gain in contrast.

    Args:
      sample: The N boxes.
      first, second: The boxes as each reading has them, in pixels of the upright photos, [N, 4].
      find: Function that returns the file of a path.
    """
    known, sums = 0, 0
    for each in contrasts(sample, [first, second], find):  # by axis, of which one may be unknown
        finite = np.isfinite(each).all(0)
        known, sums = known + finite, sums + np.where(finite, each[0] - each[1], 0)
    return nats((sums / np.maximum(known, 1))[known > 0])


def contrasts(
    sample: Sample, readings: Sequence[np.ndarray], find: Callable[[str], Path]
) -> np.ndarray:
    """By how much the borders of boxes stand out from the photo just outside of them: float [2, R, M].

    The contrast there, as its rank in the photo, minus that of lines beside it. Only the difference tells: a
    bird in the sky has less contrast around it than any patch of grass, but grass has it everywhere.

    Args:
      sample: The N boxes.
      readings: The boxes as each of R readings has them, in pixels of the upright photos, [N, 4] each.
      find: Function that returns the file of a path.

    Returns:
      For the borders at the left and right and those at the top and bottom, by reading, at the M places of
      boxes in some photos in which readings differ; NaN where no such border lies within the photo.
    """
    different = np.any([(boxes != readings[0]).any(1) for boxes in readings[1:]], axis=0)
    photos = np.unique(sample.photo[different])
    found, places = [], []
    for photo in photos[:: max(1, -(-len(photos) // _PHOTOS))]:
        start = sample.first[photo]
        own = slice(start, start + len(sample.records[photo].objects))
        try:
            path = sample.records[photo].image_path
            picture = focus_evidence.small(faults.patiently(find(path).read_bytes, path))
        except (OSError, ValueError):
            continue
        ranked = _ranked(np.asarray(picture.convert("L"), np.float64))
        scale = np.tile(picture.size / sample.sizes[start], 2)
        found.append([[_border(ranked, box * scale) for box in boxes[own]] for boxes in readings])
        places.append(readings[0][own] / np.tile(sample.sizes[start], 2))
    if not found:
        return np.zeros((2, len(readings), 0))
    each = np.moveaxis(np.concatenate([np.array(of_photo) for of_photo in found], 1), 2, 0)
    return _by_place(each, np.concatenate(places))


def _by_place(each: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Means of values [2, R, N] over boxes [N, 4], in shares of their photos, that lie at the same place.

    What surrounds a place is the same in all photos of a fixed camera, so they are one witness.
    """
    _, place = np.unique(np.round(boxes * _PLACES), axis=0, return_inverse=True)
    place = place.ravel()
    places = int(place.max()) + 1
    sums = np.zeros((*each.shape[:2], places))
    counts = np.zeros_like(sums)
    known = np.isfinite(each)
    for index in np.ndindex(each.shape[:2]):
        sums[index] = np.bincount(place, np.where(known, each, 0)[index], places)
        counts[index] = np.bincount(place, known[index], places)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def nats(gains: np.ndarray) -> float:
    """Nats for a mean above 0 of gains [M]; negative if it's below: -20 to 20.

    It's the log likelihood ratio of a normal distribution with that mean and with a mean of 0, each with the
    variance that fits best, so that a few gains that happen to be alike don't say much.
    """
    gains = gains[gains != 0]
    if len(gains) < _FEWEST or not gains.std():
        return 0.0
    ratio = len(gains) / 2 * np.log1p((gains.mean() / gains.std()) ** 2)
    return float(np.sign(gains.mean()) * min(ratio, _MOST))


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


def _border(ranked: tuple[np.ndarray, np.ndarray], box: np.ndarray) -> tuple[float, float]:
    """Mean rank of the contrast at a box's borders minus that just outside, by axis; NaN if there are none."""
    height, width = ranked[0].shape
    if not np.isfinite(box).all():
        return np.nan, np.nan
    x0, x1 = np.sort(np.round(box[[0, 2]])).astype(int)
    y0, y1 = np.sort(np.round(box[[1, 3]])).astype(int)
    rows = slice(max(y0, 0), min(y1 + 1, height))
    columns = slice(max(x0, 0), min(x1 + 1, width))
    return _outward(ranked[0].T, (x0, x1), rows), _outward(ranked[1], (y0, y1), columns)


def _outward(lines: np.ndarray, borders: tuple[int, int], along: slice) -> float:
    """What two borders have more than the lines outside of them, [L, N], each along some pixels; or NaN."""
    found = []
    for at, beside in ((borders[0], borders[0] - _OUTSIDE), (borders[1], borders[1] + _OUTSIDE)):
        within = min(at, beside) > 1 and max(at, beside) < len(lines) - 2
        if within and lines[at, along].size:
            found.append(lines[at, along].mean() - lines[beside, along].mean())
    return float(np.mean(found)) if found else np.nan
