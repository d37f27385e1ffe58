"""Zero-shot recognition: finds the class text that is nearest to an image's embedding.

Class texts are used bare, without a template. There are two counting rules, and both are reported:

strict     a hit is the crop's own label among the k nearest classes
any_label  a hit is any label of the crop's photo among them, as in the reference
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.evaluation.score.result import Metric

TOP = (1, 5, 10)
CHUNK = 1024  # most crops to score at once
ENTRIES = 1 << 22  # scores of crops and classes held at once: 16 MiB


def normalize(x: np.ndarray) -> np.ndarray:
    """L2-normalizes rows, in float32."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def label_ranks(
    images: np.ndarray, classes: np.ndarray, labels: Sequence[Sequence[int]]
) -> list[np.ndarray]:
    """Counts the classes that are nearer to a crop than each of its labels; ties count against the label.

    Args:
      images: Embeddings [N, D] of crops, not normalized.
      classes: Embeddings [C, D] of the class texts, not normalized.
      labels: For each crop, the indices of the classes whose ranks are wanted.
    """
    return _ranks_and_ties(images, classes, labels)[0]


def _ranks_and_ties(images, classes, labels) -> tuple[list[np.ndarray], np.ndarray]:
    """Like `label_ranks`; also tells for each crop whether a class ties with its first label, bool [N]."""
    images, classes = normalize(images), normalize(classes)
    ranks, tied = [], []
    chunk = max(1, min(CHUNK, ENTRIES // max(1, len(classes))))
    for start in range(0, len(images), chunk):
        scores = images[start : start + chunk] @ classes.T
        for row, wanted in zip(scores, labels[start : start + chunk], strict=True):
            # Every other class whose score isn't below the label's ranks before it. This includes ties, and all
            # classes if an embedding is NaN.
            ranks.append(np.array([np.sum(~(row < row[label])) - 1 for label in wanted]))
            tied.append(len(wanted) > 0 and np.sum(row == row[wanted[0]]) > 1)
    return ranks, np.array(tied, bool)


class Ranks(NamedTuple):
    """The number of classes that rank before the right one, for N images; 0 is a hit at rank 1."""

    strict: np.ndarray  # int [N]: classes before the image's own label
    any_label: np.ndarray  # int [N]: classes before the nearest of its photo's labels
    own: np.ndarray  # int [N]: index of its own label among the classes
    tied: np.ndarray  # bool [N]: whether another class is exactly as near as its own label


def recognition_ranks(
    images: np.ndarray,
    class_texts: Sequence[str],
    classes: np.ndarray,
    labels: Sequence[str],
    photo_ids: Sequence[str],
) -> Ranks:
    """Ranks under both counting rules; has the arguments and errors of `zero_shot`."""
    if not len(images) or not len(class_texts):
        raise ValueError(
            f"{len(images)} pictures and {len(class_texts)} classes: nothing to recognize"
        )
    index = {text: i for i, text in enumerate(class_texts)}
    unknown = sorted(set(labels) - set(index))
    if unknown:
        raise ValueError(
            f"{len(unknown)} labels are not among the {len(index)} classes, such as {unknown[0]!r}"
        )
    of_photo: dict[str, set[int]] = {}
    for photo, label in zip(photo_ids, labels, strict=True):
        of_photo.setdefault(photo, set()).add(index[label])
    wanted = []
    for photo, label in zip(photo_ids, labels, strict=True):
        own = index[label]
        wanted.append([own, *sorted(of_photo[photo] - {own})])  # its own label first
    ranks, tied = _ranks_and_ties(images, classes, wanted)
    return Ranks(
        np.array([r[0] for r in ranks]),
        np.array([r.min() for r in ranks]),
        np.array([w[0] for w in wanted]),
        tied,
    )


def measure(ranks: Ranks, classes: int, photo_ids: Sequence[str]) -> dict[str, Metric]:
    """Micro and macro top-k under both counting rules; intervals resample whole photos.

    Returns:
      `top{k}` (strict), `any_label_top{k}`, and with `macro_` in front their means over classes. k is capped at
      the number of classes. Chance is guessing under the strict rule.
    """
    metrics = {}
    clusters = np.unique(np.array(photo_ids), return_inverse=True)[1]
    for rule, found in (("", ranks.strict), ("any_label_", ranks.any_label)):
        for k in TOP:
            k_capped = min(k, classes)
            hits = (found < k_capped).astype(float)
            chance = None if rule else k_capped / classes
            metrics[f"{rule}top{k}"] = Metric(hits, clusters=clusters, chance=chance)
            metrics[f"macro_{rule}top{k}"] = Metric(hits, ranks.own, clusters, chance=chance)
    return metrics


def zero_shot(
    images: np.ndarray,
    class_texts: Sequence[str],
    classes: np.ndarray,
    labels: Sequence[str],
    photo_ids: Sequence[str],
) -> dict[str, float]:
    """The values of `measure` for one level, without intervals.

    Args:
      images: Embeddings [N, D] of the level's images.
      class_texts, classes: Texts [C] and embeddings [C, D] of the classes.
      labels: Each image's own label; must be among `class_texts`.
      photo_ids: Photo of each image, which decides the labels that `any_label` accepts.

    Returns:
      The metrics of `measure`, `chance_top{k}`, `count` and `classes`.

    Raises:
      ValueError: There is no image or no class, or a label isn't among the classes.
    """
    ranks = recognition_ranks(images, class_texts, classes, labels, photo_ids)
    total = len(set(class_texts))
    metrics = measure(ranks, total, photo_ids)
    result = {"count": float(len(images)), "classes": float(total)}
    result |= {name: metric.value for name, metric in metrics.items()}
    return result | {f"chance_top{k}": min(k, total) / total for k in TOP}
