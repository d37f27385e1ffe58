"""The four subsets of What'sUp whose photos are COCO's and Visual Genome's (Kamath et al. 2023, section 3.2).

    coco_qa_one_obj.json, coco_qa_two_obj.json    [[image id, right, wrong], …] on COCO val2017
    vg_qa_one_obj.json, vg_qa_two_obj.json        the same on photos of Visual Genome

A record is right where the right caption's cosine is strictly the larger. The suite `whatsup` scores them.
"""

from pathlib import Path

from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.files import Files, Located, Wanted
from scenarioclip_jax.evaluation.records import Row, json_lists
from scenarioclip_jax.evaluation.score import two_captions
from scenarioclip_jax.evaluation.score.result import Metric, Result, cluster_by
from scenarioclip_jax.evaluation.settings import Settings

PARTS = {
    "COCO one": "coco_qa_one_obj.json",
    "COCO two": "coco_qa_two_obj.json",
    "VG one": "vg_qa_one_obj.json",
    "VG two": "vg_qa_two_obj.json",
}


def read(files: Files, part: str, path: Path, result: Result) -> list[Located]:
    """Reads and checks the records of a subset; their values are the right and the wrong caption."""
    wanted = [
        Wanted(row.where, (_name(row, part),), (row.caption("right"), row.caption("wrong")))
        for row in json_lists(path, ("image id", "right", "wrong"), files.digests)
    ]
    return files.locate(wanted, result.skips)


def _name(row: Row, part: str) -> str:
    """The image's file name: an id of COCO has twelve digits."""
    number = row.get("image id", (int, str))
    return f"{str(number).zfill(12) if part.startswith('COCO') else number}.jpg"


def add(
    encoder: Encoder, settings: Settings, part: str, records: list[Located], result: Result
) -> None:
    """Scores a subset."""
    hits, paths = two_captions.score(encoder, settings, records, result, part)
    result.metrics[f"{part}/individual"] = Metric(hits, clusters=cluster_by(paths), chance=1 / 2)
    result.counts[f"{part} records"] = len(records)
