"""The evaluation job: config to models to suites to `results.json` and `report.html`."""

import json
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from scenarioclip_jax import inference
from scenarioclip_jax.checkpoint import steps
from scenarioclip_jax.command import ConfigError, listed, naming
from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation import seen
from scenarioclip_jax.evaluation.embed.cache import Cache, NoCache, not_kept
from scenarioclip_jax.evaluation.embed.encoder import ModelEncoder
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.files import Files, UnsupportedError
from scenarioclip_jax.evaluation.plan import (
    IN_DOMAIN,
    ON_FILES,
    check,
    chosen_suites,
    files_of,
    suites_are_named,
)
from scenarioclip_jax.evaluation.report.summary import cut_texts, describe, failure, line, record
from scenarioclip_jax.evaluation.report.write import write_report
from scenarioclip_jax.evaluation.run_data import Chosen, choose
from scenarioclip_jax.evaluation.samples import FILE as SAMPLES
from scenarioclip_jax.evaluation.samples import write_samples
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.sections import part_of, section_of, suite_of
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.files import json_text, write_text
from scenarioclip_jax.loading import load
from scenarioclip_jax.paths import PathError, address_of, local_path, require_local
from scenarioclip_jax.shell import to_paste
from scenarioclip_jax.workdir import open_workdir

__all__ = ["IN_DOMAIN", "ON_FILES", "Evaluation", "check", "chosen_suites", "evaluate"]


class Evaluation(NamedTuple):
    """The results of an evaluation."""

    summary: dict[str, Any]  # content of `results.json`
    results: dict[str, dict[str, Result]]  # by suite and model; suites with a result

    @property
    def failed(self) -> dict[str, str]:
        """The reasons why suites that should have a result have none."""
        return {suite: each["reason"] for suite, each in self.summary["failed"].items()}


def evaluate(config: ConfigDict, workdir: str | Path) -> Evaluation:
    """Scores the checkpoint, and the baseline if there is one, and writes both files into `workdir`.

    Suites are independent: one that can't be scored is reported with the reason, and the others continue. The
    files of all suites are read and checked before anything is embedded. `results.json` is rewritten after
    every suite.

    Args:
      config: The config.
      workdir: Folder for the results; local or an address in a bucket.

    Returns:
      The results, for your own plots; `failed` names the suites without a result.

    Raises:
      ConfigError: The config makes no sense, or `workdir` holds a training run or another evaluation.
      CheckpointError: A model can't be opened.
    """
    suites = chosen_suites(config)
    settings = check(config, suites)
    run = _Run(config, str(workdir), suites, settings)
    with open_workdir(workdir, run.prepare, checkpoints=False):
        return run.score_all()


def _open_cache(folder: str) -> Cache | NoCache:
    """Opens the embedding cache; if it can't be written, there is none, since embeddings can be recomputed.

    Raises:
      ConfigError: It is an address.
    """
    if not folder:
        return NoCache()
    with naming("cache"):
        require_local(folder)
    try:
        path = local_path(folder)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, PathError) as error:
        say(not_kept(error))
        return NoCache()
    return Cache(path)


