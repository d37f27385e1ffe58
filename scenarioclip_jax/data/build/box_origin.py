"""Recognizes boxes that don't count from the photo's upper left corner, but from its middle or another edge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from scenarioclip_jax.data.build.box_edges import contrasts, edge_evidence, nats
from scenarioclip_jax.data.build.box_formats import BoxReading
from scenarioclip_jax.data.build.box_sample import Sample, pixels_of
from scenarioclip_jax.data.build.box_texts import example, flags_for
from scenarioclip_jax.data.build.problems import AnnotationError

_NEGATIVE, _NEGATIVE_SHARE = (
    -0.1,
    0.25,
)  # of half a photo; of the boxes: sloppy ones don't start there
_REACHED, _BEYOND = 0.6, 1.03  # of half a photo
_FEWEST, _FEW_PHOTOS = 6, 2  # boxes and photos that make a convention
_ALWAYS = 0.95  # share of the boxes; mouse dragging would give half
_TOLD = 8.0  # nats: the photos show where the boxes lie


def check_centered(sample: Sample) -> None:
    """Raises AnnotationError if coordinates are 0 in the middle of the photo, in pixels or in shares."""
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
            sample.sizes / 2,
            "add half of the photo's width to each x and half of its height to each y",
        ),
    ):
        start, rest = np.abs(sample.boxes[:, :2] / half), np.abs(sample.boxes[:, 2:] / half)
        within = (start <= _BEYOND).all(1) & (rest <= 2 * _BEYOND).all(1)  # widths are up to 2
        negative = (sample.boxes[:, :2] / half < _NEGATIVE).any(1)
        photos = np.unique(sample.photo[negative])
        if negative.sum() < _FEWEST or len(photos) < _FEW_PHOTOS:
            continue
        if negative.mean() < _NEGATIVE_SHARE or within.mean() < _ALWAYS:
            continue
        if np.quantile(start, 0.98) > _REACHED:
            raise AnnotationError(
                f"the boxes look like {what}: {negative.sum()} of {len(sample.boxes)} start left of 0 or "
                f"above it. "
                f"{example(sample, int(np.flatnonzero(negative)[0]))}. Boxes count from the upper left corner: "
                f"{remedy}. If they are as they should be, add {flags_for(BoxReading())}"
            )


def check_flipped(sample: Sample, reading: BoxReading, find: Callable[[str], Path]) -> None:
    """Raises AnnotationError if all boxes end where they should start, along one axis or both.

    Boxes that were dragged by mouse are inverted along each axis in about half of all cases. If all are, an
    axis points the other way, or the corners come in another order. The photos may show that it's only the
    order, and that boxes with sorted corners are right; then nothing is raised.

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
    shares = np.array([inverted[clear[:, axis], axis].mean() for axis in (0, 1)])
    flipped = shares >= _ALWAYS
    if not flipped.any() or ((shares > 1 - _ALWAYS) & ~flipped).any():
        return
    mirrored = (
        np.where(flipped, sample.sizes - high, low),
        np.where(flipped, sample.sizes - low, high),
    )
    evidence = edge_evidence(
        sample, np.concatenate(mirrored, 1), np.concatenate([low, high], 1), find
    )
    if evidence < -_TOLD:
        return
    axes, flip, remedy = _described(flipped)
    count = int(inverted[:, flipped].all(1).sum())
    order = " and ".join(f"{axis}0 > {axis}1" for axis in axes)
    told = (
        "as the borders in the photos say"
        if evidence > _TOLD
        else "or only the corners come in this order; draw some on their photos to see"
    )
    raise AnnotationError(
        f"{order} in {count} of {len(boxes)} boxes: it looks as if {flip} ({told}). "
        f"{example(sample, int(np.flatnonzero(inverted[:, flipped].all(1))[0]))}. If so, {remedy}; if only the "
        f"corners come in this order, add {flags_for(reading)}"
    )


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
