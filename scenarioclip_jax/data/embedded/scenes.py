"""Scenes with exact truth: which objects are in them, where, and how they are related.

A scene is a place ("in the snow"), an arrangement ("circling") and three to six colored shapes. The action is
"<arrangement> <place>". A pair of objects has at most one predicate, decided by geometry alone, in the order of
`PREDICATES`; pairs near a border between two predicates have none. Everything is a pure function of
(seed, index) and the tier (`tier.TIERS`).

About a tenth of all (subject, predicate, object) compositions are held out: they are annotated only in photos
of the test split, so recognizing them takes more than remembering triplets.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.embedded import drawing
from scenarioclip_jax.data.embedded.placed import (
    PREDICATES,
    Placed,
    could_be_said,
    footprint,
    relation_between,
    solid,
)
from scenarioclip_jax.data.embedded.tier import INVERSES, TIERS, Tier, from_one_end, from_other_end
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.data.stored.splits import split_of

ARRANGEMENTS = ("circling", "marching", "stacking", "climbing", "sliding", "huddling")
PLACES = tuple(drawing.PLACES)
NAMES = tuple(f"{color} {shape}" for color in drawing.COLORS for shape in drawing.SHAPES)
ACTIONS = tuple(f"{arrangement} {place}" for arrangement in ARRANGEMENTS for place in PLACES)

# Rare predicates are annotated first, so that each of the seven is seen often.
_PREDICATE_WEIGHT: dict[str, float] = dict(
    zip(PREDICATES, (8.0, 4.0, 3.0, 1.0, 1.0, 1.5, 1.5), strict=True)
)


class EmbeddedScene(NamedTuple):
    """The truth of one scene."""

    id: str
    action: str
    dense_caption: str
    objects: list[Placed]
    relations: list[tuple[int, str, int]]  # subject and object are indices into `objects`
    negatives: list[list[Triplet]]  # for each relation, triplets that are false for the scene

    def triplet(self, relation: tuple[int, str, int]) -> Triplet:
        subject, predicate, object_ = relation
        return self.objects[subject].name, predicate, self.objects[object_].name


def is_held_out(triplet: Triplet) -> bool:
    """Whether this composition is annotated only in the test split (about one in ten is), from either end."""
    triplet = from_one_end(*triplet)
    return hashlib.sha256(relation_text(triplet).encode()).digest()[0] < 26  # of 256


def make_scene(seed: int, index: int, size: int, tier: Tier = TIERS["plain"]) -> EmbeddedScene:
    """Returns the truth of scene `index`; its `id` identifies it and decides its split."""
    rng = np.random.default_rng([seed, index])
    scene_id = f"scene_{index:06d}"
    in_test = split_of(scene_id) == "test"
    arrangement, place = ACTIONS[int(rng.integers(len(ACTIONS)))].split(" ", 1)
    while True:  # usually the first try succeeds
        objects = _place_objects(arrangement, size, rng)
        if tier.bystanders:
            objects += _bystanders(objects, int(rng.integers(*tier.bystanders)), size, rng)
        prints = [footprint(placed, size) for placed in objects]
        if not _all_visible(prints):
            continue
        pairs = _related_pairs(objects, prints, size)
        pairs = [r for r in pairs if in_test or not is_held_out(_triplet(objects, r))]
        if len(pairs) >= tier.relations[0]:
            break
    count = min(int(rng.integers(*tier.relations)), len(pairs))
    weights = np.array([_PREDICATE_WEIGHT[predicate] for _, predicate, _ in pairs])
    chosen = rng.choice(len(pairs), count, replace=False, p=weights / weights.sum())
    relations = [pairs[i] for i in sorted(chosen.tolist())]
    if tier.inverses:
        relations = [from_other_end(*r) if rng.random() < tier.inverses else r for r in relations]
    negatives = [_negatives(objects, relation, in_test, rng) for relation in relations]
    action = f"{arrangement} {place}"
    caption = _caption(action, objects, relations, tier.sentences)
    return EmbeddedScene(scene_id, action, caption, objects, relations, negatives)


def draw_scene(scene: EmbeddedScene, seed: int, size: int) -> Image.Image:
    """Returns the image of a scene, RGB, `size` x `size` pixels."""
    rng = np.random.default_rng([seed, int(scene.id.rsplit("_", 1)[1]), 1])
    place = scene.action.split(" ", 1)[1]
    picture = drawing.draw_background(place, size, rng)
    for placed in scene.objects:
        color = np.asarray(drawing.COLORS[placed.color]) * rng.uniform(0.85, 1.0)
        red, green, blue = (int(value) for value in color)
        drawing.paint_shape(
            picture,
            placed.shape,
            placed.side,
            placed.angle,
            placed.box[:2],
            (red, green, blue),
        )
    return picture


def _triplet(objects: list[Placed], relation: tuple[int, str, int]) -> Triplet:
    return objects[relation[0]].name, relation[1], objects[relation[2]].name


def _centers(arrangement: str, rng: np.random.Generator) -> np.ndarray:
    """The positions of an arrangement's objects: [objects, 2], x and y as shares of the image."""
    low, high = (5, 7) if arrangement == "circling" else (3, 6)
    count = int(rng.integers(low, high))
    along = np.linspace(-0.5, 0.5, count) * rng.uniform(0.68, 0.8)
    across = np.zeros(count)
    if arrangement == "circling":
        turn = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count
        offsets = rng.uniform(0.32, 0.37) * np.stack([np.cos(turn), np.sin(turn)], 1)
    elif arrangement == "marching":
        offsets = np.stack([along, across + rng.uniform(-0.25, 0.25)], 1)
    elif arrangement == "stacking":
        offsets = np.stack([across + rng.uniform(-0.25, 0.25), along], 1)
    elif arrangement == "climbing":
        offsets = np.stack([along, -along], 1)
    elif arrangement == "sliding":
        offsets = np.stack([along, along], 1)
    else:  # huddling: a tight clump anywhere
        offsets = rng.uniform(-0.2, 0.2, 2) + rng.uniform(-0.19, 0.19, (count, 2))
    return 0.5 + offsets + rng.uniform(-0.025, 0.025, (count, 2))


