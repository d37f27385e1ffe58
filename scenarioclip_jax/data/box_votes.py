"""Recognizes the convention of a data set's boxes, from all of them at once, before anything is written.

One box rarely tells: [90, 40, 60, 70] may be inverted corners, or an x, a y, a width and a height. Hundreds do.
Every reading (`box_formats`) is charged for the boxes that it makes impossible and for the focused-region
images that contradict it, in nats: as if one box in fifty were wrong. The published format is believed unless
another reading explains the data set far better.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.annotations import Record
from scenarioclip_jax.data.box_formats import (
    FORMATS,
    ORIENTATIONS,
    UNITS,
    BoxReading,
    misfits,
)
from scenarioclip_jax.data.box_sample import (
    Sample,
    by_photo,
    contradictions,
    pixels_of,
    take_sample,
)
from scenarioclip_jax.data.problems import GUESSED, NOTED, AnnotationError, Problems

_MISFIT = 3.9  # nats: -log(1/50)
_ANY_CORNERS = np.log(4)  # a box whose corners may come in any order is one of four times as many
_MOST = 3  # boxes of a photo that count: they have one author, so they are wrong together
_SCALE_COST = 2.6  # nats a box, at most, of units that reach further than the photo's pixels
_UNUSED_COST = 1e4  # half of the photo is never reached in these units
_SURE = 4.0  # nats by which another reading has to be better
# How much less usual than the published format each convention is, in nats.
_FORMAT_PRIORS = dict(zip(FORMATS, (0, 3, 4, 4, 5, 5, 6), strict=True))
_UNIT_PRIORS = {"pixels": 0, "unit": 2, "percent": 4, "thousand": 3}
_ANY_CORNERS_PRIOR, _STORED_PRIOR = 4.6, 1.0
# What a part of a data set may be in.
_MERGED = (BoxReading("xyxy", "unit"), BoxReading("xywh"), BoxReading("yxyx"))
_WIDE, _WIDE_SHARE = 0.1, 0.1  # boxes that stick out by a tenth; a tenth of all boxes


class BoxDecision(NamedTuple):
    """How the boxes of a data set are read, and how far the EXIF-rotated photos are known.

    Attributes:
      reading: for all photos.
      each: a rotated photo that says otherwise is read in its own way (the data set has both kinds, or too few
        photos to tell).
      doubtful: nothing in the data set tells whether boxes are in upright or in stored pixels.
    """

    reading: BoxReading = BoxReading()
    each: bool = True
    doubtful: bool = True


class BoxFlags(NamedTuple):
    """What the user says of the boxes; None: it's found out."""

    format: str | None = None
    units: str | None = None
    orientation: str | None = None


def decide(
    records: Sequence[Record], find: Callable[[str], Path], flags: BoxFlags, problems: Problems
) -> BoxDecision:
    """Finds out how the boxes of a data set are meant.

    Args:
      records: all of it.
      find: returns the file of a path; raises ValueError or OSError where there is none.
      flags: what is known.
      problems: collects what can't be told.

    Raises:
      AnnotationError: the boxes are clearly of another convention than `flags` and the published format say, or
        fit no convention. The message names the flag that reads them.
    """
    if None not in flags:
        return BoxDecision(BoxReading(*flags), each=False, doubtful=False)
    sample = take_sample(records, find)
    if not len(sample.boxes):
        reading = BoxReading(
            *(given or first for given, first in zip(flags, BoxReading(), strict=True))
        )
        return BoxDecision(reading, doubtful=flags.orientation is None)
    formats = [flags.format] if flags.format else list(FORMATS)
    units = [flags.units] if flags.units else list(UNITS)
    readings = [
        BoxReading(format, unit, orientation)
        for format in formats
        for unit in units
        for orientation in ORIENTATIONS
    ]
    losses = _losses(sample, readings, find)  # [P, R]
    _charge_any_corners(sample, readings, losses, free=flags.format is None)
    costs = {}
    for at in range(0, len(readings), 2):
        upright, stored = losses[:, at], losses[:, at + 1]
        usual = _FORMAT_PRIORS[readings[at].format] + _UNIT_PRIORS[readings[at].units]
        usual += _scale_cost(sample, readings[at])
        some = np.minimum(upright, stored).sum() + 2 * _STORED_PRIOR
        costs[readings[at]] = usual + min(upright.sum(), stored.sum() + _STORED_PRIOR, some)
    reading = _decide_format(sample, costs, flags, problems)
    at = readings.index(reading)
    return _decide_orientation(sample, reading, losses[:, at], losses[:, at + 1], flags)


