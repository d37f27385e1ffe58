"""Recognizes the convention of a data set's boxes, from all of them at once, before anything is written.

A single box rarely tells: [90, 40, 60, 70] may be inverted corners, or x, y, width and height. Hundreds do.
Every reading (`box_formats`) is charged, in nats, for the boxes that it makes impossible and for the
focused-region images that contradict it, as if one box in fifty were wrong. The published format is assumed
unless another reading explains the data set far better.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.build.box_edges import edge_evidence
from scenarioclip_jax.data.build.box_formats import (
    CANVASES,
    FORMATS,
    ORIENTATIONS,
    UNITS,
    BoxReading,
    misfits,
)
from scenarioclip_jax.data.build.box_merged import (
    check_merged,
    check_merged_in_order,
    misfits_in_order,
)
from scenarioclip_jax.data.build.box_origin import check_centered, check_flipped, check_mirrored
from scenarioclip_jax.data.build.box_resized import find_resized
from scenarioclip_jax.data.build.box_sample import (
    Sample,
    by_photo,
    contradictions,
    pixels_of,
    take_sample,
)
from scenarioclip_jax.data.build.box_scales import (
    ANY_CORNERS,
    ANY_CORNERS_PRIOR,
    MISFIT,
    MOST,
    canvas_cost,
    scale_cost,
)
from scenarioclip_jax.data.build.box_texts import (
    check_fit,
    compared,
    example,
    flags_for,
    may_be_larger,
    note_reach,
    numbers,
    others,
)
from scenarioclip_jax.data.build.problems import GUESSED, AnnotationError, Problems
from scenarioclip_jax.data.build.records import Record

_SURE = 4.0  # nats by which another reading has to be better
_UNTOLD = 8.0  # nats: less doesn't tell whether x or y comes first
_LEFT = 0.02  # share of the boxes that a reading may leave unexplained
_SHOWN = 8.0  # nats that the photos have to give for or against boxes as stored
_FITS_SWAPPED = 15.0  # nats: boxes that fit no worse with x and y in each other's places
# How much less usual than the published format each convention is, in nats.
_FORMAT_PRIORS = dict(zip(FORMATS, (0, 3, 4, 4, 5, 5, 6), strict=True))
_UNIT_PRIORS = {"pixels": 0, "unit": 2, "percent": 4, "thousand": 3}
_CANVAS_PRIORS = {"photo": 0, "padded": 5, "padded_corner": 6}
_STORED_PRIOR = 1.0
_PADDED_FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx")  # of which padded photos are known


class BoxDecision(NamedTuple):
    """How the boxes of a data set are read, and how far the EXIF-rotated photos are known.

    Attributes:
      reading: The reading for all photos.
      each: Whether a rotated photo that indicates another reading is read in its own way (the data set has both
        kinds, or too few photos to tell).
      doubtful: Whether nothing in the data set tells if boxes are in upright or in stored pixels.
    """

    reading: BoxReading = BoxReading()
    each: bool = True
    doubtful: bool = True


class BoxFlags(NamedTuple):
    """What the user says about the boxes; None if it must be found out."""

    format: str | None = None
    units: str | None = None
    orientation: str | None = None
    canvas: str | None = None


def decide(
    records: Sequence[Record], find: Callable[[str], Path], flags: BoxFlags, problems: Problems
) -> BoxDecision:
    """Finds out how the boxes of a data set are meant.

    Args:
      records: Records of the data set, all or many, evenly spread.
      find: Function that returns the file of a path, and raises ValueError or OSError if there is none.
      flags: What is known.
      problems: Collects what can't be determined.

    Raises:
      AnnotationError: The boxes clearly have another convention than `flags` and the published format say, or
        fit no convention. The message names the flag that reads them.
    """
    if flags.format and flags.units and not flags.canvas:
        flags = flags._replace(canvas="photo")  # whoever says what the numbers are has looked
    known = [flag for flag in flags if flag is not None]
    if len(known) == len(flags):
        return BoxDecision(BoxReading(*known), each=False, doubtful=False)
    sample = take_sample(records, find)
    if not len(sample.boxes):
        reading = BoxReading(
            *(given or first for given, first in zip(flags, BoxReading(), strict=True))
        )
        return BoxDecision(reading, doubtful=flags.orientation is None)
    if not (flags.format and flags.units):
        check_centered(sample)
    readings = _readings(sample, flags)
    losses = _losses(sample, readings, find)  # [P, R]
    dragged = _charge_any_corners(sample, readings, losses, free=flags.format is None)
    costs = {}
    for at in range(0, len(readings), 2):
        upright, stored = losses[:, at], losses[:, at + 1]
        usual = _FORMAT_PRIORS[readings[at].format] + _UNIT_PRIORS[readings[at].units]
        usual += _CANVAS_PRIORS[readings[at].canvas]
        usual += scale_cost(sample, readings[at]) + canvas_cost(sample, readings[at])
        some = np.minimum(upright, stored).sum() + 2 * _STORED_PRIOR
        costs[readings[at]] = usual + min(upright.sum(), stored.sum() + _STORED_PRIOR, some)
    if flags.format is None:
        _compare_swapped(sample, costs, find)
    reading = _decide_format(sample, costs, flags, dragged, problems, find)
    if not (flags.format and flags.units):
        check_mirrored(sample, reading, find)
    at = readings.index(reading)
    return _decide_orientation(sample, reading, losses[:, at], losses[:, at + 1], flags, find)


def _readings(sample: Sample, flags: BoxFlags) -> list[BoxReading]:
    """All that the boxes may be; each upright, then as stored."""
    formats = [flags.format] if flags.format else list(FORMATS)
    units = [flags.units] if flags.units else list(UNITS)
    square = (sample.sizes.min(1) / sample.sizes.max(1) > 0.95).all()
    canvases = [flags.canvas] if flags.canvas else list(CANVASES[: 1 if square else None])
    return [
        BoxReading(format, unit, orientation, canvas)
        for canvas in canvases
        for format in formats
        if flags.format or canvas == "photo" or format in _PADDED_FORMATS
        for unit in units
        # In pixels, padding at the right and bottom changes nothing.
        if flags.canvas or (unit, canvas) != ("pixels", "padded_corner")
        for orientation in ORIENTATIONS
    ]


def _compare_swapped(
    sample: Sample, costs: dict[BoxReading, float], find: Callable[[str], Path]
) -> None:
    """Charges the best reading, or the one with y first, by what the photos show at the boxes' borders."""
    best = min(costs, key=costs.__getitem__)
    other = best.swapped()
    if other is not None and other in costs and costs[other] - costs[best] < _FITS_SWAPPED:
        first, second = (pixels_of(sample, reading) for reading in (best, other))
        evidence = edge_evidence(sample, first, second, find)
        costs[best] += max(-evidence, 0)
        costs[other] += max(evidence, 0)


