"""Scores of records that are a picture, a true caption and a false one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Located
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import Example, Result
from scenarioclip_jax.evaluation.settings import Settings


def score(
    encoder: Encoder,
    settings: Settings,
    records: Sequence[Located],
    result: Result,
    name: str,
    shown: int = 4,
) -> tuple[Float[np.ndarray, " N"], list[Path]]:
    """Tells which records are right: the true caption's cosine is strictly above the false one's.

    Args:
      records: N records whose values are the true and the false caption.
      result: Gets the number of ties and the surest failures, at most `shown`.
      name: What the records are called in it.

    Returns:
      1 for each record that is right and 0 for each other, and the path of each picture.
    """
    pictures = [Picture(record.paths[0]) for record in records]
    trues, falses = (list(texts) for texts in zip(*(r.values for r in records), strict=True))
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, trues + falses, settings.levels)
    count = len(trues)
    true, false = (cosines(images, each) for each in (texts[:, :count], texts[:, count:]))
    hits = true > false
    result.ties[name] = int((true == false).sum())
    result.examples[f"{name}: surest failures"] = [
        Example(pictures[i], f"{trues[i]}, not {falses[i]}", False)
        for i in np.argsort(true - false, kind="stable")[:shown]
        if not hits[i]
    ]
    return hits.astype(float), [record.paths[0] for record in records]
