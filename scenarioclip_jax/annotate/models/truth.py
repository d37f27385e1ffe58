"""Annotations in place of models, with errors of known rates: to test the pipeline, and to measure it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from scenarioclip_jax.annotate.models.detections import Box, Detection
from scenarioclip_jax.annotate.models.protocols import (
    CaptionAnswer,
    DetectAnswer,
    ModelError,
    SegmentAnswer,
    VerifyAnswer,
)
from scenarioclip_jax.annotate.results import Caption, Failure, Mask, Photo, Verdict
from scenarioclip_jax.annotate.settings import TruthSettings, VerifySettings
from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from scenarioclip_jax.data.build.records import ObjectRecord, Record
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.importers.masks import from_array
from scenarioclip_jax.words.facts import Facts
from scenarioclip_jax.words.names import read_name

_LEAST_SCORE = 0.5
_SAME = 0.5  # intersection over union from which a box is that of an object


def read_truth(folder: Path, given_as: str = "truth.folder") -> dict[str, Record]:
    """Annotations by the paths of their photos, and by each end of such a path: of `a/b.jpg` also `b.jpg`.

    Args:
      folder: Folder of annotations in the format of docs/guides/format.md.
      given_as: The setting or flag that names it, for errors.

    Raises:
      ModelError: The folder holds no annotations.
    """
    try:
        records = read_records(folder, Problems())
    except (AnnotationError, OSError) as error:
        # The rest of the message is a remedy for the build.
        reason = str(error).partition(". Name the folder")[0]
        raise ModelError(
            f"{given_as}={folder}: {reason}; name a folder of annotations, see docs/guides/format.md"
        ) from error
    found: dict[str, Record] = {}
    for record in records:
        parts = Path(record.image_path).parts
        for start in range(len(parts)):
            found.setdefault("/".join(parts[start:]), record)
    return found


def pairs_of(record: Record) -> list[tuple[int, str, int]]:
    """The relations of a record with the indices of their objects; those that can't be told are left out."""
    names = [thing.name for thing in record.objects]
    found = []
    for relation in record.relations:
        subject, predicate, object_ = relation.triplet
        pair = relation.pair
        if pair is None and names.count(subject) == names.count(object_) == 1:
            pair = names.index(subject), names.index(object_)
        if pair is not None and pair[0] != pair[1]:
            found.append((pair[0], predicate, pair[1]))
    return found


def is_short_for(name: str, full: str) -> bool:
    """Whether a name is another's last words, in the singular or not: "circle" of "red circles"."""
    noun, whole = read_name(name).noun, read_name(full).noun
    return f" {whole}".endswith(f" {noun}")


