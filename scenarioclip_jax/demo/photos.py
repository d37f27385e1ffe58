"""Photos that somebody sends: within limits before they are decoded, and upright afterwards."""

import base64
import binascii

from PIL import Image

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.errors import ReadableError

MOST_BYTES = 16 << 20  # of a request
MOST_PIXELS = 50_000_000


class PhotoRefusedError(ReadableError, ValueError):
    """A photo that was sent can't be used."""


def decode(text: str) -> Image.Image:
    """A photo from the base64 of its file, upright and in RGB.

    Raises:
      PhotoRefusedError: It isn't base64, no picture, damaged, or has more than MOST_PIXELS.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PhotoRefusedError("photo: isn't base64; send the base64 of an image file") from None
    try:
        return open_image(content, name="photo", max_pixels=MOST_PIXELS).picture
    except (OSError, ValueError) as error:
        raise PhotoRefusedError(str(error)) from None
