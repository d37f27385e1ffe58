"""Winoground (Thrush et al. 2022): two pictures, two captions of the same words, which belongs to which.

    FILE.jsonl   {"id", "caption_0", "caption_1", "image_0", "image_1"} a line; images are named with or
                 without their extension

With s(c, i) the cosine of caption c and picture i, all inequalities strict:

    text    s(0, 0) > s(1, 0) and s(1, 1) > s(0, 1)      the right caption for each picture
    image   s(0, 0) > s(0, 1) and s(1, 1) > s(1, 0)      the right picture for each caption
    group   both
"""

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, SuiteError, jsonl_rows
from scenarioclip_jax.evaluation.ranks import cosines
from scenarioclip_jax.evaluation.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings, name_of

PROTOCOL = (
    "text: for each picture its own caption scores higher; image: for each caption its own picture does; "
    "group: both. All strict."
)


def score(scores: np.ndarray) -> dict[str, Metric]:
    """The three accuracies from cosines [N, 2, 2]: scores[n, c, i] of caption c and picture i."""
    s = np.asarray(scores)
    text = (s[:, 0, 0] > s[:, 1, 0]) & (s[:, 1, 1] > s[:, 0, 1])
    image = (s[:, 0, 0] > s[:, 0, 1]) & (s[:, 1, 1] > s[:, 1, 0])
    return {
        "text": Metric(text.astype(float), chance=1 / 4),
        "image": Metric(image.astype(float), chance=1 / 4),
        "group": Metric((text & image).astype(float), chance=1 / 6),
    }


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Raises SuiteError: a record is malformed, or an image is missing and may not be."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    pictures, captions = [], []
    for row in jsonl_rows(files.path):
        texts = [row.caption(f"caption_{i}") for i in (0, 1)]
        names = [row.get(f"image_{i}") for i in (0, 1)]
        paths = [
            (files.image if "." in name else files.image_by_id)(name, row.where, result.skips)
            for name in names
        ]
        if all(paths):
            pictures += map(Picture, paths)
            captions += texts
    if not pictures:
        raise SuiteError(f"{files.path}: no record is left, every image is missing")
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    table = [[cosines(images[:, i::2], texts[:, c::2]) for i in (0, 1)] for c in (0, 1)]
    result.metrics = score(np.array(table).transpose(2, 0, 1))
    result.counts["records"] = len(pictures) // 2
    wrong = np.flatnonzero(result.metrics["group"].samples == 0)[:4]
    result.examples["failures"] = [
        Example(pictures[2 * n + i], captions[2 * n + i], False) for n in wrong for i in (0, 1)
    ]
    return result
