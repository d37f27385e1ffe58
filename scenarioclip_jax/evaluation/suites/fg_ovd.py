"""FG-OVD (Bianchi et al. 2024): which caption belongs to a box, of a true one and others that differ in little?

    DIR/1_attributes.json, 2_attributes.json, 3_attributes.json   hard, medium, easy
    DIR/shuffle_negatives.json                                    trivial
    DIR/color.json, material.json, pattern.json, transparency.json
        {"images": [{id, file_name}], "categories": [{id, name}],
         "annotations": [{id, image_id, bbox: [x, y, width, height], category_id, neg_category_ids: [...]}]}

A category is a caption. Of each annotation, the first 10 negatives count (pattern: 7, transparency: 2), and one
with fewer is left out, as in the authors' code.

    accuracy      the true caption's cosine with the box is strictly the largest
    median_rank   of the true caption; a tie counts as before it
    AP            COCO's, over captions. As the authors do, each photo is searched for each true caption with
                  its negatives. A box gets the nearest of them, and of boxes that overlap by more than half
                  the surest remains. Its score is the exponential of 100 times the cosine, times the root
                  of its proposal's score. Boxes are those of the photo's annotations that count, or those in
                  `config.fg_ovd.proposals`
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError, Wanted
from scenarioclip_jax.evaluation.proposals import Proposals, read_proposals
from scenarioclip_jax.evaluation.records import Row, check_ids, part_files, read_json, rows
from scenarioclip_jax.evaluation.score import coco_ap
from scenarioclip_jax.evaluation.score.boxes import corners, overlaps, strongest
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    Skips,
    cluster_by,
    missing_notes,
)
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PARTS = {
    "hard": "1_attributes.json",
    "medium": "2_attributes.json",
    "easy": "3_attributes.json",
    "trivial": "shuffle_negatives.json",
    "color": "color.json",
    "material": "material.json",
    "pattern": "pattern.json",
    "transparency": "transparency.json",
}
NEGATIVES = dict.fromkeys(PARTS, 10) | {"pattern": 7, "transparency": 2}
SHOWN = 4  # failures of a part in the report
PROTOCOL = (
    "Accuracy: of the true caption and its negatives (10; pattern 7, transparency 2), the true one is nearest "
    "to the annotated box; a tie is wrong. AP: COCO's, over captions, each of which is searched together with "
    "its negatives among the photo's boxes; its interval is over captions."
)


class Target(NamedTuple):
    """An annotation: the row of its box among the photo's, and its caption's id."""

    row: int
    caption: int


class Photo(NamedTuple):
    """A photo with boxes (x, y, width, height)."""

    number: Any
    picture: Picture
    boxes: Float[np.ndarray, "N 4"]
    targets: list[Target]


class Task(NamedTuple):
    """One of the benchmarks.

    Attributes:
      captions: Texts by id.
      negatives: Ids of the false captions of each true one.
      photos: The photos with annotations.
      annotations: These, for COCO's code.
      proposals: Boxes and their scores by photo; None for the annotated ones.
    """

    captions: dict[int, str]
    negatives: dict[int, list[int]]
    photos: list[Photo]
    annotations: list[dict[str, Any]]
    proposals: dict[Any, Proposals] | None


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the benchmarks that are there; raises SuiteError if none is, or a file is malformed."""
    result = Result({}, {}, name_of(settings.object_levels), PROTOCOL)
    result.choices["prompt"] = settings.prompt
    for part, task in read(files, result).items():
        used = dict.fromkeys(
            each for true, false in task.negatives.items() for each in (true, *false)
        )
        texts = settings.prompted([task.captions[each] for each in used])
        words = normalize(by_levels(encoder.texts, texts, settings.object_levels))
        columns = {caption: at for at, caption in enumerate(used)}
        queries = {
            true: words[:, [columns[each] for each in (true, *false)]]
            for true, false in task.negatives.items()
        }
        boxes = [photo.boxes for photo in task.photos]
        seen = _embed(encoder, task.photos, boxes, settings)
        _add_ranks(result, part, task, seen, queries)
        _add_precision(result, part, task, _searched(encoder, task, seen, settings), queries)
    return result


