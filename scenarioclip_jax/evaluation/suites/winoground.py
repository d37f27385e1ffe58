"""Winoground (Thrush et al. 2022): two images and two captions with the same words; which go together?

    FILE.jsonl   {"id", "caption_0", "caption_1", "image_0", "image_1"} per line; images are named with or
                 without their extension

See `evaluation.score.two_by_two` for the scores.
"""

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture
from scenarioclip_jax.evaluation.files import Files, Located, Wanted
from scenarioclip_jax.evaluation.records import jsonl_rows
from scenarioclip_jax.evaluation.score.result import Result, partial_note
from scenarioclip_jax.evaluation.score.two_by_two import PROTOCOL, add, embed
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PUBLISHED = 400  # records


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if a record is malformed or an image is missing and may not be."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(path) for record in records for path in record.paths]
    captions = [caption for record in records for caption in record.values]
    add(result, embed(encoder, pictures, captions, settings), pictures, captions)
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
