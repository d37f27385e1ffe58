"""Photos as the page shows them."""

import io

from PIL import Image

MAX_SIDE = 1600  # pixels
_QUALITY = 88


def as_jpeg(picture: Image.Image) -> bytes:
    """A JPEG of a photo in RGB, scaled down where a side is longer than MAX_SIDE."""
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
