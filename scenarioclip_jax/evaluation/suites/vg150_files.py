"""The files of Visual Genome's split with 150 classes and 50 predicates (Xu et al. 2017); see `vg150`."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.embed.encoder import Picture
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, json_rows, read_json
from scenarioclip_jax.evaluation.score.result import Result, Skips
from scenarioclip_jax.evaluation.score.triplets import ImageTriplets
from scenarioclip_jax.files import sha256_of

GRAPHS = ("VG-SGG.h5", "VG-SGG-with-attri.h5")
NAMES = ("VG-SGG-dicts.json", "VG-SGG-dicts-with-attri.json")
IMAGES = "image_data.json"
SCALE = 1024  # of the boxes: the photo's longer side
TEST = 2  # in `split`; 0 is training with validation
CORRUPT = ("1592", "1722", "4616", "4617")  # ids of photos that the graphs leave out
ARRAYS = {  # with their number of columns; 0: a plain list
    "split": 0,
    "img_to_first_box": 0,
    "img_to_last_box": 0,
    "img_to_first_rel": 0,
    "img_to_last_rel": 0,
    "labels": 1,
    f"boxes_{SCALE}": 4,
    "relationships": 2,
    "predicates": 1,
}
INSTALL = "pip install 'scenarioclip_jax[vg150]'"


class Task(NamedTuple):
    """The test photos with relations.

    Attributes:
      scenes: The photos. Boxes are within them, and categories are indices of `names`.
      names, predicates: The words of the classes.
      known: Triplets of words that training photos have.
    """

    scenes: list[ImageTriplets]
    names: list[str]
    predicates: list[str]
    known: set[tuple[str, int, str]]


class Graph(NamedTuple):
    """The boxes (middle and size, by SCALE), their classes, and (subject, object, predicate) of a photo."""

    boxes: np.ndarray
    categories: list[int]
    truth: list[tuple[int, int, int]]


def read(files: Files, result: Result) -> Task:
    """Reads and checks the graphs, their words and the photos of the test split."""
    path = _one_of(files.path, GRAPHS)
    names, predicates = _words(_one_of(files.path, NAMES), files)
    arrays = read_arrays(path, files.digests)
    _check(arrays, path, len(names), len(predicates))
    listed = json_rows(_one_of(files.path, (IMAGES,)), files.digests)
    photos = [str(row.get("image_id", (int, str))) for row in listed]
    photos = [photo for photo in photos if photo not in CORRUPT]
    if len(photos) != len(arrays["split"]):
        raise SuiteError(
            f"{files.path / IMAGES}: {len(photos):,} photos, and {path} has {len(arrays['split']):,}",
            "use the files of one release",
        )
    wanted, known = [], set()
    chosen = (arrays["img_to_first_box"] >= 0) & (arrays["img_to_first_rel"] >= 0)
    for at in np.flatnonzero(chosen).tolist():
        where = f"{path} photo {at}"
        graph = _graph(arrays, at, where)
        if arrays["split"][at] != TEST:
            known |= {
                (names[graph.categories[s]], p, names[graph.categories[o]])
                for s, o, p in graph.truth
            }
        elif truth := _pairs(graph, where, result.skips):
            values = photos[at], graph._replace(truth=truth)
            wanted.append(Wanted(where, (f"{photos[at]}.jpg",), values))
    if not wanted:
        raise SuiteError(f"{path}: no photo of the test split has a relation of two objects")
    scenes = [_scene(record, names) for record in files.locate(wanted, result.skips)]
    if len(scenes) < len(wanted):
        result.notes.append(f"{len(scenes):,} of {len(wanted):,} test photos, a partial set")
    return Task(scenes, names, predicates, known)


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise SuiteError(
            f"{folder}: no {' or '.join(names)} there",
            f"put {GRAPHS[0]}, {NAMES[0]} and {IMAGES} into one folder, and name it",
        )
    return found[0]


def read_arrays(path: Path, digests: dict[str, str]) -> dict[str, np.ndarray]:
    """The lists of an HDF5 file that `ARRAYS` names.

    Raises:
      SuiteError: h5py isn't installed, or the file is damaged or lacks one of them.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise SuiteError(
            f"{path}: reading it needs h5py, which isn't installed: {error}", INSTALL
        ) from None
    try:
        with path.open("rb") as file:
            kind = image_files.foreign(file.read(200))
        digests[str(path)] = sha256_of(path)
        if kind:
            raise SuiteError(f"{path} can't be read: it is {kind}, not an HDF5 file")
        with h5py.File(path, "r") as file:
            if missing := [name for name in ARRAYS if name not in file]:
                has = ", ".join(map(str, file)) or "nothing"
                raise SuiteError(f"{path}: no list {missing[0]!r} in it; it has {has:.300}")
            return {name: np.asarray(file[name][()]) for name in ARRAYS}
    except (OSError, TypeError, ValueError, RuntimeError, KeyError) as error:
        if isinstance(error, SuiteError):
            raise
        raise SuiteError(
            f"{path} isn't a readable HDF5 file: {error!s:.200}", "copy it again"
        ) from None


