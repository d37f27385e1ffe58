"""ARO (Yuksekgonul et al. 2023): a caption against the same with its words exchanged.

    DIR/visual_genome_relation.json       [{image_path, bbox_x, bbox_y, bbox_w, bbox_h, true_caption,
    DIR/visual_genome_attribution.json      false_caption, relation_name | attributes: [a, b]}, …]

The picture is cut to the box first. A relation's accuracy is the share of its records whose true caption scores
higher (a tie is wrong); the metric is the mean over relations. Attribution does the same over pairs of
attributes and drops pairs with fewer than 25 records. One of the two files is enough.
"""

from collections import Counter

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Row, SuiteError, parts
from scenarioclip_jax.evaluation.ranks import cosines
from scenarioclip_jax.evaluation.result import Example, Metric, Result, Skips, by_class
from scenarioclip_jax.evaluation.settings import Settings, name_of

PARTS = {
    "relation": "visual_genome_relation.json",
    "attribution": "visual_genome_attribution.json",
}
LEAST = {"relation": 1, "attribution": 25}  # records that a group needs
PROTOCOL = (
    "The picture is cut to the record's box; right when the true caption's cosine is above the false one's "
    "(a tie is wrong). macro_accuracy: mean over relations; over pairs of attributes with 25 records or more."
)


def score(
    positive: np.ndarray, negative: np.ndarray, groups: list[str], least: int
) -> tuple[dict[str, Metric], int]:
    """Accuracies of one part.

    Args:
      positive, negative: [N] cosines of the true and of the false caption.
      groups: [N] names; groups with fewer than `least` records are dropped from the macro average.

    Returns:
      `macro_accuracy` and `accuracy` (all records alike), and how many records were dropped from the
      former; without `macro_accuracy` if no group is large enough.
    """
    hits = (positive > negative).astype(float)
    sizes = Counter(groups)
    kept = np.array([sizes[group] >= least for group in groups])
    metrics = {"accuracy": Metric(hits, chance=0.5)}
    if kept.any():
        names = np.array(groups)[kept]
        metrics = {"macro_accuracy": Metric(hits[kept], groups=names, chance=0.5)} | metrics
    return metrics, int((~kept).sum())


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the parts that are there; raises SuiteError if none is, or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for part, rows in parts(files, PARTS, result.skips):
        _evaluate_part(encoder, files, settings, part, rows, result)
    return result


def _evaluate_part(encoder, files, settings, part: str, rows: list[Row], result: Result) -> None:
    pictures, true, false, groups = [], [], [], []
    for row in rows:
        true_caption, false_caption = row.caption("true_caption"), row.caption("false_caption")
        group = _group(row, part)
        picture = _picture(row, files, result.skips)
        if picture:
            pictures.append(picture)
            true.append(true_caption)
            false.append(false_caption)
            groups.append(group)
    if not pictures:
        raise SuiteError(f"{files.path / PARTS[part]}: no record is left, every image is missing")
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, true + false, settings.levels)
    positive = cosines(images, texts[:, : len(true)])
    negative = cosines(images, texts[:, len(true) :])
    metrics, dropped = score(positive, negative, groups, LEAST[part])
    result.metrics |= {f"{part}/{name}": metric for name, metric in metrics.items()}
    result.counts[f"{part} records"] = len(pictures)
    result.counts[f"{part} groups"] = len(set(groups))
    result.counts[f"{part} records in groups under {LEAST[part]}"] = dropped
    hits = positive > negative
    result.bars[part] = by_class(groups, hits)
    misses = np.argsort(positive - negative, kind="stable")[:6]
    result.examples[f"{part}: surest failures"] = [
        Example(pictures[i], f"{true[i]}, not {false[i]}", False) for i in misses if not hits[i]
    ]


def _picture(row: Row, files: Files, skips: Skips) -> Picture | None:
    x, y, w, h = (float(row.get(f"bbox_{name}", (int, float))) for name in "xywh")
    if w <= 0 or h <= 0:
        raise SuiteError(f"{row.where}: its box is {w} x {h} pixels")
    path = files.image(row.get("image_path"), row.where, skips)
    return path and Picture(path, crop=(x, y, x + w, y + h))


def _group(row: Row, part: str) -> str:
    if part == "relation":
        return row.get("relation_name")
    attributes = row.get("attributes", list)
    if len(attributes) != 2 or not all(isinstance(one, str) for one in attributes):
        raise SuiteError(f"{row.where}: 'attributes' is {attributes!r:.80}, expected two texts")
    return "_".join(attributes)
