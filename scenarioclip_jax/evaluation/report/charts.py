"""Charts of the evaluation report and of the notebooks."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from scenarioclip_jax.evaluation.report.figure_text import drawable, drawables
from scenarioclip_jax.evaluation.report.pictures import GRAY
from scenarioclip_jax.evaluation.score.result import Confusion
from scenarioclip_jax.evaluation.sections import suite_of

MOST = 30  # bars in a chart: the most frequent classes
BLUE, ORANGE, GREEN = "#4c5c96", "#c8853d", "#8fc3a5"
MODELS = (BLUE, ORANGE, GRAY)  # colors of models side by side
# Suffixes of the metrics that represent a suite in the overview and on the terminal.
HEADLINES = {
    "zero_shot": ("/top1",),
    "retrieval": ("/R@5",),
    "linear_probe": ("/top1",),
    "hard_negatives": ("",),
    "paraphrases": ("",),
    "half_truth": ("",),
    "photo_search": ("/R@5",),
    "aro": ("/macro_accuracy",),
    "sugarcrepe": ("mean_accuracy",),
    "sugarcrepe_pp": ("mean_image_text", "mean_text_only"),
    "winoground": ("text", "image", "group"),
    "whatsup": ("/individual", "/pair", "/set"),
    "vsr": ("accuracy",),
    "svo": ("accuracy",),
    "captions": ("/R@1",),
    "predcls": ("R@50",),
}


def headlines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The main figures that are shares, as (section, metric), in the report's order.

    A suite without any of its usual ones, as of partial files, is represented by its first share.
    """
    chosen = []
    for section, entry in summary["suites"].items():
        metrics = next(iter(entry["columns"].values()))["metrics"]
        shares = [name for name, values in metrics.items() if values["unit"] == "share"]
        names = headline_metrics(suite_of(section), shares) or shares[:1]
        chosen += [(section, name) for name in names]
    return chosen


def headline_metrics(suite: str, names: Sequence[str]) -> list[str]:
    """The metrics that represent a suite; the first one if the suite isn't known."""
    endings = HEADLINES.get(suite)
    if not endings:
        return list(names[:1])
    plain = [name for name in names if "any_label_" not in name and "unseen" not in name]
    if suite in ("zero_shot", "linear_probe"):
        plain = [name for name in plain if "macro_" not in name]
    return [name for name in plain if name.endswith(endings)]


