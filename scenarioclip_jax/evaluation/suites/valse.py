"""VALSE (Parcalabescu et al. 2022): a caption against a foil, in which one linguistic phenomenon is false.

    DIR/*.json   {KEY: {image_file, caption, foil, dataset, mturk: {caption, foil, other}}, …}, a file for each
                 instrument, such as counting-hard.json

Only records that at least two of three annotators found valid count (`mturk.caption` of 2 or more), as the
authors prescribe. The score is their pairwise accuracy: the caption's cosine is strictly above the foil's.
Images come from several data sets; `config.valse.images` names a folder with them, or with a folder for each.
"""

from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.embed.encoder import Encoder
from scenarioclip_jax.evaluation.files import Files, Located, SuiteError, Wanted
from scenarioclip_jax.evaluation.records import json_rows
from scenarioclip_jax.evaluation.score import two_captions
from scenarioclip_jax.evaluation.score.result import Metric, Result, cluster_by, partial_note
from scenarioclip_jax.evaluation.settings import Settings, name_of
from scenarioclip_jax.evaluation.suites.registry import Suite

# Valid records of the published files, each of which is an instrument.
PUBLISHED = {
    "existence": 505,
    "plurals": 851,
    "counting-hard": 868,
    "counting-small-quant": 900,
    "counting-adversarial": 691,
    "relations": 535,
    "action-replacement": 648,
    "actant-swap": 949,
    "coreference-standard": 708,
    "coreference-hard": 104,
    "foil-it": 943,
}
VOTES = 2  # of three annotators
PROTOCOL = (
    "Accuracy: the caption's cosine is strictly above the foil's, over records that two of three annotators "
    "found valid. Its mean is over the files."
)


def evaluate(encoder: Encoder, files: Files, settings: Settings) -> Result:
    """Scores the files that are there; raises SuiteError if none is, or a record is malformed."""
    result = Result({}, {}, name_of(settings.levels), PROTOCOL)
    all_hits, of_file, images_of = [], [], []
    for name, records in read(files, result).items():
        hits, paths = two_captions.score(encoder, settings, records, result, name)
        result.metrics[f"{name}/accuracy"] = Metric(hits, clusters=cluster_by(paths), chance=0.5)
        result.counts[f"{name} records"] = len(records)
        all_hits.append(hits)
        of_file += [name] * len(records)
        images_of += paths
    result.metrics["mean_accuracy"] = Metric(
        np.concatenate(all_hits), np.array(of_file), cluster_by(images_of), chance=0.5
    )
    return result


def read(files: Files, result: Result) -> dict[str, list[Located]]:
    """Reads and checks the valid records of each file; their values are the caption and the foil."""
    found = {}
    for path in _paths(files):
        wanted = []
        for row in json_rows(path, files.digests):
            votes = row.get("mturk", dict).get("caption")
            if not isinstance(votes, int) or isinstance(votes, bool):
                raise SuiteError(
                    f"{row.where}: 'mturk' is {row.get('mturk', dict)!r:.80}, expected votes"
                )
            texts = row.caption("caption"), row.caption("foil")
            if votes >= VOTES:
                wanted.append(Wanted(row.where, (row.get("image_file"),), texts))
        if not wanted:
            raise SuiteError(f"{path}: no record has {VOTES} votes for its caption; copy it again")
        records = found[path.stem] = files.locate(wanted, result.skips)
        result.notes += partial_note(path.stem, len(records), PUBLISHED.get(path.stem))
    missing = [name for name in PUBLISHED if name not in found]
    if missing:
        result.notes.append(
            f"{len(found)} of the {len(PUBLISHED)} published files, without {', '.join(missing)}: the mean "
            "can't be compared with published ones"
        )
    return found


def _paths(files: Files) -> list[Path]:
    if files.path.is_file():
        return [files.path]
    paths = [files.path / f"{name}.json" for name in PUBLISHED]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise SuiteError(
            f"{files.path}: none of VALSE's files is there, such as {paths[0].name}",
            "name the folder `data` of its repository",
        )
    return there


_FILES = "existence.json and the others, or one of them; images: those of its data sets"
SUITES = (Suite("valse", evaluate, read, path="folder or file", files=_FILES),)
