"""Figures for people: views as they enter the towers, retrievals, curves. Drawn with matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scenarioclip_jax.data.batch import LEVELS, Batch
from scenarioclip_jax.data.device.views import ViewSettings, views
from scenarioclip_jax.data.normalization import CLIP_MEAN, CLIP_STD
from scenarioclip_jax.data.packing.fill import Labels
from scenarioclip_jax.evaluation.report.figure_text import drawable

matplotlib.use("agg")
COLORS = {"global": "#4c5c96", "object": "#c8553d", "relation": "#3a7d5d"}
GRAY = "#666666"
INK, LINE = "#222222", "#aaaaaa"  # texts and axes; on a page they follow its colors, see `svg`
# These aren't the levels' colors, and can be told apart without red and green; each comes with a mark.
RIGHT, WRONG = "#00798c", "#a4286a"
RIGHT_MARK, WRONG_MARK = "\u2713", "\u2717"
MARKS = {"right": RIGHT_MARK, "wrong": WRONG_MARK}
OTHERS = (INK, "#c8853d", "#8a5a96", "#4a9aa8", "#8b6b4a", "#d07a9b")
EMA, CHANCE = " (EMA)", " (chance)"  # suffixes of line names


def to_uint8(pictures: np.ndarray) -> np.ndarray:
    """Undoes CLIP's normalization: [..., 3] float to uint8."""
    pixels = np.asarray(pictures, np.float32) * CLIP_STD + CLIP_MEAN
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


def collect_views(
    batches: Iterable[tuple[Batch, dict[str, Labels]]],
    settings: ViewSettings,
    wanted: Mapping[str, set[int]],
) -> dict[str, dict[int, np.ndarray]]:
    """Collects the evaluation views of some rows of a gallery, by level: uint8 [P, P, 3].

    Args:
      wanted: Rows by level, numbered as in `Gallery.told` of `evaluation.embed.Embedder.images`.
    """
    make = jax.jit(lambda batch: views(batch, settings, train=False))
    found = {level: {} for level in LEVELS}
    start = dict.fromkeys(LEVELS, 0)
    for batch, labels in batches:
        for level, pictures in make(batch).items():
            told = labels[level].text != ""
            slots = np.flatnonzero((batch.levels[level].mask & told).reshape(-1))
            flat = pictures.reshape(-1, *pictures.shape[2:])
            for row in wanted.get(level, set()) & set(
                range(start[level], start[level] + len(slots))
            ):
                found[level][row] = to_uint8(flat[slots[row - start[level]]])
            start[level] += len(slots)
    return found


class Shown(NamedTuple):
    """An image in a grid."""

    picture: np.ndarray  # [P, P, 3]
    caption: str
    color: str | None = None  # color of its frame and caption; None: no frame
    box: np.ndarray | None = None  # drawn into it: x0, y0, x1, y1 in pixels


def hit_or_miss(picture: np.ndarray, label: str, wanted: str) -> Shown:
    """An image that was retrieved for a text, framed and marked by whether it has that label."""
    if label == wanted:
        return Shown(picture, f"{RIGHT_MARK} {label}", RIGHT)
    return Shown(picture, label)


def picture_grid(rows: Sequence[tuple[str, Sequence[tuple]]], *, side: float = 1.25) -> Figure:
    """Draws rows of images with captions.

    Args:
      rows: For each row its title and its images, as the fields of `Shown`.
      side: Side of one image, in inches.
    """
    columns = max(len(shown) for _, shown in rows)
    figure = Figure(figsize=(1.9 + side * columns, (side + 0.42) * len(rows)))
    grid = figure.subplots(
        len(rows), columns + 1, squeeze=False, width_ratios=[1.5] + [1] * columns
    )
    for axes, (title, shown) in zip(grid, rows, strict=True):
        for axis in axes:
            axis.axis("off")
        text = dict(ha="right", va="center", fontsize=8, transform=axes[0].transAxes)
        axes[0].text(1, 0.5, drawable(_wrap(title, 20)), **text)
        for axis, each in zip(axes[1:], shown, strict=False):
            _draw(axis, Shown(*each))
    figure.subplots_adjust(wspace=0.08, hspace=0.5, left=0, right=1, top=0.95, bottom=0)
    return figure


