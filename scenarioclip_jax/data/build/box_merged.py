"""Finds the part of a data set whose boxes have another convention, as after merging two data sets."""

from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.data.build.box_formats import (
    FORMATS,
    ORIENTATIONS,
    UNITS,
    BoxReading,
    misfits,
)
from scenarioclip_jax.data.build.box_sample import Sample, by_photo, pixels_of
from scenarioclip_jax.data.build.box_scales import (
    ANY_CORNERS,
    ANY_CORNERS_PRIOR,
    MISFIT,
    MOST,
)
from scenarioclip_jax.data.build.box_texts import example, fits_nowhere, flags_for
from scenarioclip_jax.data.build.problems import GUESSED, AnnotationError, Problems

_FAR, _FAR_PIXELS = 0.08, 8  # of the photo's side: sloppy boxes aren't wrong by more
_BEYOND = 1.3  # photo's sides that numbers in thousandths have to reach: any box fits these
_REACHED = 0.7  # share of the thousand that the largest of them has to reach
_MOST_RECORDS = 0.8  # share of the records: more are no part of a data set, but all of it
_FEWEST, _FEW_RECORDS = 2, 2  # boxes and records of another convention, to be named
_SURE, _SURE_RECORDS = 5, 3  # to stop the build
_EXPLAINED = 0.9  # share of what can't be meant that another convention has to explain
_MERGED_PRIOR, _MERGED_SURE = 3.0, 4.0  # nats
_ALL = 0.98  # share of the records' boxes that have to fit it


def check_merged(
    sample: Sample, usual: BoxReading, problems: Problems, *, any_corners: bool
) -> bool:
    """Raises AnnotationError, or lists a problem and returns True, if some records have another convention.

    The evidence is boxes that are impossible under the data set's reading, in records whose boxes all fit
    another reading. Only a few boxes of such records are impossible, so more records than these are affected.

    Args:
      sample: Boxes of the data set.
      usual: How they are read.
      problems: Collects what is likely but not certain.
      any_corners: Whether corners come in any order in this data set, so that an inverted box proves nothing.
    """
    odd = _impossible(sample, usual, any_corners)
    if odd.sum() < _FEWEST:
        return False
    found = []
    for reading in _candidates(usual):
        fits = ~fits_nowhere(sample, reading)
        explained = odd & fits & _all_fit(sample, reading, fits)
        photos = np.unique(sample.photo[explained])
        fewest = 6 if any_corners else _FEWEST
        most = _MOST_RECORDS * len(sample.records)
        if explained.sum() >= fewest and _FEW_RECORDS <= len(photos) <= most:
            found.append((explained, photos, reading))
    if not found:
        return False
    explained, photos, reading = max(found, key=lambda each: each[0].sum())
    share = explained.sum() / odd.sum()
    if share < _EXPLAINED:
        return False
    equal = [
        other for same, _, other in found if other != reading and same.sum() == explained.sum()
    ]
    _report(sample, explained, reading, usual, problems, equal, sure=not any_corners)
    return True


def check_merged_in_order(sample: Sample, usual: BoxReading, problems: Problems) -> None:
    """Raises AnnotationError, or lists a problem, if inverted boxes are those of some records, and fit there.

    Inverted boxes are taken for ones that were dragged by mouse. But dragging inverts any box, along any axis;
    if instead each record fits one of two conventions, two data sets were merged.

    Args:
      sample: Boxes of a data set whose corners seem to come in any order.
      usual: How they are read.
      problems: Collects what is likely but not certain.
    """
    count = np.minimum(by_photo(sample, np.ones(len(sample.boxes))), MOST)
    ordered = np.minimum(by_photo(sample, misfits_in_order(sample, usual, True)), MOST)
    dragged = (ANY_CORNERS * count + MISFIT * ordered).sum() + ANY_CORNERS_PRIOR

    def charged(reading: BoxReading) -> np.ndarray:
        return MISFIT * np.minimum(by_photo(sample, fits_nowhere(sample, reading)), MOST)

    own = charged(usual)
    found = []
    for reading in _candidates(usual):
        others = charged(reading)
        if UNITS[reading.units]:
            others[~_reaches(sample, reading)] = np.inf
        odd = others + MISFIT <= own
        cost = (np.minimum(own, others) + np.log(2)).sum() + _MERGED_PRIOR
        if odd.sum() >= _FEW_RECORDS and odd.mean() <= _MOST_RECORDS:
            found.append((cost, reading, odd))
    if not found:
        return
    cost, reading, odd = min(found, key=lambda each: each[0])
    if dragged - cost < _MERGED_SURE:
        return
    explained = odd[sample.photo] & fits_nowhere(sample, usual)
    equal = [other for same, other, _ in found if other != reading and same < cost + 1]
    _report(sample, explained, reading, usual, problems, equal, sure=True)


