"""`report.html`: one self-contained file with all scores, charts and photos of an evaluation."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation.embed.encoder import Picture
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.report import charts, pictures, svg
from scenarioclip_jax.evaluation.report.cards import cards
from scenarioclip_jax.evaluation.report.headlines import headlines
from scenarioclip_jax.evaluation.report.names import suite_name
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.report.shots import MISSING, Shot, of_file, shown
from scenarioclip_jax.evaluation.report.tables import table
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.sections import part_of, suite_of
from scenarioclip_jax.files import write_text

Shots = Mapping[str, Mapping[int, Shot]]  # photos by level and row


def write_report(
    path: Path,
    summary: dict[str, Any],
    found: dict[str, dict[str, Result]],
    data: Mapping[str, DataSet],
) -> None:
    """Writes the report.

    Args:
      summary: Content of `results.json`.
      found: Results by section (see `evaluation.sections`) and column; photos are those of the first column.
      data: Sources of in-domain photos, by the name of the data set.
    """
    shots = {part: _in_domain_shots(found, part, source) for part, source in data.items()}
    sections = [
        _section(section, summary, found[section], shots.get(part_of(section), {}))
        for section in found
    ]
    overview = ""
    if headlines(summary):
        overview = svg.inline(charts.overview(summary), "main scores of each suite beside chance")
    page = render(
        Path(__file__).with_name("report.html"),
        summary=summary,
        facts=_facts(summary, data),
        columns=list(summary["models"]),
        cards=cards(summary, found),
        overview=overview,
        marks=pictures.MARKS,
        sections=sections,
        contents=_contents(summary, sections, bool(overview)),
    )
    write_text(path, page)


def _facts(summary: dict[str, Any], data: Mapping[str, DataSet]) -> dict[str, str]:
    """What the head of the report says, by name."""
    facts = {"Date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")}
    for name, model in summary["models"].items():
        step = model.get("step")
        at = f", step {step:,}" if step is not None else ""
        facts[f"Model ({name})"] = (
            f"{model['path']}{at} ({model['arch']}, {model['weights']} weights, "
            f"{model['image_size']} pixels)"
        )
    why = f" ({summary['data_chosen_by']})" if summary["data_chosen_by"] else ""
    facts["Data set"] = summary["data"] + why
    counts = {part: each.count("test") for part, each in data.items()}
    if counts:
        told = (f"{part}: {n:,}" if part else f"{n:,}" for part, n in counts.items())
        facts["Test photos"] = "; ".join(told)
    return facts | {"Seed": str(summary["seed"]), "Devices": summary["devices"]}


def _contents(summary: dict[str, Any], sections: list[dict], overview: bool) -> dict[str, str]:
    """The navigation: names by the id of what they lead to."""
    wrong = {"failed": bool(summary["failed"]), "left-out": bool(summary["left_out"])}
    pictures = any(each["suite"] == "zero_shot" and each["examples"] for each in sections)
    here = {"scores": True, **wrong, "pictures": pictures, "overview": overview}
    names = {
        "scores": "Scores",
        "failed": "Failed",
        "left-out": "Left out",
        "pictures": "Hits and misses",
        "overview": "At a glance",
    }
    contents = {id: names[id] for id, there in here.items() if there}
    return contents | {each["id"]: each["name"] for each in sections} | {"run": "What was run"}


def _section(
    section: str, summary: dict[str, Any], results: dict[str, Result], shots: Shots
) -> dict[str, Any]:
    columns, entry, part = list(results), summary["suites"][section], part_of(section)
    first = results[columns[0]]
    suite = suite_of(section)
    figures = {}
    for title, classes in first.bars.items():
        if classes:
            by_column = {c: r.bars[title] for c, r in results.items() if title in r.bars}
            figure = f"{title}{_how_many(classes)}"
            figures[figure] = svg.inline(charts.bars(by_column), f"bars: {figure}")
    for title, counts in first.confusions.items():
        figure = f"Confusion: {title}, percent of each true class"
        figures[figure] = svg.inline(charts.confusion(counts), figure)
    return {
        "id": section,
        "suite": suite,
        "part": part,
        "name": suite_name(suite) + (f", {part}" if part else ""),
        "protocol": entry["protocol"],
        "level": first.level,
        "table": table(summary, section),
        "counts": first.counts,
        "files": entry.get("files", []),
        "notes": first.notes,
        "cut": {c: entry["columns"][c]["texts"] for c in columns},
        "ties": {c: r.ties for c, r in results.items() if any(r.ties.values())},
        "skipped": _once({c: entry["columns"][c]["skipped"] for c in columns}),
        "damaged": _once({c: entry["columns"][c]["damaged_images"] for c in columns}),
        "choices": _once({c: r.choices for c, r in results.items() if r.choices}),
        "figures": figures,
        "examples": _examples(first, shots),
    }


def _how_many(classes: Mapping[str, Any]) -> str:
    """Which classes a bar chart shows, if that isn't all of them."""
    number = len(charts.shown_classes(classes))
    if number == len(classes):
        return ""
    of = f"the {charts.MOST} most frequent classes" if len(classes) > charts.MOST else "all classes"
    if number == 2 * charts.HALF:
        return f": best and worst {charts.HALF} of {of}"
    return f": {of}"


def _once(by_column: dict[str, dict]) -> dict[str, dict]:
    """Values by column, or one value under "" if it is the same for several columns."""
    values = list(by_column.values())
    same = len(values) > 1 and all(value == values[0] for value in values)
    return {"": values[0]} if same else by_column


def _examples(result: Result, shots: Shots) -> dict[str, list[dict]]:
    """Photos with their captions, by title."""
    return {
        title: [shown(_shot(each.picture, shots), each.caption, each.right) for each in examples]
        for title, examples in result.examples.items()
        if examples
    }


def _shot(picture: Any, shots: Shots) -> Shot:
    if isinstance(picture, Picture):
        return of_file(picture)
    level, row = picture
    return shots.get(level, {}).get(row, MISSING)


def _in_domain_shots(found: dict[str, dict[str, Result]], part: str, data: DataSet) -> Shots:
    """The photos that the sections of a data set show, by level and row."""
    wanted: dict[str, set[int]] = {"global": set(), "object": set(), "relation": set()}
    for section, results in found.items():
        for examples in next(iter(results.values())).examples.values():
            for each in examples:
                if part_of(section) == part and not isinstance(each.picture, Picture):
                    level, row = each.picture
                    wanted[level].add(int(row))
    try:
        return data.shots(wanted) if any(wanted.values()) else {}
    except (ReadableError, OSError):  # unreadable since it was scored: the report is written anyway
        return {}
