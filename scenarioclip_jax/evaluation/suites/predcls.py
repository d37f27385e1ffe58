"""Predicate classification (PredCls) on PSG (Yang et al. 2022), or Visual Genome in the same JSON.

    FILE.json   {"data": [{image_id, file_name, annotations: [{bbox: [x0, y0, x1, y1], category_id}],
                           segments_info, relations: [[s, o, p], …]}, …],
                 "test_image_ids": […], "predicate_classes": […], "thing_classes": […], "stuff_classes": […]}

Boxes and labels are given. Every ordered pair of objects in a test image is scored with every predicate, by the
cosine of its focused region with the text `subject predicate object`. A triplet is found at K if fewer than K
candidates rank before it; a tie ranks before it.

    R@K     each pair has one candidate, its best predicate (graph constraint); the share of an image's true
            triplets that are found, averaged over images that have any
    mR@K    the same for the triplets of each predicate, then averaged over all predicates of the file, where
            those that no test image has count as 0, as in OpenPSG and Scene-Graph-Benchmark; `present_mR@K` is
            over those that occur
    ng-R@K  every predicate of every pair is a candidate; likewise ng-mR@K
    zR@K    R@K over label triplets that no training image has

`Settings.matching` has two rules: `pan_seg` requires the very objects of the true triplet; `bbox`, which
OpenPSG's configs for this task use, accepts equal labels whose boxes overlap the true ones by half.
"""

from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, read_json, rows
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Result,
    Skips,
    by_class,
    confusion,
)
from scenarioclip_jax.evaluation.score.triplets import (
    NEVER,
    Found,
    ImageTriplets,
    matching_pairs,
    score,
    triplet_ranks,
)
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "All ordered pairs of the annotated boxes are ranked by the cosine of their focused region with `subject "
    "predicate object`. Recall@K: one predicate a pair, per-image share of the true triplets among the K "
    "best, mean over images; mean recall@K: by predicate, then the mean over all predicates of the file, "
    "absent ones counting as 0, as published; beside it, over those that occur; several predicates per pair: "
    "all of a pair take part; unseen: recall of triplets that no training image has. A tie counts as wrong. "
    "Chance is a random ranking. "
)
RULES = {
    "pan_seg": "Matching as pan_seg: a triplet is found by the very objects of the annotation.",
    "bbox": "Matching as bbox: a triplet is found by any pair of the same labels whose two boxes overlap the "
    "true ones by 0.5 (IoU) or more; no chance is given.",
}
_BEYOND = 1.0  # pixels that a box may reach beyond its picture by rounding


