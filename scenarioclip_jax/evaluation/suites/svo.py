"""SVO-Probes (Hendricks and Nematzadeh 2021): which of two pictures belongs to a sentence?

    FILE.csv   sentence, pos_image_id, neg_image_id, subj_neg, verb_neg, obj_neg (True or False), …

Images are named by id, with any common extension. Right when the positive picture's cosine is strictly above
the negative's; reported by which word differs. Many of the pictures' addresses are dead, so that
`config.skip_missing=True` is usual here.
"""

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError, csv_rows
from scenarioclip_jax.evaluation.ranks import cosines
from scenarioclip_jax.evaluation.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings, name_of

KINDS = {"subj_neg": "subject", "verb_neg": "verb", "obj_neg": "object"}
PROTOCOL = (
    "Right when the positive picture's cosine with the sentence is strictly above the negative's; "
    "by which word the negative picture differs in."
)


def score(
    positive: np.ndarray, negative: np.ndarray, kinds: list[set[str]]
) -> tuple[dict[str, Metric], np.ndarray]:
    """Accuracies by kind and over all, and bool [N], which are right.

    Args:
      positive, negative: [N] cosines of the sentence with the two pictures.
      kinds: which words differ, of KINDS' values; a record counts for each of them.
    """
    hits = positive > negative
    metrics = {"accuracy": Metric(hits.astype(float), chance=0.5)}
    for kind in KINDS.values():
        chosen = np.array([kind in each for each in kinds], bool)
        if chosen.any():
            metrics[f"{kind}/accuracy"] = Metric(hits[chosen].astype(float), chance=0.5)
    return metrics, hits


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Raises SuiteError: a record is malformed, or an image is missing and may not be."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    positives, negatives, sentences, kinds = [], [], [], []
    for row in csv_rows(files.path):
        flags = {name: row.get(name).strip().lower() for name in KINDS}
        if not set(flags.values()) <= {"true", "false"} or "true" not in flags.values():
            raise SuiteError(
                f"{row.where}: {flags}; each must be True or False, and one of them True"
            )
        sentence = row.caption("sentence")
        paths = [
            files.image_by_id(row.get(f"{side}_image_id").strip(), row.where, result.skips)
            for side in ("pos", "neg")
        ]
        if all(paths):
            positives.append(Picture(paths[0]))
            negatives.append(Picture(paths[1]))
            sentences.append(sentence)
            kinds.append({KINDS[name] for name, value in flags.items() if value == "true"})
    if not sentences:
        raise SuiteError(f"{files.path}: no record is left, every image is missing")
    images = by_levels(encoder.images, positives + negatives, settings.levels)
    texts = by_levels(encoder.texts, sentences, settings.levels)
    count = len(sentences)
    positive, negative = (cosines(part, texts) for part in (images[:, :count], images[:, count:]))
    result.metrics, hits = score(positive, negative, kinds)
    result.counts["records"] = count
    result.counts |= {f"{k} differs": sum(k in each for each in kinds) for k in KINDS.values()}
    worst = [i for i in np.argsort(positive - negative, kind="stable")[:3] if not hits[i]]
    result.examples["surest failures: the picture that is meant, then the one that was taken"] = [
        Example(side[i], sentences[i], side is positives)
        for i in worst
        for side in (positives, negatives)
    ]
    return result
