"""Arrays and tensors of any framework as images, recognized by protocol.

This module needs only Pillow and NumPy, because models that are exported for PyTorch carry a copy.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_CHANNELS = (1, 3, 4)
_EXPECTED = (
    "expected a path, a PIL image, or an array [H, W], [H, W, C] or [C, H, W] with 1, 3 or 4 channels, "
    "uint8 or floats from 0 to 1"
)


def separate(images: Any) -> list[Any]:
    """Turns one or several images into a list of images, each for `open_image`.

    Several images are a list, tuple or other iterable, or an array with an additional axis, [N, H, W, C] or
    [N, C, H, W].

    Raises:
      ValueError: The value is neither one image nor several.
    """
    if isinstance(images, str | Path | bytes | bytearray | memoryview | Image.Image):
        return [images]
    if hasattr(images, "read"):  # an open file
        return [images]
    if is_array(images):
        array = to_array(images)
        if array.dtype.kind in "USO" and array.ndim == 1:  # an array of paths or of images
            return array.tolist()
        return list(array) if array.ndim == 4 else [images]
    if isinstance(images, dict | set | frozenset) or not hasattr(images, "__iter__"):
        raise ValueError(
            f"{_type(images)} is neither a picture nor a list of pictures; {_EXPECTED}"
        )
    return list(images)


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor, by protocol."""
    protocols = ("__array__", "__array_interface__", "__dlpack__")
    return not isinstance(value, Image.Image) and any(hasattr(value, name) for name in protocols)


def to_array(value: Any) -> np.ndarray:
    """Converts an array or tensor of any framework to a NumPy array; bfloat16 becomes float32.

    Raises:
      ValueError: The array can't be read from here.
    """
    try:
        if hasattr(value, "detach"):  # PyTorch tensors, with a gradient or on another device
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) else value
        unreadable = not hasattr(value, "__array__") and not hasattr(value, "__array_interface__")
        exported = unreadable and hasattr(value, "__dlpack__")
        array = np.from_dlpack(value) if exported else np.asarray(value)
    except Exception as error:
        raise ValueError(f"{_type(value)} can't be read as an array: {error}") from error
    foreign = "float" in array.dtype.name and not np.issubdtype(array.dtype, np.floating)
    return array.astype(np.float32) if foreign else array  # JAX's bfloat16 and similar types


def _type(value: Any) -> str:
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    shape = getattr(value, "shape", None)
    return name if shape is None else f"{name} of {value.dtype} {list(shape)}"


def from_array(source: Any) -> Image.Image:
    """Converts an array or tensor to a gray, RGB or RGBA image.

    Raises:
      ValueError: The array isn't a single image.
    """
    if not is_array(source):
        raise ValueError(f"{_type(source)} isn't a picture; {_EXPECTED}")
    array, what = to_array(source), _type(source)
    if array.ndim == 3:
        first, last = array.shape[0] in _CHANNELS, array.shape[2] in _CHANNELS
        if first and last:
            raise ValueError(
                f"{what} could be [H, W, C] or [C, H, W]; pass a PIL image (Image.fromarray of [H, W, C])"
            )
        if first:
            array = array.transpose(1, 2, 0)
        elif not last:
            raise ValueError(
                f"{what} isn't a picture; {_EXPECTED} (several gray ones are [N, H, W, 1])"
            )
    elif array.ndim != 2:
        raise ValueError(f"{what} isn't one picture; {_EXPECTED}")
    if not array.size:
        raise ValueError(f"{what} has no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(_to_uint8(array, what)))


def _to_uint8(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if low >= 0 and high <= 1:
            return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
        raise ValueError(
            f"{what} has values from {low:g} to {high:g}; floats must be from 0 to 1. Values from 0 to 255 go "
            "in as uint8, pixels that are normalized already straight into the model (encode_pixels, or "
            "pixel_values)"
        )
    raise ValueError(
        f"{what} should be uint8, or floats from 0 to 1. Scale it to 0-255 and convert it to uint8"
    )