class TextMemo:
    """Remembers an encoder's texts, since images share most of their triplets.

    It keeps at most about `most` texts per level, so that memory is bounded for any data.
    """

    def __init__(self, encoder: Encoder, most: int = 200_000):
        self._encoder, self._most = encoder, most
        self._known: dict[str, dict[str, np.ndarray]] = {}

    def texts(self, texts: Sequence[str], level: str) -> np.ndarray:
        """Embeds texts like `Encoder.texts`."""
        known = self._known.setdefault(level, {})
        if len(known) > self._most:
            known.clear()
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known |= zip(new, self._encoder.texts(new, level), strict=True)
        return np.stack([known[text] for text in texts])


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a file or record is malformed or no test image has a relation."""
    levels = settings.relation_levels
    result = Result({}, {}, name_of(levels), PROTOCOL + RULES[settings.matching])
    scenes, known, predicates = read(files, result)
    if settings.clean_names:
        result.notes.append(
            "class names without PSG's -merged, -other and -stuff: not comparable with figures of the names as "
            "they stand in the file"
        )
        scenes = [s._replace(labels=[clean_name(label) for label in s.labels]) for s in scenes]
        known = {(clean_name(s), p, clean_name(o)) for s, p, o in known}
    ties = 0
    found, true_names, top_names, top_hits = [], [], [], []
    failures: list[tuple[float, Example]] = []
    memo = TextMemo(encoder)
    for scene in scenes:
        scores, regions = pair_scores(encoder, memo, scene, predicates, levels)
        place = {pair: i for i, pair in enumerate(scene.pairs)}
        truth = [(place[s, o], p) for s, o, p in scene.truth]
        unseen = [(scene.labels[s], p, scene.labels[o]) not in known for s, o, p in scene.truth]
        matches = matching_pairs(scene) if settings.matching == "bbox" else None
        constrained, free = triplet_ranks(scores, truth, matches)
        ties += sum(int((scores[pair] == scores[pair, p]).sum() > 1) for pair, p in truth)
        kinds = np.array([p for _, p in truth])
        unseen = np.array(unseen) if known else np.zeros(len(truth), bool)
        found.append(Found(kinds, constrained, free, unseen, len(place)))
        for (pair, p), (s, o, _), rank in zip(truth, scene.truth, constrained, strict=True):
            top = int(scores[pair].argmax())
            true_names.append(predicates[p])
            top_names.append(predicates[top])
            top_hits.append(bool((~(scores[pair] < scores[pair, p])).sum() == 1))
            if rank == NEVER and len(failures) < 1000:
                text = f"{scene.labels[s]} {predicates[p]} {scene.labels[o]}, not {predicates[top]}"
                margin = float(scores[pair, top] - scores[pair, p])
                failures.append((margin, Example(regions[pair], text, False)))
    result.metrics = score(found, len(predicates), chances=settings.matching == "pan_seg")
    result.ties["predicates of a pair"] = ties
    result.counts |= {"images": len(scenes), "true triplets": len(true_names)}
    result.counts |= {"unseen triplets": int(sum(each.unseen.sum() for each in found))}
    result.counts |= {"predicates": len(predicates), "training triplets known": len(known)}
    result.bars["the pair's best predicate is the true one"] = by_class(true_names, top_hits)
    result.confusions["predicates of true pairs"] = confusion(true_names, top_names)
    failures.sort(key=lambda pair: -pair[0])
    result.examples["surest failures"] = [example for _, example in failures[:6]]
    return result


def pair_scores(
    encoder: Encoder,
    memo: TextMemo,
    scene: ImageTriplets,
    predicates: Sequence[str],
    levels: Sequence[str],
) -> tuple[np.ndarray, list[Picture]]:
    """Cosines [M, P] of an image, and the pairs' focused regions."""
    # Both directions of a pair have one region and one embedding: once sorted, they are one `Picture`.
    regions = [
        scene.picture._replace(keep=tuple(sorted((scene.boxes[s], scene.boxes[o]))))
        for s, o in scene.pairs
    ]
    texts = [
        f"{scene.labels[s]} {predicate} {scene.labels[o]}"
        for s, o in scene.pairs
        for predicate in predicates
    ]
    images = normalize(by_levels(encoder.images, regions, levels))
    words = normalize(by_levels(memo.texts, texts, levels))
    words = words.reshape(len(levels), len(regions), len(predicates), -1)
    return np.einsum("vmd,vmpd->vmp", images, words).max(axis=0), regions


def clean_name(name: str) -> str:
    """Turns `wall-other-merged` into `wall`."""
    for ending in ("-merged", "-other", "-stuff"):
        name = name.removesuffix(ending)
    return name


