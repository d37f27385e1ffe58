"""Recognizes photos that several records share, whatever they are called and however they are stored."""

import hashlib

import numpy as np
from PIL import Image


def digest_of_pixels(picture: Image.Image) -> str:
    """A digest of a photo's upright RGB pixels: the same for a copy, and for the same image in another format.

    Images that were scaled, cropped or compressed again have other digests.
    """
    size = repr(picture.size).encode()
    return hashlib.blake2b(np.asarray(picture).data, digest_size=16, key=size).hexdigest()
