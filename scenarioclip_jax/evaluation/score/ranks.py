"""Ranks and cosines in bounded memory. A tie always counts against the right entry.

Embeddings here are stacked by level, [V, N, D]. Two are compared by the largest of their V cosines; V = 1 is
the case of one level.
"""

from collections.abc import Sequence
from math import comb

import numpy as np

from scenarioclip_jax.evaluation.score.zero_shot import normalize

ENTRIES = 1 << 24  # of a score matrix held at once: 64 MiB


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Cosines row by row at the best level: [V, N, D] and [V, N, D] to [N]."""
    return np.einsum("vnd,vnd->vn", normalize(one), normalize(two)).max(axis=0)


def first_right_ranks(
    queries: np.ndarray, gallery: np.ndarray, right: Sequence[Sequence[int]]
) -> np.ndarray:
    """The first result of `first_right`: how many wrong entries rank before each query's best right one."""
    return first_right(queries, gallery, right)[0]


def first_right(
    queries: np.ndarray, gallery: np.ndarray, right: Sequence[Sequence[int]]
) -> tuple[np.ndarray, int]:
    """Counts the wrong entries of the gallery that rank before each query's best right one.

    Args:
      queries: Query embeddings [V, Q, D], not normalized.
      gallery: Gallery embeddings [V, N, D], not normalized.
      right: For each query, the rows of the gallery that are right; at least one.

    Returns:
      The counts, int [Q], where 0 is a hit at rank 1; and the number of queries in which a wrong entry ties
      with the best right one.
    """
    queries, gallery = normalize(queries), normalize(gallery)
    rows = max(1, ENTRIES // max(1, gallery.shape[1]))
    ranks, ties = np.zeros(queries.shape[1], np.int64), 0
    for start in range(0, queries.shape[1], rows):
        scores = queries[0, start : start + rows] @ gallery[0].T
        for level in range(1, len(queries)):
            np.maximum(scores, queries[level, start : start + rows] @ gallery[level].T, out=scores)
        for row, own in enumerate(right[start : start + rows]):
            own = np.asarray(own)
            # Not "above": an entry that isn't below the best right one ranks before it, even if it is NaN.
            best = scores[row, own].max()
            before = ~(scores[row] < best)
            ranks[start + row] = before.sum() - before[own].sum()
            ties += bool((scores[row] == best).sum() > (scores[row, own] == best).sum())
    return ranks, ties


def nearest(queries: np.ndarray, gallery: np.ndarray, count: int) -> np.ndarray:
    """The `count` nearest rows of the gallery, nearest first, int [Q, count]; inputs as for `first_right`."""
    queries, gallery = normalize(queries), normalize(gallery)
    count = min(count, gallery.shape[1])
    rows = max(1, ENTRIES // max(1, gallery.shape[1]))
    found = []
    for start in range(0, queries.shape[1], rows):
        scores = np.max(queries[:, start : start + rows] @ gallery.transpose(0, 2, 1), axis=0)
        # Only the nearest are sorted, because there may be 100,000 others.
        few = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(scores, few, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(few, order, axis=1))
    return np.concatenate(found)


def chance_of_hit(total: int, right: int, k: int) -> float:
    """The chance that k entries drawn from `total` include one of the `right` ones (hypergeometric)."""
    k = min(k, total)
    return 1.0 - comb(total - right, k) / comb(total, k)