def _place_objects(arrangement: str, size: int, rng: np.random.Generator) -> list[Placed]:
    """Returns objects with different names in an arrangement, the one behind first."""
    centers = _centers(arrangement, rng)
    names = [NAMES[i] for i in rng.permutation(len(NAMES))]
    big = rng.random(len(centers)) < 0.35
    objects = []
    for name, center, is_big in zip(names, centers, big, strict=False):
        # A ring is always big, because a small one's color would be lost between its outlines.
        low, high = (0.28, 0.36) if is_big or name.endswith("ring") else (0.16, 0.20)
        objects.append(_place(name, center, rng.uniform(low, high), size, rng))
    if len(objects) < 6 and rng.random() < 0.45:  # something small in the hole of a big ring
        host = int(rng.integers(len(objects)))
        ring = objects[host].name.split()[0] + " ring"
        if ring not in names[: len(objects)] or ring == objects[host].name:
            objects[host] = _place(ring, centers[host], rng.uniform(0.33, 0.36), size, rng)
            taken = {placed.name for placed in objects}
            content = next(n for n in names if n not in taken and not n.endswith("ring"))
            middle = np.asarray(objects[host].center) / size
            objects.insert(host + 1, _place(content, middle, 0.16, size, rng))
    return objects


def _bystanders(
    objects: list[Placed], count: int, size: int, rng: np.random.Generator
) -> list[Placed]:
    """Returns up to `count` small objects that hide nothing, the first with a name that is there already."""
    taken = np.logical_or.reduce([footprint(placed, size) for placed in objects])
    # Bystanders are small, and a small ring's color would be lost between its outlines.
    here = [placed.name for placed in objects if placed.shape != "ring"]
    new = [name for name in NAMES if not name.endswith("ring")]
    found: list[Placed] = []
    for _ in range(40):  # places to try
        known = here and (not found or rng.random() < 0.5)
        names = here if known else new
        name, center = names[int(rng.integers(len(names)))], rng.uniform(0.08, 0.92, 2)
        placed = _place(name, center, rng.uniform(0.16, 0.20), size, rng)
        pixels = footprint(placed, size)
        if not (taken & pixels).any():
            taken |= pixels
            found.append(placed)
        if len(found) == count:
            break
    return found


