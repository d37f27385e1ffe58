"""Winoground (Thrush et al. 2022): two images and two captions with the same words; which go together?

    FILE.jsonl   {"id", "caption_0", "caption_1", "image_0", "image_1"} per line; images are named with or
                 without their extension

With s(c, i) the cosine of caption c and image i, and all inequalities strict:

    text    s(0, 0) > s(1, 0) and s(1, 1) > s(0, 1)      the right caption for each image
    image   s(0, 0) > s(0, 1) and s(1, 1) > s(1, 0)      the right image for each caption
    group   both
"""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, Wanted, jsonl_rows
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, partial_note
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PUBLISHED = 400  # records
PROTOCOL = (
    "text: for each picture its own caption scores higher; image: for each caption its own picture does; "
    "group: both. All strict."
)


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


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a record is malformed or an image is missing and may not be."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(path) for record in records for path in record.paths]
    captions = [caption for record in records for caption in record.values]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    table = [[cosines(images[:, i::2], texts[:, c::2]) for i in (0, 1)] for c in (0, 1)]
    scores = np.array(table).transpose(2, 0, 1)
    result.metrics = score(scores)
    equal = (scores[:, 0] == scores[:, 1]).any(axis=1) | (scores[..., 0] == scores[..., 1]).any(
        axis=1
    )
    result.ties["records"] = int(equal.sum())
    result.counts["records"] = len(pictures) // 2
    wrong = np.flatnonzero(result.metrics["group"].samples == 0)[:4]
    result.examples["failures"] = [
        Example(pictures[2 * n + i], captions[2 * n + i], False) for n in wrong for i in (0, 1)
    ]
    return result


def read(files: Files, result: Result) -> list[Located]:
    """Reads and checks the records with their two images; their values are the two captions."""
    wanted = []
    for row in jsonl_rows(files.path, files.digests):
        captions = tuple(row.caption(f"caption_{i}") for i in (0, 1))
        names = tuple(row.get(f"image_{i}") for i in (0, 1))
        wanted.append(Wanted(row.where, names, captions))
    records = files.locate(wanted, result.skips)
    result.notes += partial_note("records", len(records), PUBLISHED)
    return records


SUITES = (Suite("winoground", evaluate, read, path="file", files="examples.jsonl"),)
