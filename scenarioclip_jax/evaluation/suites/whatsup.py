"""What'sUp (Kamath et al. 2023): one image and four captions that differ in the preposition.

    DIR/controlled_images_dataset.json    [{image_path, caption_options: [right, wrong, wrong, wrong]}, …]
    DIR/controlled_clevr_dataset.json     subset B, the same

An image's file name is `OBJECT_PREPOSITION_OBJECT.jpeg`. The four images of two objects form a set, in which
left and right are a pair, and so are on and under (in A) or in front and behind (in B).

    individual   the first caption is strictly the best of the four
    pair         both images of a pair are right
    set          all four are

Four more subsets have photos and two captions, see `whatsup_qa`; they lie in the same folder. `mean_individual`
is the paper's average over all six.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import json_rows, part_files
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    by_class,
    missing_notes,
    partial_note,
)
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites import whatsup_qa
from scenarioclip_jax.evaluation.suites.registry import Suite

PARTS = {"A": "controlled_images_dataset.json", "B": "controlled_clevr_dataset.json"}
PUBLISHED = {"A": 412, "B": 408}  # records
PAIRS = (("left", "right"), ("on", "under"), ("in-front", "behind"))
PROTOCOL = (
    "Single photos: the right caption's cosine is strictly the largest of four. Pairs, sets: both pictures "
    "of a pair of opposite prepositions, or all four of two objects, are right; incomplete ones don't take "
    "part (the authors divide by half and by a quarter of the pictures: the same where none is incomplete). "
    "COCO and VG: of two captions. Their mean is over the subsets."
)


def score(
    scores: np.ndarray, objects: list[tuple[str, str]], prepositions: list[str]
) -> tuple[dict[str, Metric], dict[str, int]]:
    """Accuracies of one subset.

    Args:
      scores: Cosines [N, 4], that of the right caption first.
      objects, prepositions: Parts of the N file names.

    Returns:
      The metrics, and the counts of complete and incomplete pairs and sets.
    """
    hits = (scores[:, :1] > scores[:, 1:]).all(axis=1)
    of_set: dict[tuple[str, str], dict[str, bool]] = {}
    for pair, preposition, hit in zip(objects, prepositions, hits, strict=True):
        of_set.setdefault(pair, {})[preposition] = bool(hit)
    pairs, sets, unpaired, incomplete = [], [], 0, 0
    for found in of_set.values():
        for one, two in PAIRS:
            if one in found and two in found:
                pairs.append(float(found[one] and found[two]))
            elif one in found or two in found:
                unpaired += 1
        if len(found) == 4:
            sets.append(float(all(found.values())))
        else:
            incomplete += 1
    metrics = {"individual": Metric(hits.astype(float), chance=1 / 4)}
    if pairs:
        metrics["pair"] = Metric(np.array(pairs), chance=1 / 16)
    if sets:
        metrics["set"] = Metric(np.array(sets), chance=1 / 256)
    counts = {"pairs": len(pairs), "incomplete pairs": unpaired}
    return metrics, counts | {"sets": len(sets), "incomplete sets": incomplete}


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the subsets that exist; raises SuiteError if none does or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for part, records in read(files, result).items():
        if part in PARTS:
            _evaluate_part(encoder, settings, part, records, result)
        else:
            whatsup_qa.add(encoder, settings, part, records, result)
    _add_mean(result)
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks the records of each subset; their values are captions, objects and preposition."""
    found = {}
    for part, path in part_files(files, PARTS | whatsup_qa.PARTS, result.skips):
        if part in PARTS:
            found[part] = _read_part(files, part, path, result)
        else:
            found[part] = whatsup_qa.read(files, part, path, result)
    result.notes += missing_notes((*PARTS, *whatsup_qa.PARTS), found)
    return found


def _read_part(files: Files, part: str, path: Path, result: Result) -> list[Located]:
    wanted = []
    for row in json_rows(path, files.digests):
        name, given = row.get("image_path"), row.get("caption_options", list)
        if len(given) != 4:
            raise SuiteError(f"{row.where}: {len(given)} caption_options, expected 4")
        texts = [row.text(text, "caption_options") for text in given]
        wanted.append(Wanted(row.where, (name,), (texts, *_name_parts(name, row.where))))
    records = files.locate(wanted, result.skips)
    result.notes += partial_note(part, len(records), PUBLISHED[part])
    return records


def _add_mean(result: Result) -> None:
    """Adds the mean of the subsets' individual accuracies, with equal weights."""
    metrics = {name: each for name, each in result.metrics.items() if name.endswith("/individual")}
    samples = [each.samples for each in metrics.values()]
    groups = np.repeat(list(metrics), [len(each) for each in samples])
    # Records of one photo are resampled together; the controlled subsets have one record a photo.
    clusters, first = [], 0
    for metric in metrics.values():
        own = np.arange(len(metric.samples)) if metric.clusters is None else metric.clusters
        clusters.append(first + own)
        first += int(own.max()) + 1
    chances = [each.chance or 0.0 for each in metrics.values()]
    result.metrics["mean_individual"] = Metric(
        np.concatenate(samples), groups, np.concatenate(clusters), chance=float(np.mean(chances))
    )


def _evaluate_part(encoder, settings: Settings, part: str, records, result: Result) -> None:
    pictures = [Picture(record.paths[0]) for record in records]
    four, objects, prepositions = zip(*(record.values for record in records), strict=True)
    options = [text for texts in four for text in texts]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, options, settings.levels)
    scores = np.stack([cosines(images, texts[:, i::4]) for i in range(4)], axis=1)
    metrics, counts = score(scores, objects, prepositions)
    result.metrics |= {f"{part}/{name}": metric for name, metric in metrics.items()}
    result.counts |= {f"{part} records": len(pictures)}
    result.counts |= {f"{part} {name}": count for name, count in counts.items()}
    result.ties[part] = int((scores[:, 0] == scores[:, 1:].max(axis=1)).sum())
    if counts["incomplete pairs"] or counts["incomplete sets"]:
        result.notes.append(
            f"{part}: {counts['incomplete pairs']} incomplete pairs and {counts['incomplete sets']} incomplete "
            "sets don't take part; the authors' code divides as if they did, so its figures differ a little"
        )
    hits = metrics["individual"].samples
    result.bars[f"{part}, by preposition"] = by_class(prepositions, hits)
    result.examples[f"{part}: failures"] = [
        Example(pictures[i], f"{options[4 * i]}, not {options[4 * i + scores[i].argmax()]}", False)
        for i in np.flatnonzero(hits == 0)[:6]
    ]


def _name_parts(name: str, where: str) -> tuple[tuple[str, str], str]:
    """Turns `beer-bottle_left_of_armchair.jpeg` into (("beer-bottle", "armchair"), "left")."""
    parts = PurePosixPath(name).stem.split("_")
    known = [preposition for pair in PAIRS for preposition in pair]
    if len(parts) < 3 or parts[1] not in known:
        raise SuiteError(
            f"{where}: the image name {name!r} isn't OBJECT_PREPOSITION_OBJECT with one of {', '.join(known)}"
        )
    return (parts[0], parts[-1]), parts[1]


_FILES = "controlled_images_dataset.json, controlled_clevr_dataset.json, *_qa_*_obj.json, or some of them"
SUITES = (Suite("whatsup", evaluate, read, path="folder or file", files=_FILES),)
