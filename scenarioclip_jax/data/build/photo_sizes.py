"""The size that boxes refer to, where a record gives it: that of the photo, or of the photo in another size."""

from typing import NamedTuple

_SMALLEST = 16  # pixels; smaller sizes are placeholders
_PIXELS = 1.5  # a scaled side is rounded, by whoever scales it


class AnnotatedSize(NamedTuple):
    """Attributes:
    size: Width and height, turned as the upright photo.
    stored: Whether the record gives the size of the photo as it is stored, before an EXIF rotation by 90
      degrees, so that its boxes are in those pixels too; None if both sizes are the same or none is given.
    """

    size: tuple[int, int]
    stored: bool | None


def annotated_size(
    given: tuple[int, int] | None, upright: tuple[int, int], orientation: int
) -> AnnotatedSize | None:
    """Returns the size that the boxes of a photo refer to, or None if the photo has another shape.

    Args:
      given: Width and height in the record; None if it has none.
      upright: Width and height of the upright photo, in pixels.
      orientation: Its EXIF orientation, 1 to 8.
    """
    if given is None:
        return AnnotatedSize(upright, None)
    if given in (upright, upright[::-1]):
        pass
    elif min(given) < _SMALLEST:
        return None
    turned = given[1], given[0]
    fits = _same_shape(given, upright)
    if orientation >= 5 and _same_shape(turned, upright):
        # A photo that is nearly square fits both ways.
        return AnnotatedSize(turned, None if fits else True)
    if not fits:
        return None
    return AnnotatedSize(given, False if orientation >= 5 else None)


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether one size can be the other, scaled and rounded to whole pixels."""
    small, large = (a, b) if a[0] * a[1] <= b[0] * b[1] else (b, a)
    # Each side of the small one, by the scale of the other side.
    expected = small[1] * large[0] / large[1], small[0] * large[1] / large[0]
    return min(abs(small[0] - expected[0]), abs(small[1] - expected[1])) <= _PIXELS
