"""Pictures for people: views as they enter the towers, retrievals, curves. Drawn with matplotlib."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scenarioclip_jax.data.batch import Batch
from scenarioclip_jax.data.packing import Labels
from scenarioclip_jax.data.views import CLIP_MEAN, CLIP_STD, ViewSettings, views
from scenarioclip_jax.models.scenario_clip import LEVELS

matplotlib.use("agg")
COLOURS = {"global": "#4c5c96", "object": "#c8553d", "relation": "#3a7d5d"}
GREY = "#666666"


def to_uint8(pictures: np.ndarray) -> np.ndarray:
    """Undoes CLIP's normalisation: [..., 3] float to uint8."""
    pixels = np.asarray(pictures, np.float32) * CLIP_STD + CLIP_MEAN
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


def to_html(figure: Figure, dpi: int = 110) -> str:
    """A figure as a `data:` URL, so that a report is one file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def collect_views(
    batches: Iterable[tuple[Batch, Labels]],
    settings: ViewSettings,
    wanted: Mapping[str, set[int]],
) -> dict[str, dict[int, np.ndarray]]:
    """The evaluation views of some rows of a gallery, by level: uint8 [P, P, 3].

    Args:
      wanted: rows by level, counted as `evaluation.embed.Embedder.images` counts them.
    """
    make = jax.jit(lambda batch: views(batch, settings, train=False))
    found = {level: {} for level in LEVELS}
    start = dict.fromkeys(LEVELS, 0)
    for batch, _ in batches:
        pictures = dict(zip(LEVELS, make(batch), strict=True))
        masks = (batch.scene_mask, batch.object_mask, batch.relation_mask)
        for level, mask in zip(LEVELS, masks, strict=True):
            slots = np.flatnonzero(mask.reshape(-1))
            flat = pictures[level].reshape(-1, *pictures[level].shape[2:])
            for row in wanted[level] & set(range(start[level], start[level] + len(slots))):
                found[level][row] = to_uint8(flat[slots[row - start[level]]])
            start[level] += len(slots)
    return found


def picture_grid(
    rows: Sequence[tuple[str, Sequence[tuple[np.ndarray, str, str | None]]]], *, side: float = 1.25
) -> Figure:
    """Rows of pictures with captions.

    Args:
      rows: (title of the row, [(picture, caption, colour of its frame or None), …]).
      side: of one picture, inches.
    """
    columns = max(len(pictures) for _, pictures in rows)
    figure = Figure(figsize=(1.9 + side * columns, (side + 0.42) * len(rows)))
    grid = figure.subplots(
        len(rows), columns + 1, squeeze=False, width_ratios=[1.5] + [1] * columns
    )
    for axes, (title, pictures) in zip(grid, rows, strict=True):
        for axis in axes:
            axis.axis("off")
        axes[0].text(
            1,
            0.5,
            _wrap(title, 20),
            ha="right",
            va="center",
            fontsize=8,
            transform=axes[0].transAxes,
        )
        for axis, (picture, caption, colour) in zip(axes[1:], pictures, strict=False):
            axis.imshow(picture, interpolation="nearest")
            axis.set_title(_wrap(caption, 19), fontsize=6.5, color=colour or GREY, pad=3)
            if colour:
                height, width = picture.shape[:2]
                axis.add_patch(
                    Rectangle((-0.5, -0.5), width, height, fill=False, color=colour, linewidth=2)
                )
    figure.subplots_adjust(wspace=0.08, hspace=0.5, left=0, right=1, top=0.95, bottom=0)
    return figure


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    colours: Mapping[str, str],
    percent: bool = False,
) -> Figure:
    """Lines over optimizer steps; a name that ends in ` (EMA)` is dashed."""
    figure = Figure(figsize=(5.2, 3.0))
    axis = figure.subplots()
    for name, (steps, values) in series.items():
        base = name.removesuffix(" (EMA)")
        style = dict(linestyle="--" if name != base else "-", color=colours.get(base, "black"))
        axis.plot(steps, np.asarray(values) * (100 if percent else 1), label=name, lw=1.4, **style)
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel("optimizer step", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_ylim(bottom=0)
    if percent:
        axis.yaxis.set_major_formatter("{x:g}%")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
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
