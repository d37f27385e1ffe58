"""What a fine-tuning's report tells of weights between the first and the last ones: a chart and a table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from scenarioclip_jax.evaluation.report import pictures, svg
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.evaluation.report.tables import share as percent
from scenarioclip_jax.train.wise_ft import Share, best_share

ALONG = "share of the fine-tuned weights, %"


def chart(found: Sequence[Share]) -> Markup:
    """The test scores over the share, or those of validation if there is no test split; empty for one share."""
    split = "test" if any(each.test for each in found) else "validation"
    points = [(100 * each.share, getattr(each, split)) for each in found if getattr(each, split)]
    if len(points) < 2:
        return Markup("")
    lines = {
        name: ([at for at, _ in points], [values[name] for _, values in points])
        for name in points[0][1]
    }
    figure = pictures.curves(lines, colors=pictures.COLORS, steps=100, percent=True, along=ALONG)
    return svg.inline(figure, f"scores on the {split} split over the {ALONG}")


def table(found: Sequence[Share]) -> Markup:
    """A row per share; the one that validation would choose is marked."""
    names = list(dict.fromkeys(name for each in found for name in (*each.validation, *each.test)))
    chosen = best_share(found)
    rows = []
    for each in found:
        cells = [(_mean(each.validation),)]
        cells += [(percent(each.test[name]) if name in each.test else "-",) for name in names]
        mark = ", best in validation" if each.share == chosen else ""
        rows.append((f"{each.share:.0%}{mark}", cells))
    headings = ["validation, mean", *(f"test, {name}" for name in names)]
    template = Path(svg.__file__).with_name("table.html")
    return Markup(render(template, tables={"": {"columns": [""], "rows": rows}}, models=headings))


def _mean(values: dict[str, float]) -> str:
    return percent(float(np.mean(list(values.values())))) if values else "-"
