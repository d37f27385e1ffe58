"""COCO and Flickr30k captions: retrieval both ways on a Karpathy split (Karpathy and Fei-Fei 2015).

    FILE.json   {"images": [{"filename", "filepath" (COCO), "split", "sentences": [{"raw"}, …]}, …]}
                [{"image", "caption": [five]}, …]            the same test split, as in BLIP and LAVIS
                {"images": [{"id", "file_name"}, …], "annotations": [{"image_id", "caption"}, …]}
                                                             COCO's captions_val2017.json: all of its images

Each image of the test split has its first five captions, from all rows that name the image. Image to text: any
of the five among the k nearest is a hit, and so is another image's caption with the same words. Text to image:
each caption has one right image. A tie is wrong.
"""

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, read_json, rows
from scenarioclip_jax.evaluation.score.captions import score_captions
from scenarioclip_jax.evaluation.score.result import Example, Result
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

CAPTIONS = 5  # per image
PUBLISHED = {"COCO": 5000, "Flickr30k": 1000}  # images in the test split
WANTED = (
    "wanted is Karpathy's dataset_coco.json or dataset_flickr30k.json, coco_karpathy_test.json or "
    "flickr30k_test.json of BLIP and LAVIS, or COCO's captions_val2017.json"
)
PROTOCOL = (
    "Karpathy's test split, the first 5 captions of a picture. Image to text: any of a picture's captions "
    "among the k nearest is a hit, or another's of the same words; text to image: the caption's picture is. A "
    "tie is wrong."
)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the suite; raises SuiteError if the file or a record is malformed, or there is no test split."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(record.paths[0]) for record in records]
    captions = [text for record in records for text in record.values]
    image_of = [image for image, record in enumerate(records) for _ in record.values]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    result.metrics, ranks, result.ties = score_captions(images, texts, np.array(image_of), captions)
    result.counts = {
        "pictures": len(pictures),
        "captions": len(captions),
        "captions of the same words as another picture's": _shared(captions, image_of),
    } | result.counts
    first = {image: text for text, image in reversed(list(enumerate(image_of)))}
    worst = [i for i in np.argsort(-ranks, kind="stable")[:6] if ranks[i] > 0]
    result.examples["pictures whose captions rank last"] = [
        Example(pictures[i], f"rank {ranks[i] + 1}: {captions[first[i]]}", False) for i in worst
    ]
    return result


def read(files: Files, result: Result) -> list[Located]:
    """Reads and checks the test images; their values are their first captions."""
    content = read_json(files.path, files.digests)
    if isinstance(content, list):
        wanted = _of_list(rows(content, files.path))
    elif isinstance(content, dict) and "annotations" in content and "images" in content:
        wanted = _of_coco(content, files, result)
        result.notes.append(
            "these are COCO's own captions: all pictures of the file are scored, not Karpathy's test split"
        )
    elif isinstance(content, dict) and "images" in content:
        wanted = _of_karpathy(rows(content["images"], files.path, prefix="images"))
    else:
        raise SuiteError(f"{files.path}: expected an object with 'images'; {WANTED}")
    if not wanted:
        raise SuiteError(f"{files.path}: no picture of the test split is in it; {WANTED}")
    located = files.locate(wanted, result.skips)
    records = _by_picture(located)
    left_out = sum(max(0, len(each.values) - CAPTIONS) for each in records)
    result.counts["captions beyond a picture's first 5, left out"] = left_out
    if repeated := len(located) - len(records):
        result.counts["rows of a picture that another row has too"] = repeated
    found = {each.where for each in located}
    gone = {each.names for each in wanted if each.where not in found}
    if gone:
        result.notes.append(
            f"{len(records):,} of its {len(records) + len(gone):,} pictures, a partial set: recalls "
            "among fewer are higher"
        )
    elif len(records) not in PUBLISHED.values():
        sizes = " and ".join(f"{count:,} ({name})" for name, count in PUBLISHED.items())
        result.notes.append(
            f"{len(records):,} pictures; Karpathy's test splits have {sizes}: recalls can't be compared with "
            "theirs"
        )
    return [each._replace(values=each.values[:CAPTIONS]) for each in records]


