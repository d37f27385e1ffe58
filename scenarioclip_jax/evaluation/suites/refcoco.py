"""RefCOCO, RefCOCO+ and RefCOCOg: which of the boxes of a photo does a phrase mean?

    DIR/refcoco/refs(unc).p     [{ref_id, ann_id, image_id, split, sentences: [{sent, raw, …}, …]}, …]
    DIR/refcoco+/refs(unc).p
    DIR/refcocog/refs(umd).p
    DIR/*/instances.json        boxes and photos of each, in COCO's format

(Yu et al. 2016, Mao et al. 2016; splits of UNC and, for RefCOCOg, UMD.) The boxes to choose from are those of
all annotations of the photo, or those in `config.refcoco.proposals`. A phrase, `sent`, is right where the box
with the largest cosine overlaps the annotated one by 0.5 (IoU) or more, as in MAttNet's evaluation. A photo
without proposals has itself as the only one.

The published files are pickles of Python 2. They hold plain values, so they are read as they are, and a pickle
that names a class or function is refused (`evaluation.plain_pickle`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError, Wanted
from scenarioclip_jax.evaluation.plain_pickle import read_plain_pickle
from scenarioclip_jax.evaluation.proposals import Proposals, read_proposals
from scenarioclip_jax.evaluation.records import Row, check_ids, read_json, rows
from scenarioclip_jax.evaluation.score.boxes import corners, overlaps
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    cluster_by,
    partial_note,
)
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PARTS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p"}
SPLITS = ("val", "test", "testA", "testB")
PUBLISHED = {  # phrases
    "refcoco/val": 10_834,
    "refcoco/testA": 5_657,
    "refcoco/testB": 5_095,
    "refcoco+/val": 10_758,
    "refcoco+/testA": 5_726,
    "refcoco+/testB": 4_889,
    "refcocog/val": 4_896,
    "refcocog/test": 9_602,
}
OVERLAP = 0.5  # IoU
SHOWN = 4  # failures of a split in the report
PROTOCOL = (
    "A phrase is right where, of the boxes of its photo, the one with the largest cosine overlaps the "
    "annotated one by 0.5 (IoU) or more. A tie with a wrong box is wrong. Chance is any of the boxes."
)


class Phrase(NamedTuple):
    """A phrase and the box that it means, as x, y, width, height."""

    text: str
    box: list[float]
    section: str  # data set and split


class Photo(NamedTuple):
    """A photo with its id, the boxes to choose from (x0, y0, x1, y1), and its phrases."""

    number: int
    picture: Picture
    boxes: Float[np.ndarray, "N 4"]
    phrases: list[Phrase]


def choose(
    scores: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]
) -> tuple[bool, bool, int]:
    """Whether a right box has the largest score, whether a wrong one ties with it, and the box to show."""
    if not right.any():
        return False, False, int(scores.argmax())
    best = scores[right].max()
    tied = bool((scores[~right] == best).any())
    wrong = ~right & ~(scores < best)
    return not wrong.any(), tied, int((wrong if wrong.any() else scores == best).argmax())


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the data sets that are there; raises SuiteError if none is, or a file is malformed."""
    result = Result({}, {}, name_of(settings.object_levels), PROTOCOL)
    photos = read(files, result)
    regions = [
        photo.picture._replace(keep=(tuple(box),))
        for photo in photos
        for box in photo.boxes.tolist()
    ]
    images = normalize(by_levels(encoder.images, regions, settings.object_levels))
    texts = list(dict.fromkeys(phrase.text for photo in photos for phrase in photo.phrases))
    words = normalize(by_levels(encoder.texts, settings.prompted(texts), settings.object_levels))
    column = {text: at for at, text in enumerate(texts)}
    hits: dict[str, list[tuple[bool, float, Path]]] = {}
    first = 0
    for photo in photos:
        of_photo = images[:, first : first + len(photo.boxes)]
        first += len(photo.boxes)
        gold = corners(np.array([phrase.box for phrase in photo.phrases], float))
        right = overlaps(gold, photo.boxes) >= OVERLAP
        for phrase, own in zip(photo.phrases, right, strict=True):
            scores = np.einsum("vnd,vd->vn", of_photo, words[:, column[phrase.text]]).max(axis=0)
            hit, tied, shown = choose(scores, own)
            hits.setdefault(phrase.section, []).append((hit, own.mean(), photo.picture.path))
            result.ties[phrase.section] = result.ties.get(phrase.section, 0) + tied
            failures = result.examples.setdefault(f"{phrase.section}: failures", [])
            if not hit and len(failures) < SHOWN:
                region = photo.picture._replace(keep=(tuple(photo.boxes[shown].tolist()),))
                failures.append(Example(region, f"taken for: {phrase.text}", False))
    for section in (name for name in PUBLISHED if name in hits):
        found, chances, paths = zip(*hits[section], strict=True)
        result.metrics[section] = Metric(
            np.array(found, float), None, cluster_by(paths), chance=float(np.mean(chances))
        )
        result.counts[f"{section} phrases"] = len(found)
        result.notes += partial_note(section, len(found), PUBLISHED[section])
    result.counts |= {"photos": len(photos), "boxes": len(regions)}
    result.choices["prompt"] = settings.prompt
    return result


