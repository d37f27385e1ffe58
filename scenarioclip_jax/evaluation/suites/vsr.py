"""VSR (Liu et al. 2023): is a statement about spatial relations true of the image?

    DIR/dev.jsonl, DIR/test.jsonl   {"image", "caption", "label": 0 or 1, …} per line

A statement is called true if its cosine is above a threshold, which is chosen on dev and used on test.
"""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import jsonl_rows
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, by_class, cluster_by
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "A statement is called true where its cosine is above a threshold. The threshold with the best accuracy on "
    "dev is used on test. Chance is the more frequent answer on test."
)


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """Finds the lowest threshold with which `scores > threshold` predicts most labels correctly.

    Args:
      scores: Cosines [N].
      labels: Labels, bool [N].

    Returns:
      The midpoint of two neighboring scores; at the ends, a value below all scores, or the largest score.
    """
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order].astype(np.float64), np.asarray(labels)[order].astype(int)
    # With the threshold before position i, false ones below it and true ones above it are correct.
    right = np.concatenate([[0], np.cumsum(1 - truth)]) + truth.sum()
    right = right - np.concatenate([[0], np.cumsum(truth)])
    # A threshold can't separate equal scores.
    possible = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    best = int(np.argmax(np.where(possible, right, -1)))
    if best == 0:
        return float(ordered[0] - 1)
    if best == len(ordered):
        return float(ordered[-1])
    return float((ordered[best - 1] + ordered[best]) / 2)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a file is missing or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    splits = read(files, result)
    dev, dev_labels = _scores(encoder, settings, splits["dev"])
    threshold = best_threshold(dev, dev_labels)
    scores, labels = _scores(encoder, settings, splits["test"])
    pictures = [Picture(record.paths[0]) for record in splits["test"]]
    hits = ((scores > threshold) == labels).astype(float)
    result.metrics["accuracy"] = Metric(
        hits,
        clusters=cluster_by([picture.path for picture in pictures]),
        chance=float(max(labels.mean(), 1 - labels.mean())),
    )
    result.counts |= {f"{split} records": len(records) for split, records in splits.items()}
    result.choices = {"threshold": threshold, "chosen on": "dev"}
    captions, _, relations = zip(*(record.values for record in splits["test"]), strict=True)
    if any(relations):
        result.bars["by relation"] = by_class(relations, hits)
    result.ties["at the threshold"] = int((scores == threshold).sum())
    result.examples["failures"] = [
        Example(pictures[i], f"{captions[i]} ({'true' if labels[i] else 'false'})", False)
        for i in np.flatnonzero(hits == 0)[:6]
    ]
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks the records of both splits; their values are caption, label and relation."""
    found = {}
    for split in ("dev", "test"):
        wanted = []
        for row in jsonl_rows(files.path / f"{split}.jsonl", files.digests):
            label, caption = row.get("label", int), row.caption("caption")
            if label not in (0, 1):
                raise SuiteError(f"{row.where}: 'label' is {label}, expected 0 or 1")
            relation = row.category("relation") if row.values.get("relation") else ""
            values = caption, bool(label), relation
            wanted.append(Wanted(row.where, (row.get("image"),), values))
        before = len(wanted)
        found[split] = files.locate(wanted, result.skips)
        if len(found[split]) < before:
            result.notes.append(
                f"{split}: {len(found[split]):,} of its {before:,} records, a partial set"
            )
    return found


def _scores(encoder, settings: Settings, records: list[Located]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [N] and labels, bool [N]."""
    captions, labels, _ = zip(*(record.values for record in records), strict=True)
    pictures = [Picture(record.paths[0]) for record in records]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, list(captions), settings.levels)
    return cosines(images, texts), np.array(labels)


SUITES = (Suite("vsr", evaluate, read, path="folder", files="dev.jsonl and test.jsonl"),)
