"""Zero-shot recognition of a split at every level: galleries, class texts and scores together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.packing.fill import Labels
from scenarioclip_jax.evaluation.embed.embedder import Embedder, Gallery
from scenarioclip_jax.evaluation.score.zero_shot import zero_shot
from scenarioclip_jax.models.params import Params

CLASS_LISTS = {"global": "actions", "object": "objects", "relation": "relations"}


class Recognition(NamedTuple):
    """Results of recognition on a split, by level; levels without any image are left out."""

    scores: dict[str, dict[str, float]]
    galleries: dict[str, Gallery]
    class_embeddings: dict[str, np.ndarray]  # [C, D], not normalized
    whole: Gallery  # all scenes; `galleries` has those with an action


def recognize(
    embedder: Embedder,
    params: Params,
    batches: Iterable[tuple[Batch, dict[str, Labels]]],
    classes: Mapping[str, Sequence[str]],
) -> Recognition:
    """Scores `params` on evaluation batches.

    Args:
      classes: Texts of `actions`, `objects` and `relations` in the data set.
    """
    found = embedder.images(params, batches)
    galleries = {level: gallery.told() for level, gallery in found.items()}
    scores, class_embeddings = {}, {}
    for level in LEVELS:
        texts, gallery = classes[CLASS_LISTS[level]], galleries[level]
        if not len(gallery.texts):
            continue
        class_embeddings[level] = embedder.texts(params, texts, level)
        scores[level] = zero_shot(
            gallery.embeddings, texts, class_embeddings[level], gallery.texts, gallery.photo_ids
        )
    return Recognition(scores, galleries, class_embeddings, found["global"])