def _embed(
    encoder: Encoder, photos: list[Photo], boxes: list[np.ndarray], settings: Settings
) -> list[Float[np.ndarray, "V N D"]]:
    """Embeddings of each photo's boxes, by level."""
    regions = [
        photo.picture._replace(keep=(tuple(box),))
        for photo, own in zip(photos, boxes, strict=True)
        for box in corners(own).tolist()
    ]
    found = normalize(by_levels(encoder.images, regions, settings.object_levels))
    return np.split(found, np.cumsum([len(own) for own in boxes])[:-1], axis=1)


def _searched(
    encoder: Encoder, task: Task, seen: list[np.ndarray], settings: Settings
) -> Iterator[tuple[Photo, np.ndarray, np.ndarray]]:
    """Photos with the boxes that are searched in place of the annotated ones, embeddings and weights."""
    if task.proposals is None:
        for photo, own in zip(task.photos, seen, strict=True):
            yield photo, own, np.ones(len(photo.boxes))
        return
    photos = [photo for photo in task.photos if photo.number in task.proposals]
    given = [task.proposals[photo.number] for photo in photos]
    boxes = [np.array(each.boxes, float) for each in given]
    found = _embed(encoder, photos, boxes, settings)
    for photo, own, each, proposed in zip(photos, boxes, found, given, strict=True):
        yield photo._replace(boxes=own), each, np.sqrt(proposed.scores)


def rank(cosines: Float[np.ndarray, " C"]) -> int:
    """The rank of the first of some captions; 1 is the best, and what isn't below it is before it."""
    return 1 + int((~(cosines[1:] < cosines[0])).sum())


def _add_ranks(
    result: Result, part: str, task: Task, seen: list[np.ndarray], queries: dict[int, np.ndarray]
) -> None:
    ranks, paths, ties = [], [], 0
    failures = result.examples.setdefault(f"{part}: failures", [])
    for photo, own in zip(task.photos, seen, strict=True):
        for target in photo.targets:
            cosines = np.einsum("vd,vcd->vc", own[:, target.row], queries[target.caption]).max(0)
            ranks.append(rank(cosines))
            paths.append(photo.picture.path)
            ties += bool((cosines[1:] == cosines[0]).any())
            if ranks[-1] > 1 and len(failures) < SHOWN:
                box = tuple(corners(photo.boxes[target.row][None])[0].tolist())
                other = task.negatives[target.caption][int(cosines[1:].argmax())]
                text = f"{task.captions[target.caption]}, not {task.captions[other]}"
                failures.append(Example(photo.picture._replace(keep=(box,)), text, False))
    clusters = cluster_by(paths)
    hits = np.array(ranks) == 1
    chance = 1 / (1 + NEGATIVES[part])
    result.metrics[f"{part}/accuracy"] = Metric(hits.astype(float), None, clusters, chance=chance)
    result.metrics[f"{part}/median_rank"] = Metric(
        np.array(ranks, float), None, clusters, statistic="median"
    )
    result.ties[part] = ties
    result.counts |= {f"{part} boxes": len(ranks), f"{part} captions": len(task.negatives)}


def _add_precision(
    result: Result,
    part: str,
    task: Task,
    searched: Iterator[tuple[Photo, np.ndarray, np.ndarray]],
    queries: dict[int, np.ndarray],
) -> None:
    found = []
    for photo, own, weights in searched:
        overlapping = overlaps(corners(photo.boxes), corners(photo.boxes)) > coco_ap.OVERLAP
        for caption in dict.fromkeys(target.caption for target in photo.targets):
            cosines = np.einsum("vnd,vcd->vnc", own, queries[caption]).max(axis=0)
            scores = np.exp(coco_ap.SCALE * (cosines.max(axis=1) - 1)) * weights
            kept = strongest(overlapping, scores)
            for at in np.flatnonzero(kept & (cosines[:, 1:] < cosines[:, :1]).all(axis=1)):
                entry = {"image_id": photo.number, "category_id": caption}
                found.append(entry | {"bbox": photo.boxes[at].tolist(), "score": float(scores[at])})
    if not found:
        result.notes.append(f"{part}: no AP, because no box was taken for a true caption")
        return
    truth = {
        "images": [{"id": photo.number} for photo in task.photos],
        "categories": [{"id": caption} for caption in task.negatives],
        "annotations": task.annotations,
    }
    precision = coco_ap.average_precision(truth, found).ap
    if not np.isnan(precision).all():
        result.metrics[f"{part}/AP"] = Metric(precision[~np.isnan(precision)])


