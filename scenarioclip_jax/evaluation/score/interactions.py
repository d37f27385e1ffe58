"""Average precision of interactions of two boxes, as HICO-DET defines it (Chao et al. 2018, section 5).

A detection is right where both of its boxes overlap those of a true pair of its class in its photo by 0.5
(IoU) or more, and no surer detection has that pair. Of several true pairs, it stands for the one whose smaller
overlap is largest. The precision of a class is the mean over recalls of 0, 0.1, …, 1 of the largest from there
on.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.score.boxes import overlaps

OVERLAP = 0.5  # IoU


class Detections(NamedTuple):
    """N detections of a class: photos, boxes of subject and object (x0, y0, x1, y1), and scores."""

    photos: list[Any]
    pairs: Float[np.ndarray, "N 8"]
    scores: Float[np.ndarray, " N"]


def average_precision(
    truth: Mapping[Any, Float[np.ndarray, "T 8"]], found: Detections, *, inclusive: bool
) -> float:
    """The average precision of a class.

    Args:
      truth: The true pairs by photo; at least one.
      inclusive: Whether the last pixels belong to the boxes, so that sides are longer by one, as in HICO-DET.
    """
    order = np.argsort(-found.scores, kind="stable")
    free = {photo: np.ones(len(pairs), bool) for photo, pairs in truth.items()}
    hits = np.zeros(len(order), bool)
    for rank, at in enumerate(order):
        photo = found.photos[at]
        if photo not in truth:
            continue
        alike = _alike(found.pairs[at], truth[photo], inclusive)
        best = int(alike.argmax())
        hits[rank] = alike[best] >= OVERLAP and free[photo][best]
        free[photo][best] &= not hits[rank]
    right = np.cumsum(hits)
    recall = right / sum(map(len, truth.values()))
    precision = right / np.arange(1, len(hits) + 1)
    best_from = [precision[recall >= step].max(initial=0.0) for step in np.arange(11) / 10]
    return float(np.mean(best_from))


def _alike(
    pair: Float[np.ndarray, " 8"], true: Float[np.ndarray, "T 8"], inclusive: bool
) -> Float[np.ndarray, " T"]:
    """The smaller of the two overlaps with each true pair."""
    longer = np.array([0, 0, 1, 1]) * inclusive
    halves = slice(0, 4), slice(4, 8)
    both = [overlaps(pair[None, half] + longer, true[:, half] + longer)[0] for half in halves]
    return np.minimum(*both)