def _losses(
    sample: Sample, readings: Sequence[BoxReading], find: Callable[[str], Path]
) -> np.ndarray:
    """What each reading is charged for each photo, in nats: float [P, R]."""
    losses = np.empty((len(sample.records), len(readings)))
    for column, reading in enumerate(readings):
        bad = misfits(pixels_of(sample, reading), sample.sizes)
        losses[:, column] = _MISFIT * np.minimum(by_photo(sample, bad), _MOST)
    for photo, wrong in contradictions(sample, readings, find):
        losses[photo] += _MISFIT * wrong
    return losses


def _charge_any_corners(
    sample: Sample, readings: Sequence[BoxReading], losses: np.ndarray, *, free: bool
) -> None:
    """Charges boxes whose corners come in any order, as if dragged by mouse, for that rather than as misfits.

    `free`: the format isn't given, so that only the published one may be read so.
    """
    for column, reading in enumerate(readings):
        if free and reading.format != "xyxy":
            continue
        pixels = pixels_of(sample, reading)
        ordered = np.concatenate(
            [np.minimum(pixels[:, :2], pixels[:, 2:]), np.maximum(pixels[:, :2], pixels[:, 2:])], 1
        )
        counts = by_photo(sample, np.ones(len(pixels)))
        was = _MISFIT * np.minimum(by_photo(sample, misfits(pixels, sample.sizes)), _MOST)
        bad = _MISFIT * np.minimum(by_photo(sample, misfits(ordered, sample.sizes)), _MOST)
        dragged = bad + _ANY_CORNERS * np.minimum(counts, _MOST)
        if dragged.sum() + _ANY_CORNERS_PRIOR < was.sum():
            losses[:, column] += dragged - was
            losses[0, column] += _ANY_CORNERS_PRIOR


def _scale_cost(sample: Sample, reading: BoxReading) -> float:
    """Nats for or against units of the photo's size, by how many boxes can be written in them and in pixels.

    Against: in a small photo any box can be one of 0..1000, which explains nothing. For: photos are much larger
    than 1000 pixels, and yet no box reaches further.
    """
    scale = UNITS[reading.units]
    if scale is None:
        return 0.0
    found = pixels_of(sample, BoxReading(reading.format)) / scale
    right, bottom = found[:, 2].max(), found[:, 3].max()
    if (
        scale == 1.0
    ):  # no photo has its boxes in its first pixel: that none is larger is proof enough
        return 0.0
    if len(found) >= 6 and min(right, bottom) < 0.5:
        return _UNUSED_COST
    room = 2 * np.log(sample.sizes.prod(1) / scale**2)
    if room.mean() <= 0:
        each = by_photo(sample, np.clip(-room, 0, _SCALE_COST)) / by_photo(
            sample, np.ones(len(room))
        )
        return float((each * np.minimum(by_photo(sample, np.ones(len(room))), _MOST)).sum())
    within = 0.8 <= right <= 1.02 and 0.8 <= bottom <= 1.02
    if not within or np.mean(room > 0.8) < 0.9 or len(sample.records) < 3 or len(found) < 6:
        return 0.0
    return -float(np.clip(room, 0, 0.7).sum())


def _decide_format(
    sample: Sample, costs: dict[BoxReading, float], flags: BoxFlags, problems: Problems
) -> BoxReading:
    usual = BoxReading(flags.format or "xyxy", flags.units or "pixels")
    order = sorted(costs, key=costs.get)
    best = order[0]
    margin = costs[usual] - costs[best]
    if margin <= 0:
        _check_fit(sample, usual, flags)
        _note_reach(sample, usual, problems)
        _note_mixed(sample, usual, flags, problems)
        return usual
    bad, good = (_misfits(sample, reading) for reading in (usual, best))
    equal = [each for each in order[1:] if costs[each] < costs[best] + 4.5 and each != usual]
    text = _compared(sample, usual, best, equal, bad, good)
    mixed = good.mean() > 0.1 and good.mean() > bad.mean() / 4
    if margin > _SURE and not mixed:
        raise AnnotationError(
            f"the boxes look like {best.describe()}, not {usual.describe()}: {text}. If so, add "
            f"{_flags(best, usual)}{_others(equal, usual)}; if they are as they should be, add {_flags(usual)}"
        )
    what = "some boxes" if mixed else "the boxes"
    problems.add(
        "boxes_ambiguous",
        GUESSED,
        "file",
        "all metadata",
        f"{what} look like {best.describe()}; read as {usual.describe()}: {text}. If all are so, add "
        f"{_flags(best, usual)}; if all are what they should be, add {_flags(usual)}",
    )
    return usual


