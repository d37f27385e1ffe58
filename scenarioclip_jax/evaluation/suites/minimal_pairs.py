"""Benchmarks of two pictures and two captions that differ in little, scored as Winoground is.

    cola        (Ray et al. 2023)        COLA_multiobjects_matching_benchmark.json
                [[image 1, caption 1, image 2, caption 2], …]; an image is an address, of which the file's name
                counts. The paper's figure is `image`.
    colorswap   (Burapacheep et al. 2024) test.json
                [{caption_1, caption_2, image_1, image_2}, …]
    eqben       (Wang et al. 2023)        all_select.json of the subset with truth
                [{image0, caption0, image1, caption1}, …]; the first folder of an image names its part
    mmvp        (Tong et al. 2024)        Questions.csv of MMVP-VLM
                Question ID, Type, Statement; rows 1 and 2 are a pair, and so on. Images are TYPE/ID.jpg. As in
                the authors' script, a text is "a photo of STATEMENT", and the figure is `mean_image`: for both
                texts the right picture, then the mean over the nine types.

See `evaluation.score.two_by_two` for the scores.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import csv_rows, json_lists, json_rows
from scenarioclip_jax.evaluation.score.result import Result, partial_note
from scenarioclip_jax.evaluation.score.two_by_two import PROTOCOL, add, add_groups, embed
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PUBLISHED = {"cola": 210, "mmvp": 135}  # records


class Four(NamedTuple):
    """The texts of a record, and the part of the benchmark that it belongs to; empty if there are no parts."""

    captions: tuple[str, str]
    group: str = ""


def evaluate(
    encoder: Encoder, files: Files, settings: Settings, read: Callable[..., list[Located]]
) -> Result:
    """Scores one of the benchmarks; raises SuiteError if a record is malformed or an image is missing."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(path) for record in records for path in record.paths]
    captions = [caption for record in records for caption in record.values.captions]
    scores = embed(encoder, pictures, captions, settings)
    add(result, scores, pictures, captions)
    groups = [record.values.group for record in records]
    if any(groups):
        add_groups(result, scores, groups)
    return result


def _locate(files: Files, result: Result, name: str, wanted: list[Wanted]) -> list[Located]:
    records = files.locate(wanted, result.skips)
    result.notes += partial_note("records", len(records), PUBLISHED.get(name))
    return records


def read_cola(files: Files, result: Result) -> list[Located]:
    """Reads the records of COLA's setting with several objects."""
    fields = "image 1", "caption 1", "image 2", "caption 2"
    wanted = []
    remedy = "name COLA_multiobjects_matching_benchmark.json"
    for row in json_lists(files.path, fields, files.digests, remedy):
        names = tuple(PurePosixPath(row.get(f"image {i}")).name for i in (1, 2))
        captions = row.caption("caption 1"), row.caption("caption 2")
        wanted.append(Wanted(row.where, names, Four(captions)))
    return _locate(files, result, "cola", wanted)


def read_colorswap(files: Files, result: Result) -> list[Located]:
    """Reads the records of ColorSwap."""
    wanted = [
        Wanted(
            row.where,
            (row.get("image_1"), row.get("image_2")),
            Four((row.caption("caption_1"), row.caption("caption_2"))),
        )
        for row in json_rows(files.path, files.digests)
    ]
    return _locate(files, result, "colorswap", wanted)


def read_eqben(files: Files, result: Result) -> list[Located]:
    """Reads the records of EqBen's subset; a part is a data set that its images come from."""
    wanted = []
    for row in json_rows(files.path, files.digests):
        names = row.get("image0"), row.get("image1")
        part = PurePosixPath(names[0]).parts[0] if "/" in names[0] else ""
        captions = row.caption("caption0"), row.caption("caption1")
        wanted.append(Wanted(row.where, names, Four(captions, part)))
    return _locate(files, result, "eqben", wanted)


def read_mmvp(files: Files, result: Result) -> list[Located]:
    """Reads the pairs of MMVP-VLM; a part is a type of visual pattern."""
    rows = csv_rows(files.path, files.digests)
    if len(rows) % 2:
        raise SuiteError(
            f"{rows[-1].where}: the last statement has no partner; copy the file again"
        )
    wanted = []
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        kind = one.get("Type")
        if two.get("Type") != kind:
            raise SuiteError(
                f"{two.where}: its Type is {two.get('Type')!r:.40}, and that of its partner above is "
                f"{kind!r:.40}; a pair has one type"
            )
        names = tuple(f"{kind}/{row.get('Question ID').strip()}.jpg" for row in (one, two))
        captions = tuple(f"a photo of {row.caption('Statement')}" for row in (one, two))
        wanted.append(Wanted(one.where, names, Four(captions, kind.lower())))
    return _locate(files, result, "mmvp", wanted)


def _suite(name: str, read: Callable[..., list[Located]], files: str) -> Suite:
    def evaluate_this(encoder: Encoder, given: Files, settings: Settings) -> Result:
        return evaluate(encoder, given, settings, read)

    return Suite(name, evaluate_this, read, path="file", files=files)


SUITES = (
    _suite("cola", read_cola, "COLA_multiobjects_matching_benchmark.json"),
    _suite("colorswap", read_colorswap, "test.json"),
    _suite("eqben", read_eqben, "all_select.json"),
    _suite("mmvp", read_mmvp, "Questions.csv; images: MMVP_VLM_Images"),
)