def read(files: Files, result: Result) -> list[Photo]:
    """Reads and checks the photos of each data set that have phrases in an evaluation split."""
    proposed = None
    if files.proposals is not None:
        proposed = read_proposals(files.proposals, result.skips, files.digests)
    photos, found = [], []
    for part, folder in _folders(files):
        found.append(part)
        photos += _read_part(files, part, folder, proposed, result)
    if proposed is not None and not any(photo.number in proposed for photo in photos):
        raise SuiteError(
            f"{files.proposals}: no proposal is in a photo of {files.path}",
            "give each the id that instances.json has for its photo as image_id",
        )
    result.notes += [
        f"{part}: not scored, its files aren't there" for part in PARTS if part not in found
    ]
    return photos


def _folders(files: Files) -> Iterator[tuple[str, Path]]:
    if files.path.name in PARTS and (files.path / "instances.json").is_file():
        yield files.path.name, files.path
        return
    found = [part for part in PARTS if (files.path / part).is_dir()]
    if not found:
        raise SuiteError(
            f"{files.path}: neither {' nor '.join(PARTS)} is there",
            "name the folder that these folders are in, or one of them",
        )
    for part in found:
        yield part, files.path / part


def _read_part(
    files: Files, part: str, folder: Path, proposed: dict[Any, Proposals] | None, result: Result
) -> list[Photo]:
    file = folder / PARTS[part]
    refs = rows(read_plain_pickle(file, files.digests), file)
    instances = folder / "instances.json"
    names, boxes = _instances(instances, files, result)
    phrases: dict[int, list[Phrase]] = {}
    check_ids(refs, int, "ref_id")
    for row in refs:
        split = row.get("split")
        if split in SPLITS and f"{part}/{split}" in PUBLISHED:
            image, of_ref = _phrases(row, f"{part}/{split}", boxes, names, instances)
            phrases.setdefault(image, []).extend(of_ref)
    if not phrases:
        raise SuiteError(f"{file}: no record of the splits {', '.join(SPLITS)} is in it")
    wanted = [
        Wanted(f"{instances} image {image}", (names[image],), (image, of_image))
        for image, of_image in phrases.items()
    ]
    photos = []
    for record in files.locate(wanted, result.skips):
        image, of_image = record.values
        choices = corners(np.array(list(boxes[image].values()), float))
        if proposed is not None:
            choices = _proposed(proposed, image, record.paths[0], result)
        photos.append(Photo(image, Picture(record.paths[0]), choices, of_image))
    return photos


def _proposed(
    proposed: dict[Any, Proposals], image: int, path: Path, result: Result
) -> Float[np.ndarray, "N 4"]:
    """The proposals of a photo; itself if there are none."""
    if image in proposed:
        return corners(np.array(proposed[image].boxes, float))
    result.skips.add("photo has no proposal, so it is the only one", str(path))
    return np.array([[0, 0, *image_files.size_of(path)]], float)


def _phrases(
    row: Row, section: str, boxes: dict[int, dict], names: dict[int, str], instances: Path
) -> tuple[int, list[Phrase]]:
    """The image of a reference, and its phrases with the box that they mean."""
    image, annotation = row.get("image_id", int), row.get("ann_id", int)
    if image not in names:
        raise SuiteError(f"{row.where}: image_id {image} isn't among the images of {instances}")
    if annotation not in boxes.get(image, {}):
        raise SuiteError(
            f"{row.where}: ann_id {annotation} is no annotation with a box of image {image} in {instances}",
            "use the refs and the instances.json of one data set",
        )
    sentences = rows(row.get("sentences", list), Path(row.where), prefix="sentences")
    box = boxes[image][annotation]
    return image, [Phrase(each.caption("sent"), box, section) for each in sentences]


def _instances(
    path: Path, files: Files, result: Result
) -> tuple[dict[int, str], dict[int, dict[int, list[float]]]]:
    """File names by image, and boxes by image and annotation."""
    content = read_json(path, files.digests)
    if not isinstance(content, dict):
        raise SuiteError(f"{path}: expected an object with images and annotations")
    whole = Row(content, str(path))
    images, annotations = (
        rows(whole.get(name, list), path, prefix=name) for name in ("images", "annotations")
    )
    check_ids(images, int)
    check_ids(annotations, int)
    names = {row.get("id", int): row.get("file_name") for row in images}
    boxes: dict[int, dict[int, list[float]]] = {}
    for row in annotations:
        box = row.numbers("bbox", 4)
        if box[2] <= 0 or box[3] <= 0:
            result.skips.add("box without an area", row.where)
            continue
        boxes.setdefault(row.get("image_id", int), {})[row.get("id", int)] = box
    return names, boxes


_FILES = "refcoco, refcoco+ and refcocog, or one of them; images: train2014"
SUITES = (Suite("refcoco", evaluate, read, path="folder", files=_FILES),)
