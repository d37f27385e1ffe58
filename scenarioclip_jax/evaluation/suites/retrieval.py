"""In-domain retrieval at each level, both ways, on the test split; of whole photos by action and by caption.

Equal texts count as one text with several right images, and equal pictures, of several scenes of one photo, as
one picture with several right texts: nothing could tell them apart. A tie is wrong.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.evaluation.embed.embedder import Gallery
from scenarioclip_jax.evaluation.embed.encoder import Encoder, TextsOf
from scenarioclip_jax.evaluation.embed.in_domain import InDomain, by_level, read_split
from scenarioclip_jax.evaluation.score.captions import score_captions
from scenarioclip_jax.evaluation.score.ranks import chance_of_hit, first_right, nearest
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites.registry import Suite

TOP = (1, 5, 10)
PROTOCOL = (
    "Equal texts count as one text with several right pictures, and scenes of the same picture share their "
    "right texts. Text to image: any right picture among the k nearest is a hit; image to text: one of the "
    "picture's texts among the k nearest of the split's texts is. A tie is wrong; k is capped; median ranks "
    "count from 1. caption: whole photos and all of their captions, in place of actions; any of a photo's "
    "captions among the k nearest is a hit."
)
SHOWN = 5  # texts per level in the report, with as many images each


def score(
    images: np.ndarray,
    texts: np.ndarray,
    text_of: np.ndarray,
    picture_of: np.ndarray | None = None,
) -> dict[str, Metric]:
    """Recalls and median ranks of one level.

    Args:
      images: Image embeddings, [N, D].
      texts: Text embeddings, [M, D], of distinct texts.
      text_of: Row of each image's text, int [N]; every text has an image.
      picture_of: Number of each image's picture, int [N], equal where the pixels are; None: all differ.
    """
    return _score(images, texts, text_of, picture_of)[0]


def _score(images, texts, text_of, picture_of=None) -> tuple[dict[str, Metric], int]:
    """Like `score`; also counts the queries, both ways, with a wrong entry that ties with the right one."""
    count, total = len(images), len(texts)
    picture_of = np.arange(count) if picture_of is None else picture_of
    texts_of = {}  # the right texts of each picture, in order
    for picture, text in zip(picture_of, text_of, strict=True):
        texts_of.setdefault(picture, {})[text] = None
    own = [list(texts_of[picture]) for picture in picture_of]
    right = [[] for _ in range(total)]
    for image, several in enumerate(own):
        for text in several:
            right[text].append(image)
    to_image, image_ties = first_right(texts[None], images[None], right)
    to_text, text_ties = first_right(images[None], texts[None], own)
    metrics = {}
    for k in TOP:
        capped = min(k, count)
        chance = np.mean([chance_of_hit(count, len(each), capped) for each in right])
        hits = (to_image < capped).astype(float)
        metrics[f"text_to_image/R@{k}"] = Metric(hits, chance=float(chance))
    metrics["text_to_image/median_rank"] = Metric(to_image + 1.0, statistic="median")
    for k in TOP:
        capped = min(k, total)
        metrics[f"image_to_text/R@{k}"] = Metric(
            (to_text < capped).astype(float),
            chance=float(np.mean([chance_of_hit(total, len(each), capped) for each in own])),
        )
    metrics["image_to_text/median_rank"] = Metric(to_text + 1.0, statistic="median")
    return metrics, image_ties + text_ties


class Level(NamedTuple):
    """Retrieval among the N images of one level with M distinct texts."""

    metrics: dict[str, Metric]
    texts: list[str]  # M
    embeddings: np.ndarray  # [M, D]
    text_of: np.ndarray  # int [N]: the row of each image's text
    ties: int = 0  # queries, both ways, in which a wrong entry is exactly as close as the right one


def measure(texts_of: TextsOf, gallery: Gallery, level: str) -> Level:
    """Scores one level; intervals resample the crops of a photo together.

    Args:
      texts_of: Function that embeds texts at a level, such as `Encoder.texts`.
    """
    unique, text_of = np.unique(np.array(gallery.texts), return_inverse=True)
    embeddings = texts_of(unique.tolist(), level)
    picture_of = None
    if gallery.pictures is not None:
        picture_of = np.unique(np.array(gallery.pictures), return_inverse=True)[1]
    metrics, ties = _score(gallery.embeddings, embeddings, text_of, picture_of)
    photos = np.unique(np.array(gallery.photo_ids), return_inverse=True)[1]
    for name, metric in metrics.items():
        if name.startswith("image_to_text"):  # crops of one photo aren't independent
            metrics[name] = Metric(metric.samples, None, photos, metric.statistic, metric.chance)
    return Level(metrics, unique.tolist(), embeddings, text_of, ties)


def evaluate(encoder: Encoder, data: InDomain, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if the test split has no image."""
    result = Result({}, {}, "each level its own", PROTOCOL)
    split = read_split(data, "test", result.skips)
    # A data set may have captions only.
    levels = () if split.captions and not split.galleries else by_level(split, "test", result.skips)
    for level, gallery in levels:
        found = measure(encoder.texts, gallery, level)
        result.metrics |= {f"{level}/{name}": metric for name, metric in found.metrics.items()}
        result.ties[level] = found.ties
        result.counts |= {
            f"{level} pictures": len(gallery.texts),
            f"{level} texts": len(found.texts),
        }
        chosen = np.random.default_rng(settings.seed).permutation(len(found.texts))[:SHOWN]
        near = nearest(found.embeddings[None, chosen], gallery.embeddings[None], SHOWN)
        for text, rows in zip(chosen, near, strict=True):
            result.examples[f"{level}: nearest to “{found.texts[text]}”"] = [
                Example((level, int(row)), gallery.texts[row], bool(found.text_of[row] == text))
                for row in rows
            ]
    if split.captions:
        metrics, ties = by_caption(encoder.texts, split.captioned, split.captions)
        result.metrics |= {f"caption/{name}": metric for name, metric in metrics.items()}
        result.ties["caption"] = ties
        texts = sum(map(len, split.captions))
        result.counts |= {"caption pictures": len(split.captions), "caption texts": texts}
    return result


def by_caption(
    texts_of: TextsOf, photos: np.ndarray, captions: Sequence[Sequence[str]]
) -> tuple[dict[str, Metric], int]:
    """Recalls of whole photos and their captions, both ways, and the number of ties.

    Args:
      texts_of: Function that embeds texts at a level, such as `Encoder.texts`.
      photos: Embeddings of N photos, [N, D].
      captions: The captions of each, at least one.
    """
    texts = [text for of_photo in captions for text in of_photo]
    photo_of = [photo for photo, of_photo in enumerate(captions) for _ in of_photo]
    unique, text_of = np.unique(np.array(texts), return_inverse=True)
    embeddings = texts_of(unique.tolist(), "global")[text_of]
    metrics, _, ties = score_captions(photos[None], embeddings[None], np.array(photo_of), texts)
    return metrics, sum(ties.values())


SUITES = (Suite("retrieval", evaluate),)
