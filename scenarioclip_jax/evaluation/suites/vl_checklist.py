"""VL-CheckList (Zhao et al. 2022): a text against the same with an object, attribute or relation exchanged.

    data/{Attribute,Object,Relation}/**/*.json   [[image, {"POS": [text, …], "NEG": [text, …]}], …]

As in the authors' code (task `itc`), the first text of either kind counts: a record is right where the true
one's cosine is strictly above the false one's. Images come from Visual Genome, SWiG and HAKE;
`config.vl_checklist.images` names the folder with `vg`, `swig` and `hake`.
"""

from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import Row, json_lists
from scenarioclip_jax.evaluation.score import two_captions
from scenarioclip_jax.evaluation.score.result import Metric, Result, cluster_by
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
            right, of_file = two_captions.score(
                encoder, settings, records, result, f"{aspect}/{name}", shown=2
            )
            hits.append(right)
            groups += [name] * len(right)
            paths += of_file
        metric = Metric(np.concatenate(hits), np.array(groups), cluster_by(paths), chance=0.5)
        result.metrics[f"{aspect.lower()}/accuracy"] = metric
        result.counts[f"{aspect.lower()} records"] = len(groups)
    return result


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
    wanted = []
    for row in json_lists(path, ("image", "{POS, NEG}"), files.digests):
        given = row.values["{POS, NEG}"]
        if not isinstance(given, dict):
            raise SuiteError(f"{row.where}: {given!r:.80}, expected [image, {{POS, NEG}}]")
        texts = tuple(_first(Row(given, row.where), kind) for kind in ("POS", "NEG"))
        wanted.append(Wanted(row.where, (row.get("image"),), texts))
    return wanted


def _first(row: Row, kind: str) -> str:
    texts = row.get(kind, list)
    if not texts:
        raise SuiteError(f"{row.where}: {kind!r} has no text")
    return row.text(texts[0], kind)


_FILES = "Attribute, Object and Relation; images: vg, swig and hake"
SUITES = (Suite("vl_checklist", evaluate, read, path="folder", files=_FILES),)
