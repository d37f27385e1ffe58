"""Reads evaluations: `results.json`, and `samples.npz` with the scores of single photos or records."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation.samples import FILE as SAMPLES
from scenarioclip_jax.evaluation.samples import read_samples
from scenarioclip_jax.evaluation.score.result import Metric

Key = tuple[str, str]  # section and metric


class CompareError(ReadableError, ValueError):
    """Evaluations can't be compared. The message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A column of an evaluation.

    Attributes:
      folder: The evaluation's workdir.
      column: One of its models: `student`, `ema` or `baseline`.
      summary: Content of `results.json`.
      samples: The metrics with their samples, as far as they were kept.
    """

    folder: Path
    column: str
    summary: Mapping[str, Any]
    samples: Mapping[Key, Metric]

    @property
    def name(self) -> str:
        return f"{self.folder}:{self.column}"

    def entry(self, section: str) -> Mapping[str, Any] | None:
        """What this column has of a section."""
        columns = self.summary["suites"].get(section, {}).get("columns", {})
        return columns.get(self.column)

    def metrics(self) -> dict[Key, dict[str, Any]]:
        """All its metrics, as in `results.json`."""
        return {
            (section, name): values
            for section in self.summary["suites"]
            for name, values in (self.entry(section) or {"metrics": {}})["metrics"].items()
        }

    def protocol(self, section: str) -> dict[str, Any]:
        """What has to be known, and to be equal, to compare a section's scores."""
        suite, entry = self.summary["suites"][section], self.entry(section)
        assert entry is not None  # the caller has looked
        return {
            "protocol": suite["protocol"],
            "level": entry["level"],
            "prompt": self.summary["prompt"],
            # How many of a text's tokens are read, which only suites with files of their own can choose.
            "text_length": self.summary["config"].get("text_length", "trained")
            if suite["files"]
            else "trained",
            # Of each split of a data set; 0: all.
            "scenes": self.summary["config"]["data"]["scenes"],
            "files": [[Path(each["path"]).name, each["sha256"]] for each in suite["files"]],
        }


class System(NamedTuple):
    """A model, as trained one or several times."""

    name: str
    runs: Sequence[Run]


def read_system(given: str) -> System:
    """Reads `NAME=FOLDER[:COLUMN][,FOLDER[:COLUMN] …]`; without a name, the first folder's.

    Raises:
      CompareError: There is no evaluation, or no such column.
    """
    name, equals, folders = given.partition("=")
    if not equals:
        name, folders = "", given
    runs = [read_run(each.strip()) for each in folders.split(",") if each.strip()]
    if not runs:
        raise CompareError(f"{given!r} names no folder; write NAME=FOLDER,FOLDER")
    places = [(run.folder.resolve(), run.column) for run in runs]
    if twice := [
        run.name for run, place in zip(runs, places, strict=True) if places.count(place) > 1
    ]:
        raise CompareError(
            f"{given!r} names {twice[0]} twice; one run is one seed, so name it once"
        )
    return System(name.strip() or runs[0].folder.name, runs)


def read_run(given: str) -> Run:
    """Reads `FOLDER[:COLUMN]`; the column is `student` if there is one, else the only one."""
    folder, colon, column = given.rpartition(":")
    if not colon or (Path(given) / "results.json").is_file():
        folder, column = given, ""
    path = Path(folder).expanduser() / "results.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        columns = list(summary["models"])
        suites, _ = summary["suites"], summary["config"]["data"]["scenes"]
    except FileNotFoundError:
        raise CompareError(
            f"{folder}: no results.json in it; name the --workdir of an evaluation (configs/evaluate.py)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CompareError(f"{path} can't be read ({error}); evaluate again") from None
    if not columns:
        raise CompareError(f"{path} has no model; evaluate again")
    chosen = column or ("student" if "student" in columns else columns[0])
    if chosen not in columns:
        raise CompareError(f"{path} has no column {chosen!r}; it has {', '.join(columns)}")
    if not any(chosen in suite["columns"] for suite in suites.values()):
        raise CompareError(f"{path}: no suite has a result for {chosen}; evaluate again")
    return Run(path.parent, chosen, summary, _samples(path.parent, chosen))


def _samples(folder: Path, column: str) -> dict[Key, Metric]:
    """The samples of a column; none if the evaluation is of before they were kept."""
    try:
        found = read_samples(folder / SAMPLES)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CompareError(
            f"{folder / SAMPLES} can't be read ({error}); evaluate again, or remove it to compare without "
            "intervals over photos"
        ) from None
    return {
        (section, name): metric for (section, of, name), metric in found.items() if of == column
    }


def pairable(one: Metric | None, other: Metric | None) -> bool:
    """Whether two metrics have the same samples in the same order, so that they can be resampled alike."""
    if one is None or other is None or len(one.samples) != len(other.samples):
        return False
    same = [_equal(getattr(one, part), getattr(other, part)) for part in ("clusters", "groups")]
    return all(same) and (one.statistic, one.all_groups) == (other.statistic, other.all_groups)


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)