def _losses(
    sample: Sample, readings: Sequence[BoxReading], find: Callable[[str], Path]
) -> np.ndarray:
    """What each reading is charged for each photo, in nats: float [P, R]."""
    losses = np.empty((len(sample.records), len(readings)))
    rotated = (sample.orientations != 1).any()
    for column, reading in enumerate(readings):
        if reading.orientation == "stored" and not rotated:
            losses[:, column] = losses[:, column - 1]
            continue
        bad = misfits(pixels_of(sample, reading), sample.sizes)
        losses[:, column] = MISFIT * np.minimum(by_photo(sample, bad), MOST)
    for photo, wrong in contradictions(sample, readings, find):
        losses[photo] += MISFIT * wrong
    return losses


def _charge_any_corners(
    sample: Sample, readings: Sequence[BoxReading], losses: np.ndarray, *, free: bool
) -> set[BoxReading]:
    """Charges boxes whose corners come in any order, as if dragged by mouse, for that rather than as misfits.

    `free`: the format isn't given, so that only the published one may be read so. Returns the readings under
    which they are.
    """
    changed = set()
    for column, reading in enumerate(readings):
        if free and (reading.format != "xyxy" or reading.canvas != "photo"):
            continue
        pixels = pixels_of(sample, reading)
        ordered = np.concatenate(
            [np.minimum(pixels[:, :2], pixels[:, 2:]), np.maximum(pixels[:, :2], pixels[:, 2:])], 1
        )
        counts = by_photo(sample, np.ones(len(pixels)))
        was = MISFIT * np.minimum(by_photo(sample, misfits(pixels, sample.sizes)), MOST)
        bad = MISFIT * np.minimum(by_photo(sample, misfits(ordered, sample.sizes)), MOST)
        dragged = bad + ANY_CORNERS * np.minimum(counts, MOST)
        if dragged.sum() + ANY_CORNERS_PRIOR < was.sum():
            losses[:, column] += dragged - was
            losses[0, column] += ANY_CORNERS_PRIOR
            changed.add(reading)
    return changed


