"""Zero-shot recognition of a split at every level: galleries, class texts and scores together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.packing.fill import Labels
from scenarioclip_jax.evaluation.embed.embedder import Embedder, Gallery
from scenarioclip_jax.evaluation.embed.encoder import TextsOf
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


def pool(
    found: Mapping[str, Recognition],
    own: Mapping[str, Mapping[str, Sequence[str]]],
    classes: Mapping[str, Sequence[str]],
    texts_of: TextsOf,
) -> Recognition:
    """Scores the images of several data sets together, each among the classes of all of them.

    Args:
      found: Results of recognition on each data set, by name.
      own: Texts of `actions`, `objects` and `relations` of each data set.
      classes: The same of all data sets together.
      texts_of: Function that embeds texts at a level, for classes that no data set needed by itself.
    """
    scores, galleries, embedded = {}, {}, {}
    for level in LEVELS:
        kind = CLASS_LISTS[level]
        parts = {name: each for name, each in found.items() if level in each.scores}
        if not parts:
            continue
        known = {}
        for name, each in parts.items():
            known |= dict(zip(own[name][kind], each.class_embeddings[level], strict=True))
        if missing := [text for text in classes[kind] if text not in known]:
            known |= dict(zip(missing, texts_of(missing, level), strict=True))
        embedded[level] = np.stack([known[text] for text in classes[kind]])
        galleries[level] = _joined({name: each.galleries[level] for name, each in parts.items()})
        gallery = galleries[level]
        scores[level] = zero_shot(
            gallery.embeddings, classes[kind], embedded[level], gallery.texts, gallery.photo_ids
        )
    whole = _joined({name: each.whole for name, each in found.items()})
    return Recognition(scores, galleries, embedded, whole)


def _joined(galleries: Mapping[str, Gallery]) -> Gallery:
    """One gallery of several. Ids get the data set's name, since another may use them for other photos."""
    texts, ids = [], []
    for name, gallery in galleries.items():
        texts += gallery.texts
        ids += [f"{name}/{photo}" for photo in gallery.photo_ids]
    return Gallery(np.concatenate([each.embeddings for each in galleries.values()]), texts, ids)
