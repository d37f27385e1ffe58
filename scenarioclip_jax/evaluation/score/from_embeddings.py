"""The suites that are cheap enough to run during training: they score what recognition already embedded.

Protocols are those of `evaluation.suites`; only texts that aren't class texts, such as false triplets, have to
be embedded in addition. One thing differs: whether scenes show the same photo isn't known here, so in retrieval
they don't share their right texts.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.evaluation.embed.encoder import TextsOf
from scenarioclip_jax.evaluation.score.recognition import CLASS_LISTS, Recognition
from scenarioclip_jax.evaluation.score.result import Metric, Skips
from scenarioclip_jax.evaluation.suites import hard_negatives, retrieval

SUITES = ("zero_shot", "retrieval", "hard_negatives")
RECOGNITION = ("top1", "top5", "any_label_top1")


class Score(NamedTuple):
    value: float
    chance: float | None  # None: unknown


class PhotoTexts(NamedTuple):
    """The texts of one photo that aren't class texts."""

    triplets: list[Triplet]  # of its relations, in the order of its annotation
    negatives: list[list[Triplet]]  # of each relation
    captions: Sequence[str]


def scores(
    found: Recognition,
    classes: Mapping[str, Sequence[str]],
    photos: Mapping[str, PhotoTexts],
    texts_of: TextsOf,
    suites: Collection[str],
) -> dict[str, Score]:
    """Scores embedded images with some of SUITES.

    Args:
      found: Embeddings of the images and of the class texts.
      classes: `actions`, `objects` and `relations` of the data set.
      photos: Texts of each photo, by its id; may be empty if only `zero_shot` is asked for. A photo that isn't
        among them counts for neither captions nor hard negatives.
      texts_of: Function that embeds texts at a level.

    Returns:
      Scores by `LEVEL/METRIC`. R@1 becomes R1 and blanks become _, since TensorBoard's tags allow neither.
    """
    result, embed = {}, texts_of
    texts_of = _class_texts_first(found, classes, embed)
    if "zero_shot" in suites:
        for level, values in found.scores.items():
            result |= {
                f"{level}/{name}": Score(values[name], values.get(f"chance_{name}"))
                for name in RECOGNITION
            }
    if "retrieval" in suites:
        for level in found.scores:  # those with images
            metrics = retrieval.measure(texts_of, found.galleries[level], level).metrics
            recalls = {name: metric for name, metric in metrics.items() if "/R@" in name}
            result |= _named(f"{level}/", recalls)
        captions = [
            photos[photo].captions if photo in photos else () for photo in found.whole.photo_ids
        ]
        if any(captions):
            rows = [row for row, of_photo in enumerate(captions) if of_photo]
            metrics = retrieval.by_caption(
                embed, found.whole.embeddings[rows], [captions[row] for row in rows]
            )[0]
            result |= _named("caption/", metrics)
    if "hard_negatives" in suites and "relation" in found.scores:
        gallery = found.galleries["relation"]
        # A record may have been damaged since its images were embedded.
        gallery = gallery.take([row for row, id in enumerate(gallery.photo_ids) if id in photos])
        # The gallery holds the relations of each photo in order, photo by photo.
        of_photos = [photos[photo] for photo in dict.fromkeys(gallery.photo_ids)]
        triplets = [triplet for photo in of_photos for triplet in photo.triplets]
        negatives = [many for photo in of_photos for many in photo.negatives]
        metrics = hard_negatives.measure(texts_of, gallery, triplets, negatives, Skips()).metrics
        result |= _named("relation/hard_negatives/", metrics)
    return result


def _named(prefix: str, metrics: Mapping[str, Metric]) -> dict[str, Score]:
    return {
        prefix + name.replace("@", "").replace(" ", "_"): Score(metric.value, metric.chance)
        for name, metric in metrics.items()
    }


def _class_texts_first(
    found: Recognition, classes: Mapping[str, Sequence[str]], texts_of: TextsOf
) -> TextsOf:
    """Looks up class texts and embeds every other text once."""

    def look_up(texts: Sequence[str], level: str) -> np.ndarray:
        known = dict(zip(classes[CLASS_LISTS[level]], found.class_embeddings[level], strict=True))
        others = [text for text in dict.fromkeys(texts) if text not in known]
        if others:
            known |= zip(others, texts_of(others, level), strict=True)
        return np.stack([known[text] for text in texts])

    return look_up
