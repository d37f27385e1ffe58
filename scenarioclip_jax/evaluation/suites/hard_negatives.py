"""In-domain hard negatives: a relation's own triplet against triplets that are false for the photo."""

from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Triplet, negative_kind
from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.embed.encoder import Encoder, TextsOf
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, Split, read_split
from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, Skips, by_class
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite

KINDS = {  # the names in reports
    "swapped": "swapped ends",
    "predicate": "other predicate",
    "object": "other object",
    "subject": "other subject",
    "other": "other",
}
OTHERS = (
    "choose the other suites with --config.suites=…, or annotate some and build the data set again"
)
PROTOCOL = (
    "At the relation level, on the test split. all: the relation's own triplet scores strictly higher than "
    "each of its negatives; by kind: than each of its negatives of that kind, over relations that have one; "
    "unseen: over relations whose triplet isn't in this data set's training split."
)


def score(
    own: np.ndarray, negatives: list[np.ndarray], kinds: list[list[str]], clusters: np.ndarray
) -> tuple[dict[str, Metric], np.ndarray]:
    """Accuracies, overall and by kind, and bool [N]: which relations beat all of their negatives.

    Args:
      own: Cosines [N] of the relations' own triplets.
      negatives, kinds: Cosines and kinds of each relation's negatives, at least one per relation.
      clusters: Photo of each relation, int [N].
    """
    hits = np.array([bool((one > many).all()) for one, many in zip(own, negatives, strict=True)])
    chance = float(np.mean([1 / (1 + len(many)) for many in negatives]))
    metrics = {"all": Metric(hits.astype(float), clusters=clusters, chance=chance)}
    for kind in KINDS.values():
        found, where, chances = [], [], []
        for i, (one, many, names) in enumerate(zip(own, negatives, kinds, strict=True)):
            chosen = many[np.array(names) == kind]
            if len(chosen):
                found.append(float((one > chosen).all()))
                where.append(clusters[i])
                chances.append(1 / (1 + len(chosen)))
        if found:
            chance = float(np.mean(chances))
            metrics[kind] = Metric(np.array(found), clusters=np.array(where), chance=chance)
    return metrics, hits


class Measured(NamedTuple):
    """The M relations that have a negative."""

    metrics: dict[str, Metric]  # none where M is 0
    rows: list[int]  # M: their rows in the gallery
    negatives: list[list[Triplet]]  # M
    own: np.ndarray  # float [M]: cosines of their own triplets
    cosines: list[np.ndarray]  # M: cosines of the negatives
    hits: np.ndarray  # bool [M]: whether all negatives are beaten
    ties: int = 0  # relations with a negative that is exactly as close


def measure(
    texts_of: TextsOf,
    gallery: Gallery,
    triplets: Sequence[Triplet],
    negatives: Sequence[Sequence[Triplet]],
    skips: Skips,
) -> Measured:
    """Scores the relations of a gallery.

    Args:
      texts_of: Function that embeds texts at a level, such as `Encoder.texts`.
      triplets, negatives: Own triplet and negatives of each row of the gallery.
      skips: Counts negatives and relations that can't be scored.
    """
    rows, usable = [], []
    for row, (own, given) in enumerate(zip(triplets, negatives, strict=True)):
        # The texts decide: two triplets with the same text can't be told apart.
        different = [
            each for each in dict.fromkeys(given) if relation_text(each) != relation_text(own)
        ]
        for _ in range(len(given) - len(different)):
            where = f"photo {gallery.photo_ids[row]}: {relation_text(own)}"
            skips.add("negative stands twice or is the relation's own triplet", where)
        if different:
            rows.append(row)
            usable.append(different)
        else:
            skips.add("relation without a negative", f"photo {gallery.photo_ids[row]}")
    if not rows:
        return Measured({}, [], [], np.zeros(0), [], np.zeros(0, bool))
    own_texts = [relation_text(triplets[row]) for row in rows]
    flat = [relation_text(each) for many in usable for each in many]
    counts = [len(many) for many in usable]
    texts = normalize(texts_of(own_texts + flat, "relation"))
    of = np.concatenate([np.arange(len(rows)), np.repeat(np.arange(len(rows)), counts)])
    cosines = np.einsum("nd,nd->n", normalize(gallery.embeddings[rows])[of], texts)
    others = np.split(cosines[len(rows) :], np.cumsum(counts)[:-1])
    kinds = [
        [KINDS[negative_kind(triplets[row], each)] for each in many]
        for row, many in zip(rows, usable, strict=True)
    ]
    photos = np.unique(np.array([gallery.photo_ids[row] for row in rows]), return_inverse=True)[1]
    own = cosines[: len(rows)]
    metrics, hits = score(own, others, kinds, photos)
    ties = sum(int((one == many).any()) for one, many in zip(own, others, strict=True))
    return Measured(metrics, rows, usable, own, others, hits, ties)


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores the suite; raises UnsupportedError if no relation of the test split has a negative."""
    result = Result({}, {}, "relation", PROTOCOL)
    split = read_split(data, "test", result.skips)
    gallery = split.galleries.get("relation")
    if gallery is None:
        raise UnsupportedError("the test split holds no relation", OTHERS)
    found = measure(encoder.texts, gallery, split.triplets, split.negatives, result.skips)
    if not found.rows:
        raise UnsupportedError(
            "no relation of the test split has a negative triplet (neg_samples in the annotations)",
            OTHERS,
        )
    result.metrics = found.metrics
    result.metrics |= _unseen(found, split, data.unseen())
    result.ties["relation"] = found.ties
    result.counts = {
        "relations with negatives": len(found.rows),
        "negatives": sum(map(len, found.negatives)),
    }
    predicates = [split.triplets[row][1] for row in found.rows]
    result.bars["all negatives beaten, by predicate"] = by_class(predicates, found.hits)
    for kind in KINDS.values():
        names, hits = [], []
        for i, row in enumerate(found.rows):
            own = split.triplets[row]
            of_kind = [
                bool(found.own[i] > cosine)
                for cosine, negative in zip(found.cosines[i], found.negatives[i], strict=True)
                if KINDS[negative_kind(own, negative)] == kind
            ]
            if of_kind:
                names.append(own[1])
                hits.append(all(of_kind))
        if names:
            result.bars[f"{kind} beaten, by predicate"] = by_class(names, np.array(hits))
    for i in np.flatnonzero(~found.hits)[:6]:
        row = found.rows[i]
        worst = relation_text(found.negatives[i][int(found.cosines[i].argmax())])
        caption = f"{relation_text(split.triplets[row])}, not {worst}"
        result.examples.setdefault("failures", []).append(
            Example(("relation", row), caption, False)
        )
    return result


def _unseen(found: Measured, split: Split, unseen: Set[str]) -> dict[str, Metric]:
    """The metrics of relations whose triplet isn't in the training split; none if there are none."""
    kept = [i for i, row in enumerate(found.rows) if relation_text(split.triplets[row]) in unseen]
    if not kept:
        return {}
    own = np.array([found.own[i] for i in kept])
    names = [
        [KINDS[negative_kind(split.triplets[found.rows[i]], each)] for each in found.negatives[i]]
        for i in kept
    ]
    ids = [split.galleries["relation"].photo_ids[found.rows[i]] for i in kept]
    photos = np.unique(np.array(ids), return_inverse=True)[1]
    metrics, _ = score(own, [found.cosines[i] for i in kept], names, photos)
    return {f"{name}, unseen": metric for name, metric in metrics.items()}


SUITES = (Suite("hard_negatives", evaluate),)