def _by_picture(rows_of: list[Located]) -> list[Located]:
    """Joins the rows of one image, with the captions of all; a caption that an earlier row has counts once.

    Each would otherwise be a wrong answer to the others' captions, exactly as close as the right one.
    """
    found: dict[tuple, Located] = {}
    for each in rows_of:
        before = found.get(each.paths)
        if before is not None:
            new = [text for text in dict.fromkeys(each.values) if text not in before.values]
            each = before._replace(values=[*before.values, *new])
        found[each.paths] = each
    return list(found.values())


def _of_karpathy(images: list[Row]) -> list[Wanted]:
    wanted = []
    for row in images:
        if "split" not in row.values:
            raise SuiteError(f"{row.where}: no field 'split'; {WANTED}")
        if row.get("split") == "test":
            folder = row.get("filepath") if "filepath" in row.values else ""
            name = f"{folder}/{row.get('filename')}" if folder else row.get("filename")
            wanted.append(Wanted(row.where, (name,), _captions(row)))
    return wanted


def _of_list(images: list[Row]) -> list[Wanted]:
    """Reads the files of BLIP and LAVIS."""
    wanted = []
    for row in images:
        if not isinstance(row.values.get("caption"), list):
            raise SuiteError(
                f"{row.where}: 'caption' is {row.values.get('caption')!r:.80}, expected a list of captions "
                f"(the training files have one); {WANTED}"
            )
        texts = [row.text(text, "caption") for text in row.get("caption", list)]
        if not texts:
            raise SuiteError(f"{row.where}: no captions")
        wanted.append(Wanted(row.where, (row.get("image"),), texts))
    return wanted


def _of_coco(content: dict, files: Files, result: Result) -> list[Wanted]:
    """Reads COCO's captions_….json; images and captions without each other are left out and counted."""
    captions: dict[str, list[Row]] = {}
    for row in rows(content["annotations"], files.path, prefix="annotations"):
        captions.setdefault(_id(row, "image_id"), []).append(row)
    wanted: list[Wanted] = []
    named: dict[str, Row] = {}
    for row in rows(content["images"], files.path, prefix="images"):
        id, name = _id(row, "id"), row.get("file_name")
        before = named.setdefault(id, row)
        if before.get("file_name") != name:
            raise SuiteError(
                f"{row.where}: id {id} is {name!r}, but {before.get('file_name')!r} in {before.where}",
                "give each picture an id of its own",
            )
        if id in captions:
            texts = [each.caption("caption") for each in captions[id]]
            wanted.append(Wanted(row.where, (name,), texts))
        else:
            result.skips.add("picture has no caption", f"{row.where}: {name}")
    for id, of_id in captions.items():
        for row in of_id if id not in named else ():
            where = f"{row.where}: image_id {id}"
            result.skips.add("caption's picture isn't among the images", where)
    return wanted


def _id(row: Row, name: str) -> str:
    """The id of an image, which some programs write as a number and some as a text."""
    return str(row.get(name, (int, str)))


def _shared(captions: list[str], image_of: list[int]) -> int:
    pictures: dict[str, set[int]] = {}
    for text, image in zip(captions, image_of, strict=True):
        pictures.setdefault(text, set()).add(image)
    return sum(len(pictures[text]) > 1 for text in captions)


def _captions(row: Row) -> list[str]:
    sentences = row.get("sentences", list)
    if not sentences:
        raise SuiteError(f"{row.where}: no sentences")
    found = []
    for sentence in sentences:
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        found.append(row.text(raw, "sentences[].raw"))
    return found


_FILES = "Karpathy's dataset_coco.json or dataset_flickr30k.json; the module says which other forms"
SUITES = (Suite("captions", evaluate, read, path="file", files=_FILES),)
