"""What `report.html` of a run shows: cards, photos, tables and curves."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from scenarioclip_jax.data.batch import LEVELS
from scenarioclip_jax.evaluation.report import pictures, svg
from scenarioclip_jax.evaluation.report.cards import Card, level_card
from scenarioclip_jax.evaluation.report.names import LEVELS as NAMES
from scenarioclip_jax.evaluation.report.names import metric_name
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.report.tables import OTHER_RULES, share
from scenarioclip_jax.evaluation.score.recognition import Recognition

LOSS = "Training loss"
Found = Mapping[str, Mapping[str, Recognition]]  # by data set ("" for all together) and weights


def write_page(found: Found, rows: list[dict], *, steps: int, names: Sequence[str], **shown) -> str:
    """The page.

    Args:
      found: Recognition of the test split: of all data together, then of each data set of a mixture.
      rows: Rows of `metrics.jsonl`.
      steps: Steps of the run.
      names: Names of its data sets, empty if it is the only one.
      shown: The rest of what the template shows.
    """
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    shown["facts"] = {"Date": now} | shown["facts"]
    figures = curves(rows, names, steps)
    contents = {
        "scores": "Scores",
        **({"shares": "Between before and after"} if shown["shares"] else {}),
        **({"pictures": "Hits and misses"} if shown["examples"] else {}),
        **({"retrieval": "Text to picture"} if shown["retrievals"] else {}),
        **({"training": "Training"} if figures else {}),
        **({"first-batch": "What the towers saw"} if shown["first_batch"] else {}),
    }
    return render(
        Path(__file__).with_name("report.html"),
        cards=cards(found, rows),
        table=table(found),
        mixture=len(names) > 1,
        curves=figures,
        legend=pictures.COLORS,
        training=training_note(rows),
        contents=contents,
        marks=pictures.MARKS,
        **shown,
    )


def cards(found: Found, rows: list[dict]) -> list[Card]:
    """A card per level and data set: the student's top-1 on the test split, and its way there in validation."""
    made = []
    for name, by_weights in found.items():
        for level in LEVELS:
            scores = {
                w: each.scores[level] for w, each in by_weights.items() if level in each.scores
            }
            if not scores:
                continue
            data = f"{name}/" if name else ""
            key = f"validation/{data}student/{level}/top1"
            values = [row[key] for row in rows if key in row]
            first = next(iter(scores.values()))
            under = "top 1 in validation, over the run; dashed: chance"
            label = f"{NAMES[level]}: {under}"
            made.append(
                level_card(
                    level,
                    {w: (each["top1"], each["chance_top1"]) for w, each in scores.items()},
                    part=name,
                    what=f"{first['count']:,.0f} pictures, {first['classes']:,.0f} classes",
                    spark=svg.line(values, first["chance_top1"], label) if len(values) > 1 else "",
                    under=under if len(values) > 1 else "",
                )
            )
    return made


def table(found: Found) -> Markup:
    """The scores of the test split, as `evaluation.report.tables.table` shows those of an evaluation."""
    columns = [
        (f"{NAMES[level]}, {name}" if name else NAMES[level], level, by_weights)
        for name, by_weights in found.items()
        for level in LEVELS
        if any(level in each.scores for each in by_weights.values())
    ]
    models = list(next(iter(found.values()), {}))
    metrics = [
        f"{rule}top{k}"
        for rule in ("", "macro_", "any_label_", "macro_any_label_")
        for k in (1, 5, 10)
    ]
    tables: dict[str, Any] = {}
    for metric in metrics if columns else ():
        _, text, folded = metric_name("zero_shot", f"global/{metric}")
        cells = [
            _cell(by_weights[model].scores.get(level, {}), metric)
            for _, level, by_weights in columns
            for model in models
        ]
        empty = {"columns": [heading for heading, _, _ in columns], "rows": []}
        tables.setdefault(OTHER_RULES if folded else "", empty)["rows"].append((text, cells))
    template = Path(svg.__file__).with_name("table.html")
    return Markup(render(template, tables=tables, models=models))


def _cell(scores: Mapping[str, float], metric: str) -> tuple[str, ...]:
    if metric not in scores:
        return ("-",)
    chance = scores.get(f"chance_{metric.removeprefix('macro_')}")
    return share(scores[metric]), "" if chance is None else f"chance {share(chance)}"


def curves(rows: list[dict], names: Sequence[str], steps: int) -> dict[str, Markup]:
    """Charts by title of a run on data sets of these names: the loss, and the validation of each data set.

    What the data sets of a mixture score together is in the table only.
    """

    def series(name: str) -> tuple[list, list]:
        points = [(row["step"], row[name]) for row in rows if name in row]
        return [p[0] for p in points], [p[1] for p in points]

    def validation(metrics: dict[str, str], data: str) -> dict[str, tuple[list, list]]:
        """Chart lines by name: the student, its EMA and chance."""
        kinds = {"student": "", "ema": pictures.EMA, "chance": pictures.CHANCE}
        return {
            name + ending: series(f"validation/{data}{kind}/{metric}")
            for name, metric in metrics.items()
            for kind, ending in kinds.items()
        }

    losses = {level: series(f"loss/{level}") for level in LEVELS}
    losses |= {name: series(f"loss/{name}") for name in ("distillation", "divergence")}
    charts = [(LOSS, losses)]
    for name in names:
        data, ending = (f"{name}/", f": {name}") if name else ("", "")
        charts += [
            (title + ending, validation(metrics, data))
            for title, metrics in (
                ("Zero-shot recognition, top 1", {v: f"{v}/top1" for v in LEVELS}),
                ("Text to picture, recall@5", {v: f"{v}/text_to_image/R5" for v in LEVELS}),
                ("Picture to text, recall@5", {v: f"{v}/image_to_text/R5" for v in LEVELS}),
                ("Hard negatives beaten", _hard_negatives(rows, data)),
            )
        ]
    figures = {}
    for title, lines in charts:
        lines = {name: line for name, line in lines.items() if line[0]}
        if lines:
            percent = title != LOSS
            figure = pictures.curves(lines, colors=pictures.COLORS, steps=steps, percent=percent)
            figures[title] = svg.inline(figure, f"training curves: {title}")
    return figures


def _hard_negatives(rows: list[dict], data: str) -> dict[str, str]:
    """Metrics by name: all negatives, and each kind that the validation split has."""
    prefix = f"validation/{data}student/"
    metrics = [name.removeprefix(prefix) for row in rows for name in row if name.startswith(prefix)]
    found = [name for name in dict.fromkeys(metrics) if "/hard_negatives/" in name]
    return {name.rsplit("/", 1)[1].replace("_", " "): name for name in found}


def training_note(rows: list[dict]) -> str:
    steps = [row for row in rows if "loss/total" in row]
    if not steps:
        return ""
    rates = [row["time/scenes_per_second"] for row in steps[1:]] or [0.0]
    note = f"Median {np.median(rates):.1f} scenes a second"
    waits = [row["time/data_wait_share"] for row in steps[1:]] or [0.0]
    note += f", {np.median(waits):.1%} of the time waiting for data."
    for level in ("object", "relation"):
        fill = [row[k] for row in steps if (k := f"packing/{level}_fill") in row]
        left = [row[k] for row in steps if (k := f"packing/{level}_left_out") in row]
        if fill:
            note += f" {level.capitalize()} slots filled {np.mean(fill):.1%}, left out {np.mean(left):.2%}."
    return note
