"""Boxes with names and arrows with predicates, drawn on a photo with matplotlib."""

from collections.abc import Sequence
from typing import Any

from matplotlib import patheffects
from matplotlib.patches import FancyArrowPatch, Rectangle

# Distinct for most people with color blindness too (Okabe and Ito 2008).
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")

Box = Sequence[float]  # x0, y0, x1, y1 in pixels


def show_photo(axes: Any, picture: Any) -> None:
    """Shows a photo without axes, in its own pixels."""
    axes.imshow(picture)
    axes.set_axis_off()
    axes.set_xlim(0, picture.width)
    axes.set_ylim(picture.height, 0)


def list_beside(figure: Any, x: float, y: float, text: str) -> None:
    """Writes lines of text, whose upper left corner is at a place in shares of the figure."""
    figure.text(
        *(x, y, text),
        fontsize=9.5,
        va="top",
        family="DejaVu Sans Mono",
        linespacing=1.25,
        parse_math=False,
    )


def draw_box(
    axes: Any, box: Box, label: str, color: str, height: float, *, dotted: bool = False
) -> None:
    """Draws a box with its name above it; `height` is the photo's, in pixels."""
    x0, y0, x1, y1 = box
    style = ":" if dotted else "-"
    axes.add_patch(
        Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2, linestyle=style
        )
    )
    axes.text(
        *(x0, max(y0, 0.04 * height), label),
        color="white",
        fontsize=9,
        va="bottom",
        path_effects=_outline(),
        parse_math=False,
    )


def draw_arrow(axes: Any, subject: Box, object_: Box, predicate: str) -> None:
    """Draws an arrow from the center of the subject's box to that of the object's, with the predicate on it."""
    start, end = (((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (subject, object_))
    arrow = FancyArrowPatch(
        start,
        end,
        arrowstyle="-|>",
        mutation_scale=14,
        color="white",
        connectionstyle="arc3,rad=0.12",
        linewidth=1.6,
        path_effects=_outline(),
    )
    axes.add_patch(arrow)
    # Nearer to the subject, so that two arrows into one object keep their words apart.
    middle = [0.65 * a + 0.35 * b for a, b in zip(start, end, strict=True)]
    axes.text(
        *(*middle, predicate),
        color="white",
        fontsize=8.5,
        ha="center",
        va="center",
        style="italic",
        path_effects=_outline(),
        parse_math=False,
    )


def _outline() -> list[Any]:
    return [patheffects.withStroke(linewidth=2.5, foreground="black")]
