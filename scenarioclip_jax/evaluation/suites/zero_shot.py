"""In-domain zero-shot recognition of the test split's actions, objects and relations."""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, by_level, read_split
from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.score.ranks import nearest
from scenarioclip_jax.evaluation.score.result import (
    Confusion,
    Example,
    Metric,
    Result,
    by_class,
    confusion,
)
from scenarioclip_jax.evaluation.score.zero_shot import measure, recognition_ranks
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite

PROTOCOL = (
    "The nearest of all class texts of the data set. Top k: the picture's own label is among the k nearest; "
    "any label: any label of its photo is. A tie is wrong. Mean over classes: each class counts alike. k is "
    "capped at the number of classes. Chance is guessing the own label. Triplets unseen in training: over "
    "relations whose triplet isn't in this data set's training split."
)
SHOWN = 6  # hits and misses of each level in the report


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores all levels with several classes; raises UnsupportedError if there is no such level or no image."""
    result = Result({}, {}, "each level its own", PROTOCOL)
    result.choices["prompt"] = settings.prompt
    split = read_split(data, "test", result.skips)
    for level, gallery in by_level(split, "test", result.skips):
        try:
            texts = data.classes(level)
        except UnsupportedError as error:
            result.skips.add(
                "level of one class, nothing to tell apart", f"{level}: {error.reason}"
            )
            continue
        classes = encoder.texts(settings.prompted(texts), level)
        ranks = recognition_ranks(
            gallery.embeddings, texts, classes, gallery.texts, gallery.photo_ids
        )
        metrics = measure(ranks, len(texts), gallery.photo_ids)
        result.ties[level] = int(ranks.tied.sum())
        result.metrics |= {f"{level}/{name}": metric for name, metric in metrics.items()}
        result.counts |= {f"{level} pictures": len(gallery.texts), f"{level} classes": len(texts)}
        result.bars[f"{level}: strict top-1 by class"] = by_class(gallery.texts, ranks.strict < 1)
        first = nearest(gallery.embeddings[None], classes[None], 1)[:, 0]
        named = [texts[i] for i in first]
        _add_examples(result, level, gallery.texts, named, ranks.strict < 1, settings.seed)
        if level == "relation":
            unseen = data.unseen()
            rows = [row for row, text in enumerate(gallery.texts) if text in unseen]
            if rows:
                ids = np.array([gallery.photo_ids[row] for row in rows])
                photos = np.unique(ids, return_inverse=True)[1]
                hits = (ranks.strict[rows] < 1).astype(float)
                chance = 1 / len(texts)
                result.metrics["relation/unseen_top1"] = Metric(hits, None, photos, chance=chance)
            predicates = [triplet[1] for triplet in split.triplets]
            result.bars["relation: strict top-1 by predicate"] = by_class(
                predicates, ranks.strict < 1
            )
            result.confusions["predicates"] = _predicates(data, predicates, named)
    if not result.metrics:
        raise UnsupportedError(
            "no level has more than one class, so there is nothing to tell apart"
        )
    return result


def _predicates(data: InDomain, true: list[str], named: list[str]) -> Confusion:
    """Confusion of true predicates with those of the nearest triplets; triplets that never occur have none."""
    of_text = data.predicates()
    return confusion(true, [of_text.get(text, "(unknown)") for text in named])


def _add_examples(result: Result, level: str, own, named, hits: np.ndarray, seed: int) -> None:
    """Adds some hits and some misses, drawn at random because the best ones would flatter."""
    draw = np.random.default_rng(seed)
    for title, rows in (("hits", np.flatnonzero(hits)), ("misses", np.flatnonzero(~hits))):
        chosen = sorted(draw.permutation(rows)[:SHOWN].tolist())
        result.examples[f"{level}: {title}, drawn by chance"] = [
            Example(
                (level, row),
                own[row] if hits[row] else f"{own[row]}, not {named[row]}",
                bool(hits[row]),
            )
            for row in chosen
        ]


SUITES = (Suite("zero_shot", evaluate),)
