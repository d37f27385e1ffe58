"""In-domain hard negatives: a relation's own triplet against triplets that are false of the photo."""

import numpy as np

from scenarioclip_jax.data.scene import Triplet, relation_text
from scenarioclip_jax.evaluation.encoder import Encoder
from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.in_domain import InDomain, open_split
from scenarioclip_jax.evaluation.result import Example, Metric, Result, by_class
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.zero_shot import normalise

KINDS = ("swapped ends", "other predicate", "other object", "other subject", "other")
PROTOCOL = (
    "At the relation level, on the test split. all: the relation's own triplet scores strictly higher than "
    "each of its negatives; by kind: than each of its negatives of that kind, over relations that have one."
)


def kind_of(own: Triplet, negative: Triplet) -> str:
    """How a negative differs: one of KINDS; a change of several parts that is no swap is `other`."""
    subject, predicate, object_ = own
    if negative == (object_, predicate, subject):
        return KINDS[0]
    same = [a == b for a, b in zip(own, negative, strict=True)]
    if same == [True, False, True]:
        return KINDS[1]
    if same == [True, True, False]:
        return KINDS[2]
    if same == [False, True, True]:
        return KINDS[3]
    return KINDS[4]


def score(
    own: np.ndarray, negatives: list[np.ndarray], kinds: list[list[str]], clusters: np.ndarray
) -> tuple[dict[str, Metric], np.ndarray]:
    """Accuracies, all and by kind, and bool [N]: which relations beat all of their negatives.

    Args:
      own: [N] cosines of the relations' own triplets.
      negatives, kinds: for each relation the cosines and kinds of its negatives, at least one.
      clusters: int [N], the photo of each relation.
    """
    hits = np.array([bool((one > many).all()) for one, many in zip(own, negatives, strict=True)])
    chance = float(np.mean([1 / (1 + len(many)) for many in negatives]))
    metrics = {"all": Metric(hits.astype(float), clusters=clusters, chance=chance)}
    for kind in KINDS:
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


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Raises SuiteError: no relation of the test split has a negative."""
    result = Result({}, {}, "relation", PROTOCOL)
    split = open_split(data, "test", result.skips)
    gallery = split.galleries.get("relation")
    rows, negatives = [], []
    for row, (own, given) in enumerate(zip(split.triplets, split.negatives, strict=True)):
        # Texts decide: two triplets with one text can't be told apart.
        usable = [
            each for each in dict.fromkeys(given) if relation_text(each) != relation_text(own)
        ]
        for _ in range(len(given) - len(usable)):
            where = f"photo {gallery.photo_ids[row]}: {relation_text(own)}"
            result.skips.add("negative stands twice or is the relation's own triplet", where)
        if usable:
            rows.append(row)
            negatives.append(usable)
        else:
            result.skips.add("relation without a negative", f"photo {gallery.photo_ids[row]}")
    if not rows:
        raise SuiteError("no relation of the test split has a negative triplet")
    images = normalise(gallery.embeddings[rows])
    own_texts = [relation_text(split.triplets[row]) for row in rows]
    flat = [relation_text(each) for many in negatives for each in many]
    texts = normalise(encoder.texts(own_texts + flat, "relation"))
    of = np.concatenate(
        [np.arange(len(rows)), np.repeat(np.arange(len(rows)), list(map(len, negatives)))]
    )
    cosines = np.einsum("nd,nd->n", images[of], texts)
    own = cosines[: len(rows)]
    others = np.split(cosines[len(rows) :], np.cumsum(list(map(len, negatives)))[:-1])
    kinds = [
        [kind_of(split.triplets[row], each) for each in many]
        for row, many in zip(rows, negatives, strict=True)
    ]
    photos = [gallery.photo_ids[row] for row in rows]
    clusters = np.unique(np.array(photos), return_inverse=True)[1]
    result.metrics, hits = score(own, others, kinds, clusters)
    result.counts = {"relations with negatives": len(rows), "negatives": len(flat)}
    predicates = [split.triplets[row][1] for row in rows]
    result.bars["all negatives beaten, by predicate"] = by_class(predicates, hits)
    for i in np.flatnonzero(~hits)[:6]:
        worst = relation_text(negatives[i][int(others[i].argmax())])
        example = Example(("relation", rows[i]), f"{own_texts[i]}, not {worst}", False)
        result.examples.setdefault("failures", []).append(example)
    return result