def _place(
    name: str, center: np.ndarray, side: float, size: int, rng: np.random.Generator
) -> Placed:
    color, shape = name.split()
    side, angle = round(side * size), int(rng.choice((-12, 0, 0, 12)))
    height, width = solid(shape, side, angle).shape
    x0 = int(np.clip(round(center[0] * size - width / 2), 0, size - width))
    y0 = int(np.clip(round(center[1] * size - height / 2), 0, size - height))
    return Placed(name, color, shape, side, angle, (x0, y0, x0 + width, y0 + height))


def _all_visible(prints: list[np.ndarray], least: float = 0.6) -> bool:
    covered = np.zeros_like(prints[0])
    for pixels in reversed(prints):
        if (pixels & ~covered).sum() < least * pixels.sum():
            return False
        covered |= pixels
    return True


def _related_pairs(
    objects: list[Placed], prints: list[np.ndarray], size: int
) -> list[tuple[int, str, int]]:
    pairs = []
    for front in range(len(objects)):
        for back in range(front):
            # With its ends swapped, a relation of two things of one name would read the same.
            if objects[front].name == objects[back].name:
                continue
            both = (prints[front] & prints[back]).sum()
            shared = both / min(prints[front].sum(), prints[back].sum())
            found = relation_between(objects[back], objects[front], shared, size)
            if found:
                predicate, subject_is_front = found
                ends = (front, back) if subject_is_front else (back, front)
                pairs.append((ends[0], predicate, ends[1]))
    return pairs


def _negatives(
    objects: list[Placed], relation: tuple[int, str, int], in_test: bool, rng: np.random.Generator
) -> list[Triplet]:
    """Returns up to three false triplets: swapped ends, another predicate, another object."""
    subject, predicate, object_ = relation

    def is_false(s: int, p: str, o: int) -> bool:
        # A held-out composition isn't annotated in training, not even as a negative. (What reading makes of
        # names and predicates may be one.)
        triplet = _triplet(objects, (s, p, o))
        return (in_test or not is_held_out(triplet)) and not could_be_true(triplet)

    def could_be_true(triplet: Triplet) -> bool:
        """Of any two objects with these names, of which there may be several."""
        first, p, second = triplet
        return any(
            could_be_said(p, objects[s], objects[o], in_front=s > o)
            for s in range(len(objects))
            for o in range(len(objects))
            if s != o and objects[s].name == first and objects[o].name == second
        )

    negatives = []
    if is_false(object_, predicate, subject):
        negatives.append(_triplet(objects, (object_, predicate, subject)))
    predicates = [*PREDICATES] if predicate in PREDICATES else [*INVERSES.values()]
    others = [p for p in predicates if p != predicate and is_false(subject, p, object_)]
    if others:
        other = others[int(rng.integers(len(others)))]
        negatives.append(_triplet(objects, (subject, other, object_)))
    others = [
        objects[o].name
        for o in range(len(objects))
        if objects[o].name not in (objects[subject].name, objects[object_].name)
        and is_false(subject, predicate, o)
    ]
    if not others:  # an object that isn't there at all
        here = {placed.name for placed in objects}
        others = [name for name in NAMES if name not in here]
        others = [
            n for n in others if in_test or not is_held_out((objects[subject].name, predicate, n))
        ]
    negatives.append((objects[subject].name, predicate, others[int(rng.integers(len(others)))]))
    return negatives


def _caption(
    action: str,
    objects: list[Placed],
    relations: list[tuple[int, str, int]],
    all_told: bool,
) -> str:
    names = [f"a {placed.name}" for placed in objects]
    listed = ", ".join(names[:-1]) + " and " + names[-1]
    listed = f"{listed[0].upper()}{listed[1:]} are {action}"
    if all_told:
        told = (_triplet(objects, relation) for relation in relations)
        # Two relations may read the same where objects share a name.
        sentences = dict.fromkeys(f"The {s} is {p} the {o}." for s, p, o in told)
        return " ".join([f"{listed}.", *sentences])
    s, p, o = _triplet(objects, relations[0])
    return f"{listed}; the {s} is {p} the {o}."