def read(files: Files, result: Result) -> tuple[list[ImageTriplets], set, list[str]]:
    """Reads and checks test images with a relation, the other images' label triplets, and the predicates."""
    content = read_json(files.path, files.digests)
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
    wanted, known = [], set()
    for row in rows(data, files.path, prefix="data"):
        image_id = str(row.get("image_id", (str, int)))
        boxes, kinds, truth = _objects(row, len(names), len(predicates), result.skips)
        labels = [names[kind] for kind in kinds]
        if image_id not in test_ids:
            known |= {(labels[s], p, labels[o]) for s, o, p in truth}
        elif not truth:
            result.skips.add("test image without a relation", row.where)
        else:
            once = list(dict.fromkeys(truth))
            for _ in range(len(truth) - len(once)):
                result.skips.add("triplet stands twice in its image", row.where)
            values = image_id, boxes, labels, once, kinds
            wanted.append(Wanted(row.where, (row.get("file_name"),), values))
    if not wanted:
        raise SuiteError(f"{files.path}: no test image with a relation is in it")
    located = files.locate(wanted, result.skips)
    scenes = [
        scene for each in located if (scene := _within_picture(each, result.skips)) is not None
    ]
    if not scenes:
        raise SuiteError(
            f"{files.path}: no test image has a relation of two boxes that lie in its picture, such as "
            f"{located[0].where} in {located[0].paths[0]}; are they of one data set, and in pixels?"
        )
    if len(scenes) < len(wanted):
        result.notes.append(
            f"{len(scenes):,} of the {len(wanted):,} test images with a relation, a partial set"
        )
    missing = test_ids - {str(row["image_id"]) for row in data}
    for image_id in sorted(missing):
        result.skips.add("test_image_ids names an image that data lacks", image_id)
    return scenes, known, predicates


def _within_picture(record: Located, skips: Skips) -> ImageTriplets | None:
    """The scene of a test image without objects that lie outside of its picture; None if no relation is left.

    Such an object has no pixels to be scored by. It is left out with its triplets, and both are counted. Of
    boxes that reach beyond, the part inside counts.
    """
    image_id, boxes, labels, truth, categories = record.values
    path = record.paths[0]
    width, height = image_files.size_of(path)
    place: dict[int, int] = {}
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        where = f"{record.where} annotations[{index}]: ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
        where += f" in {path}, {width} x {height} pixels"
        if x1 < x0 or y1 < y0:
            skips.add("its box is inverted", where)
        elif x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            skips.add("its box lies outside of its picture", where)
        else:
            place[index] = len(place)
            if min(x0, y0) < -_BEYOND or x1 > width + _BEYOND or y1 > height + _BEYOND:
                skips.add("its box reaches beyond its picture; the part inside counts", where)
    left = [(place[s], place[o], p) for s, o, p in truth if s in place and o in place]
    for _ in range(len(truth) - len(left)):
        skips.add("triplet of an object without a box in its picture", record.where)
    if not left:
        skips.add("test image whose relations have no boxes in its picture", record.where)
        return None
    boxes, labels, categories = ([each[i] for i in place] for each in (boxes, labels, categories))
    return ImageTriplets(Picture(path), image_id, boxes, labels, left, categories)


def _objects(row: Row, classes: int, predicates: int, skips: Skips):
    """The boxes of an image, their categories, and its true triplets."""
    boxes, kinds, truth = [], [], []
    for index, each in enumerate(row.get("annotations", list)):
        where = f"{row.where} annotations[{index}]"
        if not isinstance(each, dict):
            raise SuiteError(f"{where}: {each!r:.80}, expected an object")
        part = Row(each, where)
        category = part.get("category_id", int)
        if not 0 <= category < classes:
            raise SuiteError(f"{where}: category_id {category} of {classes} classes")
        if each.get("bbox_mode", 0) != 0:
            raise SuiteError(f"{where}: bbox_mode {each['bbox_mode']}; 0 is read: x0, y0, x1, y1")
        boxes.append(tuple(part.numbers("bbox", 4)))
        kinds.append(category)
    for index, each in enumerate(row.get("relations", list)):
        fits = isinstance(each, list) and len(each) == 3 and all(type(x) is int for x in each)
        limits = (len(boxes), len(boxes), predicates)
        if not fits or not all(0 <= x < n for x, n in zip(each, limits, strict=True)):
            raise SuiteError(
                f"{row.where} relations[{index}]: {each!r:.80}; expected [s, o, p] with s, o below "
                f"{len(boxes)} and p below {predicates}"
            )
        if each[0] == each[1]:  # isn't a pair, so it could never be found
            skips.add("an object related to itself", f"{row.where} relations[{index}]")
        else:
            truth.append(tuple(each))
    return boxes, kinds, truth


SUITES = (Suite("predcls", evaluate, read, path="file", files="psg.json"),)
