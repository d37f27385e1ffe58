"""What a model card states beyond what the weights tell: license, base model, data and results."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.data.mixture import parse
from scenarioclip_jax.renamed import with_new_names

UNKNOWN = "unknown"
_TASK = "zero-shot-image-classification"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class Score(NamedTuple):
    """A figure of an evaluation.

    Attributes:
      suite, metric: What was measured, for people.
      value: A share, 0 to 1.
      shown, interval, chance: The same in percent, its 95% interval, and what guessing gives; "" if that isn't
        known.
    """

    suite: str
    metric: str
    value: float
    shown: str
    interval: str
    chance: str


@dataclass(frozen=True)
class Facts:
    """What is known of a model.

    Attributes:
      license: Identifier of the license of weights and data, as the hub names it.
      base_model: What training began with, a hub id or the name of a folder; empty if from scratch.
      data: Names of the data sets that it was trained on.
      scores: Figures of an evaluation.
      scored_on: The data set of these figures.
    """

    license: str = UNKNOWN
    base_model: str = ""
    data: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    scored_on: str = ""


NOTHING_KNOWN = Facts()


def of_run(folder: Path) -> dict[str, Any]:
    """The base model and the data of a run, by the names of `Facts`, as far as its config tells.

    Only names are told, no paths of this machine.

    Raises:
      CheckpointError: Its config can't be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}  # a converted model
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it isn't an object")
        config = with_new_names(config)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no config of a training run ({error!r}); copy it again, or remove it"
        ) from None
    found: dict[str, Any] = {}
    if begun := str(config.get("init_from") or ""):
        is_hub_id = _HUB_ID.fullmatch(begun) and not Path(begun).exists()
        found["base_model"] = begun if is_hub_id else Path(begun).name
    data = config.get("data")
    if isinstance(data, dict) and isinstance(text := data.get("dir"), str):
        entries = parse(text) if text else []
        names = tuple(each.path.rstrip("/").rpartition("/")[2] for each in entries)
        found["data"] = names or ("scenes that this package draws",)
    return found


def front_matter(name: str, tags: list[str], facts: Facts) -> str:
    """The metadata that model hubs read, as YAML between lines of dashes."""
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": _TASK,
        "license": facts.license,
        "tags": tags,
    }
    if _HUB_ID.fullmatch(facts.base_model):
        values["base_model"] = facts.base_model
    if facts.scores:
        metrics = [
            {
                "type": "accuracy",
                "name": f"{score.suite}, {score.metric}",
                "value": round(score.value, 4),
            }
            for score in facts.scores
        ]
        kind = re.sub(r"[^\w.-]+", "-", facts.scored_on) or UNKNOWN
        results = {
            "task": {"type": _TASK},
            "dataset": {"name": facts.scored_on or UNKNOWN, "type": kind},
            "metrics": metrics,
        }
        values["model-index"] = [{"name": name, "results": [results]}]
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{text}---\n"


def sections(facts: Facts) -> str:
    """What is known, in Markdown; what isn't is left to whoever trained the weights."""
    told, missing = [], []
    if facts.base_model:
        told.append(f"Training began with `{facts.base_model}`.")
    if facts.data:
        told.append(f"It was trained on {', '.join(f'`{name}`' for name in facts.data)}.")
    else:
        missing.append("training data")
    if facts.license == UNKNOWN:
        missing.append("license")
    text = "\n".join(told)
    if facts.scores:
        text += f"\n\n## Results\n\nTest split of `{facts.scored_on}`, with 95% intervals:\n\n"
        text += "| | | score | interval | chance |\n| --- | --- | --- | --- | --- |\n"
        text += "\n".join(_row(score) for score in facts.scores)
    else:
        missing.insert(0, "results")
    if missing:
        listed = missing[0] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
        text += f"\n\nFor whoever trained these weights to state: {listed}."
    return text.strip() + "\n"


def _row(score: Score) -> str:
    texts = (score.suite, score.metric, score.shown, score.interval, score.chance)
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