def _check(arrays: Mapping[str, np.ndarray], path: Path, names: int, predicates: int) -> None:
    """Raises SuiteError if the arrays don't fit together."""
    for name, columns in ARRAYS.items():
        shape, kind = arrays[name].shape, arrays[name].dtype.kind
        if len(shape) != 1 + bool(columns) or (columns and shape[1] != columns) or kind not in "iu":
            expected = f"N x {columns}" if columns else "N"
            raise SuiteError(
                f"{path}: {name!r} is an array {shape} of {arrays[name].dtype}, expected {expected} whole "
                "numbers"
            )
    for together in (
        ("split", "img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel"),
        ("labels", f"boxes_{SCALE}"),
        ("relationships", "predicates"),
    ):
        if len({len(arrays[name]) for name in together}) > 1:
            raise SuiteError(
                f"{path}: {' and '.join(together)} have different lengths; copy it again"
            )
    for name, most in (("labels", names), ("predicates", predicates)):
        values = arrays[name]
        if len(values) and not (1 <= values.min() and values.max() <= most):
            raise SuiteError(
                f"{path}: {name!r} has {values.min()} to {values.max()}, expected 1 to {most}, as the file of "
                "words has"
            )


def _words(path: Path, files: Files) -> tuple[list[str], list[str]]:
    """The names of classes and of predicates; their numbers begin at 1."""
    content = read_json(path, files.digests)
    whole = Row(content if isinstance(content, dict) else {}, str(path))
    found = []
    for key in ("label_to_idx", "predicate_to_idx"):
        numbers = whole.get(key, dict)
        expected = list(range(1, len(numbers) + 1))
        values = list(numbers.values())
        if not all(type(value) is int for value in values) or sorted(values) != expected:
            raise SuiteError(f"{path}: {key!r} doesn't number its words from 1 to {len(numbers)}")
        words = [
            whole.text(word.replace("_", " "), key) for word in sorted(numbers, key=numbers.get)
        ]
        if len(words) < 2:
            raise SuiteError(
                f"{path}: {key!r} has {len(words)} word; there is nothing to tell apart"
            )
        found.append(words)
    return found[0], found[1]


def _graph(arrays: Mapping[str, np.ndarray], at: int, where: str) -> Graph:
    first, last = (int(arrays[f"img_to_{end}_box"][at]) for end in ("first", "last"))
    start, end = (int(arrays[f"img_to_{each}_rel"][at]) for each in ("first", "last"))
    if not (first <= last < len(arrays["labels"]) and start <= end < len(arrays["predicates"])):
        raise SuiteError(f"{where}: its boxes or relations lie outside of the file's lists")
    relations = arrays["relationships"][start : end + 1].astype(np.int64) - first
    if relations.min() < 0 or relations.max() > last - first:
        raise SuiteError(f"{where}: a relation is of a box that another photo has")
    predicates = arrays["predicates"][start : end + 1, 0].astype(np.int64) - 1
    boxes = arrays[f"boxes_{SCALE}"][first : last + 1].astype(np.int64)
    categories = arrays["labels"][first : last + 1, 0].astype(np.int64) - 1
    truth = [
        (*pair, kind) for pair, kind in zip(relations.tolist(), predicates.tolist(), strict=True)
    ]
    return Graph(boxes, categories.tolist(), truth)


def _pairs(graph: Graph, where: str, skips: Skips) -> list[tuple[int, int, int]]:
    """The relations of two different objects. One that stands twice counts twice, as published."""
    kept = [triplet for triplet in graph.truth if triplet[0] != triplet[1]]
    for _ in range(len(graph.truth) - len(kept)):
        skips.add("an object related to itself", where)
    return kept


def _scene(record: Located, names: list[str]) -> ImageTriplets:
    photo, graph = record.values
    size = image_files.size_of(record.paths[0])
    corner = np.trunc(graph.boxes[:, :2] - graph.boxes[:, 2:] / 2)  # whole numbers, as published
    edges = np.concatenate([corner, corner + graph.boxes[:, 2:]], axis=1) / SCALE * max(size)
    limits = np.array([*size, *size]) - 1  # the last pixels
    boxes = [tuple(box) for box in np.clip(edges, 0, limits).tolist()]
    labels = [names[category] for category in graph.categories]
    return ImageTriplets(
        Picture(record.paths[0]), photo, boxes, labels, graph.truth, graph.categories
    )
