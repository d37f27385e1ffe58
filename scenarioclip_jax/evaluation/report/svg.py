"""Charts as SVG within a page: in the page's font and colors, and readable at the width of a phone."""

import hashlib
import io
import re
from collections.abc import Sequence

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from scenarioclip_jax.evaluation.report.pictures import COLORS, GRAY, INK, LINE

# Ink that follows the page, which may be dark; the other colors have a darker or lighter twin in `style.css`.
_PAGE_COLORS = {
    INK: "currentColor",
    "#000000": "currentColor",
    COLORS["global"]: "var(--blue)",
    COLORS["object"]: "var(--red)",
    COLORS["relation"]: "var(--green)",
    "#c8853d": "var(--orange)",
    GRAY: "var(--soft)",
    LINE: "var(--line)",
}
_COLOR = re.compile("|".join(_PAGE_COLORS))
_FONT = re.compile(r"'DejaVu Sans'[^;\"]*")
_SIZE = re.compile(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>')


def inline(figure: Figure, label: str) -> Markup:
    """A figure as an `<svg>` for a page.

    Equal figures become equal texts; the ids of different ones never meet within a page.

    Args:
      label: What the chart shows, for those who can't see it. It may be any text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scenarioclip"}):
        figure.savefig(
            buffer,
            format="svg",
            bbox_inches="tight",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = buffer.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")  # a prefix that HTML needn't know
    prefix = "s" + hashlib.sha256((text + label).encode("utf-8", "replace")).hexdigest()[:10]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = _FONT.sub("system-ui, sans-serif", text)
    text = _COLOR.sub(lambda found: _PAGE_COLORS[found[0]], text)
    size = _SIZE.match(text)
    assert size is not None  # so matplotlib begins
    width, height = size.groups()
    head = (
        f'<svg class="chart" role="img" aria-label="{escape(_plain(label))}" '
        f'viewBox="0 0 {width} {height}" style="max-width: {float(width) * 4 / 3:.0f}px">'
    )
    return Markup(head + text[size.end() :].strip())


def _plain(label: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in label)


def line(values: Sequence[float], chance: float | None, label: str) -> Markup:
    """A small line of shares over time, with chance as a dashed line."""
    top = max([*values, chance or 0.0, 1e-9])
    last = max(len(values) - 1, 1)
    points = [(100 * i / last, 30 - 28 * value / top) for i, value in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawn = f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="2"/>'
    return _spark(drawn + _chance(chance, top), label)


def columns(values: Sequence[float], chance: float | None, label: str) -> Markup:
    """Small columns of shares from 0 to 1 in the given order, with chance as a dashed line."""
    wide = 100 / max(len(values), 1)
    drawn = "".join(
        f'<rect x="{i * wide:.2f}" y="{30 - 28 * value:.2f}" width="{0.8 * wide:.2f}" '
        f'height="{28 * value:.2f}" fill="currentColor"/>'
        for i, value in enumerate(values)
    )
    return _spark(drawn + _chance(chance, 1.0), label)


def _chance(chance: float | None, top: float) -> str:
    if chance is None:
        return ""
    y = 30 - 28 * chance / top
    return f'<path class="chance" d="M0 {y:.2f}H100"/>'


def _spark(drawn: str, label: str) -> Markup:
    return Markup(
        f'<svg class="spark" role="img" aria-label="{escape(_plain(label))}" viewBox="0 0 100 31" '
        f'preserveAspectRatio="none">{drawn}</svg>'
    )