def _report(
    sample: Sample,
    explained: np.ndarray,
    reading: BoxReading,
    usual: BoxReading,
    problems: Problems,
    equal: Sequence[BoxReading],
    *,
    sure: bool,
) -> None:
    """Raises AnnotationError, or lists a problem if it's about few boxes or if `sure` is False.

    Args:
      explained: Boxes that only the other reading explains, bool [N].
      equal: Readings that explain them as well.
    """
    photos = np.unique(sample.photo[explained])
    named = ", ".join(sample.records[photo].where for photo in photos[:5])
    alike = "".join(f" or {other.describe()}" for other in equal[:2])
    text = (
        f"{explained.sum()} boxes of {len(photos)} records look like {reading.describe()}{alike}, the others "
        f"like {usual.describe()}. Were two data sets merged? The first of those records: {named}. "
        f"{example(sample, int(np.argmax(explained)))}. More boxes may be so that fit both ways"
    )
    remedy = f"build the two apart, one with {flags_for(reading, usual)}, or correct them"
    if sure and explained.sum() >= _SURE and len(photos) >= _SURE_RECORDS:
        raise AnnotationError(
            f"{text}: {remedy}. If all are as they should be, add {flags_for(usual)}"
        )
    detail = f"{text}. All were read as the latter; if so, {remedy}"
    problems.add("boxes_ambiguous", GUESSED, "file", "all metadata", detail)


def _candidates(usual: BoxReading) -> Sequence[BoxReading]:
    """What a part may be in, the most usual first."""
    units = ("pixels", "unit", "thousand")  # (percent would fit any box of a small photo)
    return [
        reading
        for canvas in ("photo", "padded")
        for unit in units
        for format in FORMATS
        if (reading := BoxReading(format, unit, usual.orientation, canvas)) != usual
        and (canvas == "photo" or (format, unit) in (("xyxy", "pixels"), ("xywh", "pixels")))
    ]


def _impossible(sample: Sample, usual: BoxReading, any_corners: bool) -> np.ndarray:
    """Boxes that nobody would draw, bool [N]: far outside, clearly inverted, or of a pixel."""
    odd = np.ones(len(sample.boxes), bool)
    for orientation in ORIENTATIONS:
        read = pixels_of(sample, usual._replace(orientation=orientation))
        far = np.maximum(_FAR * sample.sizes, _FAR_PIXELS)
        low, high = np.minimum(read[:, :2], read[:, 2:]), np.maximum(read[:, :2], read[:, 2:])
        outside = ((low < -far) | (high > sample.sizes + far)).any(1)
        inverted = (read[:, 2:] < read[:, :2] - far).any(1) & (not any_corners)
        odd &= outside | inverted | ((high - low) <= 1).all(1)
    return odd & misfits_in_order(sample, usual, any_corners)


def misfits_in_order(sample: Sample, usual: BoxReading, any_corners: bool) -> np.ndarray:
    """`fits_nowhere`, of corners in order if they come in any."""
    if not any_corners:
        return fits_nowhere(sample, usual)
    odd = np.ones(len(sample.boxes), bool)
    for orientation in ORIENTATIONS:
        read = pixels_of(sample, usual._replace(orientation=orientation))
        corners = [np.minimum(read[:, :2], read[:, 2:]), np.maximum(read[:, :2], read[:, 2:])]
        odd &= misfits(np.concatenate(corners, 1), sample.sizes)
    return odd


def _all_fit(sample: Sample, reading: BoxReading, fits: np.ndarray) -> np.ndarray:
    """Whether nearly all boxes of a box's photo fit a reading, in numbers as large as its, bool [N]."""
    share = by_photo(sample, fits) / np.maximum(by_photo(sample, np.ones(len(fits))), 1)
    fine = share >= _ALL
    if UNITS[reading.units]:
        fine &= _reaches(sample, reading)
    return fine[sample.photo]


def _reaches(sample: Sample, reading: BoxReading) -> np.ndarray:
    """Whether the numbers of a photo's boxes are as large as these units make them, bool [P]."""
    largest = np.zeros(len(sample.records))
    np.maximum.at(largest, sample.photo, np.abs(sample.boxes).max(1))
    scale = UNITS[reading.units]
    fine = (largest <= 1.02 * scale) & (largest > 0.1 * scale)
    if scale > 1:
        fine &= largest > _BEYOND * sample.sizes[sample.first].max(1)
        fine &= largest[fine].max(initial=0) > _REACHED * scale
    return fine
