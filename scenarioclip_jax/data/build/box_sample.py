"""Evidence for the convention of a data set's boxes: the boxes of many photos, and focused-region images."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax import faults
from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import focus_evidence, focus_mistakes
from scenarioclip_jax.data.build.box_formats import BoxReading, to_pixels
from scenarioclip_jax.data.build.photo_sizes import annotated_size
from scenarioclip_jax.data.build.records import Record, RelationRecord

_REGIONS = 60  # focused regions that are looked at, evenly over the data set


class Sample(NamedTuple):
    """The N boxes of P photos."""

    records: list[Record]  # [P]
    boxes: np.ndarray  # float64 [N, 4], as written
    photo: np.ndarray  # int [N]: the record that each belongs to
    first: np.ndarray  # int [P]: index of each record's first box
    sizes: np.ndarray  # [N, 2] of the upright photo, or those that the record gives
    orientations: np.ndarray  # int [N]


def take_sample(records: Sequence[Record], find: Callable[[str], Path]) -> Sample:
    """Looks at the photos of the records that have boxes."""
    some = [record for record in records if record.objects]
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the build itself says what is wrong with a photo
        headers = list(pool.map(lambda record: _header(record, find), some))
    known = [(record, header) for record, header in zip(some, headers, strict=True) if header]
    counts = [len(record.objects) for record, _ in known]
    boxes = np.array([each.box for record, _ in known for each in record.objects], np.float64)
    heads = np.array([header for _, header in known], np.int64).reshape(-1, 3)
    photo = np.repeat(np.arange(len(known)), counts)
    first = np.cumsum([0, *counts])[:-1]
    return Sample(
        [record for record, _ in known],
        boxes.reshape(-1, 4),
        photo,
        first,
        heads[photo, :2],
        heads[photo, 2],
    )


def _header(record: Record, find: Callable[[str], Path]) -> tuple[int, int, int] | None:
    """Width and height that a record's boxes refer to, and its photo's EXIF orientation.

    None: the photo can't be opened, or isn't the annotated one.
    """
    try:
        path = record.image_path
        with faults.patiently(lambda: Image.open(find(path)), path) as picture:
            orientation = picture.getexif().get(0x0112, 1)
            orientation = orientation if orientation in images.TURNS else 1
            width, height = picture.size
    except faults.InputUnavailableError:
        raise
    except Exception:  # whatever Pillow raises; the build itself says what is wrong
        return None
    upright = (height, width) if orientation >= 5 else (width, height)
    annotated = annotated_size(record.size, upright, orientation)
    return (*annotated.size, orientation) if annotated else None


def pixels_of(sample: Sample, reading: BoxReading) -> np.ndarray:
    """The boxes under a reading, as `to_pixels` gives them: float64 [N, 4]."""
    return to_pixels(sample.boxes, reading, sample.sizes, sample.orientations)


def by_photo(sample: Sample, each: np.ndarray) -> np.ndarray:
    """Sums a value of each box, [N], over its photo: float [P]."""
    return np.bincount(sample.photo, each, minlength=len(sample.records))


def contradictions(
    sample: Sample, readings: Sequence[BoxReading], find: Callable[[str], Path]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (photo, bool [R]): which readings a focused-region image speaks against."""
    wanted = [
        photo
        for photo, record in enumerate(sample.records)
        if any(relation.focus_path for relation in record.relations)
    ]
    rotated = [photo for photo in wanted if sample.orientations[sample.first[photo]] != 1]
    for some in (wanted, rotated):
        for photo in some[:: max(1, -(-len(some) // _REGIONS))]:
            if some is rotated or photo not in rotated:
                for wrong in _told_by(sample, photo, readings, find):
                    yield photo, wrong


def _told_by(
    sample: Sample, photo: int, readings: Sequence[BoxReading], find: Callable[[str], Path]
) -> Iterator[np.ndarray]:
    record, first = sample.records[photo], sample.first[photo]
    own = slice(first, first + len(record.objects))
    size = tuple(sample.sizes[first])
    pixels = None
    # Of a photo that isn't rotated, upright and stored pixels are the same.
    turned = sample.orientations[first] != 1
    unique = dict.fromkeys(each if turned else each._replace(orientation="") for each in readings)
    index = {each: number for number, each in enumerate(unique)}
    each_of = [index[each if turned else each._replace(orientation="")] for each in readings]
    for relation in [each for each in record.relations if each.focus_path][:2]:
        pairs = pairs_of(record, relation)
        if not pairs or relation.focus_path == record.image_path:
            continue
        changed = changes(record, relation.focus_path, int(sample.orientations[first]), find)
        if changed is None:
            continue
        if pixels is None:
            boxes = sample.boxes[own], sample.sizes[own], sample.orientations[own]
            pixels = [to_pixels(boxes[0], each, *boxes[1:]) for each in unique]
        found = [
            max(focus_evidence.agreement(changed, boxes[list(pair)], size) for pair in pairs)
            for boxes in pixels
        ]
        right = focus_evidence.telling(np.array(found)[each_of])
        if right is not None:
            yield ~right


def pairs_of(record: Record, relation: RelationRecord) -> list[tuple[int, int]]:
    """Pairs of objects that a relation can mean, 16 at most, by their places."""
    if relation.pair is not None:
        return [relation.pair]
    subject, _, object_ = relation.triplet
    first = [i for i, each in enumerate(record.objects) if each.name == subject]
    second = [i for i, each in enumerate(record.objects) if each.name == object_]
    return [(i, j) for i in first for j in second if i != j][:16]


def changes(
    record: Record, focus_path: str, orientation: int, find: Callable[[str], Path]
) -> np.ndarray | None:
    """`focus_evidence.differences` of a record's photo and a focused-region image; None: it can't be opened."""
    try:
        photo, focus = (
            focus_evidence.small(faults.patiently(find(path).read_bytes, path))
            for path in (record.image_path, focus_path)
        )
    except (OSError, ValueError):
        return None
    if orientation != 1:
        turned = focus.transpose(images.TURNS[orientation])
        if focus_evidence.better_turned(photo, focus, turned):
            focus = turned
    # A turned one would speak for boxes that are turned like it.
    focus, _ = focus_mistakes.undo(photo, focus)
    return focus_evidence.differences(photo, focus)
