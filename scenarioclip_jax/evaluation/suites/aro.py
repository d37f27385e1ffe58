"""ARO (Yuksekgonul et al. 2023): a caption against the same caption with words swapped.

    DIR/visual_genome_relation.json       [{image_path, bbox_x, bbox_y, bbox_w, bbox_h, true_caption,
    DIR/visual_genome_attribution.json      false_caption, relation_name | attributes: [a, b]}, …]

The image is cropped to the box first. A relation's accuracy is the share of its records whose true caption
scores higher (a tie is wrong). The metric is the mean over relations, without those in `aro_symmetric`, for
which both captions are true, as in the authors' published figure. Attribution is the mean over pairs of
attributes, without pairs that have fewer than 25 records. One of the two files is enough.
"""

from collections import Counter

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, parts
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    by_class,
    cluster_by,
    missing_notes,
    partial_note,
)
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.aro_symmetric import SYMMETRIC
from scenarioclip_jax.evaluation.suites.registry import Suite

PARTS = {
    "relation": "visual_genome_relation.json",
    "attribution": "visual_genome_attribution.json",
}
LEAST = {"relation": 1, "attribution": 25}  # records that a group needs
PUBLISHED = {"relation": 23_937, "attribution": 28_748}  # records
PROTOCOL = (
    "The picture is cut to the record's box; right when the true caption's cosine is above the false one's "
    "(a tie is wrong). Mean over groups, as published: over relations, without the symmetric ones that the "
    f"authors leave out ({len(SYMMETRIC)} names); over pairs of attributes with 25 records or more. "
    "Beside it, over all of them."
)


def score(
    positive: np.ndarray,
    negative: np.ndarray,
    groups: list[str],
    least: int,
    clusters: np.ndarray | None = None,
) -> tuple[dict[str, Metric], int]:
    """Accuracies of one part.

    Args:
      positive, negative: Cosines [N] of the true and of the false caption.
      groups: Group names [N]; groups with fewer than `least` records, and those of SYMMETRIC, are dropped from
        the macro average.
      clusters: Image of each record, int [N].

    Returns:
      `macro_accuracy`, `macro_accuracy_all` (over all groups) and `accuracy` (over all records), and the number
      of records in groups that are too small for the first; without `macro_accuracy` if no group is left.
    """
    hits = (positive > negative).astype(float)
    sizes = Counter(groups)
    names, clusters = np.array(groups), np.arange(len(hits)) if clusters is None else clusters
    large = np.array([sizes[group] >= least for group in groups])
    kept = large & ~np.isin(names, list(SYMMETRIC))
    metrics = {}
    for name, chosen in (("macro_accuracy", kept), ("macro_accuracy_all", np.ones_like(kept))):
        if chosen.any():
            metrics[name] = Metric(hits[chosen], names[chosen], clusters[chosen], chance=0.5)
    metrics["accuracy"] = Metric(hits, clusters=clusters, chance=0.5)
    return metrics, int((~large).sum())


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the parts that exist; raises SuiteError if none does or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for part, records in read(files, result).items():
        _evaluate_part(encoder, settings, part, records, result)
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks the records of each part; their values are both captions and the group."""
    found = {}
    for part, rows in parts(files, PARTS, result.skips):
        wanted = []
        for row in rows:
            captions = row.caption("true_caption"), row.caption("false_caption")
            values = *captions, _group(row, part)
            wanted.append(Wanted(row.where, (row.get("image_path"),), values, _box(row)))
        found[part] = files.locate(wanted, result.skips)
        result.notes += partial_note(part, len(found[part]), PUBLISHED[part])
    result.notes += missing_notes(PARTS, found)
    return found


def _evaluate_part(encoder, settings: Settings, part: str, records, result: Result) -> None:
    true, false, groups = (
        list(column) for column in zip(*(r.values for r in records), strict=True)
    )
    pictures = [Picture(record.paths[0], crop=record.crop) for record in records]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, true + false, settings.levels)
    positive = cosines(images, texts[:, : len(true)])
    negative = cosines(images, texts[:, len(true) :])
    clusters = cluster_by([picture.path for picture in pictures])
    metrics, dropped = score(positive, negative, groups, LEAST[part], clusters)
    result.metrics |= {f"{part}/{name}": metric for name, metric in metrics.items()}
    result.counts[f"{part} records"] = len(pictures)
    result.counts[f"{part} groups"] = len(set(groups))
    result.counts[f"{part} records in groups under {LEAST[part]}"] = dropped
    if part == "relation":
        symmetric = sum(group in SYMMETRIC for group in groups)
        result.counts["relation records of symmetric relations"] = symmetric
    hits = positive > negative
    result.ties[part] = int((positive == negative).sum())
    result.bars[part] = by_class(groups, hits)
    misses = np.argsort(positive - negative, kind="stable")[:6]
    result.examples[f"{part}: surest failures"] = [
        Example(pictures[i], f"{true[i]}, not {false[i]}", False) for i in misses if not hits[i]
    ]


def _box(row: Row) -> tuple[float, float, float, float]:
    x, y, w, h = (row.number(f"bbox_{name}") for name in "xywh")
    if w <= 0 or h <= 0:
        raise SuiteError(f"{row.where}: its box is {w} x {h} pixels")
    return x, y, x + w, y + h


def _group(row: Row, part: str) -> str:
    if part == "relation":
        return row.category("relation_name")
    attributes = row.get("attributes", list)
    if len(attributes) != 2 or not all(isinstance(one, str) for one in attributes):
        raise SuiteError(f"{row.where}: 'attributes' is {attributes!r:.80}, expected two texts")
    return "_".join(row.text(one.replace("_", " "), "attributes") for one in attributes)


_FILES = "visual_genome_relation.json and visual_genome_attribution.json, or one of them"
SUITES = (Suite("aro", evaluate, read, path="folder or file", files=_FILES),)
