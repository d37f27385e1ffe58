"""Charts of the evaluation report."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from scenarioclip_jax.evaluation.pictures import GREY
from scenarioclip_jax.evaluation.result import Confusion

MOST = 30  # bars in a chart: the most frequent classes
BLUE, ORANGE = "#4c5c96", "#c8853d"


def bars(columns: Mapping[str, Mapping[str, tuple[float, int]]]) -> Figure:
    """Accuracy by class: one bar a model. columns: model -> {class: (accuracy, samples)}."""
    first = next(iter(columns.values()))
    names = list(first)[:MOST]
    figure = Figure(figsize=(6.8, 0.6 + 0.19 * len(names) * max(1, 0.7 * len(columns))))
    axis = figure.subplots()
    place = np.arange(len(names))
    height = 0.8 / len(columns)
    colours = (BLUE, ORANGE, GREY)
    for number, (column, values) in enumerate(columns.items()):
        shares = [100 * values.get(name, (0.0, 0))[0] for name in names]
        where = place + (number - (len(columns) - 1) / 2) * height
        axis.barh(where, shares, height, color=colours[number % len(colours)], label=column)
    labels = [f"{_short(name)} ({first[name][1]})" for name in names]
    axis.set_yticks(place, labels, fontsize=7)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.xaxis.set_major_formatter("{x:g}%")
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    if len(columns) > 1:
        axis.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def confusion(table: Confusion) -> Figure:
    """Rows are the truth, columns the prediction; shades are shares of a row, numbers are counts."""
    counts = table.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.32 * len(table.names)
    figure = Figure(figsize=(side, side))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(table.names))
    labels = [_short(name, 18) for name in table.names]
    axis.set_xticks(ticks, labels, fontsize=7, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, labels, fontsize=7)
    axis.set_xlabel("predicted", fontsize=8)
    axis.set_ylabel("true", fontsize=8)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "#333333"
        axis.text(
            column, row, counts[row, column], ha="center", va="center", fontsize=6, color=colour
        )
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
