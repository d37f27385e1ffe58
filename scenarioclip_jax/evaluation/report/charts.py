"""Charts of the evaluation report and of the notebooks."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scenarioclip_jax.evaluation.report.figure_text import drawable, drawables
from scenarioclip_jax.evaluation.report.headlines import headlines
from scenarioclip_jax.evaluation.report.names import one_line, suite_name
from scenarioclip_jax.evaluation.report.pictures import GRAY, INK, LINE
from scenarioclip_jax.evaluation.score.result import Confusion
from scenarioclip_jax.evaluation.sections import part_of, suite_of

MOST, HALF = 30, 10  # classes that a bar chart chooses from, and best and worst ones that it shows
# Inches, without the names at the left; with them, a phone shows charts at nearly their size.
BARS, OVERVIEW = 3.1, 3.3
BLUE, ORANGE, GREEN = "#4c5c96", "#c8853d", "#8fc3a5"
MODELS = (BLUE, ORANGE, GRAY)  # colors of models side by side


def overview(summary: Mapping[str, Any]) -> Figure:
    """The main figures of all suites: a dot and its 95% interval for each model, chance as a gray line.

    Args:
      summary: Content of `results.json`.
    """
    chosen, columns = headlines(summary), list(summary["models"])
    places, labels, heads, at = [], [], [], 0.0
    last = None
    for section, name in chosen:
        if section != last:
            part = part_of(section)
            heads.append(
                (at, suite_name(suite_of(section)) + (f", {_short(part, 16)}" if part else ""))
            )
            last, at = section, at + 1.0
        places.append(at)
        labels.append(_short(one_line(suite_of(section), name), 40))
        at += 1.0
    figure = Figure(figsize=(OVERVIEW, 0.6 + 0.2 * max(at, 1)))
    axis = figure.subplots()
    step = 0.28 if len(columns) > 1 else 0.0
    for number, column in enumerate(columns):
        color, label = MODELS[number % len(MODELS)], drawable(column)
        for place, (section, name) in zip(places, chosen, strict=True):
            values = (
                summary["suites"][section]["columns"].get(column, {}).get("metrics", {}).get(name)
            )
            if values is None:
                continue
            where = place + (number - (len(columns) - 1) / 2) * step
            low, high = (100 * x for x in values["interval"])
            axis.plot([low, high], [where, where], color=color, lw=1.6, solid_capstyle="round")
            axis.plot(100 * values["value"], where, "o", ms=4.5, color=color, label=label)
            label = None
            if number == 0 and values["chance"] is not None:
                axis.plot([100 * values["chance"]] * 2, [place - 0.4, place + 0.4], color=LINE)
    axis.set_yticks(
        [*places, *(place for place, _ in heads)],
        drawables([*labels, *(head for _, head in heads)]),
        fontsize=8,
        color=INK,
    )
    for tick in axis.get_yticklabels()[len(places) :]:
        tick.set_fontweight("bold")
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    _percents(axis)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    _legend(axis, columns)
    return figure


def _percents(axis) -> None:
    """The horizontal axis of shares, and no frame."""
    axis.xaxis.set_major_formatter("{x:g}%")
    axis.tick_params(axis="x", labelsize=8, labelcolor=INK, color=LINE)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(LINE)
    axis.grid(axis="x", color=LINE, alpha=0.4)
    axis.set_axisbelow(True)


def _legend(axis, columns: Collection[str]) -> None:
    if len(columns) > 1:
        place = dict(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        axis.legend(fontsize=8, frameon=False, labelcolor=INK, **place)


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


def shown_classes(values: Mapping[str, tuple[float, int]]) -> list[str]:
    """The classes of a chart: of the MOST frequent ones, the best and the worst HALF, best first."""
    names = sorted(list(values)[:MOST], key=lambda name: -values[name][0])
    return names if len(names) <= 2 * HALF else names[:HALF] + names[-HALF:]


def bars(columns: Mapping[str, Mapping[str, tuple[float, int]]]) -> Figure:
    """Accuracy by class, best first, with one bar per model.

    Args:
      columns: By model {class: (accuracy, samples)}, the most frequent class first; the first model decides
        which classes are shown, see `shown_classes`.
    """
    first = next(iter(columns.values()))
    names = shown_classes(first)
    figure = Figure(figsize=(BARS, 0.5 + 0.17 * len(names) * max(1, 0.7 * len(columns))))
    axis = figure.subplots()
    place = np.arange(len(names), dtype=float)
    if len(first) > len(names):
        place[HALF:] += 0.8  # a gap where classes are left out
    height = 0.8 / len(columns)
    for number, (column, values) in enumerate(columns.items()):
        shares = [100 * values.get(name, (0.0, 0))[0] for name in names]
        where = place + (number - (len(columns) - 1) / 2) * height
        axis.barh(where, shares, height, color=MODELS[number % len(MODELS)], label=drawable(column))
        for at, each in zip(where, shares, strict=True):
            told = f"{each:.0f}%" if len(columns) == 1 else ""
            axis.text(each + 1.5, at, told, va="center", fontsize=7, color=INK)
    labels = drawables(f"{_short(name)} ({first[name][1]})" for name in names)
    axis.set_yticks(place, labels, fontsize=8, color=INK)
    axis.invert_yaxis()
    axis.set_xlim(0, 100)  # of all charts alike, so that they can be compared
    axis.set_ylim(place[-1] + 0.6, -0.6)
    _percents(axis)
    axis.tick_params(axis="y", length=0)
    _legend(axis, columns)
    return figure


def confusion(table: Confusion) -> Figure:
    """Rows are the truth, columns the prediction; shades and numbers are percents of a row."""
    counts = table.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.3 + 0.27 * len(table.names)
    figure = Figure(figsize=(side, side))
    axis = figure.subplots()
    # The darkest shade is the largest share, since a weak model has no large one.
    most = max(float(shares.max()), 1e-9)
    ticks = np.arange(len(table.names))
    for (row, column), share in np.ndenumerate(shares):
        patch: dict[str, Any] = dict(lw=0, color=BLUE, alpha=0.85 * share / most)
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **patch))
        if counts[row, column]:
            color = "white" if share > 0.6 * most else INK
            told = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            place: dict[str, Any] = dict(ha="center", va="center", fontsize=7, color=color)
            axis.text(column, row, told, **place)
    for each in ticks:
        frame: dict[str, Any] = dict(fill=False, lw=1.3, edgecolor=INK)
        axis.add_patch(Rectangle((each - 0.5, each - 0.5), 1, 1, **frame))
    labels = drawables(_short(name, 18) for name in table.names)
    axis.set_xlim(-0.5, len(ticks) - 0.5)
    axis.set_ylim(len(ticks) - 0.5, -0.5)
    slant: dict[str, Any] = dict(rotation=60, ha="right", rotation_mode="anchor")
    axis.set_xticks(ticks, labels, fontsize=8, color=INK, **slant)
    axis.set_yticks(ticks, labels, fontsize=8, color=INK)
    axis.set_xlabel("predicted", fontsize=9, color=INK)
    axis.set_ylabel("true", fontsize=9, color=INK)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
