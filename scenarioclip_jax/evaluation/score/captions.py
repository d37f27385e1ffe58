"""Retrieval between images and their captions, of which each image has several."""

from collections.abc import Sequence

import numpy as np

from scenarioclip_jax.evaluation.score.ranks import chance_of_hit, first_right
from scenarioclip_jax.evaluation.score.result import Metric

TOP = (1, 5, 10)


def score_captions(
    images: np.ndarray,
    texts: np.ndarray,
    image_of: np.ndarray,
    words: Sequence[str] | None = None,
) -> tuple[dict[str, Metric], np.ndarray, dict[str, int]]:
    """Recalls both ways, the ranks of the images' best captions, int [N], and the ties both ways.

    Args:
      images: Image embeddings, [V, N, D], stacked by level.
      texts: Text embeddings, [V, M, D], stacked by level.
      image_of: Row of each text's image, int [M]; every image has a text.
      words: The M texts themselves; equal ones count as one text. If None, all are different.
    """
    count = images.shape[1]
    own = _right_texts(count, image_of, words)
    to_text, text_ties = first_right(images, texts, own)
    to_image, image_ties = first_right(texts, images, [[image] for image in image_of])
    metrics = {}
    for k in TOP:
        chance = np.mean([chance_of_hit(len(image_of), len(each), k) for each in own])
        hits = (to_text < k).astype(float)
        metrics[f"image_to_text/R@{k}"] = Metric(hits, chance=float(chance))
    for k in TOP:
        hits = (to_image < k).astype(float)
        # The captions of one image aren't independent.
        metrics[f"text_to_image/R@{k}"] = Metric(
            hits, clusters=np.asarray(image_of), chance=min(k, count) / count
        )
    return metrics, to_text, {"image_to_text": text_ties, "text_to_image": image_ties}


def _right_texts(count: int, image_of: np.ndarray, words: Sequence[str] | None) -> list[list[int]]:
    """For each image, the rows of its captions and of all captions with the same words."""
    words = range(len(image_of)) if words is None else words
    of_words: dict = {}
    for text, word in enumerate(words):
        of_words.setdefault(word, []).append(text)
    own = [set() for _ in range(count)]
    for text, image in enumerate(image_of):
        own[image].update(of_words[words[text]])
    return [sorted(each) for each in own]
