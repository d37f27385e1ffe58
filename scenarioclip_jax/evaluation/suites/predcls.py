"""Predicate classification (PredCls) on PSG (Yang et al. 2022), or Visual Genome in the same JSON.

    FILE.json   {"data": [{image_id, file_name, annotations: [{bbox: [x0, y0, x1, y1], category_id}],
                           segments_info, relations: [[s, o, p], …]}, …],
                 "test_image_ids": […], "predicate_classes": […], "thing_classes": […], "stuff_classes": […]}

Boxes and labels are given. Every ordered pair of a test image is scored with every predicate: the cosine of its
focused region with the text `subject predicate object`. A triplet is found at K if fewer than K candidates
stand before it, and a tie stands before it.

    R@K     each pair has one candidate, its best predicate (graph constraint); per-image share of the true
            triplets that are found, averaged over images that have any
    mR@K    the same for the triplets of each predicate, then averaged over predicates
    ng-R@K  every predicate of every pair is a candidate
    zR@K    R@K of those triplets of labels that no training image has
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Row, SuiteError, read_json, rows
from scenarioclip_jax.evaluation.result import Example, Metric, Result, Skips, by_class, confusion
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.zero_shot import normalise

TOP = (20, 50, 100)
NEVER = np.iinfo(np.int64).max  # the rank of a triplet that is no candidate
PROTOCOL = (
    "All ordered pairs of the annotated boxes are ranked by the cosine of their focused region with `subject "
    "predicate object`. R@K: one predicate a pair, per-image share of the true triplets among the K best, mean "
    "over images; mR@K: by predicate, then the mean; ng-R@K: all predicates of a pair take part; zR@K: R@K of "
    "triplets that no training image has. A tie counts as wrong. Chance is a random ranking."
)


class Scene(NamedTuple):
    """An image with its true triplets."""

    picture: Picture
    image_id: str
    boxes: list[tuple[float, float, float, float]]
    labels: list[str]
    truth: list[tuple[int, int, int]]  # (subject, object, predicate), each once

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs of different objects."""
        count = range(len(self.boxes))
        return [(s, o) for s in count for o in count if s != o]


class Found(NamedTuple):
    """The true triplets of one image, T of them."""

    predicates: np.ndarray  # int [T]
    constrained: np.ndarray  # int [T]: candidates that stand before it, NEVER if it is none itself
    unconstrained: np.ndarray  # int [T]
    unseen: np.ndarray  # bool [T]
    pairs: int  # M, of the image


class TextMemo:
    """Texts of an encoder that are remembered: images share most of their triplets.

    At most about `most` of them a level, so that memory is bounded whatever the data.
    """

    def __init__(self, encoder: Encoder, most: int = 200_000):
        self._encoder, self._most = encoder, most
        self._known: dict[str, dict[str, np.ndarray]] = {}

    def texts(self, texts: Sequence[str], level: str) -> np.ndarray:
        """As `Encoder.texts`."""
        known = self._known.setdefault(level, {})
        if len(known) > self._most:
            known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known |= zip(new, self._encoder.texts(new, level), strict=True)
        return np.stack([known[text] for text in texts])


