"""The picture of a scene graph."""

import io
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from scenarioclip_jax.drawing import COLORS, draw_arrow, draw_box, list_beside, show_photo
from scenarioclip_jax.files import whole

if TYPE_CHECKING:
    from scenarioclip_jax.describe.scene_graph import SceneGraph

_WIDTH, _TEXT_WIDTH, _LINE = 7.0, 4.2, 0.19  # inches: of the photo, of the list, of a line in it
_CHARACTERS = 46  # of a line
_DPI = 110


def draw(graph: "SceneGraph", relations: int) -> Image.Image:
    """Draws a scene graph with its best relations; see `SceneGraph.draw`."""
    if relations < 0:
        raise ValueError(f"relations is {relations}; it must be at least 0")
    width, height = graph.size
    photo_height = min(_WIDTH * height / width, 9.0)
    photo_width = photo_height * width / height
    lines = _lines(graph, relations)
    tall = max(photo_height, _LINE * len(lines) + 0.2) + 0.2
    wide = photo_width + _TEXT_WIDTH + 0.3
    figure = Figure(figsize=(wide, tall), facecolor="white")
    place = (0.1 / wide, 1 - (photo_height + 0.1) / tall, photo_width / wide, photo_height / tall)
    axes = figure.add_axes(place)
    show_photo(axes, graph.photo)
    boxes = [np.clip(each.box, 0, (*graph.size, *graph.size)).tolist() for each in graph.objects]
    for index, (each, box) in enumerate(zip(graph.objects, boxes, strict=True)):
        color, label = COLORS[index % len(COLORS)], f"{index} {each.name}"
        draw_box(axes, box, label, color, height, dotted=not each.seen)
    for each in graph.relations[:relations]:
        draw_arrow(axes, boxes[each.subject], boxes[each.object], each.predicate)
    list_beside(figure, (photo_width + 0.3) / wide, 1 - 0.15 / tall, "\n".join(lines))
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=_DPI)
    return Image.open(written).convert("RGB")


def check_suffix(path: Path) -> str:
    """Returns the format of a picture's file; raises ValueError if there is none for its suffix."""
    Image.init()
    found = Image.registered_extensions().get(path.suffix.lower())
    if found not in Image.SAVE:
        what = path.suffix or "a file without a suffix"
        raise ValueError(f"{path}: a picture can't be written as {what}; use .png or .jpg")
    return found


def write(picture: Image.Image, path: Path) -> None:
    """Writes a picture, and the folders that it is in."""
    kind = check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as unfinished:
        picture.save(unfinished, format=kind)


def _lines(graph: "SceneGraph", relations: int) -> list[str]:
    lines: list[str] = []

    def add(title: str, rows: list[tuple[float, str]]) -> None:
        if not rows:
            return
        lines.extend(["", title] if lines else [title])
        for score, text in rows:
            first, *more = textwrap.wrap(text, _CHARACTERS - 6) or [""]
            lines.append(f"{round(100 * score):4d}% {first}")
            lines.extend(f"      {part}" for part in more)

    add("ACTION", [(each.score, each.text) for each in graph.actions])
    add("OBJECTS", [(each.score, f"{i} {each.name}") for i, each in enumerate(graph.objects)])
    add("RELATIONS", [(each.score, graph.text(each)) for each in graph.relations[:relations]])
    return lines
