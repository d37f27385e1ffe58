"""`results.json`: what was scored, how, and the results."""

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

from scenarioclip_jax import inference
from scenarioclip_jax.evaluation.files import SuiteError, UnsupportedError
from scenarioclip_jax.evaluation.report.headlines import headline_metrics
from scenarioclip_jax.evaluation.run_data import Chosen
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.sections import suite_of

LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow", "tokenizers", "transformers")


def describe(
    config: ConfigDict, models: Mapping[str, inference.Model], data: Sequence[Chosen]
) -> dict:
    """Describes everything needed to trust the numbers, without the numbers.

    Args:
      data: The data sets of the in-domain suites: several if a mixture's are scored, one by one.
    """
    several = {each.part: each.name for each in data if each.part}
    names = [f"{part}: {name}" for part, name in several.items()] or [each.name for each in data]
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
        "data": "; ".join(names) or "none: the suites read files of their own",
        "data_chosen_by": "; ".join(dict.fromkeys(each.why for each in data)),
        "data_notes": list(dict.fromkeys(note for each in data for note in each.notes)),
        **({"data_sets": several} if several else {}),
        "versions": {"python": platform.python_version(), "scenarioclip_jax": _version()}
        | {name: metadata.version(name) for name in LIBRARIES},
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "suites": {},
        "failed": {},
        "left_out": {},
    }


def record(
    summary: dict,
    section: str,
    column: str,
    result: Result,
    config: ConfigDict,
    texts: Mapping[str, Any],
    digests: Mapping[str, str],
) -> None:
    """Adds a model's result to the summary.

    Args:
      section: The suite, with the data set if there are several, see `evaluation.sections`.
      texts: Number of texts that were cut, see `cut_texts`.
      digests: SHA-256 of the annotation files, by path.
    """
    entry = summary["suites"].setdefault(section, {"protocol": result.protocol, "columns": {}})
    entry["files"] = [{"path": path, "sha256": value} for path, value in digests.items()]
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
        "damaged_images": result.skips.damaged_summary(),
        "choices": result.choices,
        "notes": result.notes,
        "texts": dict(texts),
        "ties": result.ties,
    }


def cut_texts(cut: Mapping[int, Mapping[str, bool]]) -> dict[str, Any]:
    """How many distinct texts a suite embedded and how many were cut, with up to five of these."""
    cut_ones = [text for texts in cut.values() for text, was_cut in texts.items() if was_cut]
    return {
        "tokens": sorted(cut),
        "different": sum(map(len, cut.values())),
        "cut": len(cut_ones),
        "such_as": cut_ones[:5],
    }


def failure(error: Exception, suite: str) -> dict[str, Any]:
    """Describes why a suite has no result, and what to do about it."""
    if isinstance(error, UnsupportedError):
        remedy = (
            error.remedy
            or "choose other suites with --config.suites, or other data with --config.data.dir"
        )
        return {"reason": error.reason, "remedy": remedy, "listed": error.listed}
    again = f"then run it alone with --config.suites={suite} and another --workdir"
    if isinstance(error, SuiteError):
        remedy = f"{error.remedy}; {again}" if error.remedy else f"mend that, {again}"
        return {"reason": error.reason, "remedy": remedy, "listed": error.listed}
    return {
        "reason": f"{type(error).__name__}: {error}",
        "remedy": f"mend that, {again}",
        "listed": [],
    }


def line(
    section: str, column: str, result: Result, texts: Mapping[str, Any], seconds: float
) -> str:
    """The terminal's line for a result: the main figures, then what qualifies them."""
    values = result.values()
    names = headline_metrics(suite_of(section), list(values)) or list(values)[:4]
    shown = "  ".join(
        f"{name} {values[name]:.1%}"
        if result.metrics[name].statistic == "mean"
        else f"{name} {values[name]:.1f}"
        for name in names
    )
    asides = []
    if len(result.skips):
        asides.append(f"{len(result.skips)} skipped")
    if count := len(result.skips.damaged):
        asides.append(f"{count} damaged image{'s' if count > 1 else ''} scored all the same")
    if texts["cut"]:
        lengths = " or ".join(map(str, texts["tokens"]))
        asides.append(f"{texts['cut']} of {texts['different']} texts cut to {lengths} tokens")
    if ties := sum(result.ties.values()):
        asides.append(f"{ties} tie{'s' if ties > 1 else ''}")
    aside = f"  ({', '.join(asides)})" if asides else ""
    lines = [f"{section} [{column}, {result.level}]: {shown}{aside}  {seconds:.0f}s"]
    return "\n".join(lines + [f"  note: {note}" for note in result.notes])


def _version() -> str:
    try:
        return metadata.version("scenarioclip_jax")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"