def _misfits(sample: Sample, reading: BoxReading) -> np.ndarray:
    """Whether each box doesn't fit its photo, in pixels upright or as stored: bool [N]."""
    upright, stored = (
        misfits(pixels_of(sample, reading._replace(orientation=o)), sample.sizes)
        for o in ORIENTATIONS
    )
    return upright & stored


def _compared(
    sample: Sample,
    usual: BoxReading,
    best: BoxReading,
    equal: Sequence[BoxReading],
    bad: np.ndarray,
    good: np.ndarray,
) -> str:
    """Says how many boxes fit under two readings, with an example."""

    def count(reading: BoxReading, wrong: np.ndarray) -> str:
        return f"as {reading.describe()} {wrong.sum()} of {len(wrong)} ({wrong.mean():.0%})"

    shown = np.flatnonzero(bad & ~good)
    index = int(shown[0]) if len(shown) else 0
    record = sample.records[sample.photo[index]]
    number = index - sample.first[sample.photo[index]]
    name, box = record.objects[number]
    width, height = sample.sizes[index]
    read = [pixels_of(sample, reading)[index] for reading in (usual, best)]
    text = (
        f"{count(usual, bad)} don't fit their photos, {count(best, good)}. For example {record.where} (id "
        f"{record.id}), {name!r}: {_numbers(box)} in {record.image_path!r} of {width} x {height} pixels is "
        f"from ({read[0][0]:g}, {read[0][1]:g}) to ({read[0][2]:g}, {read[0][3]:g}), or else from "
        f"({read[1][0]:g}, {read[1][1]:g}) to ({read[1][2]:g}, {read[1][3]:g})"
    )
    if not len(shown):
        text += "; the focused-region images say so"
    return text


