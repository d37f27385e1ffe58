"""A figure of a comparison: a panel per metric, a point with its interval per system."""

import io

import matplotlib
from matplotlib.figure import Figure

from scenarioclip_jax.evaluation.compare.table import Comparison, Row
from scenarioclip_jax.evaluation.report.figure_text import drawable
from scenarioclip_jax.evaluation.report.pictures import COLORS, GRAY, INK, LINE

WIDE = 3.4  # inches of a panel
COLUMNS = 3


def figure(found: Comparison) -> str:
    """The figure as SVG; the reference is gray, and a dashed line is chance."""
    columns = min(COLUMNS, len(found.rows)) or 1
    rows = -(-len(found.rows) // columns) or 1
    tall = 0.75 + 0.26 * len(found.systems)
    drawn = Figure(figsize=(WIDE * columns, tall * rows), layout="constrained")
    for at, row in enumerate(found.rows):
        _panel(drawn.add_subplot(rows, columns, at + 1), found, row, names=at % columns == 0)
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "scenarioclip"}):
        drawn.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()


def _panel(axis, found: Comparison, row: Row, *, names: bool) -> None:
    factor = 1 if row.unit == "rank" else 100
    for place, (system, cell) in enumerate(zip(found.systems, row.cells, strict=True)):
        if cell is None:
            continue
        value, low, high = cell.score.value, cell.score.low, cell.score.high
        color = GRAY if system.name == found.reference else COLORS["global"]
        ends = None
        if low is not None and high is not None:
            ends = [[max(0.0, factor * (value - low))], [max(0.0, factor * (high - value))]]
        axis.errorbar(factor * value, place, xerr=ends, fmt="o", ms=4, lw=1.3, color=color)
    if row.chance is not None:
        axis.axvline(factor * row.chance, color=LINE, ls="--", lw=1)
    axis.set_ylim(len(found.systems) - 0.5, -0.5)
    axis.set_yticks(range(len(found.systems)))
    axis.set_yticklabels([drawable(each.name) for each in found.systems] if names else [])
    axis.set_title(drawable(row.title), fontsize=8, color=INK, loc="left", wrap=True)
    axis.tick_params(labelsize=8, labelcolor=INK, color=LINE)
    if row.unit != "rank":
        axis.xaxis.set_major_formatter("{x:g}%")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(LINE)
    axis.grid(axis="x", color=LINE, alpha=0.4)
