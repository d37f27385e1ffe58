"""Recognizes boxes that don't count from the photo's upper left corner, but from its middle or another edge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scenarioclip_jax.data.build.box_edges import contrasts, edge_evidence, nats
from scenarioclip_jax.data.build.box_formats import BoxReading
from scenarioclip_jax.data.build.box_sample import Sample, by_photo, pixels_of
from scenarioclip_jax.data.build.box_texts import example, flags_for
from scenarioclip_jax.data.build.problems import AnnotationError

# Of half a photo, and of the boxes: sloppy ones don't start there.
_NEGATIVE, _NEGATIVE_SHARE = -0.1, 0.25
_REACHED, _BEYOND = 0.6, 1.03  # of half a photo
_FEWEST, _FEW_PHOTOS = 6, 2  # boxes and photos that make a convention
_ALWAYS = 0.95  # share of the boxes; mouse dragging would give half
_TOLD = 8.0  # nats: the photos show where the boxes lie, or the records which belong together
_MERGED = "Were two data sets merged? Then build them apart. "


def check_centered(sample: Sample) -> None:
    """Raises AnnotationError if coordinates are 0 in the middle of the photo, in pixels or in shares.

    Those of some records may be, as after merging two data sets.
    """
    largest = np.zeros(len(sample.records))
    np.maximum.at(largest, sample.photo, np.abs(sample.boxes).max(1))
    # No box in pixels ends within the photo's first two.
    small = (largest <= 2 * _BEYOND)[sample.photo]
    for chosen in (np.ones(len(small), bool), small):
        _check_centered(sample, chosen)


def _check_centered(sample: Sample, chosen: np.ndarray) -> None:
    """`check_centered` for the chosen boxes, bool [N]."""
    boxes, photos = sample.boxes[chosen], sample.photo[chosen]
    if not len(boxes):
        return
    for what, half, remedy in (
        (
            "shares from -0.5 to 0.5, with 0 in the photo's middle",
            0.5,
            "add 0.5 to each coordinate (not to a width or height), and add --box-units=unit",
        ),
        (
            "a grid from -1 to 1, with 0 in the photo's middle",
            1.0,
            "write (coordinate + 1) / 2 (and half of a width or height), and add --box-units=unit",
        ),
        (
            "pixels from the photo's middle",
            sample.sizes[chosen] / 2,
            "add half of the photo's width to each x and half of its height to each y",
        ),
    ):
        start, rest = np.abs(boxes[:, :2] / half), np.abs(boxes[:, 2:] / half)
        within = (start <= _BEYOND).all(1) & (rest <= 2 * _BEYOND).all(1)  # widths are up to 2
        negative = (boxes[:, :2] / half < _NEGATIVE).any(1)
        if negative.sum() < _FEWEST or len(np.unique(photos[negative])) < _FEW_PHOTOS:
            continue
        if negative.mean() < _NEGATIVE_SHARE or within.mean() < _ALWAYS:
            continue
        if np.quantile(start, 0.98) > _REACHED:
            shown = int(np.flatnonzero(chosen)[np.argmax(negative)])
            raise AnnotationError(
                f"{_which(sample, chosen)} look like {what}: {negative.sum()} of {len(boxes)} start left of 0 "
                f"or above it. {example(sample, shown)}. {_MERGED if not chosen.all() else ''}Boxes count from "
                f"the upper left corner: {remedy}. If they are as they should be, add {flags_for(BoxReading())}"
            )


def _which(sample: Sample, chosen: np.ndarray) -> str:
    if chosen.all():
        return "the boxes"
    records = len(np.unique(sample.photo[chosen]))
    return f"{chosen.sum()} boxes of {records} of {len(sample.records)} records"


def check_flipped(sample: Sample, reading: BoxReading, find: Callable[[str], Path]) -> None:
    """Raises AnnotationError if all boxes, or all of some records, end where they should start along an axis.

    Boxes that were dragged by mouse are inverted along each axis in about half of all cases, in any record. If
    all are, an axis points the other way, or the corners come in another order. The photos may show that it's
    only the order, and that boxes with sorted corners are right; then nothing is raised.

    Args:
      reading: The reading under which corners come in any order.
      find: Function that returns the file of a path.
    """
    boxes = pixels_of(sample, reading)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    clear = high - low > 1
    if (clear.sum(0) < _FEWEST).any() or len(sample.records) < _FEW_PHOTOS:
        return
    inverted = boxes[:, 2:] < boxes[:, :2]
    along_x, along_y = (
        _flipped_along(sample, inverted[:, axis], clear[:, axis]) for axis in (0, 1)
    )
    if along_x is None or along_y is None:
        return
    flipped = np.stack([along_x, along_y], 1)
    chosen = np.asarray(flipped.any(1))
    if not chosen.any():
        return
    axes = np.asarray(flipped.any(0))
    mirrored = (
        np.where(flipped, sample.sizes - high, low),
        np.where(flipped, sample.sizes - low, high),
    )
    evidence = edge_evidence(
        sample, np.concatenate(mirrored, 1), np.concatenate([low, high], 1), find
    )
    if evidence < -_TOLD:
        return
    names, flip, remedy = _described(axes)
    here = (inverted | ~axes).all(1) & chosen
    order = " and ".join(f"{axis}0 > {axis}1" for axis in names)
    told = (
        "as the borders in the photos say"
        if evidence > _TOLD
        else "or only the corners come in this order; draw some on their photos to see"
    )
    which = "boxes" if chosen.all() else _which(sample, chosen).partition(" ")[2]
    merged = "" if chosen.all() else _MERGED
    raise AnnotationError(
        f"{order} in {here.sum()} of {chosen.sum()} {which}: it looks as if {flip} ({told}). "
        f"{merged}{example(sample, int(np.argmax(here)))}. If so, {remedy}; if only the "
        f"corners come in this order, add {flags_for(reading)}"
    )


def _flipped_along(sample: Sample, inverted: np.ndarray, clear: np.ndarray) -> np.ndarray | None:
    """The boxes that end where they should start along an axis, not by dragging: bool [N]; None: by dragging.

    Args:
      inverted: Whether each box is so, bool [N].
      clear: Whether it's large enough to tell, bool [N].
    """
    share = inverted[clear].mean()
    if share >= _ALWAYS:
        return np.ones(len(inverted), bool)
    count, odd = by_photo(sample, clear), by_photo(sample, inverted & clear)
    whole = (odd > 0) & (odd == count)
    mixed = (odd > 0) & (odd < count)
    # A second box of a record would be inverted with the first only as often as any is.
    told = np.log(1 / share) * (count[whole] - 1).sum() if share else 0.0
    if told > _TOLD and mixed.sum() <= (1 - _ALWAYS) * whole.sum():
        return whole[sample.photo]
    return np.zeros(len(inverted), bool) if share <= 1 - _ALWAYS else None


def check_mirrored(sample: Sample, reading: BoxReading, find: Callable[[str], Path]) -> None:
    """Raises AnnotationError if things in the photos end where boxes would if an axis pointed the other way.

    Such boxes fit their photos, and their corners are in order where a tool has sorted them or writes a width
    and a height. Only the photos can tell.

    Args:
      reading: How the boxes are read.
      find: Function that returns the file of a path.
    """
    boxes = pixels_of(sample, reading)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    # A photo that is stored mirrored shows where its boxes are by itself, see `box_votes`.
    turned = sample.orientations[:, None] != 1
    ways = np.array([[False, True], [True, False], [True, True]])
    mirrored = [
        np.concatenate(
            [
                np.where(way & ~turned, sample.sizes - high, low),
                np.where(way & ~turned, sample.sizes - low, high),
            ],
            1,
        )
        for way in ways
    ]
    found = contrasts(sample, [np.concatenate([low, high], 1), *mirrored], find)
    told = []
    for number, way in enumerate(ways, 1):
        # Along an axis that is right, borders partly meet what they belong to anyway.
        own, other = found[way][:, [0, number]].swapaxes(0, 1).reshape(2, -1)
        known = np.isfinite(own) & np.isfinite(other)
        own, other = own[known], other[known]
        told.append(0.0 if nats(own) > _TOLD else min(nats(other), nats(other - own)))
    best = int(np.argmax(told))
    if told[best] < _TOLD:
        return
    axes, flip, remedy = _described(ways[best])
    sides = " and ".join({"x": "width", "y": "height"}[axis] for axis in axes)
    raise AnnotationError(
        f"things in the photos end where the boxes would if {flip}, and not where the boxes end as "
        f"{reading.describe()}. {example(sample, int(np.argmax(~turned[:, 0])))}. If so, {remedy} (of corners, "
        f"the smaller one comes first then; of a corner with a width and height, subtract the box's {sides} "
        f"too). If they are as they should be, add {flags_for(reading)}"
    )


def _described(flipped: np.ndarray) -> tuple[list[str], str, str]:
    """Names of the axes that count from the other edge, bool [2]; what is wrong; and what to do about it."""
    axes = [name for name, here in zip("xy", flipped, strict=True) if here]
    edges = {"x": "right edge", "y": "lower edge"}
    flip = " and ".join(f"{axis} counts from the {edges[axis]}" for axis in axes)
    remedy = " and ".join(
        f"subtract each {axis} from the photo's {'width' if axis == 'x' else 'height'}"
        for axis in axes
    )
    return axes, flip, remedy
