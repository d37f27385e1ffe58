"""Joins the triplets of a caption with detected boxes: which two boxes does "man 2 holding kite" mean?

A name means the detections of its noun. "Person 1" and "person 2" are different detections, and each is the
same one in all triplets of the photo. A name without a number means any detection of its noun, in each triplet
the one that fits best; so does a plural, of which one instance is taken, since a region is of two boxes.

How well a pair fits, from 0 to 1, is its nearness and its scores, weighted by `RegionSettings.nearness`, and
how good an example of the predicate it is ("left of" is best of boxes that are level):

    fit = (1 + example) / 2 * (nearness * (1 - (gap + distance of centers) / (2 * diagonal of the photo))
                               + (1 - nearness) * sqrt(score of the subject * score of the object))

A pair whose boxes show that the predicate is false of it is never taken: "man left of man" puts the left one
first.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from scenarioclip_jax.annotate.models.detections import Detection
from scenarioclip_jax.annotate.results import Caption
from scenarioclip_jax.annotate.settings import RegionSettings
from scenarioclip_jax.data.build.participants import overlap
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.words import box_rules, nouns, predicates
from scenarioclip_jax.words.names import read_name

SAME_THING = 0.9  # intersection over union of two boxes that are of one thing
# Ways to hand out the numbered names that are tried. If there are more, one name after the other gets its box.
MOST_TRIED = 5_000

Fitting = tuple[int, int, float]  # subject and object, indices of detections, and how well they fit
Numbered = tuple[str, int]  # "person 2": its noun and its number


@dataclass(frozen=True)
class GroundedRelation:
    """A triplet with its boxes.

    Attributes:
      subject, object: Indices of detections.
      predicate: As in the caption.
      triplet: Nouns in the singular without numbers, and the predicate.
      fit: How well the boxes fit, from 0 to 1.
    """

    subject: int
    predicate: str
    object: int
    triplet: Triplet
    fit: float


@dataclass(frozen=True)
class Dropped:
    """A triplet without boxes.

    Attributes:
      triplet: As in the caption.
      reason: `no_box` (an end wasn't detected), `too_few_boxes` (there are more numbers than boxes),
        `one_box_for_both` (no two different boxes), `boxes_disagree` (the predicate is false of all pairs),
        or `repeated` (another triplet says the same of the same boxes).
    """

    triplet: Triplet
    reason: str


@dataclass(frozen=True)
class Grounding:
    """Objects and relations of a photo.

    Attributes:
      objects: A name for each detection, by its index: its noun in the singular.
      relations: Triplets with boxes, in the caption's order.
      dropped: Triplets without.
    """

    objects: dict[int, str] = field(default_factory=dict)
    relations: tuple[GroundedRelation, ...] = ()
    dropped: tuple[Dropped, ...] = ()


def ground(
    caption: Caption,
    detections: Sequence[Detection],
    size: tuple[int, int],
    settings: RegionSettings,
) -> Grounding:
    """Joins the triplets of a caption with boxes. Ties go to the detection that comes first.

    Args:
      caption: Its relations.
      detections: Boxes in pixels, with the names that the detector was asked for.
      size: Width and height of the photo, in pixels.
      settings: The weight of nearness.
    """
    scene = _Scene(detections, size, settings.nearness)
    handed = _hand_out(caption.relations, scene)
    relations: list[GroundedRelation] = []
    dropped = []
    said: list[tuple[int, str, int]] = []
    for triplet in caption.relations:
        found = scene.pairs(triplet, handed)
        if isinstance(found, str):
            dropped.append(Dropped(triplet, found))
            continue
        predicate = predicates.normalize_predicate(triplet[1])
        # Of two triplets "man holding racket", the second one means another man or another racket.
        old = [(s, o) for s, p, o in said if p == predicate]
        new = [pair for pair in found if not scene.among(pair, old)]
        if not new:
            dropped.append(Dropped(triplet, "repeated"))
            continue
        subject, object_, fit = new[0]
        said.append((subject, predicate, object_))
        plain = (scene.nouns[subject], triplet[1], scene.nouns[object_])
        relations.append(GroundedRelation(subject, triplet[1], object_, plain, fit))
    return Grounding(dict(enumerate(scene.nouns)), tuple(relations), tuple(dropped))


class _Scene:
    """Detections, and how well pairs of them fit a triplet."""

    def __init__(self, detections: Sequence[Detection], size: tuple[int, int], nearness: float):
        self.detections = detections
        self.size = size
        self.nearness = nearness
        self._pairs: dict[tuple, list[Fitting] | str] = {}
        self.nouns = [read_name(detection.name).noun for detection in detections]

    def named(self, noun: str) -> list[int]:
        return [i for i, other in enumerate(self.nouns) if other == noun]

    def candidates(self, name: str, handed: dict[Numbered, int | None]) -> list[int]:
        read = read_name(name)
        if read.number is None or read.plural:
            return self.named(read.noun)
        index = handed.get((read.noun, read.number))
        return [] if index is None else [index]

    def pairs(self, triplet: Triplet, handed: dict[Numbered, int | None]) -> list[Fitting] | str:
        """The pairs of detections that a triplet can mean, the best first, or why there is none."""
        subjects, objects = (self.candidates(end, handed) for end in triplet[::2])
        key = triplet, tuple(subjects), tuple(objects)
        if key not in self._pairs:
            self._pairs[key] = self._pairs_of(triplet, subjects, objects)
        return self._pairs[key]

    def _pairs_of(
        self, triplet: Triplet, subjects: Sequence[int], objects: Sequence[int]
    ) -> list[Fitting] | str:
        if not all(self.named(read_name(end).noun) for end in triplet[::2]):
            return "no_box"
        if not subjects or not objects:
            return "too_few_boxes"
        pairs = [(i, j) for i in subjects for j in objects if not self._one_thing(i, j)]
        if not pairs:
            return "one_box_for_both"
        pairs = [(i, j) for i, j in pairs if self._could_hold(triplet[1], i, j)]
        if not pairs:
            return "boxes_disagree"
        fitting = [(i, j, self._fit(triplet[1], i, j)) for i, j in pairs]
        return sorted(fitting, key=lambda pair: -pair[2])  # which keeps the order of equals

    def _fit(self, predicate: str, i: int, j: int) -> float:
        a, b = self.detections[i], self.detections[j]
        centers = math.dist(box_rules.center(a.box), box_rules.center(b.box))
        away = (box_rules.gap(a.box, b.box) + centers) / (2 * math.hypot(*self.size))
        scores = math.sqrt(max(a.score, 0) * max(b.score, 0))
        fit = self.nearness * max(1 - away, 0) + (1 - self.nearness) * scores
        return (1 + predicates.example(predicate, a.box, b.box, self.size)) / 2 * fit

    def among(self, pair: Fitting, others: Sequence[tuple[int, int]]) -> bool:
        """Whether a pair is of the same two things as another one."""
        return any(self._one_thing(pair[0], s) and self._one_thing(pair[1], o) for s, o in others)

    def _one_thing(self, i: int, j: int) -> bool:
        """Whether two detections are of the same thing. A man may fill the box of his coat."""
        if i == j:
            return True
        shared = overlap(self.detections[i].box, self.detections[j].box)
        return shared > SAME_THING and nouns.could_name(self.nouns[i], self.nouns[j])

    def _could_hold(self, predicate: str, i: int, j: int) -> bool:
        boxes = self.detections[i].box, self.detections[j].box
        return predicates.could_hold(predicate, *boxes, self.size) is not False


def _hand_out(triplets: Sequence[Triplet], scene: _Scene) -> dict[Numbered, int | None]:
    """Gives each numbered name a detection of its own, so that all triplets together fit best."""
    numbers: dict[str, list[int]] = {}
    for name in (end for triplet in triplets for end in (triplet[0], triplet[2])):
        read = read_name(name)
        if read.number is not None and not read.plural:
            known = numbers.setdefault(read.noun, [])
            if read.number not in known:
                known.append(read.number)
    keys = [(noun, number) for noun in numbers for number in sorted(numbers[noun])]
    ways = {noun: _choices(scene.named(noun), len(numbers[noun])) for noun in numbers}
    if (
        math.prod(_count(len(scene.named(noun)), len(numbers[noun])) for noun in numbers)
        > MOST_TRIED
    ):
        return _one_by_one(keys, triplets, scene)
    handed = [
        dict(zip(keys, itertools.chain(*way), strict=True))
        for way in itertools.product(*(ways[noun] for noun in numbers))
    ]
    return max(handed, key=lambda given: _total(triplets, given, scene))


def _total(
    triplets: Sequence[Triplet], handed: dict[Numbered, int | None], scene: _Scene
) -> tuple[int, float]:
    """How many triplets have boxes, and how well they fit in sum. More triplets are always better."""
    found = [scene.pairs(triplet, handed) for triplet in triplets]
    fits = [each[0][2] for each in found if not isinstance(each, str)]
    return len(fits), round(sum(fits), 9)


def _one_by_one(
    keys: Sequence[Numbered], triplets: Sequence[Triplet], scene: _Scene
) -> dict[Numbered, int | None]:
    handed: dict[Numbered, int | None] = {}
    for key in keys:
        free = [i for i in scene.named(key[0]) if i not in handed.values()]
        tries = [{**handed, key: i} for i in free] or [{**handed, key: None}]
        handed = max(tries, key=lambda given: _total(triplets, given, scene))
    return handed


def _choices(indices: Sequence[int], names: int) -> Iterator[tuple[int | None, ...]]:
    """All ways to give each of some names an index of its own; None where there are too few."""
    padded = [*indices, *[None] * (names - len(indices))]
    return itertools.permutations(padded, names)


def _count(indices: int, names: int) -> int:
    return math.perm(max(indices, names), names)