class Truth:
    """Answers what the annotations say, with errors: as captioner, detector, segmenter and verifier."""

    def __init__(self, settings: TruthSettings):
        self._settings, self._records = settings, read_truth(Path(settings.folder))

    def caption(self, photos: Iterable[Photo]) -> Iterator[CaptionAnswer]:
        for photo in photos:
            record = self._records.get(photo.id)
            result = self._caption(record) if record else _missing(photo)
            yield CaptionAnswer(photo.id, result)

    def _caption(self, record: Record) -> Caption:
        names = self._names(record)
        told = [not self._happens("unnamed", record.id, i) for i in range(len(names))]
        relations = []
        for number, (subject, predicate, object_) in enumerate(pairs_of(record)):
            if not (told[subject] and told[object_]):
                continue
            ends = [names[subject], names[object_]]
            if self._happens("wrong", record.id, number):
                ends.reverse()
            relations.append((ends[0], predicate, ends[1]))
        objects = [name for name, is_told in zip(names, told, strict=True) if is_told]
        caption = record.captions[0] if record.captions else ""
        return Caption(record.action, tuple(objects), tuple(relations), caption)

    def _names(self, record: Record) -> list[str]:
        """What the language model calls the objects; those of one name are numbered."""
        names = []
        for number, thing in enumerate(record.objects):
            first, _, rest = thing.name.partition(" ")
            merged = rest and self._happens("merged", record.id, number)
            names.append(rest if merged else f"{first} {rest}".strip())
        counts, met = Counter(names), Counter()
        for position, name in enumerate(names):
            if counts[name] > 1:
                met[name] += 1
                names[position] = f"{name} {met[name]}"
        return names

    def detect(self, requests: Iterable[tuple[Photo, Sequence[str]]]) -> Iterator[DetectAnswer]:
        for photo, names in requests:
            record = self._records.get(photo.id)
            result = self._detect(record, names, photo.size) if record else _missing(photo)
            yield DetectAnswer(photo.id, result)

    def _detect(
        self, record: Record, names: Sequence[str], size: tuple[int, int]
    ) -> list[Detection]:
        found = []
        for number, thing in enumerate(record.objects):
            fitting = [name for name in names if is_short_for(name, thing.name)]
            if not fitting or self._happens("missed", record.id, number):
                continue
            box = self._shifted(record, number, size)
            score = _LEAST_SCORE + (1 - _LEAST_SCORE) * self._draw("score", record.id, number)
            name = max(fitting, key=len)
            found.append(Detection(name, box, score, thing.name if thing.name != name else ""))
        return found

    def _shifted(self, record: Record, number: int, size: tuple[int, int]) -> Box:
        x0, y0, x1, y1 = scaled(record, record.objects[number].box, size)
        if not self._settings.shifted:
            return x0, y0, x1, y1
        draw = np.random.default_rng(self._seed("shifted", record.id, number))
        shift = draw.normal(0, self._settings.shifted, 4) * np.tile([x1 - x0, y1 - y0], 2)
        corners = np.clip(np.add([x0, y0, x1, y1], shift), 0, [*size, *size])
        left, right = sorted((float(corners[0]), float(corners[2])))
        top, bottom = sorted((float(corners[1]), float(corners[3])))
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def segment(self, requests: Iterable[tuple[Photo, Sequence[Box]]]) -> Iterator[SegmentAnswer]:
        for photo, boxes in requests:
            record = self._records.get(photo.id)
            if record is None:
                yield SegmentAnswer(photo.id, _missing(photo))
                continue
            yield SegmentAnswer(photo.id, [_mask(record, box, photo.size) for box in boxes])

    def verify(
        self, requests: Iterable[tuple[Photo, Sequence[Triplet]]], settings: VerifySettings
    ) -> Iterator[VerifyAnswer]:
        """Calls false what the annotations refute, and true all else, as a lenient reader does."""
        for photo, texts in requests:
            record = self._records.get(photo.id)
            result = (
                _missing(photo) if record is None else self._verdicts(record, texts, photo.size)
            )
            yield VerifyAnswer(photo.id, result)

    def _verdicts(
        self, record: Record, texts: Sequence[Triplet], size: tuple[int, int]
    ) -> list[Verdict]:
        names = [thing.name for thing in record.objects]
        boxes = [scaled(record, thing.box, size) for thing in record.objects]
        facts, found = Facts(names, boxes, pairs_of(record), size), []
        for text in texts:
            is_true = not facts.refute(text)
            if self._happens("misjudged", record.id, " ".join(text)):
                is_true = not is_true
            if self._happens("unsure", record.id, " ".join(text)):
                found.append("unsure")
            else:
                found.append("true" if is_true else "false")
        return found

    def _happens(self, error: str, id: str, which: int | str) -> bool:
        return self._draw(error, id, which) < getattr(self._settings, error)

    def _draw(self, what: str, id: str, which: int | str) -> float:
        """A number from 0 to 1 that depends on nothing but seed, photo and place."""
        return self._seed(what, id, which) / 2**64

    def _seed(self, what: str, id: str, which: int | str) -> int:
        text = json.dumps([self._settings.seed, what, id, which])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _missing(photo: Photo) -> Failure:
    return Failure("no_truth", f"the annotations have no photo {photo.id}")


def scaled(record: Record, box: Box, size: tuple[int, int]) -> Box:
    """A box in pixels of a photo of that size, if the record says what size its boxes are of."""
    if record.size in (None, size):
        return box
    x, y = size[0] / record.size[0], size[1] / record.size[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _mask(record: Record, box: Box, size: tuple[int, int]) -> Mask:
    """The mask of the object that a box fits best, or else the box."""

    def fit(thing: ObjectRecord) -> float:
        return overlap(scaled(record, thing.box, size), box)

    best = max(record.objects, key=fit, default=None)
    if best and best.mask and fit(best) >= _SAME and (best.mask.width, best.mask.height) == size:
        if isinstance(best.mask.counts, str):
            return Mask((size[1], size[0]), best.mask.counts, 1.0)
    inside = np.zeros((size[1], size[0]), bool)
    x0, y0, x1, y1 = (round(value) for value in box)
    inside[y0:y1, x0:x1] = True
    mask = from_array(inside)
    return Mask((size[1], size[0]), mask["counts"], 1.0)
