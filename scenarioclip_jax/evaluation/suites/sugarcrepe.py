"""SugarCrepe (Hsieh et al. 2023) and SugarCrepe++ (Dumpala et al. 2024), on COCO val2017.

    DIR/*.json   SugarCrepe, 7 files:  {"0": {filename, caption, negative_caption}, …}
                 SugarCrepe++:         [{filename, caption, caption2, negative_caption}, …]

The file's name is the subset's. SugarCrepe: the caption must score strictly above the negative. SugarCrepe++:
both captions must (`image_text`); and without the picture, the two captions must be closer to each other than
either is to the negative (`text_only`).
"""

import numpy as np

from scenarioclip_jax.evaluation.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Row, SuiteError, json_rows
from scenarioclip_jax.evaluation.ranks import cosines
from scenarioclip_jax.evaluation.result import Example, Metric, Result
from scenarioclip_jax.evaluation.settings import Settings, name_of

PROTOCOL = (
    "accuracy: the caption's cosine is strictly above the negative's. "
    "mean_accuracy: mean over the files."
)
PROTOCOL_PP = (
    "image_text: both captions' cosines are strictly above the negative's. text_only: the captions' cosine "
    "with each other is strictly above both of theirs with the negative. mean_…: mean over the files."
)


def score_pp(
    first: np.ndarray,
    second: np.ndarray,
    negative: np.ndarray,
    between: np.ndarray,
    first_negative: np.ndarray,
    second_negative: np.ndarray,
) -> dict[str, Metric]:
    """SugarCrepe++ of one subset.

    Args:
      first, second, negative: [N] cosines of the picture with the two captions and the negative.
      between: [N] cosine of the two captions.
      first_negative, second_negative: [N] cosines of each caption with the negative.
    """
    image_text = (first > negative) & (second > negative)
    text_only = (between > first_negative) & (between > second_negative)
    return {
        "image_text": Metric(image_text.astype(float), chance=1 / 3),
        "text_only": Metric(text_only.astype(float), chance=1 / 3),
    }


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """SugarCrepe."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for subset, rows in _subsets(files):
        names = ("caption", "negative_caption")
        pictures, (captions, negatives) = _read(rows, files, names, result)
        images = by_levels(encoder.images, pictures, settings.levels)
        texts = by_levels(encoder.texts, captions + negatives, settings.levels)
        count = len(captions)
        positive, negative = (cosines(images, t) for t in (texts[:, :count], texts[:, count:]))
        hits = positive > negative
        result.metrics[f"{subset}/accuracy"] = Metric(hits.astype(float), chance=0.5)
        result.counts[f"{subset} records"] = count
        worst = np.argsort(positive - negative, kind="stable")[:4]
        result.examples[f"{subset}: surest failures"] = [
            Example(pictures[i], f"{captions[i]}, not {negatives[i]}", False)
            for i in worst
            if not hits[i]
        ]
    _add_mean(result, "accuracy", 0.5)
    return result


def evaluate_pp(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """SugarCrepe++."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL_PP)
    for subset, rows in _subsets(files):
        names = ("caption", "caption2", "negative_caption")
        pictures, captions = _read(rows, files, names, result)
        images = by_levels(encoder.images, pictures, settings.levels)
        count = len(pictures)
        texts = by_levels(
            encoder.texts, [*captions[0], *captions[1], *captions[2]], settings.levels
        )
        one, two, negative = (texts[:, i * count : (i + 1) * count] for i in range(3))
        metrics = score_pp(
            *(cosines(images, text) for text in (one, two, negative)),
            cosines(one, two),
            cosines(one, negative),
            cosines(two, negative),
        )
        result.metrics |= {f"{subset}/{name}": metric for name, metric in metrics.items()}
        result.counts[f"{subset} records"] = count
    _add_mean(result, "image_text", 1 / 3)
    _add_mean(result, "text_only", 1 / 3)
    return result


def _subsets(files: Files) -> list[tuple[str, list[Row]]]:
    paths = [files.path] if files.path.is_file() else sorted(files.path.glob("*.json"))
    if not paths:
        raise SuiteError(f"{files.path}: no .json file there")
    return [(path.stem, json_rows(path)) for path in paths]


def _read(
    rows: list[Row], files: Files, names: tuple[str, ...], result: Result
) -> tuple[list[Picture], list[list[str]]]:
    pictures, captions = [], [[] for _ in names]
    for row in rows:
        texts = [row.caption(name) for name in names]
        path = files.image(row.get("filename"), row.where, result.skips)
        if path:
            pictures.append(Picture(path))
            for column, text in zip(captions, texts, strict=True):
                column.append(text)
    if not pictures:
        raise SuiteError(f"{rows[0].where}: no record is left, every image is missing")
    return pictures, captions


def _add_mean(result: Result, name: str, chance: float) -> None:
    """The mean over subsets, each of them weighing alike."""
    parts = [(k, m) for k, m in result.metrics.items() if k.endswith(f"/{name}")]
    samples = np.concatenate([metric.samples for _, metric in parts])
    groups = np.concatenate([np.full(len(metric.samples), k) for k, metric in parts])
    result.metrics[f"mean_{name}"] = Metric(samples, groups=groups, chance=chance)
