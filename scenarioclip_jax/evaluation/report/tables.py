"""The tables of a suite's metrics: levels and models side by side, a row per metric."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from scenarioclip_jax.evaluation.report.names import column_name, metric_name
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.sections import suite_of

OTHER_RULES = "Counted in other ways"


def table(summary: dict[str, Any], section: str) -> Markup:
    """All metrics of a suite as HTML: a column per level and model, each cell with interval and chance.

    What is the same under another counting rule is in a second table, which is folded.

    Args:
      summary: Content of `results.json`.
      section: The suite, with the data set if there are several, see `evaluation.sections`.
    """
    models, entry = list(summary["models"]), summary["suites"][section]
    # A suite may have failed for some models.
    keys = dict.fromkeys(key for each in entry["columns"].values() for key in each["metrics"])
    named = {key: metric_name(suite_of(section), key) for key in keys}
    tables = {}
    for folded in (False, True):
        chosen = {key: name for key, name in named.items() if name.folded is folded}
        columns = list(dict.fromkeys(name.column for name in chosen.values()))
        places = {(name.text, name.column): key for key, name in chosen.items()}
        if chosen:
            tables[OTHER_RULES if folded else ""] = {
                "columns": [column_name(column) for column in columns],
                "rows": [
                    (
                        text,
                        [
                            _cell(entry, model, places.get((text, column)))
                            for column in columns
                            for model in models
                        ],
                    )
                    for text in dict.fromkeys(name.text for name in chosen.values())
                ],
            }
    template = Path(__file__).with_name("table.html")
    return Markup(render(template, tables=tables, models=models))


def _cell(entry: dict, model: str, key: str | None) -> tuple[str, ...]:
    """Value, interval, chance and number of samples; a dash where there is nothing."""
    values = entry["columns"].get(model, {}).get("metrics", {}).get(key)
    if values is None:
        return ("-", "")
    low, high = values["interval"]
    if values["unit"] == "rank":
        shown = f"{values['value']:g}", f"{low:g} to {high:g}"
    else:
        shown = f"{values['value']:.1%}", f"{low:.1%} to {high:.1%}"
    chance = values["chance"]
    told = () if chance is None else (f"chance {share(chance)}",)
    return *shown, *told, f"n = {values['samples']:,}"


def share(value: float) -> str:
    """A share in percent, with more digits where it is tiny."""
    return f"{value:.1%}" if value > 0.005 or not value else f"{value:.2%}"