def overview(summary: Mapping[str, Any]) -> Figure:
    """The main figures of all suites: a dot and its 95% interval for each model, chance as a gray line.

    Args:
      summary: Content of `results.json`.
    """
    chosen, columns = headlines(summary), list(summary["models"])
    gap = 0.0
    places, last = [], None
    for row, (suite, _) in enumerate(chosen):
        gap += 0.7 if last not in (None, suite) else 0.0
        places.append(row + gap)
        last = suite
    figure = Figure(figsize=(7.6, 0.8 + 0.27 * (max(places, default=0) + 1)))
    axis = figure.subplots()
    step = 0.28 if len(columns) > 1 else 0.0
    for number, column in enumerate(columns):
        color, label = MODELS[number % len(MODELS)], drawable(column)
        for place, (suite, name) in zip(places, chosen, strict=True):
            values = (
                summary["suites"][suite]["columns"].get(column, {}).get("metrics", {}).get(name)
            )
            if values is None:
                continue
            where = place + (number - (len(columns) - 1) / 2) * step
            low, high = (100 * x for x in values["interval"])
            axis.plot([low, high], [where, where], color=color, lw=1.6, solid_capstyle="round")
            axis.plot(100 * values["value"], where, "o", ms=4.5, color=color, label=label)
            label = None
            if number == 0 and values["chance"] is not None:
                axis.plot([100 * values["chance"]] * 2, [place - 0.4, place + 0.4], color="#aaaaaa")
    labels = drawables(f"{suite}  {_path(name)}" for suite, name in chosen)
    axis.set_yticks(places, labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.xaxis.set_major_formatter("{x:g}%")
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", alpha=0.25)
    if len(columns) > 1:
        axis.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


class Guess(NamedTuple):
    """What a model sees in an image."""

    picture: np.ndarray  # uint8 [P, P, 3]
    title: str
    shares: Mapping[str, float]  # shares of the likeliest texts, likeliest first
    own: str  # the right text


def guesses(shown: Sequence[Guess], *, columns: int = 2) -> Figure:
    """Images, each beside its likeliest texts; the right one is green. Bars are relative to the likeliest."""
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.9 * columns, 1.45 * rows))
    grid = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 2.3] * columns)
    for axis in grid.reshape(-1):
        axis.axis("off")
    for number, each in enumerate(shown):
        left, right = grid[number // columns, 2 * (number % columns) :][:2]
        left.imshow(each.picture, interpolation="nearest")
        names, shares = list(each.shares), np.array(list(each.shares.values()))
        colors = [GREEN if name == each.own else "#c9cdd8" for name in names]
        right.barh(range(len(names)), shares / shares.max(), 0.62, color=colors)
        for place, (name, share) in enumerate(zip(names, shares, strict=True)):
            right.text(0.015, place, drawable(_short(name)), va="center", fontsize=7.5)
            right.text(1.02, place, f"{share:.1%}", va="center", fontsize=7.5, color=GRAY)
        right.set_title(drawable(each.title), fontsize=8.5, loc="left", pad=3)
        right.set_xlim(0, 1)
        right.set_ylim(len(names) - 0.4, -0.6)
    figure.subplots_adjust(wspace=0.12, hspace=0.45, left=0, right=1, top=0.95, bottom=0.02)
    return figure


def cosines(panels: Mapping[str, Sequence[np.ndarray]], *, names: Sequence[str]) -> Figure:
    """Matrices [N, M] of cosines as shades, with a row per name and a column per panel."""
    figure = Figure(figsize=(2.3 * len(panels) + 0.8, 1.85 * len(names) + 0.5))
    grid = figure.subplots(len(names), len(panels), squeeze=False)
    for column, (title, matrices) in enumerate(panels.items()):
        for row, (name, matrix) in enumerate(zip(names, matrices, strict=True)):
            axis = grid[row, column]
            shades = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(drawable(title), fontsize=10)
            if column == 0:
                axis.set_ylabel(drawable(name), fontsize=10)
    bar = figure.colorbar(shades, ax=grid, shrink=0.6, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    return figure


def embedding_maps(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]], *, most: int = 8
) -> Figure:
    """Points in the plane, colored by group, one plot per panel.

    Args:
      panels: By title (images [N, 2], texts [M, 2], groups of the images, groups of the texts). Images are
        dots; a group's texts are one cross at their mean.
      most: Number of groups to show, the most frequent ones; the others are left out.
    """
    figure = Figure(figsize=(4.3 * len(panels), 4.6))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    colors = (
        "#4c5c96",
        "#c8553d",
        "#3a7d5d",
        "#c8953d",
        "#8a5a96",
        "#4a9aa8",
        "#8b6b4a",
        "#d07a9b",
    )
    for axis, (title, (images, texts, groups)) in zip(axes, panels.items(), strict=True):
        groups = np.asarray(groups, object).astype(str)
        names, counts = np.unique(groups[: len(images)], return_counts=True)
        shown = names[np.argsort(-counts, kind="stable")][: min(most, len(colors))]
        for name, color in zip(shown, colors, strict=False):
            of_images, of_texts = groups[: len(images)] == name, groups[len(images) :] == name
            dots = dict(s=11, color=color, alpha=0.55, lw=0, label=drawable(name))
            axis.scatter(*images[of_images].T, **dots)
            center = texts[of_texts].mean(axis=0)
            axis.scatter(*center, s=60, color=color, marker="X", ec="white", lw=0.9, zorder=3)
        axis.set_title(drawable(title), fontsize=10, loc="left")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_color("#cccccc")
        axis.legend(
            fontsize=7,
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=2,
            handletextpad=0.1,
            markerscale=1.6,
        )
    figure.subplots_adjust(wspace=0.06)
    return figure


def bars(columns: Mapping[str, Mapping[str, tuple[float, int]]]) -> Figure:
    """Accuracy by class, with one bar per model. `columns` maps a model to {class: (accuracy, samples)}."""
    first = next(iter(columns.values()))
    names = list(first)[:MOST]
    figure = Figure(figsize=(6.8, 0.6 + 0.19 * len(names) * max(1, 0.7 * len(columns))))
    axis = figure.subplots()
    place = np.arange(len(names))
    height = 0.8 / len(columns)
    for number, (column, values) in enumerate(columns.items()):
        shares = [100 * values.get(name, (0.0, 0))[0] for name in names]
        where = place + (number - (len(columns) - 1) / 2) * height
        axis.barh(where, shares, height, color=MODELS[number % len(MODELS)], label=drawable(column))
    labels = drawables(f"{_short(name)} ({first[name][1]})" for name in names)
    axis.set_yticks(place, labels, fontsize=7)
    axis.invert_yaxis()
    largest = 100 * max(v.get(name, (0.0, 0))[0] for v in columns.values() for name in names)
    axis.set_xlim(0, 100 if largest > 40 else max(1.25 * largest, 1))
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
    labels = drawables(_short(name, 18) for name in table.names)
    axis.set_xticks(ticks, labels, fontsize=7, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_yticks(ticks, labels, fontsize=7)
    axis.set_xlabel("predicted", fontsize=8)
    axis.set_ylabel("true", fontsize=8)
    for row, column in zip(*np.nonzero(counts), strict=True):
        color = "white" if shares[row, column] > 0.5 else "#333333"
        axis.text(
            column, row, counts[row, column], ha="center", va="center", fontsize=6, color=color
        )
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _path(name: str) -> str:
    return name.replace("_", " ").replace("/", ", ")


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