def _numbers(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def _flags(reading: BoxReading, usual: BoxReading | None = None) -> str:
    """The flags that make `reading`, as far as they differ from `usual`."""
    flags = []
    if usual is None or reading.format != usual.format:
        flags.append(f"--boxes={reading.format}")
    if usual is None or reading.units != usual.units:
        flags.append(f"--box-units={reading.units}")
    return " ".join(flags)


def _others(equal: Sequence[BoxReading], usual: BoxReading) -> str:
    if not equal:
        return ""
    return (
        f" (or, which fits about as well: {'; '.join(_flags(each, usual) for each in equal[:3])})"
    )


def _check_fit(sample: Sample, usual: BoxReading, flags: BoxFlags) -> None:
    """Raises AnnotationError if many boxes lie far outside of their photos; given flags settle it."""
    if flags.format and flags.units:
        return
    far = np.ones(len(sample.boxes), bool)
    for orientation in ORIENTATIONS:
        x0, y0, x1, y1 = pixels_of(sample, usual._replace(orientation=orientation)).T
        width, height = sample.sizes.T
        far &= (
            (np.minimum(x0, x1) < -_WIDE * width)
            | (np.minimum(y0, y1) < -_WIDE * height)
            | (np.maximum(x0, x1) > (1 + _WIDE) * width)
            | (np.maximum(y0, y1) > (1 + _WIDE) * height)
        )
    photos = np.unique(sample.photo[far])
    if far.mean() < _WIDE_SHARE or far.sum() < 5 or len(photos) < 3:
        return
    index = int(np.flatnonzero(far)[0])
    record = sample.records[sample.photo[index]]
    name, box = record.objects[index - sample.first[sample.photo[index]]]
    width, height = sample.sizes[index]
    raise AnnotationError(
        f"{far.sum()} of {len(far)} boxes ({far.mean():.0%}) lie far outside of their photos, and no other "
        f"convention fits better. Were they drawn on photos of another size, or with a border? For example "
        f"{record.where} (id {record.id}), {name!r}: {_numbers(box)} in {record.image_path!r} of {width} x "
        f"{height} pixels. Give the photos that they were drawn on, or scale them; to clip them, add "
        f"{_flags(usual)}"
    )


def _note_reach(sample: Sample, usual: BoxReading, problems: Problems) -> None:
    """Lists boxes that never reach the right or lower part of their photos, or count pixels from 1."""
    boxes = pixels_of(sample, usual)
    reach = (boxes[:, 2:] / sample.sizes).max(0)
    if len(boxes) >= 20 and len(sample.records) >= 8 and reach.max() < 0.6:
        detail = (
            f"none of {len(boxes)} boxes reaches further than {reach[0]:.0%} of its photo's width and "
            f"{reach[1]:.0%} of its height. Were they drawn on smaller photos? Then scale them"
        )
        problems.add("boxes_ambiguous", GUESSED, "file", "all metadata", detail)
    starts = boxes[:, :2]
    whole = usual.units == "pixels" and not np.any(boxes % 1)
    if whole and starts.min() == 1 and (starts == 1).sum() >= 5 and (starts == 1).any(0).all():
        detail = (
            f"{(starts == 1).sum()} boxes start at 1 and none at 0: if their pixels are counted from 1, they "
            "are a pixel too far to the right and down; subtract 1"
        )
        problems.add("boxes_from_one", NOTED, "file", "all metadata", detail)


def _note_mixed(sample: Sample, usual: BoxReading, flags: BoxFlags, problems: Problems) -> None:
    """Lists records whose boxes look like another convention than the rest, as where two sets were merged.

    Corners in any order seldom all fit as x, y, width and height too; where they do, that is what they are.
    """
    if flags.format or flags.units:
        return
    in_unit = np.abs(sample.boxes).max(1) <= 1.02
    odd = _misfits(sample, usual) | in_unit
    for reading in _MERGED:
        explained = odd & ~_misfits(sample, reading)
        if reading.units == "unit":
            odd_here = explained = explained & in_unit
        else:
            odd_here = odd & ~in_unit
        least = 3 if reading.units == "unit" else 6
        if explained.sum() < least or explained.sum() < 0.95 * odd_here.sum():
            continue
        photos = np.unique(sample.photo[explained])
        named = ", ".join(sample.records[photo].where for photo in photos[:5])
        problems.add(
            "boxes_ambiguous",
            GUESSED,
            "file",
            "all metadata",
            f"{explained.sum()} boxes of {len(photos)} records look like {reading.describe()}, the others like "
            f"{usual.describe()}; all were read as the latter. Were two data sets merged? The first of those "
            f"records: {named}. Correct them, or build the two apart, one with {_flags(reading, usual)}",
        )
        return


def _decide_orientation(
    sample: Sample, reading: BoxReading, upright: np.ndarray, stored: np.ndarray, flags: BoxFlags
) -> BoxDecision:
    """Decides how the boxes of EXIF-rotated photos are meant, from what each photo is charged, [P] in nats."""
    if flags.orientation:
        reading = reading._replace(orientation=flags.orientation)
        return BoxDecision(reading, each=False, doubtful=False)
    for_upright, for_stored = (stored - upright > 3).sum(), (upright - stored > 3).sum()
    margin = (upright - stored).sum() - _STORED_PRIOR
    if for_stored and 10 * for_upright <= for_stored and margin > _SURE:
        photo = int(np.argmax(upright - stored > 3))
        record, first = sample.records[photo], sample.first[photo]
        width, height = sample.sizes[first]
        turned = sample.orientations[sample.first] != 1
        raise AnnotationError(
            f"the boxes of EXIF-rotated photos look like pixels of the photo as stored, not as a viewer shows "
            f"it: {for_stored} of {turned.sum()} such photos say so, {for_upright} say otherwise. For example "
            f"{record.where} (id {record.id}): {record.image_path!r}, {width} x {height} pixels when upright "
            f"(EXIF orientation {sample.orientations[first]}), has {record.objects[0][0]!r} at "
            f"{_numbers(record.objects[0][1])}. If so, add --box-orientation=stored; if not, add "
            "--box-orientation=upright"
        )
    if for_stored and 10 * for_upright < for_stored:
        reading = reading._replace(orientation="stored")
    known = for_upright > 0 and not for_stored
    return BoxDecision(reading, each=not known, doubtful=not known)