def _decide_format(
    sample: Sample,
    costs: dict[BoxReading, float],
    flags: BoxFlags,
    dragged: set[BoxReading],
    problems: Problems,
    find: Callable[[str], Path],
) -> BoxReading:
    """The reading that is assumed, if none explains the boxes far better."""
    usual = BoxReading(
        flags.format or "xyxy", flags.units or "pixels", canvas=flags.canvas or "photo"
    )
    best = min(costs, key=costs.__getitem__)
    margin = costs[usual] - costs[best]
    settled = bool(flags.format and flags.units)
    if margin <= 0:
        if not settled:
            _check_usual(sample, usual, problems, find, any_corners=usual in dragged)
        note_reach(sample, usual, problems)
        return usual
    if best in dragged and not settled:
        check_flipped(sample, best, find)
    bad, good = (misfits_in_order(sample, each, each in dragged) for each in (usual, best))
    # Thousandths fit boxes of any photos that aren't larger; another format may fit a few more of them.
    doubtful = best.units in ("thousand", "percent") or good.mean() > _LEFT
    resized = find_resized(sample)
    resized = None if resized and resized.close else resized
    if doubtful and resized:
        raise AnnotationError(
            f"the boxes look like {resized.what} (at least {resized.ends} end right at their edges), not "
            f"{usual.describe()}. {example(sample, int(np.argmax(bad)))}. If so, {resized.remedy}"
            f"{resized.others}; if they are {best.describe()}, add {flags_for(best, usual)}; if they are as "
            f"they should be, add {flags_for(usual)}"
        )
    text = compared(sample, usual, best, bad, good)
    mixed = good.mean() > 0.1 and good.mean() > bad.mean() / 4
    if mixed and not settled:
        if check_merged(sample, usual, problems, any_corners=usual in dragged):
            return usual
        check_fit(sample, usual)
    also = _also(sample, costs, best, usual)
    if resized:
        also += f" (or, if they are {resized.what}: {resized.remedy}{resized.others})"
    else:
        also += may_be_larger(sample, best)
    if margin > _SURE and not mixed:
        raise AnnotationError(
            f"the boxes look like {best.describe()}, not {usual.describe()}: {text}. If so, add "
            f"{flags_for(best, usual)}{also}; if they are as they should be, add {flags_for(usual)}"
        )
    what = "some boxes" if mixed else "the boxes"
    if not resized:
        note_reach(sample, usual, problems)
    problems.add(
        "boxes_ambiguous",
        GUESSED,
        "file",
        "all metadata",
        f"{what} look like {best.describe()}; read as {usual.describe()}: {text}. If all are so, add "
        f"{flags_for(best, usual)}{also}; if all are what they should be, add {flags_for(usual)}",
    )
    return usual


