"""Scores of two images and two captions that belong together crosswise (Thrush et al. 2022, section 3.1).

With s(c, i) the cosine of caption c and image i, and all inequalities strict:

    text    s(0, 0) > s(1, 0) and s(1, 1) > s(0, 1)      the right caption for each image
    image   s(0, 0) > s(0, 1) and s(1, 1) > s(1, 0)      the right image for each caption
    group   both
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings

PROTOCOL = (
    "text: for each picture its own caption scores higher; image: for each caption its own picture does; "
    "group: both. All strict."
)
SHOWN = 4  # records in the report whose group score is 0


def score(scores: np.ndarray) -> dict[str, Metric]:
    """The three accuracies from cosines [N, 2, 2], where scores[n, c, i] is for caption c and image i."""
    s = np.asarray(scores)
    text = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    image = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    return {
        "text": Metric(text.astype(float), chance=1 / 4),
        "image": Metric(image.astype(float), chance=1 / 4),
        "group": Metric((text & image).astype(float), chance=1 / 6),
    }


def embed(
    encoder: Encoder, pictures: Sequence[Picture], captions: Sequence[str], settings: Settings
) -> Float[np.ndarray, "N 2 2"]:
    """Cosines of each record's captions (second axis) and images (third axis).

    Args:
      pictures, captions: Two of each record, one record after the other.
    """
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    table = [[cosines(images[:, i::2], texts[:, c::2]) for i in (0, 1)] for c in (0, 1)]
    return np.array(table).transpose(2, 0, 1)


def add(
    result: Result,
    scores: Float[np.ndarray, "N 2 2"],
    pictures: Sequence[Picture],
    captions: Sequence[str],
) -> None:
    """Adds the scores of all records, their ties, their number and some failures."""
    result.metrics |= score(scores)
    equal = (scores[:, 0] == scores[:, 1]).any(axis=1) | (scores[..., 0] == scores[..., 1]).any(
        axis=1
    )
    result.ties["records"] = int(equal.sum())
    result.counts["records"] = len(scores)
    wrong = np.flatnonzero(result.metrics["group"].samples == 0)[:SHOWN]
    result.examples["failures"] = [
        Example(pictures[2 * n + i], captions[2 * n + i], False) for n in wrong for i in (0, 1)
    ]


def add_groups(result: Result, scores: Float[np.ndarray, "N 2 2"], groups: Sequence[str]) -> None:
    """Adds the scores of each group of records, and their means over groups with equal weights."""
    for name in dict.fromkeys(groups):
        rows = [row for row, group in enumerate(groups) if group == name]
        result.metrics |= {f"{name}/{key}": each for key, each in score(scores[rows]).items()}
        result.counts[f"{name} records"] = len(rows)
    for key, metric in score(scores).items():
        mean = Metric(metric.samples, np.array(groups), chance=metric.chance)
        result.metrics[f"mean_{key}"] = mean
