"""Recall of the triplets of scene graphs, whose candidates are pairs of given boxes with each predicate."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Picture
from scenarioclip_jax.evaluation.score.boxes import overlaps
from scenarioclip_jax.evaluation.score.result import Metric

TOP = (20, 50, 100)
NEVER = np.iinfo(np.int64).max  # the rank of a triplet that isn't a candidate
OVERLAP = 0.5  # IoU


class ImageTriplets(NamedTuple):
    """An image with its true triplets."""

    picture: Picture
    image_id: str
    boxes: list[tuple[float, float, float, float]]
    labels: list[str]
    truth: list[tuple[int, int, int]]  # (subject, object, predicate), each once
    categories: list[int]  # of the boxes

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs of different objects."""
        count = range(len(self.boxes))
        return [(s, o) for s in count for o in count if s != o]


class Found(NamedTuple):
    """The T true triplets of one image."""

    predicates: np.ndarray  # int [T]
    constrained: np.ndarray  # int [T]: candidates ranked before it, NEVER if it isn't one
    unconstrained: np.ndarray  # int [T]
    unseen: np.ndarray  # bool [T]
    pairs: int  # M, of the image


def triplet_ranks(
    scores: np.ndarray,
    truth: Sequence[tuple[int, int]],
    matches: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of true triplets with and without the graph constraint, int [T] each; 0 is first.

    Args:
      scores: Cosines [M, P] of M pairs and P predicates.
      truth: (pair, predicate) of each triplet.
      matches: For each of the T triplets, the pairs that count as its own, maybe none; None for its pair only.
    """
    best = scores.max(axis=1)
    constrained, unconstrained = [], []
    for index, (pair, predicate) in enumerate(truth):
        pairs = np.array([pair]) if matches is None else matches[index]
        if not len(pairs):
            constrained.append(NEVER)
            unconstrained.append(NEVER)
            continue
        own = scores[pairs, predicate]
        # Every candidate that isn't below the best match ranks before it, even NaN; only matches don't.
        unconstrained.append(np.sum(~(scores < own.max())) - np.sum(~(own < own.max())))
        chosen = own[(~(scores[pairs] < own[:, None])).sum(axis=1) == 1]
        constrained.append(
            np.sum(~(best < chosen.max())) - np.sum(~(chosen < chosen.max()))
            if len(chosen)
            else NEVER
        )
    return np.array(constrained, np.int64), np.array(unconstrained, np.int64)


def matching_pairs(scene: ImageTriplets, predicted: np.ndarray | None = None) -> list[np.ndarray]:
    """For each true triplet, the pairs with its labels whose boxes overlap its own by at least OVERLAP.

    Args:
      predicted: Categories that the boxes get, int [N]; None: their own.
    """
    boxes, kinds = np.array(scene.boxes, float), np.array(scene.categories)
    subjects, objects = np.array(scene.pairs).T
    # A box without an area overlaps nothing, not even itself.
    alike = (overlaps(boxes, boxes) >= OVERLAP) | np.eye(len(boxes), dtype=bool)
    alike &= kinds[:, None] == (kinds if predicted is None else predicted)
    return [np.flatnonzero(alike[s, subjects] & alike[o, objects]) for s, o, _ in scene.truth]


def score(found: Sequence[Found], predicates: int, *, chances: bool = True) -> dict[str, Metric]:
    """All recalls, over images that have at least one true triplet.

    Args:
      predicates: Number P of predicates.
      chances: Whether to add the scores of a random ranking, which hold for the pan_seg rule.
    """
    image = np.concatenate([np.full(len(each.predicates), i) for i, each in enumerate(found)])
    pairs = np.concatenate([np.full(len(each.predicates), each.pairs) for each in found])
    predicate = np.concatenate([each.predicates for each in found])
    unseen = np.concatenate([each.unseen for each in found])
    constrained = np.concatenate([each.constrained for each in found])
    free = np.concatenate([each.unconstrained for each in found])
    everything = np.ones(len(image), bool)
    metrics = {}
    for name, ranks, chosen in (
        ("R", constrained, everything),
        ("ng-R", free, everything),
        ("zR", constrained, unseen),
    ):
        if not chosen.any():
            continue
        candidates = pairs * predicates if name == "ng-R" else pairs
        right = (
            1.0 if name == "ng-R" else 1 / predicates
        )  # chance that the candidate is the triplet
        for k in TOP:
            chance = np.minimum(1, k / candidates) * right
            shares, _ = _cell_means(image[chosen], (ranks < k)[chosen])
            guessed, _ = _cell_means(image[chosen], chance[chosen])
            metrics[f"{name}@{k}"] = Metric(shares, chance=float(guessed.mean()))
    for k in TOP:
        # A cell is a predicate in an image. Its share is taken first, because the recall is per image.
        cell = image * predicates + predicate
        of_one, of_all = (
            np.minimum(1, k / pairs) / predicates,
            np.minimum(1, k / pairs / predicates),
        )
        for name, ranks, guess, count in (
            ("mR", constrained, of_one, predicates),
            ("present_mR", constrained, of_one, None),
            ("ng-mR", free, of_all, predicates),
        ):
            shares, cells = _cell_means(cell, ranks < k)
            guessed, _ = _cell_means(cell, guess)
            groups, images = cells % predicates, cells // predicates
            chance = Metric(guessed, groups, all_groups=count).value
            metrics[f"{name}@{k}"] = Metric(shares, groups, images, chance=chance, all_groups=count)
    if not chances:
        metrics = {k: dataclasses.replace(metric, chance=None) for k, metric in metrics.items()}
    return metrics


def _cell_means(cells: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of the values in each cell, and the cells."""
    unique, index = np.unique(cells, return_inverse=True)
    return np.bincount(index, values.astype(float)) / np.bincount(index), unique
