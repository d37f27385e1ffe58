"""The figures of `results.json` that a model card shows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.checkpoint import ModelSpec
from scenarioclip_jax.data.tokens import Tokenizer
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation.embed.encoder import checkpoint_hash
from scenarioclip_jax.evaluation.report.headlines import headlines
from scenarioclip_jax.evaluation.report.names import one_line, suite_name
from scenarioclip_jax.evaluation.report.tables import share
from scenarioclip_jax.evaluation.sections import suite_of

# Suite and metric for people, the share, and as text: the same, its 95% interval, and what guessing gives.
Figure = tuple[str, str, float, str, str, str]


class ResultsError(ReadableError):
    """A file isn't `results.json`, or holds no figures of the model."""


def read_figures(
    path: Path, params: Mapping[str, Any], spec: ModelSpec, tokenizer: Tokenizer
) -> tuple[list[Figure], str]:
    """The main figures of a model, and the name of the data that they were measured on.

    Args:
      path: `results.json` of an evaluation.
      params, spec, tokenizer: The model.

    Raises:
      ResultsError: It can't be read, or holds no figures of this model.
    """
    computed = {name: np.asarray(value, np.float32) for name, value in params.items()}
    digest = checkpoint_hash(computed, spec, tokenizer)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        models = {c: model.get("checkpoint_hash") for c, model in summary["models"].items()}
        chosen = headlines(summary) if summary["suites"] else []
        own = [column for column, known in models.items() if known == digest]
        figures = _figures(summary, own, chosen)
        data = str(summary["data"]).rstrip("/").rpartition("/")[2]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{path}: isn't the results.json of an evaluation ({error!r}); give the one in its --workdir"
        ) from None
    if not own:
        raise ResultsError(
            f"{path}: has figures of {', '.join(models) or 'no model'}, but of other weights than these; "
            "evaluate this checkpoint, step and --weights"
        )
    if not figures:
        raise ResultsError(f"{path}: has no figures of {own[0]}; see what failed in it")
    return figures, data


def _figures(summary: dict, own: Sequence[str], chosen: Sequence[tuple[str, str]]) -> list[Figure]:
    found = []
    for section, name in chosen:
        columns = summary["suites"][section]["columns"]
        values = next((columns[c]["metrics"].get(name) for c in own if c in columns), None)
        # A score that is NaN is null in the file.
        if values is not None and values["unit"] == "share" and values["value"] is not None:
            suite = suite_of(section)
            low, high = values["interval"]
            value, chance = float(values["value"]), values["chance"]
            told = share(value), f"{low:.1%} to {high:.1%}", "" if chance is None else share(chance)
            found.append((suite_name(suite), one_line(suite, name), value, *told))
    return found
