"""`samples.npz` beside `results.json`: the score of every photo or record, to compare models in pairs.

    SECTION|COLUMN|METRIC|samples     float32 [N]
    SECTION|COLUMN|METRIC|clusters    int32 [N], if samples aren't independent
    SECTION|COLUMN|METRIC|groups      int32 [N], if the metric is a mean over groups

and `about`, a JSON text with the rest of each metric.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scenarioclip_jax.evaluation.score.result import Metric, Result
from scenarioclip_jax.files import write_whole

FILE = "samples.npz"
_PARTS = {"samples": np.float32, "clusters": np.int32, "groups": np.int32}


def write_samples(path: Path, found: Mapping[str, Mapping[str, Result]]) -> None:
    """Writes the samples of results by section and column."""
    arrays, about = {}, {}
    for section, columns in found.items():
        for column, result in columns.items():
            for name, metric in result.metrics.items():
                key = f"{section}|{column}|{name}"
                about[key] = {"statistic": metric.statistic, "all_groups": metric.all_groups}
                for part, kind in _PARTS.items():
                    value = getattr(metric, part)
                    if value is None:
                        continue
                    if part != "samples":  # names become numbers
                        value = np.unique(np.asarray(value), return_inverse=True)[1]
                    arrays[f"{key}|{part}"] = np.asarray(value, kind)
    text = np.array(json.dumps(about))
    write_whole(path, lambda file: np.savez_compressed(file, about=text, **arrays))


def read_samples(path: Path) -> dict[tuple[str, str, str], Metric]:
    """Reads what `write_samples` wrote, by section, column and metric.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError, KeyError, EOFError, zipfile.BadZipFile: It is damaged.
    """
    found = {}
    with np.load(path, allow_pickle=False) as file:
        for key, rest in json.loads(str(file["about"])).items():
            section, column, name = key.split("|", 2)
            parts = {part: file[f"{key}|{part}"] for part in _PARTS if f"{key}|{part}" in file}
            found[section, column, name] = Metric(**parts, **rest)
    return found
