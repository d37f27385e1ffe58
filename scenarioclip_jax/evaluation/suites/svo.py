"""SVO-Probes (Hendricks and Nematzadeh 2021): which of two images belongs to a sentence?

    FILE.csv   sentence, pos_image_id, neg_image_id, subj_neg, verb_neg, obj_neg (True or False), …

Images are named by id, with any common extension. A record is right if the positive image's cosine is strictly
above the negative's; results are given by which word differs. Rows in which several words differ, or none, are
left out, as in the authors' notebook. The authors' own figure is a different one, whether a model calls each
pair a match or not, which needs a classifier that CLIP doesn't have. Many of the images' addresses are dead, so
`config.skip_missing=True` is usual here.
"""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import csv_rows
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    cluster_by,
)
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

KINDS = {"subj_neg": "subject", "verb_neg": "verb", "obj_neg": "object"}
PROTOCOL = (
    "Pairwise, as usual for CLIP: right when the positive picture's cosine with the sentence is strictly above "
    "the negative's; by which word the negative picture differs in. (The authors count match or no match of "
    "each picture, which is another figure.) Rows in which several words differ, or none, are left out, as "
    "officially."
)


def score(
    positive: np.ndarray,
    negative: np.ndarray,
    kinds: list[set[str]],
    clusters: np.ndarray | None = None,
) -> tuple[dict[str, Metric], np.ndarray]:
    """Accuracies by kind and overall, and bool [N]: which records are right.

    Args:
      positive, negative: Cosines [N] of the sentence with the two images.
      kinds: Words that differ in each record, from the values of KINDS; a record counts for each of them.
      clusters: Positive image of each record, int [N].
    """
    hits = positive > negative
    clusters = np.arange(len(hits)) if clusters is None else clusters
    metrics = {"accuracy": Metric(hits.astype(float), clusters=clusters, chance=0.5)}
    for kind in KINDS.values():
        chosen = np.array([kind in each for each in kinds], bool)
        if chosen.any():
            metrics[f"{kind}/accuracy"] = Metric(
                hits[chosen].astype(float), clusters=clusters[chosen], chance=0.5
            )
    return metrics, hits


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a record is malformed or an image is missing and may not be."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    positives, negatives = ([Picture(record.paths[side]) for record in records] for side in (0, 1))
    sentences, kinds = zip(*(record.values for record in records), strict=True)
    images = by_levels(encoder.images, positives + negatives, settings.levels)
    texts = by_levels(encoder.texts, sentences, settings.levels)
    count = len(sentences)
    positive, negative = (cosines(part, texts) for part in (images[:, :count], images[:, count:]))
    clusters = cluster_by([picture.path for picture in positives])
    result.metrics, hits = score(positive, negative, kinds, clusters)
    result.ties["records"] = int((positive == negative).sum())
    result.counts["records"] = count
    result.counts |= {f"{k} differs": sum(k in each for each in kinds) for k in KINDS.values()}
    worst = [i for i in np.argsort(positive - negative, kind="stable")[:3] if not hits[i]]
    result.examples["surest failures: the picture that is meant, then the one that was taken"] = [
        Example(side[i], sentences[i], side is positives)
        for i in worst
        for side in (positives, negatives)
    ]
    return result


def read(files: Files, result: Result) -> list[Located]:
    """Reads and checks the records; their values are the sentence and the set with the word that differs."""
    wanted = []
    for row in csv_rows(files.path, files.digests):
        flags = {name: row.get(name).strip().lower() for name in KINDS}
        if not set(flags.values()) <= {"true", "false"}:
            raise SuiteError(f"{row.where}: {flags}; each must be True or False")
        differs = {KINDS[name] for name, value in flags.items() if value == "true"}
        sentence = row.caption("sentence")
        names = tuple(row.get(f"{side}_image_id").strip() for side in ("pos", "neg"))
        if len(differs) != 1:
            what = "several words differ" if differs else "no word differs"
            result.skips.add(f"{what}: left out, as officially", row.where)
        else:
            wanted.append(Wanted(row.where, names, (sentence, differs)))
    if not wanted:
        raise SuiteError(f"{files.path}: no record in which one word differs")
    records = files.locate(wanted, result.skips)
    if len(records) < len(wanted):
        result.notes.append(f"{len(records):,} of its {len(wanted):,} rows, a partial set")
    return records


SUITES = (Suite("svo", evaluate, read, path="file", files="svo_probes.csv"),)
