"""The page of what was found: photos with the places that were asked for."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.evaluation.report.page import render
from scenarioclip_jax.files import write_text
from scenarioclip_jax.search.query import Hit, Part

TEMPLATE = Path(__file__).with_name("page.html")
SIDE = 480  # pixels of the long side of a picture in the page


class Shown(NamedTuple):
    """A photo on the page."""

    hit: Hit
    picture: str  # a data URL; "" if the photo isn't there any more
    link: str


def write_page(path: Path, photos: Path, parts: Sequence[Part], hits: Sequence[Hit]) -> None:
    """Writes one HTML file that holds everything it shows but the photos themselves, to which it links.

    Args:
      path: The file.
      photos: The folder of the photos.
      parts: What was asked.
      hits: What was found.
    """
    shown = [_shown(photos, hit) for hit in hits]
    write_text(path, render(TEMPLATE, parts=parts, shown=shown, corner=_corner))


def _shown(photos: Path, hit: Hit) -> Shown:
    for path in hit.paths:  # copies, of which one may be gone
        file = photos / path
        try:
            picture = open_image(file).picture
            break
        except (OSError, ValueError):
            continue
    else:
        return Shown(hit, "", "")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode()
    return Shown(hit, f"data:image/jpeg;base64,{data}", file.as_uri())


def _corner(box: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    """A box as an SVG rectangle of the photo, clipped to it."""
    x0, y0, x1, y1 = (min(max(x, 0), side) for x, side in zip(box, (*size, *size), strict=True))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