class _Run:
    """A running evaluation.

    Attributes:
      summary: Content of `results.json` so far.
    """

    summary: dict[str, Any]

    def __init__(self, config: ConfigDict, name: str, suites: list[str], settings: Settings):
        self._config, self._name, self._suites, self._settings = config, name, suites, settings
        self._workdir = Path()
        self._data: tuple[Chosen, ...] = ()
        self._models: dict[str, inference.Model] = {}
        self._cache = _open_cache(config.cache)
        self._files: dict[str, Files] = {}
        self._found: dict[str, dict[str, Result]] = {}
        self._trained_on: dict[str, seen.Known] = {}
        self._shown: dict[str, DataSet] = {}  # by the name of the data set
        self._before: dict[str, str | None] = {}

    def prepare(self, folder: Path) -> None:
        """Opens data and models, for a workdir whose local folder this is."""
        self._workdir = folder
        self._refuse_others()
        if set(self._suites) & set(IN_DOMAIN):
            self._data = choose(self._config)
            for each in self._data:
                _say_data(each)
        self._models = open_models(self._config)
        of = {column: self._config.checkpoint for column in self._models}
        of |= {"baseline": self._config.baseline} if self._config.baseline else {}
        self._trained_on = {column: seen.known_to(path) for column, path in of.items()}

    def score_all(self) -> Evaluation:
        self.summary = describe(self._config, self._models, self._data)
        for column, model in self.summary["models"].items():
            model["step"] = None if column == "baseline" else _step(self._config.checkpoint)
        self.summary |= {"config": _comparable(self._config)}
        encoders = self._encoders()
        self._read_files()
        directories = {each.part: each.open() for each in self._data}
        for column, encoder in encoders.items():
            self._score_model(column, encoder, directories)
        return self._finish()

    def _refuse_others(self) -> None:
        """Raises ConfigError if the workdir holds a training run, or an evaluation of something else."""
        folder = self._workdir
        another = f"--workdir={self._name.rstrip('/')}-evaluation"
        other = f"name another --workdir, such as {to_paste(another)}"
        for name in ("checkpoints", "report.json", "metrics.jsonl"):
            if (folder / name).exists():
                raise ConfigError(
                    f"--workdir={self._name} holds a training run ({name}), whose report an evaluation would "
                    f"replace; {other}"
                )
        try:
            text = (folder / "results.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            if (folder / "report.html").exists():
                raise ConfigError(
                    f"--workdir={self._name} holds another report.html; {other}"
                ) from None
            return
        try:
            values = json.loads(text)
            before = values["config"]
            hashes = {k: model.get("checkpoint_hash") for k, model in values["models"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            before = None
        if before != json.loads(json_text(_comparable(self._config))):
            raise ConfigError(
                f"--workdir={self._name} holds another evaluation, which this one would replace; {other}"
            )
        self._before = hashes

    def _encoders(self) -> dict[str, ModelEncoder]:
        """Makes the encoders, by column.

        Raises:
          ConfigError: The workdir holds the same evaluation of other weights.
        """
        arguments = {"batch_size": self._config.batch_size, "threads": self._config.num_threads}
        found = {}
        for column, model in self._models.items():
            found[column] = ModelEncoder(model, self._cache, **arguments)
            digest = self.summary["models"][column]["checkpoint_hash"] = found[column].digest
            if self._before.get(column, digest) != digest:
                raise ConfigError(
                    f"--workdir={self._name} holds the evaluation of other weights ({column}), which this "
                    "one would replace: the checkpoint has changed since; name another --workdir"
                )
        return found

    def _read_files(self) -> None:
        """Reads and checks the files of all suites before anything is embedded."""
        for suite in self._suites:
            if suite in ON_FILES:
                self._files[suite] = files_of(self._config, suite)
                try:
                    ON_FILES[suite].read(self._files[suite], Result({}, {}, "", ""))
                except Exception as error:
                    self._fail(suite, error)

    def _score_model(
        self, column: str, encoder: ModelEncoder, directories: dict[str, Path]
    ) -> None:
        """Runs all suites that haven't failed, on one model.

        Args:
          directories: The data sets of the in-domain suites, by name. Of a mixture, each is scored by itself.
        """
        config = self._config
        data = {
            part: DataSet(encoder, directory, scenes=config.data.scenes, threads=config.num_threads)
            for part, directory in directories.items()
        }
        self._shown = self._shown or data
        for suite in self._suites:
            if suite in IN_DOMAIN:
                for part, each in data.items():
                    self._score(suite, part, column, encoder, each)
            else:
                self._score(suite, "", column, encoder, None)
        self._write()

    def _score(
        self, suite: str, part: str, column: str, encoder: ModelEncoder, data: DataSet | None
    ) -> None:
        """Scores a suite unless it has failed; its section is named after the data set of a mixture, too."""
        section = section_of(suite, part)
        if section in self.summary["failed"] or section in self.summary["left_out"]:
            return
        try:
            self._score_suite(suite, section, column, encoder, data)
        except Exception as error:
            self._fail(section, error)

    def _score_suite(
        self, suite: str, section: str, column: str, encoder: ModelEncoder, data: DataSet | None
    ) -> None:
        started = time.perf_counter()
        digests = {}
        scored = data if suite in IN_DOMAIN else self._files[suite]
        found = seen.seen_images(self._trained_on[column], scored)
        if self._config.seen_images == "refuse":
            seen.refuse(found)
        if suite in IN_DOMAIN:
            counting = encoder.counting()
            assert data is not None  # the caller gives in-domain suites one
            result = IN_DOMAIN[suite].evaluate(counting, data, self._settings)
            digests = data.digests()
        else:
            counting = encoder.counting(longest_texts=self._config.text_length == "longest")
            files = self._files[suite]
            result = ON_FILES[suite].evaluate(counting, files, self._settings)
            digests = files.digests
        texts = cut_texts(counting.cut)
        result.notes += seen.told(found)
        self._found.setdefault(section, {})[column] = result
        record(self.summary, section, column, result, self._config, texts, digests)
        self.summary["suites"][section]["columns"][column]["seen_in_training"] = found
        self._write()
        say(line(section, column, result, texts, time.perf_counter() - started))

    def _fail(self, section: str, error: Exception) -> None:
        entry = failure(error, suite_of(section))
        # What one data set of a mixture lacks takes nothing from the others; see also `_finish`.
        optional = part_of(section) or not suites_are_named(self._config)
        left_out = isinstance(error, UnsupportedError) and bool(optional)
        self.summary["left_out" if left_out else "failed"][section] = entry
        self._write()
        if left_out:
            say(f"{section}: left out: {entry['reason']}")
            return
        if not isinstance(error, ReadableError | OSError):
            say("".join(traceback.format_exception(error)), error=True)
        say(f"error: {section}: {error}", error=True)
        for each in entry["listed"][1:20]:
            say(f"  also: {each}", error=True)

    def _finish(self) -> Evaluation:
        """Writes both files for the last time."""
        summary = self.summary
        if suites_are_named(self._config):
            self._fail_what_no_data_set_has()
        if not summary["suites"] and not summary["failed"]:
            reasons = "; ".join(each["reason"] for each in summary["left_out"].values())
            summary["failed"] = {
                "all": {
                    "reason": f"nothing could be scored: {reasons}",
                    "remedy": "name other data with --config.data.dir, or other suites",
                    "listed": [],
                }
            }
            say(f"error: nothing could be scored: {reasons}", error=True)
        summary["cache"] = {"found": self._cache.found, "computed": self._cache.computed}
        self._write()
        write_samples(self._workdir / SAMPLES, self._found)
        say(
            f"embeddings: {self._cache.found} files found in the cache, {self._cache.computed} computed"
        )
        write_report(self._workdir / "report.html", summary, self._found, self._shown)
        say(f"report: {self._workdir / 'report.html'}")
        return Evaluation(summary, self._found)

    def _fail_what_no_data_set_has(self) -> None:
        """Counts a suite as failed if none of a mixture's data sets has what it needs."""
        summary = self.summary
        scored = {suite_of(section) for section in (*summary["suites"], *summary["failed"])}
        for section in [each for each in summary["left_out"] if suite_of(each) not in scored]:
            entry = summary["failed"][section] = summary["left_out"].pop(section)
            say(f"error: {section}: {entry['reason']}", error=True)

    def _write(self) -> None:
        text = json_text(self.summary, indent=2) + "\n"
        write_text(self._workdir / "results.json", text)


def _step(checkpoint: str) -> int | None:
    """The step of the checkpoint that is scored; None if it isn't that of a training run on this machine."""
    if address_of(checkpoint) is not None:
        return None
    return max(steps(local_path(checkpoint)), default=None)


def _say_data(chosen: Chosen) -> None:
    part = f"{chosen.part}, " if chosen.part else ""
    say(f"data: {part}{chosen.name} ({chosen.why})")
    for note in chosen.notes:
        say(f"data: {note}")


def _comparable(config: ConfigDict) -> dict[str, Any]:
    """The part of the config that equal evaluations share; leaves out settings of how to compute."""
    values = json.loads(config.to_json_best_effort())
    for name in ("batch_size", "num_threads", "cache", "compilation_cache"):
        values.pop(name, None)
    return values


def open_models(config: ConfigDict) -> dict[str, inference.Model]:
    """Opens the models, by the name of their column in the tables."""
    models = {}
    with naming("checkpoint"):
        for weights in listed(config.weights):
            models[weights] = load(config.checkpoint, weights=weights)
    if config.baseline:
        with naming("baseline"):
            models["baseline"] = load(config.baseline)
    return models
