"""Retrieval by descriptions of several sentences, one for each picture.

    urban1k  (Zhang et al. 2024)  DIR/image/N.jpg with DIR/caption/N.txt
    docci    (Onoe et al. 2024)   docci_descriptions.jsonlines: {example_id, split, image_file, description};
                                  the split `test` counts
    dci      (Urbanek et al. 2023)
                                  DIR/*.json, one for each photo: {image, short_caption, extra_caption, …};
                                  the text is both captions, which the authors call the extended one

Both ways, among all pictures. A text of the same words as another counts as one with several right pictures. A
tie is wrong. Most towers read 77 tokens: how many texts were cut is reported, and `config.text_length=longest`
reads all that a tower can.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.image_files import EXTENSIONS
from scenarioclip_jax.evaluation.records import Row, jsonl_rows, read_json, read_text
from scenarioclip_jax.evaluation.score.captions import score_captions
from scenarioclip_jax.evaluation.score.result import Example, Result, partial_note
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

PUBLISHED = {"urban1k": 1000, "docci": 5000, "dci": 7805}  # pictures
PROTOCOL = (
    "Image to text: the picture's description is among the k nearest, or another's of the same words; "
    "text to image: the description's picture is. A tie is wrong."
)


def evaluate(
    encoder: Encoder, files: Files, settings: Settings, read: Callable[..., list[Located]]
) -> Result:
    """Scores one of the data sets; raises SuiteError if a file is malformed or an image is missing."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    records = read(files, result)
    pictures = [Picture(record.paths[0]) for record in records]
    captions = [record.values for record in records]
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, captions, settings.levels)
    own = np.arange(len(captions))
    result.metrics, ranks, result.ties = score_captions(images, texts, own, captions)
    result.counts["pictures"] = len(pictures)
    worst = [i for i in np.argsort(-ranks, kind="stable")[:6] if ranks[i] > 0]
    result.examples["pictures whose descriptions rank last"] = [
        Example(pictures[i], f"rank {ranks[i] + 1}: {captions[i]:.80}", False) for i in worst
    ]
    return result


def read_urban1k(files: Files, result: Result) -> list[Located]:
    """Reads the descriptions; each file's name is that of its picture."""
    folder = files.path / "caption"
    texts = sorted(folder.glob("*.txt"), key=lambda path: (len(path.stem), path.stem))
    if not texts:
        raise SuiteError(
            f"{folder}: no .txt file there; name the folder with `image` and `caption`"
        )
    said = {path: read_text(path) for path in texts}
    files.digests[str(folder)] = _digest(said.items())
    wanted = [
        Wanted(str(path), (_picture(files, path.stem),), _caption(path, text))
        for path, text in said.items()
    ]
    return _locate(files, result, "urban1k", wanted)


def _digest(texts: Iterable[tuple[Path, str]]) -> str:
    """Of the names of files and what is read of them, in order."""
    digest = hashlib.sha256()
    for path, text in texts:
        digest.update(f"{path.name}\0{text}\0".encode())
    return digest.hexdigest()


def _caption(path: Path, text: str) -> str:
    return Row({"caption": text}, str(path)).caption("caption")


def _picture(files: Files, stem: str) -> str:
    """The picture's name below the image folders, with whatever ending it has."""
    for ending in EXTENSIONS:
        if any((folder / "image" / f"{stem}{ending}").is_file() for folder in files.images):
            return f"image/{stem}{ending}"
    return f"image/{stem}.jpg"


def read_docci(files: Files, result: Result) -> list[Located]:
    """Reads the descriptions of the test split."""
    wanted = [
        Wanted(row.where, (row.get("image_file"),), row.caption("description"))
        for row in jsonl_rows(files.path, files.digests)
        if row.get("split") == "test"
    ]
    if not wanted:
        raise SuiteError(f"{files.path}: no record of the split 'test' is in it")
    return _locate(files, result, "docci", wanted)


def read_dci(files: Files, result: Result) -> list[Located]:
    """Reads the extended captions, a short one and what else was said of the whole photo."""
    paths = sorted(files.path.glob("*.json"))
    if not paths:
        raise SuiteError(
            f"{files.path}: no .json file there; name the folder with one for each photo"
        )
    wanted, said = [], []
    for path in paths:
        content = read_json(path)
        row = Row(content if isinstance(content, dict) else {}, str(path))
        image, short = row.get("image"), row.get("short_caption")
        more = row.get("extra_caption") if row.values.get("extra_caption") else ""
        text = f"{short}\n{more}"
        said.append((path, json.dumps([image, text])))  # the rest are masks
        wanted.append(Wanted(str(path), (image,), _caption(path, text)))
    files.digests[str(files.path)] = _digest(said)
    return _locate(files, result, "dci", wanted)


def _locate(files: Files, result: Result, name: str, wanted: list[Wanted]) -> list[Located]:
    records = files.locate(wanted, result.skips)
    result.notes += partial_note("pictures", len(records), PUBLISHED[name])
    return records


def _suite(name: str, read: Callable[..., list[Located]], path: str, files: str) -> Suite:
    def evaluate_this(encoder: Encoder, given: Files, settings: Settings) -> Result:
        return evaluate(encoder, given, settings, read)

    return Suite(name, evaluate_this, read, path=path, files=files)


SUITES = (
    _suite("urban1k", read_urban1k, "folder", "image and caption"),
    _suite("dci", read_dci, "folder", "a .json file for each photo; images: photos"),
    _suite("docci", read_docci, "file", "docci_descriptions.jsonlines; images: images"),
)