def _draw(axis, shown: Shown) -> None:
    axis.imshow(shown.picture, interpolation="nearest")
    axis.set_title(
        drawable(_wrap(shown.caption, 19)), fontsize=6.5, color=shown.color or GRAY, pad=3
    )
    height, width = shown.picture.shape[:2]
    if shown.box is not None:
        x0, y0, x1, y1 = shown.box
        frame = dict(fill=False, color="white", lw=1.1)
        axis.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, **frame))
    elif shown.color:
        frame = dict(fill=False, color=shown.color, linewidth=2)
        axis.add_patch(Rectangle((-0.5, -0.5), width, height, **frame))


def overlay(view: np.ndarray, relevance: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Lays a relevance map over a gray image: red is evidence for something, blue against it. uint8 [P, P, 3].

    Args:
      view: uint8 [P, P, 3].
      relevance: Relevance map [P, P], or coarser by a whole factor.
      scale: Relevance that gets the full color; None for the largest absolute value in this map.
    """
    factor = len(view) // len(relevance)
    relevance = np.kron(relevance, np.ones((factor, factor)))
    scale = scale or max(float(np.abs(relevance).max()), 1e-12)
    strength = np.clip(np.abs(relevance) / scale, 0, 1)[..., None] ** 0.8
    gray = 115 + 0.5 * np.asarray(view, float).mean(axis=-1, keepdims=True)
    color = np.where(relevance[..., None] > 0, (214, 40, 40), (44, 90, 200))
    return np.clip((1 - strength) * gray + strength * color, 0, 255).astype(np.uint8)


def spotlight(view: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Makes an image bright where the shares are large and dark elsewhere. uint8 [P, P, 3].

    Args:
      shares: Shares [P, P], or coarser by a whole factor; not negative.
    """
    factor = len(view) // len(shares)
    light = np.kron(shares / max(float(shares.max()), 1e-12), np.ones((factor, factor)))
    # The view is lifted because a spotlight on black would be invisible.
    lifted = 70 + 0.72 * np.asarray(view, float)
    return np.clip(lifted * (0.1 + 0.9 * light[..., None]), 0, 255).astype(np.uint8)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    colors: Mapping[str, str],
    steps: int,
    percent: bool = False,
    along: str = "optimizer step",
) -> Figure:
    """Draws lines over optimizer steps, or over what `along` names.

    Names that end in EMA are dashed, those that end in CHANCE are dotted; both have the color of the name
    without the suffix. Names without a color of their own get the next of OTHERS, and only they are in the
    legend; the others are in that of the page.

    Args:
      steps: Steps of the whole run, over which a single value of chance is a line, too.
    """
    figure = Figure(figsize=(4.3, 2.6))
    axis = figure.subplots()
    others = iter(OTHERS)
    chosen: dict[str, str] = {}
    for name, (at, values) in series.items():
        base = name.removesuffix(EMA).removesuffix(CHANCE)
        if base not in chosen:
            chosen[base] = colors.get(base) or next(others, GRAY)
        style = {
            "linestyle": "-",
            "lw": 1.5,
            "label": drawable(name) if base not in colors else None,
        }
        if name.endswith(EMA):
            style = {"linestyle": "--", "lw": 1.1, "alpha": 0.8}
        elif name.endswith(CHANCE):
            style = {"linestyle": ":", "lw": 1.1, "alpha": 0.7}
        if len(at) < 8 and not name.endswith(CHANCE):
            style |= {"marker": "o", "markersize": 2.5}
        values = np.asarray(values) * (100 if percent else 1)
        if name.endswith(CHANCE) and len(at) == 1:
            at, values = [0, steps], np.repeat(values, 2)
        axis.plot(at, values, color=chosen[base], **style)
    axis.set_xlabel(along, fontsize=9, color=INK)
    axis.tick_params(labelsize=9, labelcolor=INK, color=LINE)
    # From the start to the end of the run, with room for a mark at either edge.
    axis.set_xlim(-0.02 * steps, 1.02 * steps)
    axis.set_ylim(bottom=0)
    if percent:
        axis.yaxis.set_major_formatter("{x:g}%")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(LINE)
    axis.grid(axis="y", color=LINE, alpha=0.4)
    if axis.get_legend_handles_labels()[1]:
        place = dict(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        axis.legend(fontsize=8, frameon=False, labelcolor=INK, **place)
    return figure


def _wrap(text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > 2:
        lines = [lines[0], lines[1][: width - 1] + "…"]
    return "\n".join(lines)
