"""SugarCrepe (Hsieh et al. 2023) and SugarCrepe++ (Dumpala et al. 2024), on COCO val2017.

    DIR/*.json   SugarCrepe, 7 files:  {"0": {filename, caption, negative_caption}, …}
                 SugarCrepe++:         [{filename, caption, caption2, negative_caption}, …]

A file is named after its subset; other files in the folder are ignored if any published one exists. SugarCrepe:
the caption must score strictly above the negative. SugarCrepe++: both captions must (`image_text`); and without
the image, the two captions must be closer to each other than either is to the negative (`text_only`).
"""

from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import json_rows
from scenarioclip_jax.evaluation.score import two_captions
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Metric,
    Result,
    cluster_by,
    partial_note,
)
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

# Records of the published files.
PUBLISHED = {
    "add_att": 692,
    "add_obj": 2062,
    "replace_att": 788,
    "replace_obj": 1652,
    "replace_rel": 1406,
    "swap_att": 666,
    "swap_obj": 245,
}
# The files of SugarCrepe++ were published under short and under long names.
PUBLISHED_PP = {name: n for name, n in PUBLISHED.items() if not name.startswith("add")}
LONG = {"att": "attribute", "obj": "object", "rel": "relation"}
PROTOCOL = (
    "Accuracy: the caption's cosine is strictly above the negative's. Its mean is over the files."
)
PROTOCOL_PP = (
    "Image to text: both captions' cosines are strictly above the negative's. Text only: the captions' cosine "
    "with each other is strictly above both of theirs with the negative. Means are over the files."
)


def score_pp(
    first: np.ndarray,
    second: np.ndarray,
    negative: np.ndarray,
    between: np.ndarray,
    first_negative: np.ndarray,
    second_negative: np.ndarray,
    clusters: np.ndarray | None = None,
) -> dict[str, Metric]:
    """Scores one subset of SugarCrepe++.

    Args:
      first, second, negative: Cosines [N] of the image with the two captions and the negative.
      between: Cosines [N] of the two captions.
      first_negative, second_negative: Cosines [N] of each caption with the negative.
      clusters: Image of each record, int [N].
    """
    image_text = (first > negative) & (second > negative)
    text_only = (between > first_negative) & (between > second_negative)
    return {
        "image_text": Metric(image_text.astype(float), clusters=clusters, chance=1 / 3),
        "text_only": Metric(text_only.astype(float), clusters=clusters, chance=1 / 3),
    }


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores SugarCrepe; raises SuiteError if a file or record is malformed or a required image is missing."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for subset, records in read(files, result).items():
        hits, paths = two_captions.score(encoder, settings, records, result, subset)
        result.metrics[f"{subset}/accuracy"] = Metric(hits, clusters=cluster_by(paths), chance=0.5)
        result.counts[f"{subset} records"] = len(records)
    _add_mean(result, "accuracy", 0.5)
    return result


def evaluate_pp(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores SugarCrepe++; raises the same errors as `evaluate`."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL_PP)
    for subset, records in read_pp(files, result).items():
        pictures, captions = _columns(records)
        images = by_levels(encoder.images, pictures, settings.levels)
        count = len(pictures)
        texts = by_levels(
            encoder.texts, [*captions[0], *captions[1], *captions[2]], settings.levels
        )
        one, two, negative = (texts[:, i * count : (i + 1) * count] for i in range(3))
        scores = [cosines(images, text) for text in (one, two, negative)]
        metrics = score_pp(
            *scores,
            cosines(one, two),
            cosines(one, negative),
            cosines(two, negative),
            cluster_by([picture.path for picture in pictures]),
        )
        result.metrics |= {f"{subset}/{name}": metric for name, metric in metrics.items()}
        result.counts[f"{subset} records"] = count
        result.ties[subset] = int(((scores[0] == scores[2]) | (scores[1] == scores[2])).sum())
    _add_mean(result, "image_text", 1 / 3)
    _add_mean(result, "text_only", 1 / 3)
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks SugarCrepe's records by file; their values are the caption and the negative."""
    return _read(files, result, ("caption", "negative_caption"), PUBLISHED)


def read_pp(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks SugarCrepe++'s records by file; their values are both captions and the negative."""
    return _read(files, result, ("caption", "caption2", "negative_caption"), PUBLISHED_PP)


def _read(
    files: Files, result: Result, names: tuple[str, ...], published: dict[str, int]
) -> dict[str, list[Located]]:
    found = {}
    for subset, path in _subsets(files, result, published).items():
        wanted = [
            Wanted(row.where, (row.get("filename"),), tuple(row.caption(name) for name in names))
            for row in json_rows(path, files.digests)
        ]
        found[subset] = files.locate(wanted, result.skips)
        result.notes += partial_note(subset, len(found[subset]), published.get(_short(subset)))
    here = {_short(subset) for subset in found}
    if missing := [name for name in published if name not in here]:
        result.notes.append(
            f"{len(published) - len(missing)} of the {len(published)} published files, without "
            f"{', '.join(missing)}: the mean is over those that are there, so it can't be compared with "
            "published ones"
        )
    return found


def _subsets(files: Files, result: Result, published: dict[str, int]) -> dict[str, Path]:
    if files.path.is_file():
        return {files.path.stem: files.path}
    paths = sorted(files.path.glob("*.json"))
    if not paths:
        raise SuiteError(f"{files.path}: no .json file there")
    known = [path for path in paths if _short(path.stem) in published]
    if known and (strays := [path.name for path in paths if path not in known]):
        result.notes.append(f"left out, as none of the published files: {', '.join(strays)}")
    by_subset: dict[str, Path] = {}
    for path in known or paths:
        other = by_subset.setdefault(_short(path.stem), path)
        if other != path:
            raise SuiteError(
                f"{files.path}: {other.name} and {path.name} are the same subset, which would count twice",
                "leave one of them there (SugarCrepe and SugarCrepe++ belong in folders of their own)",
            )
    return {path.stem: path for path in known or paths}


def _short(subset: str) -> str:
    """Turns `swap_object` into `swap_obj`, the name in PUBLISHED."""
    for short, long in LONG.items():
        subset = subset.removesuffix(long) + short if subset.endswith(long) else subset
    return subset


def _columns(records: list[Located]) -> tuple[list[Picture], list[list[str]]]:
    pictures = [Picture(record.paths[0]) for record in records]
    return pictures, [list(column) for column in zip(*(r.values for r in records), strict=True)]


def _add_mean(result: Result, name: str, chance: float) -> None:
    """Adds the mean over subsets with equal weights; records of one image are resampled together."""
    parts = [(k, m) for k, m in result.metrics.items() if k.endswith(f"/{name}")]
    samples = np.concatenate([metric.samples for _, metric in parts])
    groups = np.concatenate([np.full(len(metric.samples), k) for k, metric in parts])
    starts = np.cumsum([0] + [len(metric.samples) for _, metric in parts])
    clusters = np.concatenate(
        [start + metric.clusters for start, (_, metric) in zip(starts, parts, strict=False)]
    )
    result.metrics[f"mean_{name}"] = Metric(samples, groups, clusters, chance=chance)


_FILES = "the 7 files of one negative kind each, or one of them; images: COCO val2017"
SUITES = (
    Suite("sugarcrepe", evaluate, read, path="folder or file", files=_FILES),
    Suite("sugarcrepe_pp", evaluate_pp, read_pp, path="folder or file", files=_FILES),
)
