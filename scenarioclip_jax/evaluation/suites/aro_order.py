"""ARO's COCO-Order and Flickr30k-Order (Yuksekgonul et al. 2023): a caption against four shuffles of its words.

    DIR/coco_order.json        [{image, caption_options: [caption, four shuffles]}, …], a file for each data set
    DIR/flickr30k_order.json

The benchmark makes its shuffles when it runs, by chance, and publishes no file of them. Its own code writes
one, with the seed that it scores with:

    seed_all(1)
    dataset = get_dataset("COCO_Order", download=True)   # or Flickr30k_Order, with split="test"
    json.dump(dataset.test_cases, open("coco_order.json", "w"))

A record is right where the caption's cosine is strictly above those of all four. A shuffle with the words in
their old order is the caption itself. It's no foil, as in the authors' code, where the first of equals wins.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, json_rows, part_files
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    by_class,
    cluster_by,
    missing_notes,
    partial_note,
)
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PARTS = {"COCO": "coco_order.json", "Flickr30k": "flickr30k_order.json"}
PUBLISHED = {"COCO": 25_010, "Flickr30k": 5_000}  # captions of the test splits
# What is shuffled, in the order of the options.
SHUFFLES = (
    "nouns and adjectives",
    "all but nouns and adjectives",
    "words within trigrams",
    "trigrams",
)
SHOWN = 6  # failures in the report
PROTOCOL = (
    "Accuracy: the caption's cosine is strictly above those of its four shuffles. A shuffle in which every "
    "word kept its place is no foil; chance takes that into account."
)


def score(
    scores: Float[np.ndarray, "N 5"], same: Bool[np.ndarray, "N 5"]
) -> Bool[np.ndarray, " N"]:
    """Tells which records are right.

    Args:
      scores: Cosines of each picture with its options, the caption first.
      same: Which options have the caption's words in the caption's order.
    """
    return ((scores[:, :1] > scores) | same).all(axis=1)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the data sets that are there; raises SuiteError if none is, or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for part, records in read(files, result).items():
        _evaluate_part(encoder, settings, part, records, result)
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks the records of each data set; their values are the options, the true caption first."""
    found = {}
    for part, path in part_files(files, PARTS, result.skips):
        found[part] = _read_part(files, path, result)
        result.notes += partial_note(part, len(found[part]), PUBLISHED[part])
    result.notes += missing_notes(PARTS, found)
    return found


def _read_part(files: Files, path: Path, result: Result) -> list[Located]:
    wanted = [
        Wanted(row.where, (row.get("image"),), _options(row))
        for row in json_rows(path, files.digests)
    ]
    return files.locate(wanted, result.skips)


def _options(row: Row) -> tuple[str, ...]:
    if "caption_options" not in row.values and isinstance(row.values.get("caption"), list):
        raise SuiteError(
            f"{row.where}: a list of captions, as the benchmark reads it, without the shuffles that it makes",
            "write them to a file with the benchmark's own code: docs/guides/evaluate.md says how",
        )
    given = row.get("caption_options", list)
    if len(given) != 1 + len(SHUFFLES):
        raise SuiteError(
            f"{row.where}: {len(given)} caption_options, expected the caption and {len(SHUFFLES)} shuffles"
        )
    return tuple(row.text(text, "caption_options") for text in given)


def _evaluate_part(
    encoder: Encoder, settings: Settings, part: str, records: list[Located], result: Result
) -> None:
    pictures = [Picture(record.paths[0]) for record in records]
    options = np.array([record.values for record in records], object)
    images = by_levels(encoder.images, pictures, settings.levels)
    columns = (by_levels(encoder.texts, column.tolist(), settings.levels) for column in options.T)
    scores = np.stack([cosines(images, column) for column in columns], axis=1)
    same = options == options[:, :1]
    hits = score(scores, same)
    chance = float(np.mean([1 / len(set(texts)) for texts in options.tolist()]))
    clusters = cluster_by([picture.path for picture in pictures])
    result.metrics[f"{part}/accuracy"] = Metric(hits.astype(float), None, clusters, chance=chance)
    foils = ~same[:, 1:]
    result.counts |= {
        f"{part} records": len(records),
        f"{part} shuffles that are the caption itself": int((~foils).sum()),
        f"{part} records without any other": int((~foils).all(axis=1).sum()),
    }
    result.ties[part] = int((foils & (scores[:, :1] == scores[:, 1:])).any(axis=1).sum())
    kinds = np.broadcast_to(np.array(SHUFFLES, object), foils.shape)[foils]
    if len(kinds):
        beaten = (scores[:, :1] > scores[:, 1:])[foils]
        result.bars[f"{part}: the caption beats the shuffle"] = by_class(list(kinds), beaten)
    margins = np.where(same, np.inf, scores[:, :1] - scores)
    surest = np.argsort(margins.min(axis=1), kind="stable")[:SHOWN]
    result.examples[f"{part}: surest failures"] = [
        Example(pictures[i], f"{options[i, 0]}, not {options[i, margins[i].argmin()]}", False)
        for i in surest
        if not hits[i]
    ]


_FILES = "coco_order.json and flickr30k_order.json, or one of them, which the benchmark's own code writes"
SUITES = (Suite("aro_order", evaluate, read, path="folder or file", files=_FILES),)