def triplet_ranks(
    scores: np.ndarray, truth: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of true triplets with and without the graph constraint, int [T] each; 0 stands first.

    Args:
      scores: [M, P] of M pairs and P predicates.
      truth: (pair, predicate) of each triplet.
    """
    best = scores.max(axis=1)
    constrained, unconstrained = [], []
    for pair, predicate in truth:
        own = scores[pair, predicate]
        # What isn't below stands before it, itself apart; also where a score is no number.
        unconstrained.append(np.sum(~(scores < own)) - 1)
        chosen = np.sum(~(scores[pair] < own)) == 1
        constrained.append(np.sum(~(best < own)) - 1 if chosen else NEVER)
    return np.array(constrained, np.int64), np.array(unconstrained, np.int64)


def score(found: Sequence[Found], predicates: int) -> dict[str, Metric]:
    """All recalls, over images that have at least one true triplet.

    Args:
      predicates: P, how many predicates there are.
    """
    image = np.concatenate([np.full(len(each.predicates), i) for i, each in enumerate(found)])
    pairs = np.concatenate([np.full(len(each.predicates), each.pairs) for each in found])
    predicate = np.concatenate([each.predicates for each in found])
    unseen = np.concatenate([each.unseen for each in found])
    constrained = np.concatenate([each.constrained for each in found])
    free = np.concatenate([each.unconstrained for each in found])
    everything = np.ones(len(image), bool)
    metrics = {}
    for name, ranks, chosen in (
        ("R", constrained, everything),
        ("ng-R", free, everything),
        ("zR", constrained, unseen),
    ):
        if not chosen.any():
            continue
        candidates = pairs * predicates if name == "ng-R" else pairs
        right = (
            1.0 if name == "ng-R" else 1 / predicates
        )  # chance that the candidate is the triplet
        for k in TOP:
            chance = np.minimum(1, k / candidates) * right
            shares, _ = _cell_means(image[chosen], (ranks < k)[chosen])
            chances, _ = _cell_means(image[chosen], chance[chosen])
            metrics[f"{name}@{k}"] = Metric(shares, chance=float(chances.mean()))
    for k in TOP:
        # A cell is a predicate in an image: its share is taken first, as the recall is per image.
        cell = image * predicates + predicate
        shares, cells = _cell_means(cell, constrained < k)
        chances, _ = _cell_means(cell, np.minimum(1, k / pairs) / predicates)
        metrics[f"mR@{k}"] = Metric(
            shares,
            groups=cells % predicates,
            clusters=cells // predicates,
            chance=Metric(chances, groups=cells % predicates).value,
        )
    return metrics


def _cell_means(cells: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the values in each cell, and the cells."""
    unique, index = np.unique(cells, return_inverse=True)
    return np.bincount(index, values.astype(float)) / np.bincount(index), unique


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Raises SuiteError: the file or a record is malformed, or no test image has a relation."""
    levels = settings.relation_levels
    result = Result({}, {}, name_of(levels), PROTOCOL)
    scenes, known, predicates = _read(files, result)
    found, true_names, top_names, top_hits = [], [], [], []
    failures: list[tuple[float, Example]] = []
    memo = TextMemo(encoder)
    for scene in scenes:
        scores, regions = _scores(encoder, memo, scene, predicates, levels)
        place = {pair: i for i, pair in enumerate(scene.pairs)}
        truth = [(place[s, o], p) for s, o, p in scene.truth]
        unseen = [(scene.labels[s], p, scene.labels[o]) not in known for s, o, p in scene.truth]
        constrained, free = triplet_ranks(scores, truth)
        kinds = np.array([p for _, p in truth])
        unseen = np.array(unseen) if known else np.zeros(len(truth), bool)
        found.append(Found(kinds, constrained, free, unseen, len(place)))
        for (pair, p), (s, o, _), rank in zip(truth, scene.truth, constrained, strict=True):
            top = int(scores[pair].argmax())
            true_names.append(predicates[p])
            top_names.append(predicates[top])
            top_hits.append(rank != NEVER)
            if rank == NEVER and len(failures) < 1000:
                text = f"{scene.labels[s]} {predicates[p]} {scene.labels[o]}, not {predicates[top]}"
                margin = float(scores[pair, top] - scores[pair, p])
                failures.append((margin, Example(regions[pair], text, False)))
    result.metrics = score(found, len(predicates))
    result.counts |= {"images": len(scenes), "true triplets": len(true_names)}
    result.counts |= {"unseen triplets": int(sum(each.unseen.sum() for each in found))}
    result.counts |= {"predicates": len(predicates), "training triplets known": len(known)}
    result.bars["the pair's best predicate is the true one"] = by_class(true_names, top_hits)
    result.confusions["predicates of true pairs"] = confusion(true_names, top_names)
    failures.sort(key=lambda pair: -pair[0])
    result.examples["surest failures"] = [example for _, example in failures[:6]]
    return result


def _scores(encoder, memo, scene: Scene, predicates: list[str], levels) -> tuple[np.ndarray, list]:
    """[M, P] cosines of an image, and the pairs' focused regions."""
    # Both directions of a pair have one region, and one embedding: sorted, they are one picture.
    regions = [
        scene.picture._replace(keep=tuple(sorted((scene.boxes[s], scene.boxes[o]))))
        for s, o in scene.pairs
    ]
    texts = [
        f"{scene.labels[s]} {predicate} {scene.labels[o]}"
        for s, o in scene.pairs
        for predicate in predicates
    ]
    images = normalise(by_levels(encoder.images, regions, levels))
    words = normalise(by_levels(memo.texts, texts, levels))
    words = words.reshape(len(levels), len(regions), len(predicates), -1)
    return np.einsum("vmd,vmpd->vmp", images, words).max(axis=0), regions


def _read(files: Files, result: Result) -> tuple[list[Scene], set, list[str]]:
    """Test images with a relation, the label triplets of the other images, and the predicates."""
    content = read_json(files.path)
    lists = ("data", "test_image_ids", "predicate_classes", "thing_classes", "stuff_classes")
    if not isinstance(content, dict):
        raise SuiteError(f"{files.path}: expected an object with {', '.join(lists)}")
    whole = Row(content, str(files.path))
    data, test_ids, predicates, things, stuff = (whole.get(name, list) for name in lists)
    predicates = [whole.text(name, "predicate_classes") for name in predicates]
    if len(predicates) < 2:
        raise SuiteError(
            f"{files.path}: predicate_classes {predicates}; there is nothing to tell apart"
        )
    names = [whole.text(name, "thing_classes, stuff_classes") for name in things + stuff]
    test_ids = set(map(str, test_ids))
    scenes, known = [], set()
    for row in rows(data, files.path, prefix="data"):
        image_id = str(row.get("image_id", (str, int)))
        boxes, labels, truth = _objects(row, names, len(predicates), result.skips)
        if image_id not in test_ids:
            known |= {(labels[s], p, labels[o]) for s, o, p in truth}
        elif not truth:
            result.skips.add("test image without a relation", row.where)
        else:
            once = list(dict.fromkeys(truth))
            for _ in range(len(truth) - len(once)):
                result.skips.add("triplet stands twice in its image", row.where)
            path = files.image(row.get("file_name"), row.where, result.skips)
            if path:
                scenes.append(Scene(Picture(path), image_id, boxes, labels, once))
    if not scenes:
        raise SuiteError(f"{files.path}: no test image with a relation is left")
    missing = test_ids - {str(row["image_id"]) for row in data}
    for image_id in sorted(missing):
        result.skips.add("test_image_ids names an image that data lacks", image_id)
    return scenes, known, predicates


def _objects(row: Row, names: list[str], predicates: int, skips: Skips):
    boxes, labels, truth = [], [], []
    for index, each in enumerate(row.get("annotations", list)):
        where = f"{row.where} annotations[{index}]"
        if not isinstance(each, dict):
            raise SuiteError(f"{where}: {each!r:.80}, expected an object")
        part = Row(each, where)
        category = part.get("category_id", int)
        if not 0 <= category < len(names):
            raise SuiteError(f"{where}: category_id {category} of {len(names)} classes")
        if each.get("bbox_mode", 0) != 0:
            raise SuiteError(f"{where}: bbox_mode {each['bbox_mode']}; 0 is read: x0, y0, x1, y1")
        boxes.append(tuple(part.numbers("bbox", 4)))
        labels.append(names[category])
    for index, each in enumerate(row.get("relations", list)):
        fits = isinstance(each, list) and len(each) == 3 and all(type(x) is int for x in each)
        limits = (len(boxes), len(boxes), predicates)
        if not fits or not all(0 <= x < n for x, n in zip(each, limits, strict=True)):
            raise SuiteError(
                f"{row.where} relations[{index}]: {each!r:.80}; expected [s, o, p] with s, o below "
                f"{len(boxes)} and p below {predicates}"
            )
        if each[0] == each[1]:  # is no pair, so it could never be found
            skips.add("an object related to itself", f"{row.where} relations[{index}]")
        else:
            truth.append(tuple(each))
    return boxes, labels, truth
