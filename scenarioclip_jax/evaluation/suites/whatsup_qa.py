"""The four subsets of What'sUp whose photos are COCO's and Visual Genome's (Kamath et al. 2023, section 3.2).

    coco_qa_one_obj.json, coco_qa_two_obj.json    [[image id, right, wrong], …] on COCO val2017
    vg_qa_one_obj.json, vg_qa_two_obj.json        the same on photos of Visual Genome

A record is right where the right caption's cosine is strictly the larger. The suite `whatsup` scores them.
"""

from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, Row, SuiteError, Wanted, read_json
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import (
    Example,
    Metric,
    Result,
    cluster_by,
)
from scenarioclip_jax.evaluation.settings import Settings

PARTS = {
    "COCO one": "coco_qa_one_obj.json",
    "COCO two": "coco_qa_two_obj.json",
    "VG one": "vg_qa_one_obj.json",
    "VG two": "vg_qa_two_obj.json",
}


def read(files: Files, part: str, path: Path, result: Result) -> list[Located]:
    """Reads and checks the records of a subset; their values are the right and the wrong caption."""
    content = read_json(path, files.digests)
    if not isinstance(content, list) or not content:
        raise SuiteError(f"{path}: expected a list of records, not empty")
    wanted = []
    for index, values in enumerate(content):
        where = f"{path} [{index}]"
        if not isinstance(values, list) or len(values) != 3:
            raise SuiteError(f"{where}: {values!r:.80}, expected [image id, right, wrong]")
        row = Row(dict(zip(("image id", "right", "wrong"), values, strict=True)), where)
        texts = row.caption("right"), row.caption("wrong")
        wanted.append(Wanted(where, (_name(row, part),), texts))
    return files.locate(wanted, result.skips)


def _name(row: Row, part: str) -> str:
    """The image's file name: an id of COCO has twelve digits."""
    number = row.get("image id", (int, str))
    return f"{str(number).zfill(12) if part.startswith('COCO') else number}.jpg"


def add(
    encoder: Encoder, settings: Settings, part: str, records: list[Located], result: Result
) -> None:
    """Scores a subset."""
    pictures = [Picture(record.paths[0]) for record in records]
    rights, wrongs = (list(texts) for texts in zip(*(r.values for r in records), strict=True))
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, rights + wrongs, settings.levels)
    true, false = (
        cosines(images, each) for each in (texts[:, : len(rights)], texts[:, len(rights) :])
    )
    hits = (true > false).astype(float)
    clusters = cluster_by([picture.path for picture in pictures])
    result.metrics[f"{part}/individual"] = Metric(hits, clusters=clusters, chance=1 / 2)
    result.counts[f"{part} records"] = len(records)
    result.ties[part] = int((true == false).sum())
    result.examples[f"{part}: failures"] = [
        Example(pictures[i], f"{rights[i]}, not {wrongs[i]}", False)
        for i in np.flatnonzero(hits == 0)[:6]
    ]
