"""The evaluation job: config to models to suites to `results.json` and `report.html`."""

import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from scenarioclip_jax import inference
from scenarioclip_jax.checkpoint import WEIGHTS, write_atomically
from scenarioclip_jax.command import ConfigError, listed, naming
from scenarioclip_jax.data.build import default_embedded
from scenarioclip_jax.data.shards import dataset_dir
from scenarioclip_jax.evaluation.cache import Cache, NoCache
from scenarioclip_jax.evaluation.encoder import ModelEncoder
from scenarioclip_jax.evaluation.files import Files
from scenarioclip_jax.evaluation.in_domain import DataSet
from scenarioclip_jax.evaluation.report import write_report
from scenarioclip_jax.evaluation.result import Result
from scenarioclip_jax.evaluation.settings import ProbeSettings, Settings
from scenarioclip_jax.evaluation.suites import (
    aro,
    captions,
    hard_negatives,
    linear_probe,
    predcls,
    retrieval,
    sugarcrepe,
    svo,
    vsr,
    whatsup,
    winoground,
    zero_shot,
)

IN_DOMAIN: dict[str, Callable] = {
    "zero_shot": zero_shot.evaluate,
    "retrieval": retrieval.evaluate,
    "hard_negatives": hard_negatives.evaluate,
    "linear_probe": linear_probe.evaluate,
}
ON_FILES: dict[str, Callable] = {
    "aro": aro.evaluate,
    "sugarcrepe": sugarcrepe.evaluate,
    "sugarcrepe_pp": sugarcrepe.evaluate_pp,
    "winoground": winoground.evaluate,
    "whatsup": whatsup.evaluate,
    "vsr": vsr.evaluate,
    "svo": svo.evaluate,
    "captions": captions.evaluate,
    "predcls": predcls.evaluate,
}
FOLDERS = ("aro", "whatsup", "vsr")  # suites of several files
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow", "tokenizers", "transformers")


class Evaluation(NamedTuple):
    """What an evaluation found."""

    summary: dict[str, Any]  # what `results.json` holds
    results: dict[str, dict[str, Result]]  # suite -> model's name -> result


def evaluate(config: ConfigDict, workdir: Path) -> Evaluation:
    """Scores the checkpoint, and the baseline if there is one, and writes both files into `workdir`.

    `results.json` is written again after every suite: what was computed survives an error in a later one.

    Returns:
      The same for plots of one's own.

    Raises:
      ConfigError: the config makes no sense.
      CheckpointError: a model can't be opened.
      DataSetError: a file of a suite or the data set is missing or malformed.
    """
    suites = chosen_suites(config)
    settings = check(config, suites)
    models = open_models(config)
    directory = _data_directory(config) if set(suites) & set(IN_DOMAIN) else None
    cache = Cache(Path(config.cache).expanduser()) if config.cache else NoCache()
    summary = describe(config, models)
    found: dict[str, dict[str, Result]] = {suite: {} for suite in suites}
    shown: DataSet | None = None
    for column, model in models.items():
        encoder = ModelEncoder(
            model, cache, batch_size=config.batch_size, threads=config.num_threads
        )
        summary["models"][column]["checkpoint_hash"] = encoder.digest
        data = None
        if directory:
            scenes = config.data.scenes
            data = DataSet(encoder, directory, scenes=scenes, threads=config.num_threads)
            shown = shown or data
        for suite in suites:
            started = time.perf_counter()
            source = data if suite in IN_DOMAIN else files_of(config, suite)
            run = (IN_DOMAIN | ON_FILES)[suite]
            result = run(encoder, source, settings)
            found[suite][column] = result
            _record(summary, suite, column, result, config)
            write_atomically(workdir / "results.json", json.dumps(summary, indent=2) + "\n")
            print(_line(suite, column, result, time.perf_counter() - started), flush=True)
    summary["cache"] = {"found": cache.found, "computed": cache.computed}
    write_atomically(workdir / "results.json", json.dumps(summary, indent=2) + "\n")
    print(f"embeddings: {cache.found} files found in the cache, {cache.computed} computed")
    write_report(workdir / "report.html", summary, found, shown)
    print(f"report: {workdir / 'report.html'}", flush=True)
    return Evaluation(summary, found)


def chosen_suites(config: ConfigDict) -> list[str]:
    """`config.suites`, also where it was given as `a,b`; raises ConfigError for one that isn't known."""
    names = listed(config.suites)
    known = [*IN_DOMAIN, *ON_FILES]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"{unknown[0]!r} is no suite" if unknown else "none is chosen"
        raise ConfigError(f"config.suites: {what}; there are {', '.join(known)}")
    return names


