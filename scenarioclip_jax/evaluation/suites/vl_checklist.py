"""VL-CheckList (Zhao et al. 2022): a text against the same with an object, attribute or relation exchanged.

    data/{Attribute,Object,Relation}/**/*.json   [[image, {"POS": [text, …], "NEG": [text, …]}], …]

As in the authors' code (task `itc`), the first text of either kind counts: a record is right where the true
one's cosine is strictly above the false one's. Images come from Visual Genome, SWiG and HAKE;
`config.vl_checklist.images` names the folder with `vg`, `swig` and `hake`.
"""

from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder, Picture, by_levels
from scenarioclip_jax.evaluation.files import Files, Located, Row, SuiteError, Wanted, read_json
from scenarioclip_jax.evaluation.score.ranks import cosines
from scenarioclip_jax.evaluation.score.result import Example, Metric, Result, cluster_by
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

ASPECTS = ("Attribute", "Object", "Relation")
PROTOCOL = (
    "Accuracy: the true text's cosine is strictly above the false one's. Of an aspect: the mean over its "
    "files."
)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the aspects that are there; raises SuiteError if none is, or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    for aspect, of_aspect in read(files, result).items():
        hits, groups, paths = [], [], []
        for name, records in of_aspect.items():
            right, pictures = _score(encoder, settings, f"{aspect}/{name}", records, result)
            hits.append(right)
            groups += [name] * len(right)
            paths += [picture.path for picture in pictures]
        metric = Metric(np.concatenate(hits), np.array(groups), cluster_by(paths), chance=0.5)
        result.metrics[f"{aspect.lower()}/accuracy"] = metric
        result.counts[f"{aspect.lower()} records"] = len(groups)
    return result


def _score(
    encoder: Encoder, settings: Settings, name: str, records: list[Located], result: Result
) -> tuple[np.ndarray, list[Picture]]:
    """Which records of a file are right, with their pictures."""
    pictures = [Picture(record.paths[0]) for record in records]
    trues, falses = (list(texts) for texts in zip(*(r.values for r in records), strict=True))
    images = by_levels(encoder.images, pictures, settings.levels)
    texts = by_levels(encoder.texts, trues + falses, settings.levels)
    count = len(trues)
    one, other = (cosines(images, each) for each in (texts[:, :count], texts[:, count:]))
    result.ties[name] = int((one == other).sum())
    worst = np.argsort(one - other, kind="stable")[:2]
    result.examples[f"{name}: surest failures"] = [
        Example(pictures[i], f"{trues[i]}, not {falses[i]}", False)
        for i in worst
        if one[i] <= other[i]
    ]
    return (one > other).astype(float), pictures


def read(files: Files, result: Result) -> dict[str, dict[str, list[Located]]]:
    """Reads and checks the records by aspect and file; their values are the true and the false text."""
    found: dict[str, dict[str, list[Located]]] = {}
    for aspect in ASPECTS:
        folder = files.path / aspect
        for path in sorted(folder.rglob("*.json")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            records = files.locate(_records(path, files), result.skips)
            found.setdefault(aspect, {})[name] = records
    if not found:
        raise SuiteError(
            f"{files.path}: no .json file below {', '.join(ASPECTS)} there",
            "name the folder `data` of VL-CheckList's repository",
        )
    missing = [aspect for aspect in ASPECTS if aspect not in found]
    result.notes += [f"{aspect}: not scored, its files aren't there" for aspect in missing]
    return found


def _records(path: Path, files: Files) -> list[Wanted]:
    content = read_json(path, files.digests)
    if not isinstance(content, list) or not content:
        raise SuiteError(f"{path}: expected a list of records, not empty")
    wanted = []
    for index, values in enumerate(content):
        where = f"{path} [{index}]"
        if not isinstance(values, list) or len(values) != 2 or not isinstance(values[1], dict):
            raise SuiteError(f"{where}: {values!r:.80}, expected [image, {{POS, NEG}}]")
        row = Row({"image": values[0], **values[1]}, where)
        texts = tuple(_first(row, kind) for kind in ("POS", "NEG"))
        wanted.append(Wanted(where, (row.get("image"),), texts))
    return wanted


def _first(row: Row, kind: str) -> str:
    texts = row.get(kind, list)
    if not texts:
        raise SuiteError(f"{row.where}: {kind!r} has no text")
    return row.text(texts[0], kind)


_FILES = "Attribute, Object and Relation; images: vg, swig and hake"
SUITES = (Suite("vl_checklist", evaluate, read, path="folder", files=_FILES),)