def read(files: Files, result: Result) -> dict[str, Task]:
    """Reads and checks the benchmarks that are there."""
    proposals = None
    if files.proposals is not None:
        proposals = read_proposals(files.proposals, result.skips, files.digests)
    found = {}
    for part, path in part_files(files, PARTS, result.skips):
        found[part] = _read_part(files, part, path, proposals, result)
    result.notes += missing_notes(PARTS, found)
    return found


def _read_part(
    files: Files, part: str, path: Path, proposals: dict[Any, Proposals] | None, result: Result
) -> Task:
    content = read_json(path, files.digests)
    if not isinstance(content, dict):
        raise SuiteError(f"{path}: expected an object with images, annotations and categories")
    images, annotations, categories = (
        rows(Row(content, str(path)).get(name, list), path, prefix=name)
        for name in ("images", "annotations", "categories")
    )
    for records, kind in ((images, (int, str)), (annotations, int), (categories, int)):
        check_ids(records, kind)
    captions = {row.get("id", int): row.caption("name") for row in categories}
    of_image: dict[Any, list[tuple[int, list[float]]]] = {}
    negatives: dict[int, list[int]] = {}
    for row in annotations:
        if target := _target(row, captions, NEGATIVES[part], result.skips):
            caption, box, false = target
            of_image.setdefault(row.get("image_id", (int, str)), []).append((caption, box))
            if negatives.setdefault(caption, false) != false:
                raise SuiteError(
                    f"{row.where}: its neg_category_ids aren't those of another annotation with its caption"
                )
    wanted = [
        Wanted(row.where, (row.get("file_name"),), row.values["id"])
        for row in images
        if row.values["id"] in of_image
    ]
    if not wanted:
        raise SuiteError(f"{path}: none of its images has a box with {NEGATIVES[part]} negatives")
    photos, entries = [], []
    for record in files.locate(wanted, result.skips):
        own = of_image[record.values]
        boxes = np.array([box for _, box in own], float)
        targets = [Target(at, caption) for at, (caption, _) in enumerate(own)]
        photos.append(Photo(record.values, Picture(record.paths[0]), boxes, targets))
        entries += [_entry(record.values, *each) for each in own]
    for number, entry in enumerate(entries, 1):  # to COCO's code, 0 is no match
        entry["id"] = number
    if proposals is not None and not any(photo.number in proposals for photo in photos):
        raise SuiteError(
            f"{files.proposals}: no proposal is in an image of {path}",
            "give each the id of its image in that file as image_id",
        )
    kept = dict.fromkeys(entry["category_id"] for entry in entries)
    if len(entries) < (all_of_them := sum(map(len, of_image.values()))):
        result.notes.append(f"{part}: {len(entries):,} of {all_of_them:,} boxes, a partial set")
    return Task(captions, {each: negatives[each] for each in kept}, photos, entries, proposals)


def _entry(image: Any, caption: int, box: list[float]) -> dict[str, Any]:
    """An annotation for COCO's code, but for its id."""
    entry = {"image_id": image, "category_id": caption, "bbox": box}
    return entry | {"area": box[2] * box[3], "iscrowd": 0}


def _target(
    row: Row, captions: dict[int, str], least: int, skips: Skips
) -> tuple[int, list[float], list[int]] | None:
    """Caption, box and the negatives that count of an annotation; None if it is left out."""
    caption, false = row.get("category_id", int), row.get("neg_category_ids", list)
    for each in (caption, *false):
        if type(each) is not int or each not in captions:
            raise SuiteError(f"{row.where}: caption {each!r:.40} isn't among the file's categories")
    if caption in false:
        raise SuiteError(f"{row.where}: its caption {caption} is among its neg_category_ids, too")
    box = row.numbers("bbox", 4)
    if box[2] <= 0 or box[3] <= 0:
        skips.add("box without an area", row.where)
        return None
    if len(false) < least:
        skips.add(f"box with fewer than {least} negatives", row.where)
        return None
    return caption, box, false[:least]


_FILES = "1_attributes.json and the seven others, or one of them; images: val2017"
SUITES = (Suite("fg_ovd", evaluate, read, path="folder or file", files=_FILES),)
