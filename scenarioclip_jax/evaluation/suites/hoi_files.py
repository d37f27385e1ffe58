"""The files of HICO-DET and SWiG-HOI; `hoi` tells what is in them and scores it."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from scenarioclip_jax.evaluation.embed.encoder import Picture
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.proposals import Proposals, read_proposals
from scenarioclip_jax.evaluation.records import Row, json_rows, read_text, rows
from scenarioclip_jax.evaluation.score.boxes import corners
from scenarioclip_jax.evaluation.score.result import Result, Skips
from scenarioclip_jax.evaluation.suites.hico_names import OBJECTS, VERBS, WITHOUT_ARTICLE

RARE = 10  # examples in training below which an interaction of HICO-DET is rare
FREQUENCIES = ("unseen", "rare", "frequent")  # SWiG's 0, 1, 2


class Interaction(NamedTuple):
    """What a person does with an object of a class.

    Attributes:
      group: What its precision is averaged with, such as "rare"; empty if not known.
    """

    text: str
    verb: int
    object: int
    group: str


class BoxedPhoto(NamedTuple):
    """A photo with N boxes (x0, y0, x1, y1).

    Attributes:
      number: The photo's id in the file.
      scores: Of proposals; 1 of annotated boxes.
    """

    number: Any
    picture: Picture
    boxes: Float[np.ndarray, "N 4"]
    categories: Int[np.ndarray, " N"]
    scores: Float[np.ndarray, " N"]


class Task(NamedTuple):
    """What is to be found.

    Attributes:
      person: The class of people.
      truth: For each interaction, by photo, its pairs of boxes as 8 numbers.
      with_object: The photos that have an object of a class in an interaction.
      known: Whether photos without the object are also left out, for a second mean.
    """

    interactions: list[Interaction]
    person: int
    scenes: list[BoxedPhoto]
    truth: list[dict[Any, list[np.ndarray]]]
    with_object: dict[int, set]
    known: bool


class Form(NamedTuple):
    """The fields of a file's records."""

    boxes: str
    interactions: str
    verb: str


HICO = Form("annotations", "hoi_annotation", "category_id")
SWIG = Form("box_annotations", "hoi_annotations", "action_id")


class Record(NamedTuple):
    """A photo of a file: its id, boxes, their classes, and (subject, object, verb) by row."""

    number: Any
    boxes: list[list[float]]
    categories: list[int]
    interactions: list[tuple[int, int, int]]


def read_hico(files: Files, result: Result) -> Task:
    """Reads and checks HICO-DET's test photos, and counts interactions in its training file."""
    path, training = _file(files, "test_hico.json"), None
    if (path.parent / "trainval_hico.json").is_file():
        training = _counts(path.parent / "trainval_hico.json", files)
    else:
        result.notes.append(
            "rare interactions aren't told apart, because trainval_hico.json isn't beside the test file"
        )
    records = _records(path, files, HICO, result.skips)
    pairs = Counter(training or {})
    for _, record in records:
        pairs.update((verb, record.categories[other]) for _, other, verb in record.interactions)
    interactions = []
    for verb, category in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        group = ""
        if training is not None:
            group = "rare" if training[verb, category] < RARE else "non-rare"
        text = _hico_text(verb, category, path)
        interactions.append(Interaction(text, verb, category, group))
    return _task(files, result, records, interactions, person=1, known=files.proposals is not None)


def read_swig(files: Files, result: Result) -> Task:
    """Reads and checks SWiG-HOI's test photos and the names of its classes."""
    path = _file(files, "swig_test_1000.json")
    names = path.parent / "swig_v1_categories.py"
    lists = _literals(names, files, ("SWIG_CATEGORIES", "SWIG_ACTIONS", "SWIG_INTERACTIONS"))
    objects, verbs = (
        {row.get("id", int): row.category("name") for row in rows(lists[name], names, prefix=name)}
        for name in ("SWIG_CATEGORIES", "SWIG_ACTIONS")
    )
    interactions = []
    for row in rows(lists["SWIG_INTERACTIONS"], names, prefix="SWIG_INTERACTIONS"):
        verb, category, often = (
            row.get(name, int) for name in ("action_id", "object_id", "frequency")
        )
        if verb not in verbs or category not in objects or not 0 <= often < len(FREQUENCIES):
            raise SuiteError(f"{row.where}: {row.values!r:.120}, expected ids of this file's lists")
        if row.get("evaluation", int):
            text = f"a photo of a person {verbs[verb]} {_with_article(objects[category])}"
            interactions.append(Interaction(text, verb, category, FREQUENCIES[often]))
    if not interactions:
        raise SuiteError(f"{names}: none of SWIG_INTERACTIONS is marked for evaluation")
    records = _records(path, files, SWIG, result.skips)
    return _task(files, result, records, interactions, person=0, known=False)


def _file(files: Files, name: str) -> Path:
    path = files.path / name if files.path.is_dir() else files.path
    if not path.is_file():
        raise SuiteError(f"{path}: no such file", f"name the folder that has {name}, or that file")
    return path


def _literals(path: Path, files: Files, names: tuple[str, ...]) -> dict[str, list]:
    """Lists that a Python file has at its top; the file isn't run."""
    try:
        statements = ast.parse(read_text(path, files.digests)).body
        found = {
            target.id: ast.literal_eval(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name) and target.id in names
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, SuiteError):
            raise SuiteError(
                error.reason, "put SWiG-HOI's file of names beside the test file"
            ) from None
        raise SuiteError(
            f"{path} isn't a readable file of names: {error}", "copy it again"
        ) from None
    if missing := [name for name in names if name not in found]:
        raise SuiteError(f"{path}: no list {missing[0]} in it")
    return found