def check(config: ConfigDict, suites: list[str]) -> Settings:
    """Refuses a config that can't be run, before anything slow starts.

    Raises:
      ConfigError: names the key and what is allowed.
    """
    if jax.process_count() > 1:
        raise ConfigError(
            "evaluation runs in one process, on all devices that it sees; start it without --multihost"
        )
    if not config.checkpoint:
        raise ConfigError(
            "config.checkpoint is empty: name a training run's workdir, a converted checkpoint, or a "
            "CLIP folder"
        )
    unknown = [name for name in config.weights if name not in WEIGHTS]
    if unknown or not config.weights:
        raise ConfigError(f"config.weights={config.weights!r}: must be among {', '.join(WEIGHTS)}")
    for key in ("batch_size", "num_threads", "bootstrap"):
        if config[key] < 1:
            raise ConfigError(f"config.{key}={config[key]}: must be at least 1")
    if config.data.scenes < 0:
        raise ConfigError(f"config.data.scenes={config.data.scenes}: must be 0 (all) or more")
    try:
        probe = ProbeSettings(**config.probe.to_dict())
        names = ("levels", "relation_levels", "prompt", "seed")
        settings = Settings(probe=probe, **{name: config[name] for name in names})
    except ValueError as error:
        raise ConfigError(f"config.{error}") from error
    for suite in suites:
        if suite in ON_FILES:
            files_of(config, suite)
    if set(suites) & set(IN_DOMAIN) and config.data.dir:
        with naming("data.dir"):
            dataset_dir(Path(config.data.dir).expanduser())
    return settings


def files_of(config: ConfigDict, suite: str) -> Files:
    """Where a suite's files are; raises ConfigError if they aren't."""
    given = config[suite]
    path = Path(given.path).expanduser()
    kind = "folder" if suite in FOLDERS else "file"
    if not given.path:
        raise ConfigError(
            f"config.{suite}.path is empty: the suite {suite} reads local files, see configs/evaluate.py"
        )
    if not path.exists() or (kind == "folder" and not path.is_dir()):
        raise ConfigError(f"config.{suite}.path={given.path!r}: no such {kind}")
    if path.is_dir() and kind == "file" and not suite.startswith("sugarcrepe"):
        raise ConfigError(f"config.{suite}.path={given.path!r}: a folder; name the file in it")
    if given.images:
        images = Path(given.images).expanduser()
        if not images.is_dir():
            raise ConfigError(f"config.{suite}.images={given.images!r}: no such folder")
        return Files(path, (images,), config.skip_missing)
    beside = path if path.is_dir() else path.parent
    return Files(path, (beside, beside / "images"), config.skip_missing)


def open_models(config: ConfigDict) -> dict[str, inference.Model]:
    """The models by the name of their column in the tables."""
    models = {}
    with naming("checkpoint"):
        for weights in dict.fromkeys(config.weights):
            models[weights] = inference.load(config.checkpoint, weights=weights)
    if config.baseline:
        with naming("baseline"):
            models["baseline"] = inference.load(config.baseline)
    return models


def describe(config: ConfigDict, models: dict[str, inference.Model]) -> dict:
    """What has to be known to believe a number, without the numbers."""
    return {
        "models": {
            column: {
                "path": config.baseline if column == "baseline" else config.checkpoint,
                "weights": "its only" if column == "baseline" else column,
                "arch": model.spec.model["arch"],
                "image_size": model.image_size,
                "fit": model.spec.fit,
                "token_lengths": dict(model.spec.lengths),
            }
            for column, model in models.items()
        },
        "counting": {
            "strict": "a hit is the picture's own label among the k nearest; all metrics without a prefix",
            "any_label": "a hit is any label of the picture's photo among the k nearest; metrics named so",
        },
        "intervals": f"95%, percentile bootstrap of {config.bootstrap} resamples of photos or records",
        "captions": "lower case, single spaces, Unicode NFC, as in training",
        "prompt": config.prompt,
        "seed": config.seed,
        "data": config.data.dir or "the embedded scenes",
        "versions": {"python": platform.python_version(), "scenarioclip_jax": _version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "suites": {},
    }


def _record(summary: dict, suite: str, column: str, result: Result, config: ConfigDict) -> None:
    entry = summary["suites"].setdefault(suite, {"protocol": result.protocol, "columns": {}})
    metrics = {}
    for name, metric in result.metrics.items():
        low, high = metric.interval(config.seed, config.bootstrap)
        metrics[name] = {
            "value": metric.value,
            "interval": [low, high],
            "chance": metric.chance,
            "samples": len(metric.samples),
            "unit": "rank" if metric.statistic == "median" else "share",
        }
    entry["columns"][column] = {
        "level": result.level,
        "metrics": metrics,
        "counts": result.counts,
        "skipped": result.skips.summary(),
        "choices": result.choices,
    }


def _line(suite: str, column: str, result: Result, seconds: float) -> str:
    values = list(result.values().items())[:4]
    shown = "  ".join(f"{k} {v:.1%}" if v <= 1 else f"{k} {v:.1f}" for k, v in values)
    skipped = f"  ({len(result.skips)} skipped)" if len(result.skips) else ""
    return f"{suite} [{column}, {result.level}]: {shown}{skipped}  {seconds:.0f}s"


def _data_directory(config: ConfigDict) -> Path:
    if config.data.dir:
        return Path(config.data.dir).expanduser()
    with naming("embedded"):
        return default_embedded(**config.embedded)


def _version() -> str:
    try:
        return metadata.version("scenarioclip_jax")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"
