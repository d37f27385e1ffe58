"""Recognition of given boxes: COCO, LVIS, or any data set in COCO's format.

    FILE.json        {"images": [{id, file_name}], "categories": [{id, name}],
                     "annotations": [{image_id, category_id, bbox: [x, y, width, height], iscrowd}]}
    proposals        [{image_id, bbox, score}], COCO's results format; empty: the true boxes

On true boxes, each is to get its class among all of the file: `top1`, `top5`, and their means over classes.

`AP`, `AP50` and `AP75` are COCO's, by its own code. A box is a detection of every class; its score is the
softmax of 100 times its cosines, times the root of its proposal's score. Of proposals, boxes of one class that
overlap by more than half lose to the best. Crowds aren't boxes of one object and are ignored, as COCO does.

Of a file of LVIS, whose images have `neg_category_ids` and `not_exhaustive_category_ids`, AP is LVIS's: the
best 300 detections of an image count, a class is scored where it was looked for, and what may be an object
without an annotation is ignored. `APr`, `APc` and `APf` are over the rare, common and frequent classes.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError, Wanted
from scenarioclip_jax.evaluation.proposals import Proposals, read_proposals
from scenarioclip_jax.evaluation.records import Row, check_ids, read_json, rows
from scenarioclip_jax.evaluation.score import coco_ap
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    Skips,
    by_class,
    cluster_by,
)
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "Top k: the box's class is among the k nearest of all classes of the file; a tie is wrong. Mean over "
    "classes: each class counts alike. AP: COCO's, by its own code; its interval is over classes."
)


class Boxes(NamedTuple):
    """An image and boxes in it.

    Attributes:
      number: Its id in the file.
      picture: The whole image.
      boxes: x, y, width, height in pixels.
      classes: Index of each box's class; -1 of proposals.
      scores: Of proposals; 1 of true boxes.
    """

    number: Any
    picture: Picture
    boxes: Float[np.ndarray, "N 4"]
    classes: np.ndarray
    scores: Float[np.ndarray, " N"]


class Task(NamedTuple):
    """What is to be recognized.

    Attributes:
      names, categories: Names and ids of the classes.
      images: The true boxes.
      proposals: The boxes that are scored by AP; the true ones if none are given.
      numbers: Ids of all images that AP is over: proposals in images without a true box are false ones.
      annotations: The file's annotations of these images, for COCO's code.
      federated: What each image was looked at for, if it's a file of LVIS.
    """

    names: list[str]
    categories: list[int]
    images: list[Boxes]
    proposals: list[Boxes]
    numbers: list[Any]
    annotations: list[dict[str, Any]]
    federated: "Federated | None"


class Federated(NamedTuple):
    """Which classes each image was looked at for.

    Attributes:
      looked_for: Ids of images by the class's id.
      incomplete: Ids of images and classes where some objects aren't annotated.
      frequencies: Of each class: r, c or f.
    """

    looked_for: dict[int, set]
    incomplete: list[tuple[Any, int]]
    frequencies: list[str]


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a file or record is malformed, or no box is left."""
    result = Result({}, {}, name_of(settings.object_levels), PROTOCOL)
    task = read(files, result)
    words = normalize(
        by_levels(encoder.texts, settings.prompted(task.names), settings.object_levels)
    )
    cosines = _cosines(encoder, task.images, words, settings)
    _recognize(result, task, np.concatenate(cosines))
    result.choices["prompt"] = settings.prompt
    proposed = task.proposals is not task.images
    if proposed:
        cosines = _cosines(encoder, task.proposals, words, settings)
    found = []
    most = coco_ap.MOST if task.federated is None else coco_ap.MOST_OF_LVIS
    for image, of_image in zip(task.proposals, cosines, strict=True):
        scores = coco_ap.probabilities(of_image) * np.sqrt(image.scores)[:, None]
        found += coco_ap.detections(
            image.number, image.boxes, scores, task.categories, suppress=proposed, most=most
        )
    _add_precision(result, task, found)
    result.counts["detections"] = len(found)
    return result


