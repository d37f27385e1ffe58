"""Photos as models take them: decoded, and not larger than they need to be."""

from PIL import Image

from scenarioclip_jax.annotate.results import Failure, Photo


def open_photo(photo: Photo) -> Image.Image | Failure:
    """Decodes a photo, to RGB of the size that it is said to have."""
    try:
        image = photo.open()
    except Exception as error:
        return Failure("unreadable_photo", f"{type(error).__name__}: {error}")
    if image.size != photo.size:
        return Failure(
            "unreadable_photo", f"it is {image.size} pixels large, not {photo.size} as it was"
        )
    return image if image.mode == "RGB" else image.convert("RGB")


def shrink(image: Image.Image, side: int) -> Image.Image:
    """A photo whose longer side has at most that many pixels."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(round(each * scale), 1) for each in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)
