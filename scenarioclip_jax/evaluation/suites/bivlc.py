"""BiVLC (Miranda et al. 2024): a photo and a made image, each with its caption; which go together?

    DIR/test-*.parquet, or DIR/data/test-*.parquet, as the hub keeps them
                        image, caption, negative_image, negative_caption, type, subtype

`I2T`, `T2I` and `group` are the text, image and group scores of Winoground. The four comparisons behind them
stand beside them, by the authors' names: a photo, a made image, a photo's caption and a made image's caption
each find their own. So do the three scores by type of change: replace, swap, add.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.parquet_files import read_parquet
from scenarioclip_jax.evaluation.score import two_by_two
from scenarioclip_jax.evaluation.score.result import Metric, Result, partial_note
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PUBLISHED = 2933  # records
NAMES = {"text": "I2T", "image": "T2I", "group": "group"}
PROTOCOL = (
    "I2T: for each picture its own caption scores higher; T2I: for each caption its own picture does; group: "
    "both. All strict."
)


class Pair(NamedTuple):
    """The captions of a photo and of the image that was made, and how the second differs."""

    captions: tuple[str, str]
    kind: str


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a file or record is malformed, or an image is unreadable."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(path) for record in records for path in record.paths]
    captions = [caption for record in records for caption in record.values.captions]
    scores = two_by_two.embed(encoder, pictures, captions, settings)
    two_by_two.add(result, scores, pictures, captions)
    result.metrics = _named(result.metrics) | sides(scores)
    kinds = np.array([record.values.kind for record in records])
    for kind in dict.fromkeys(kinds.tolist()):
        result.metrics |= _named(two_by_two.score(scores[kinds == kind]), f"{kind}/")
        result.counts[f"{kind} records"] = int((kinds == kind).sum())
    return result


def sides(scores: Float[np.ndarray, "N 2 2"]) -> dict[str, Metric]:
    """The four comparisons of which I2T and T2I are made, from cosines of captions with images."""
    s = scores
    hits = {
        "Ipos_2T": s[:, 0, 0] > s[:, 1, 0],
        "Ineg_2T": s[:, 1, 1] > s[:, 0, 1],
        "Tpos_2I": s[:, 0, 0] > s[:, 0, 1],
        "Tneg_2I": s[:, 1, 1] > s[:, 1, 0],
    }
    return {name: Metric(each.astype(float), chance=0.5) for name, each in hits.items()}


def _named(metrics: dict[str, Metric], prefix: str = "") -> dict[str, Metric]:
    return {prefix + NAMES[name]: metric for name, metric in metrics.items()}


def read(files: Files, result: Result) -> list[Located]:
    """Reads and checks the records: the photo, the made image, and a `Pair`."""
    records = []
    for path in _paths(files):
        rows, folder = read_parquet(path, ("image", "negative_image"), files.digests)
        wanted = [
            Wanted(
                row.where,
                (row.get("image"), row.get("negative_image")),
                Pair(
                    (row.caption("caption"), row.caption("negative_caption")), row.category("type")
                ),
            )
            for row in rows
        ]
        records += dataclasses.replace(files, images=(folder,)).locate(wanted, result.skips)
    result.notes += partial_note("records", len(records), PUBLISHED)
    return records


def _paths(files: Files) -> list[Path]:
    if files.path.is_file():
        return [files.path]
    found = [
        each for folder in ("", "data") for each in (files.path / folder).glob("test*.parquet")
    ]
    if not found:
        raise SuiteError(
            f"{files.path}: no test*.parquet is there or in its folder data",
            "name the folder of a copy of imirandam/BiVLC",
        )
    return sorted(found)


_FILES = "test-*.parquet, or one of them"
SUITES = (Suite("bivlc", evaluate, read, path="folder or file", files=_FILES),)