def _hico_text(verb: int, category: int, path: Path) -> str:
    if not 1 <= verb <= len(VERBS) or category not in OBJECTS:
        raise SuiteError(
            f"{path}: verb {verb} with object {category}; HICO-DET's verbs are 1 to {len(VERBS)}, and its "
            f"objects have COCO's ids, 1 to {max(OBJECTS)}"
        )
    what, doing = _with_article(OBJECTS[category]), VERBS[verb - 1]
    return f"a photo of a person {doing} {what}" if doing else f"a photo of a person and {what}"


def _with_article(noun: str) -> str:
    if noun in WITHOUT_ARTICLE:
        return noun
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _counts(path: Path, files: Files) -> Counter:
    """How often each (verb, object's class) occurs."""
    return Counter(
        (verb, record.categories[other])
        for _, record in _records(path, files, HICO, Skips())
        for _, other, verb in record.interactions
    )


def _records(path: Path, files: Files, form: Form, skips: Skips) -> list[tuple[Row, Record]]:
    found, first = [], {}
    for at, row in enumerate(json_rows(path, files.digests)):
        number = row.get("img_id", (int, str)) if "img_id" in row.values else at
        if (other := first.setdefault(number, row)) is not row:
            raise SuiteError(f"{row.where}: its img_id {number!r} is also that of {other.where}")
        boxes, categories = [], []
        for index, each in enumerate(row.get(form.boxes, list)):
            part = _part(each, f"{row.where} {form.boxes}[{index}]")
            boxes.append(part.numbers("bbox", 4))
            categories.append(_number(part, "category_id"))
        interactions = []
        for index, each in enumerate(row.get(form.interactions, list)):
            part = _part(each, f"{row.where} {form.interactions}[{index}]")
            ends = [_number(part, name) for name in ("subject_id", "object_id")]
            if not all(0 <= end < len(boxes) for end in ends):
                skips.add("interaction of a box that isn't there", part.where)
                continue
            interactions.append((*ends, _number(part, form.verb)))
        found.append((row, Record(number, boxes, categories, interactions)))
    return found


def _part(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise SuiteError(f"{where}: {value!r:.80}, expected an object")
    return Row(value, where)


def _number(row: Row, name: str) -> int:
    """A whole number, which some copies of the files write as a text."""
    value = row.get(name, (int, str))
    try:
        return int(np.int64(int(value)))
    except (ValueError, OverflowError):
        raise SuiteError(
            f"{row.where}: {name!r} is {value!r:.40}, expected a whole number"
        ) from None


def _task(
    files: Files,
    result: Result,
    records: list[tuple[Row, Record]],
    interactions: list[Interaction],
    person: int,
    known: bool,
) -> Task:
    proposed = None
    if files.proposals is not None:
        proposed = read_proposals(files.proposals, result.skips, files.digests, named=True)
        if not any(record.number in proposed for _, record in records):
            raise SuiteError(
                f"{files.proposals}: no proposal is in a photo of {files.path}",
                "give each the img_id of its photo as image_id",
            )
    place = {(each.verb, each.object): at for at, each in enumerate(interactions)}
    wanted = [
        Wanted(row.where, (row.get("file_name"),), record)
        for row, record in records
        if record.interactions or (proposed and record.number in proposed)
    ]
    if not any(record.interactions for _, record in records):
        raise SuiteError(f"{files.path}: no photo has an interaction")
    scenes, truth = [], [{} for _ in interactions]
    with_object: dict[int, set] = {}
    for each in files.locate(wanted, result.skips):
        record = each.values
        scenes.append(_scene(each, proposed, result.skips))
        for one, two, verb in record.interactions:
            category = record.categories[two]
            with_object.setdefault(category, set()).add(record.number)
            at = place.get((verb, category))
            if at is None:
                result.skips.add("interaction that isn't evaluated", each.where)
                continue
            if record.categories[one] != person:
                result.skips.add("interaction whose subject is no person", each.where)
                continue
            both = np.array(record.boxes[one] + record.boxes[two], float)
            truth[at].setdefault(record.number, []).append(both)
    if not any(truth):
        raise SuiteError(f"{files.path}: no photo has an interaction that is evaluated")
    return Task(interactions, person, scenes, truth, with_object, known)


def _scene(located: Located, proposed: dict[Any, Proposals] | None, skips: Skips) -> BoxedPhoto:
    """A photo with its annotated boxes, or with the proposed ones."""
    record = located.values
    if proposed is None:
        boxes, categories = np.array(record.boxes, float), record.categories
        scores = [1.0] * len(categories)
    else:
        own = proposed.get(record.number, Proposals([], [], []))
        boxes, categories, scores = np.array(own.boxes, float), own.categories, own.scores
        boxes = corners(boxes.reshape(-1, 4))
    boxes = boxes.reshape(-1, 4)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    for row in np.flatnonzero(~kept):
        skips.add("box without an area", f"{located.where} box {row}")
    return BoxedPhoto(
        record.number,
        Picture(located.paths[0]),
        boxes[kept],
        np.array(categories, int)[kept],
        np.array(scores, float)[kept],
    )