def _add_precision(result: Result, task: Task, found: list[dict[str, Any]]) -> None:
    """Adds the average precisions; a note if there are none."""
    truth = {
        "images": [{"id": number} for number in task.numbers],
        "categories": [{"id": each} for each in task.categories],
        "annotations": task.annotations,
    }
    if task.federated is None:
        precision = coco_ap.average_precision(truth, found)
    else:
        precision = coco_ap.lvis_precision(
            truth, found, task.federated.looked_for, task.federated.incomplete
        )
    if np.isnan(precision.ap).all():
        result.notes.append("no AP: every box is larger than the largest that COCO's code counts")
        return
    there = ~np.isnan(precision.ap)
    for name, values in zip(("AP", "AP50", "AP75"), precision, strict=True):
        result.metrics[name] = Metric(values[there])
    if task.federated is not None:
        for letter in "rcf":
            chosen = there & (np.array(task.federated.frequencies) == letter)
            if chosen.any():
                result.metrics[f"AP{letter}"] = Metric(precision.ap[chosen])


def _cosines(
    encoder: Encoder, images: list[Boxes], words: Float[np.ndarray, "V C D"], settings: Settings
) -> list[Float[np.ndarray, "N C"]]:
    """Cosines of each image's boxes with all classes; of several levels the largest."""
    pictures = [
        image.picture._replace(keep=((x, y, x + w, y + h),))
        for image in images
        for x, y, w, h in image.boxes.tolist()
    ]
    seen = normalize(by_levels(encoder.images, pictures, settings.object_levels))
    ends = np.cumsum([len(image.boxes) for image in images])[:-1]
    return [
        np.einsum("vnd,vcd->vnc", each, words).max(axis=0) for each in np.split(seen, ends, axis=1)
    ]


def _recognize(result: Result, task: Task, cosines: Float[np.ndarray, "N C"]) -> None:
    """Adds how often a true box's class is among the nearest."""
    classes = np.concatenate([image.classes for image in task.images])
    own = np.take_along_axis(cosines, classes[:, None], 1)
    at_least = (cosines >= own).sum(axis=1)  # itself, those before it, and ties
    owners = [i for i, image in enumerate(task.images) for _ in image.classes]
    photos = cluster_by(owners)
    for k in (1, 5):
        capped = min(k, len(task.names))
        hits = (at_least <= capped).astype(float)
        chance = capped / len(task.names)
        result.metrics[f"top{k}"] = Metric(hits, None, photos, chance=chance)
        result.metrics[f"macro_top{k}"] = Metric(hits, classes, photos, chance=chance)
    result.ties["boxes"] = int(((cosines == own).sum(axis=1) > 1).sum())
    result.counts |= {"images": len(task.images), "boxes": len(classes), "classes": len(task.names)}
    named = [task.names[i] for i in classes]
    result.bars["top-1 by class"] = by_class(named, at_least <= 1)
    wrong = np.flatnonzero(at_least > 1)[:6]
    boxes = np.concatenate([image.boxes for image in task.images])
    result.examples["misses"] = [
        Example(
            task.images[owners[i]].picture._replace(keep=(_corners(boxes[i]),)),
            f"{named[i]}, not {task.names[int(cosines[i].argmax())]}",
            False,
        )
        for i in wrong
    ]


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = box.tolist()
    return x, y, x + width, y + height


def read(files: Files, result: Result) -> Task:
    """Reads and checks the files."""
    content = read_json(files.path, files.digests)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict):
        raise SuiteError(f"{files.path}: expected an object with {', '.join(parts)}")
    whole = Row(content, str(files.path))
    images, annotations, categories = (
        rows(whole.get(name, list), files.path, prefix=name) for name in parts
    )
    check_ids(images, (int, str))
    check_ids(categories, int)
    kinds = {row.get("id", int): row.category("name") for row in categories}
    if len(kinds) < 2:
        raise SuiteError(f"{files.path}: {len(kinds)} category; there is nothing to tell apart")
    if alike := sorted(name for name, count in Counter(kinds.values()).items() if count > 1):
        result.notes.append(
            f"{len(alike)} names belong to several classes, such as {alike[0]!r}: these always tie, so they "
            "are wrong at top 1"
        )
    place = {number: at for at, number in enumerate(kinds)}
    true = _true_boxes(annotations, place, result.skips)
    proposed = {}
    if files.proposals is not None:
        proposed = read_proposals(files.proposals, result.skips, files.digests)
    found = _locate(files, images, true, proposed, result.skips)
    with_boxes = [image for image in found if len(image.boxes)]
    if not with_boxes:
        raise SuiteError(f"{files.path}: no image with a box that is no crowd is left")
    scored_boxes = with_boxes
    if files.proposals is not None:
        scored_boxes = _with_proposals(found, proposed)
        if not scored_boxes:
            raise SuiteError(
                f"{files.proposals}: no proposal is in an image of {files.path}",
                "name proposals of these images in config.detection.proposals, or none for the true boxes",
            )
        result.counts["proposals"] = sum(len(image.boxes) for image in scored_boxes)
    kept = {image.number for image in found}
    scored = [one for number, (_, _, ones) in true.items() if number in kept for one in ones]
    numbers = [image.number for image in found]
    names, ids = list(kinds.values()), list(kinds)
    federated = None
    if any("neg_category_ids" in row.values for row in images):
        federated = _federated(images, categories, scored, kept)
    return Task(names, ids, with_boxes, scored_boxes, numbers, scored, federated)