def _check_usual(
    sample: Sample,
    usual: BoxReading,
    problems: Problems,
    find: Callable[[str], Path],
    *,
    any_corners: bool,
) -> None:
    """Raises AnnotationError if boxes that fit the assumed reading best can't be meant so all the same."""
    if any_corners:
        check_flipped(sample, usual, find)
        check_merged_in_order(sample, usual, problems)
    check_merged(sample, usual, problems, any_corners=any_corners)
    check_fit(sample, usual, misfits_in_order(sample, usual, any_corners))


def _also(
    sample: Sample, costs: dict[BoxReading, float], best: BoxReading, usual: BoxReading
) -> str:
    """What else boxes may be that look like `best`, for the end of a message."""
    swapped = best.swapped()
    untold = ""  # whether x or y comes first
    if swapped and costs.get(swapped, np.inf) < costs[best] + _UNTOLD and swapped != usual:
        axis = "x" if best.format.startswith("y") else "y"
        untold = (
            f" (or, if {axis} comes first, which nothing here tells: {flags_for(swapped, usual)}; draw some on "
            "their photos to see)"
        )
    equal = sorted(
        (each for each in costs if costs[each] < costs[best] + 4.5), key=costs.__getitem__
    )
    told = (best, usual, swapped if untold else None)
    return untold + others([each for each in equal if each not in told], usual)


def _decide_orientation(
    sample: Sample,
    reading: BoxReading,
    upright: np.ndarray,
    stored: np.ndarray,
    flags: BoxFlags,
    find: Callable[[str], Path],
) -> BoxDecision:
    """Decides how the boxes of EXIF-rotated photos are meant, from what each photo is charged, [P] in nats."""
    if flags.orientation:
        reading = reading._replace(orientation=flags.orientation)
        return BoxDecision(reading, each=False, doubtful=False)
    for_upright, for_stored = (stored - upright > 3).sum(), (upright - stored > 3).sum()
    margin = (upright - stored).sum() - _STORED_PRIOR
    if not for_upright and not for_stored:
        for_upright, for_stored = _shown_by_edges(sample, reading, find)
        margin += np.inf if for_stored else 0
    if for_stored and 10 * for_upright <= for_stored and margin > _SURE:
        photo = int(np.argmax(upright - stored > 3))
        if sample.orientations[sample.first[photo]] == 1:  # only the photos themselves say so
            photo = int(np.argmax(sample.orientations[sample.first] != 1))
        record, first = sample.records[photo], sample.first[photo]
        width, height = sample.sizes[first]
        turned = sample.orientations[sample.first] != 1
        raise AnnotationError(
            f"the boxes of EXIF-rotated photos look like pixels of the photo as stored, not as a viewer shows "
            f"it: {for_stored} of {turned.sum()} such photos say so, {for_upright} say otherwise. For example "
            f"{record.where} (id {record.id}): {record.image_path!r}, {width} x {height} pixels when upright "
            f"(EXIF orientation {sample.orientations[first]}), has {record.objects[0].name!r} at "
            f"{numbers(record.objects[0].box)}. If so, add --box-orientation=stored; if not, add "
            "--box-orientation=upright"
        )
    if for_stored and 10 * for_upright < for_stored:
        reading = reading._replace(orientation="stored")
    known = for_upright > 0 and not for_stored
    return BoxDecision(reading, each=not known, doubtful=not known)


def _shown_by_edges(
    sample: Sample, reading: BoxReading, find: Callable[[str], Path]
) -> tuple[int, int]:
    """How many rotated photos show boxes in upright and in stored pixels, by what lies at the boxes' borders.

    Where a photo is upside down, mirrored or square, boxes fit both ways. All such photos answer together.
    """
    turned = int((sample.orientations[sample.first] != 1).sum())
    if not turned:
        return 0, 0
    upright, stored = (
        pixels_of(sample, reading._replace(orientation=each)) for each in ORIENTATIONS
    )
    evidence = edge_evidence(sample, upright, stored, find)
    if abs(evidence) < _SHOWN:
        return 0, 0
    return (turned, 0) if evidence > 0 else (0, turned)
