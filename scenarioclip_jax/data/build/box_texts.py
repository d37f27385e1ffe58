"""Messages for the user about the convention of a data set's boxes."""

from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.data.build.box_formats import ORIENTATIONS, UNITS, BoxReading, misfits
from scenarioclip_jax.data.build.box_resized import find_resized
from scenarioclip_jax.data.build.box_sample import Sample, pixels_of
from scenarioclip_jax.data.build.problems import GUESSED, NOTED, AnnotationError, Problems

_WIDE, _WIDE_SHARE = 0.1, 0.1  # boxes that stick out by a tenth; a tenth of all boxes
_REACHES = 0.9  # of percent or thousandths: where boxes don't, other units are as likely
# Boxes that end at a photo's edge, within a part of its side: how many, and which share, make them thousandths.
_AT_EDGE, _ENDS, _ENDS_SHARE = 0.004, 3, 0.03
_MOST_WRONG = 0.5  # share of the boxes that can't be meant


def fits_nowhere(sample: Sample, reading: BoxReading) -> np.ndarray:
    """Whether each box doesn't fit its photo, in pixels upright or as stored: bool [N]."""
    upright, stored = (
        misfits(pixels_of(sample, reading._replace(orientation=o)), sample.sizes)
        for o in ORIENTATIONS
    )
    return upright & stored


def compared(
    sample: Sample,
    usual: BoxReading,
    best: BoxReading,
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
    name, box = record.objects[number][:2]
    width, height = sample.sizes[index]
    read = [pixels_of(sample, reading)[index] for reading in (usual, best)]
    text = (
        f"{count(usual, bad)} don't fit their photos, {count(best, good)}. For example {record.where} (id "
        f"{record.id}), {name!r}: {numbers(box)} in {record.image_path!r} of {width} x {height} pixels is "
        f"from ({read[0][0]:g}, {read[0][1]:g}) to ({read[0][2]:g}, {read[0][3]:g}), or else from "
        f"({read[1][0]:g}, {read[1][1]:g}) to ({read[1][2]:g}, {read[1][3]:g})"
    )
    if not len(shown):
        text += "; the photos or the focused-region images say so"
    return text


def example(sample: Sample, index: int) -> str:
    """Names a box with its record, its photo and the photo's size."""
    record = sample.records[sample.photo[index]]
    name, box = record.objects[index - sample.first[sample.photo[index]]][:2]
    width, height = sample.sizes[index]
    return (
        f"For example {record.where} (id {record.id}), {name!r}: {numbers(box)} in {record.image_path!r} of "
        f"{width} x {height} pixels"
    )


def numbers(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def flags_for(reading: BoxReading, usual: BoxReading | None = None) -> str:
    """The flags that make `reading`, as far as they differ from `usual`."""
    flags = []
    if usual is None or reading.format != usual.format:
        flags.append(f"--boxes={reading.format}")
    if usual is None or reading.units != usual.units:
        flags.append(f"--box-units={reading.units}")
    if reading.canvas != "photo":
        flags.append(f"--box-canvas={reading.canvas}")
    return " ".join(flags)


def others(equal: Sequence[BoxReading], usual: BoxReading) -> str:
    if not equal:
        return ""
    return f" (or, which fits about as well: {'; '.join(flags_for(each, usual) for each in equal[:3])})"


def may_be_larger(sample: Sample, best: BoxReading) -> str:
    """Says that boxes may be pixels of larger photos, not percent or thousandths; empty if that's unlikely.

    Things that a photo's edge cuts off end at 1000 in thousandths, along both axes. In pixels of photos of any
    other size the largest numbers lie elsewhere.
    """
    scale = UNITS[best.units]
    if scale is None or scale == 1:
        return ""
    if sample.boxes.max() < _REACHES * scale:
        return f" (or, as none exceeds {sample.boxes.max():g}, they are pixels of larger photos: scale them)"
    ends = pixels_of(sample, best)[:, 2:] / sample.sizes
    if best.canvas == "photo":
        at_edge = (np.abs(ends - 1) <= _AT_EDGE).sum(0)
        if at_edge.min() >= max(_ENDS, _ENDS_SHARE * len(ends)):
            return ""
    return f" (or, if few of them really end at {scale:g}, they are pixels of larger photos: scale them)"


def check_fit(sample: Sample, usual: BoxReading, misfits: np.ndarray | None = None) -> None:
    """Raises AnnotationError if many boxes lie far outside of their photos, or most can't be meant.

    Args:
      misfits: Whether each box can't be meant, bool [N]; None if that was looked at.
    """
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
    for wrong, least, what in (
        (far, _WIDE_SHARE, "lie far outside of their photos"),
        (misfits, _MOST_WRONG, "are inverted, of a pixel or less, or outside of their photos"),
    ):
        if wrong is None or wrong.mean() < least or wrong.sum() < 5:
            continue
        if len(np.unique(sample.photo[wrong])) < 3:
            continue
        resized = find_resized(sample)
        guess = (
            f"They look like {resized.what}"
            if resized
            else "Were they drawn on photos of another size, or with a border?"
        )
        remedy = f"{resized.remedy}{resized.others}, or give" if resized else "Give"
        raise AnnotationError(
            f"{wrong.sum()} of {len(wrong)} boxes ({wrong.mean():.0%}) {what}, and no other convention fits "
            f"better. {guess}{': ' if resized else ' '}{remedy} the photos that they were drawn on"
            f"{'' if resized else ', or scale them'}. {example(sample, int(np.argmax(wrong)))}. To clip them, "
            f"add {flags_for(usual)}"
        )


def note_reach(sample: Sample, usual: BoxReading, problems: Problems) -> None:
    """Lists boxes that never reach the right or lower part of their photos, or count pixels from 1."""
    boxes = pixels_of(sample, usual)
    reach = (boxes[:, 2:] / sample.sizes).max(0)
    resized = find_resized(sample) if usual.units == "pixels" else None
    if resized and not resized.close:
        detail = (
            f"the boxes look like {resized.what}: at least {resized.ends} end right at the edges of such "
            f"photos. {example(sample, 0)}. Read as {usual.describe()}; if so, {resized.remedy}{resized.others}"
        )
        problems.add("boxes_ambiguous", GUESSED, "file", "all metadata", detail)
    elif len(boxes) >= 20 and len(sample.records) >= 8 and reach.max() < 0.6:
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