def _federated(
    images: list[Row], categories: list[Row], annotations: list[dict[str, Any]], kept: set
) -> Federated:
    """What the images that are left were looked at for."""
    looked_for: dict[int, set] = {}
    incomplete = []
    for one in annotations:
        looked_for.setdefault(one["category_id"], set()).add(one["image_id"])
    for row in images:
        if (number := row.values["id"]) in kept:
            for kind in _kinds(row, "neg_category_ids"):
                looked_for.setdefault(kind, set()).add(number)
            incomplete += [(number, kind) for kind in _kinds(row, "not_exhaustive_category_ids")]
    frequencies = [str(row.values.get("frequency", "")) for row in categories]
    return Federated(looked_for, incomplete, frequencies)


def _kinds(row: Row, name: str) -> list[int]:
    found = row.get(name, list)
    if not all(type(kind) is int for kind in found):
        raise SuiteError(f"{row.where}: {name!r} is {found!r:.80}, expected ids of categories")
    return found


def _locate(
    files: Files, images: list[Row], true: dict, proposed: Collection, skips: Skips
) -> list[Boxes]:
    """Finds the images that have true boxes, which they get, or proposals.

    Raises:
      SuiteError: No image has a true box, or `Files.locate` raises it.
    """
    wanted = []
    for row in images:
        number = row.get("id", (int, str))
        boxes, classes, _ = true.get(number, ([], [], []))
        if boxes or number in proposed:
            wanted.append(Wanted(row.where, (_file_name(row),), (number, boxes, classes)))
    if not any(boxes for _, boxes, _ in (each.values for each in wanted)):
        raise SuiteError(f"{files.path}: none of its images has a box that is no crowd")
    return [
        Boxes(
            number,
            Picture(each.paths[0]),
            np.array(boxes, float).reshape(-1, 4),
            np.array(classes, int),
            np.ones(len(boxes)),
        )
        for each in files.locate(wanted, skips)
        for number, boxes, classes in [each.values]
    ]


def _file_name(row: Row) -> str:
    """The image's file: LVIS has its address only."""
    if "file_name" in row.values or "coco_url" not in row.values:
        return row.get("file_name")
    return row.get("coco_url").rsplit("/", 1)[-1]


def _true_boxes(annotations: list[Row], place: dict[int, int], skips: Skips) -> dict[Any, tuple]:
    """Boxes, classes and annotations for COCO's code by image; crowds are in the last only."""
    found: dict[Any, tuple[list, list, list]] = {}
    for number, row in enumerate(annotations):
        kind = row.get("category_id", int)
        if kind not in place:
            raise SuiteError(f"{row.where}: category_id {kind} isn't among the file's categories")
        box = row.numbers("bbox", 4)
        if box[2] <= 0 or box[3] <= 0:
            skips.add("box without an area", row.where)
            continue
        crowd = int(bool(row.values.get("iscrowd", 0)))
        image = row.get("image_id", (int, str))
        boxes, classes, ones = found.setdefault(image, ([], [], []))
        area = row.number("area") if "area" in row.values else box[2] * box[3]
        one = {"id": number + 1, "image_id": image, "category_id": kind, "bbox": box, "area": area}
        ones.append(one | {"iscrowd": crowd})
        if not crowd:
            boxes.append(box)
            classes.append(place[kind])
    return found


def _with_proposals(images: list[Boxes], proposed: dict[Any, Proposals]) -> list[Boxes]:
    """The images that have proposals, with these in place of the true boxes."""
    return [
        image._replace(
            boxes=np.array(own.boxes, float),
            classes=np.full(len(own.boxes), -1),
            scores=np.array(own.scores, float),
        )
        for image in images
        if image.number in proposed
        for own in [proposed[image.number]]
    ]


_FILES = "instances_val2017.json or another in its format; images: val2017"
SUITES = (Suite("detection", evaluate, read, path="file", files=_FILES),)
