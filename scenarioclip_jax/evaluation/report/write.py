"""`report.html`: one self-contained file with all tables, charts and images of an evaluation."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.evaluation.embed.encoder import Picture, view_of
from scenarioclip_jax.evaluation.embed.in_domain import DataSet
from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.report import charts, pictures
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.sections import part_of
from scenarioclip_jax.files import write_text

SIDE = 160  # pixels of an image from a file
_MISSING = np.full((SIDE, SIDE, 3), 128, np.uint8)  # shown for an image that can't be read any more


def write_report(
    path: Path,
    summary: dict[str, Any],
    found: dict[str, dict[str, Result]],
    data: Mapping[str, DataSet],
) -> None:
    """Writes the report.

    Args:
      summary: Content of `results.json`.
      found: Results by section (see `evaluation.sections`) and column; images are those of the first column.
      data: Sources of in-domain images, by the name of the data set.
    """
    views = {part: _in_domain_views(found, part, source) for part, source in data.items()}
    page = render(
        _template("report.html"),
        summary=summary,
        columns=list(summary["models"]),
        overview=pictures.to_html(charts.overview(summary)) if charts.headlines(summary) else "",
        marks={"right": pictures.RIGHT_MARK, "wrong": pictures.WRONG_MARK},
        colors={"right": pictures.RIGHT, "wrong": pictures.WRONG},
        sections=[
            _section(section, summary, found[section], views.get(part_of(section), {}))
            for section in found
        ],
    )
    write_text(path, page)


def table(summary: dict[str, Any], suite: str) -> Markup:
    """All metrics of a suite as an HTML table: a column per model, chance, and the number of samples.

    Args:
      summary: Content of `results.json`.
    """
    columns, entry = list(summary["models"]), summary["suites"][suite]
    groups: dict[str, list[dict]] = {}
    # Plain figures come first, because zero-shot recognition has three more of each.
    # A suite may have failed for some models.
    names = dict.fromkeys(name for each in entry["columns"].values() for name in each["metrics"])
    for name in sorted(names, key=lambda name: ("any_label_" in name, "macro_" in name)):
        group, _, metric = name.rpartition("/") if "/" not in name else name.partition("/")
        groups.setdefault(group, []).append(_row(name, entry, columns) | {"name": metric})
    return Markup(render(_template("table.html"), columns=columns, groups=groups))


def _template(name: str) -> Path:
    return Path(__file__).with_name(name)


def _section(
    suite: str, summary: dict[str, Any], results: dict[str, Result], views: dict
) -> dict[str, Any]:
    columns, entry = list(results), summary["suites"][suite]
    first = results[columns[0]]
    bars = {}
    for title in first.bars:
        by_column = {c: r.bars[title] for c, r in results.items() if title in r.bars}
        if first.bars[title]:
            bars[title] = pictures.to_html(charts.bars(by_column))
    return {
        "suite": suite,
        "protocol": entry["protocol"],
        "level": first.level,
        "table": table(summary, suite),
        "counts": first.counts,
        "files": entry.get("files", []),
        "notes": first.notes,
        "cut": {c: entry["columns"][c]["texts"] for c in columns},
        "ties": {c: r.ties for c, r in results.items() if any(r.ties.values())},
        "skipped": _once({c: entry["columns"][c]["skipped"] for c in columns}),
        "damaged": _once({c: entry["columns"][c]["damaged_images"] for c in columns}),
        "choices": _once({c: r.choices for c, r in results.items() if r.choices}),
        "bars": bars,
        "confusions": {
            title: pictures.to_html(charts.confusion(table))
            for title, table in first.confusions.items()
        },
        "examples": _examples(first, views),
    }


def _once(by_column: dict[str, dict]) -> dict[str, dict]:
    """Values by column, or one value under "" if it is the same for several columns."""
    values = list(by_column.values())
    same = len(values) > 1 and all(value == values[0] for value in values)
    return {"": values[0]} if same else by_column


def _row(name: str, entry: dict, columns: list[str]) -> dict[str, Any]:
    cells, chance, samples = [], None, 0
    for column in columns:
        values = entry["columns"].get(column, {}).get("metrics", {}).get(name)
        if values is None:
            cells.append(("-", ""))
            continue
        chance = values["chance"] if chance is None else chance
        samples = samples or values["samples"]
        low, high = values["interval"]
        if values["unit"] == "rank":
            cells.append((f"{values['value']:g}", f"{low:g} to {high:g}"))
        else:
            cells.append((f"{values['value']:.1%}", f"{low:.1%} to {high:.1%}"))
    return {
        "cells": cells,
        "chance": "-" if chance is None else f"{chance:.1%}" if chance > 0.005 else f"{chance:.2%}",
        "samples": samples,
    }


def _examples(result: Result, views: dict) -> dict[str, list[dict]]:
    """Images with their captions, by title."""
    return {
        title: [
            {
                "source": _to_png(_pixels(each.picture, views)),
                "caption": each.caption,
                "frame": "right" if each.right else "wrong",
            }
            for each in examples
        ]
        for title, examples in result.examples.items()
        if examples
    }


def _to_png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pixels(picture: Any, views: dict) -> np.ndarray:
    if isinstance(picture, Picture):
        try:
            return view_of(picture, SIDE, "contain")
        except SuiteError:  # deleted since it was scored: the report is written anyway
            return _MISSING
    level, row = picture
    return views.get(level, {}).get(row, _MISSING)


def _in_domain_views(found: dict[str, dict[str, Result]], part: str, data: DataSet) -> dict:
    """The images that the sections of a data set show, by level and row."""
    wanted: dict[str, set[int]] = {"global": set(), "object": set(), "relation": set()}
    for section, results in found.items():
        for examples in next(iter(results.values())).examples.values():
            for each in examples:
                if part_of(section) == part and not isinstance(each.picture, Picture):
                    level, row = each.picture
                    wanted[level].add(int(row))
    try:
        return data.views(wanted) if any(wanted.values()) else {}
    except (ReadableError, OSError):  # unreadable since it was scored: the report is written anyway
        return {}
