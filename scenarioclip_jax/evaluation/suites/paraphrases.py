"""In-domain paraphrases: what says the same in other words should be judged like the relation's own triplet.

Negatives teach a model to push texts away that differ in a word. "Lamp above table" and "table below lamp"
differ in all of them, and both are true.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.embed.encoder import Encoder, TextsOf
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, read_split
from scenarioclip_jax.evaluation.files import UnsupportedError
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, by_class
from scenarioclip_jax.evaluation.score.zero_shot import normalize
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite
from scenarioclip_jax.words.negatives import paraphrases as make

MOST = 2  # paraphrases that are made for a relation whose annotation has none
PROTOCOL = (
    "At the relation level, on the test split. beats negatives: a paraphrase scores strictly higher than each "
    "of its relation's negatives; same verdict: it beats all of them where the relation's own triplet does, "
    f"and fails where that fails. Relations without annotated paraphrases get up to {MOST} made from a table "
    "of predicates and their inverses. Shares are of paraphrases."
)


class Measured(NamedTuple):
    """The M paraphrases of relations that have a negative."""

    metrics: dict[str, Metric]  # none where M is 0
    rows: list[int]  # M: rows of their relations in the gallery
    texts: list[str]  # M
    hits: np.ndarray  # bool [M]: whether they beat the negatives
    made: int  # how many weren't annotated


def measure(
    texts_of: TextsOf,
    gallery: Gallery,
    triplets: Sequence[Triplet],
    negatives: Sequence[Sequence[Triplet]],
    paraphrases: Sequence[Sequence[str]],
) -> Measured:
    """Scores the paraphrases of a gallery's relations.

    Args:
      texts_of: Function that embeds texts at a level, such as `Encoder.texts`.
      gallery: The relations' pictures.
      triplets, negatives, paraphrases: Those of each row of the gallery.
    """
    rows, texts, made = [], [], 0
    false: dict[int, list[str]] = {}
    for row, (own, wrong, annotated) in enumerate(
        zip(triplets, negatives, paraphrases, strict=True)
    ):
        others = list(annotated)
        if not others:
            others = [relation_text(each) for each in make(own, MOST)]
        true = {relation_text(own), *others}
        usable = [text for text in dict.fromkeys(map(relation_text, wrong)) if text not in true]
        if usable:
            false[row] = usable
            found = [text for text in dict.fromkeys(others) if text != relation_text(own)]
            rows += [row] * len(found)
            texts += found
            made += 0 if annotated else len(found)
    if not rows:
        return Measured({}, [], [], np.zeros(0, bool), 0)
    everything = dict.fromkeys([*texts, *(relation_text(triplets[row]) for row in rows)])
    everything |= dict.fromkeys(text for row in rows for text in false[row])
    embedded = dict(zip(everything, normalize(texts_of(list(everything), "relation")), strict=True))
    pictures = normalize(gallery.embeddings)
    hits, same = [], []
    for row, text in zip(rows, texts, strict=True):
        worst = max(pictures[row] @ embedded[each] for each in false[row])
        own = bool(pictures[row] @ embedded[relation_text(triplets[row])] > worst)
        hits.append(bool(pictures[row] @ embedded[text] > worst))
        same.append(hits[-1] == own)
    photos = np.unique(np.array([gallery.photo_ids[row] for row in rows]), return_inverse=True)[1]
    chance = float(np.mean([1 / (1 + len(false[row])) for row in rows]))
    metrics = {
        "beats negatives": Metric(np.array(hits, float), clusters=photos, chance=chance),
        "same verdict": Metric(np.array(same, float), clusters=photos),
    }
    return Measured(metrics, rows, texts, np.array(hits), made)


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores the suite; raises UnsupportedError if no relation has both a paraphrase and a negative."""
    result = Result({}, {}, "relation", PROTOCOL)
    split = read_split(data, "test", result.skips)
    gallery = split.galleries.get("relation")
    if gallery is None:
        raise UnsupportedError("the test split holds no relation")
    found = measure(encoder.texts, gallery, split.triplets, split.negatives, split.paraphrases)
    if not found.rows:
        raise UnsupportedError("no relation of the test split has both a paraphrase and a negative")
    result.metrics = found.metrics
    result.counts = {
        "paraphrases": len(found.rows),
        "made from the table of predicates": found.made,
    }
    predicates = [split.triplets[row][1] for row in found.rows]
    result.bars["paraphrase beats negatives, by predicate"] = by_class(predicates, found.hits)
    for i in np.flatnonzero(~found.hits)[:6]:
        caption = f"{found.texts[i]} ({relation_text(split.triplets[found.rows[i]])})"
        result.examples.setdefault("failures", []).append(
            Example(("relation", found.rows[i]), caption, False)
        )
    return result


SUITES = (Suite("paraphrases", evaluate),)
