"""Drawing for the embedded scenes: antialiased shapes, and backgrounds that look like places."""

import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (222, 44, 44),
    "yellow": (245, 205, 40),
    "green": (40, 170, 70),
    "blue": (45, 95, 225),
    "purple": (160, 60, 200),
    "white": (244, 244, 240),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
RING_HOLE = 0.64  # diameter of a ring's hole / diameter of the ring
OUTLINE: Rgb = (24, 22, 26)

_SUPERSAMPLING = 4


@functools.lru_cache(maxsize=4096)
def shape_masks(shape: str, side: int, angle: int) -> tuple[Image.Image, Image.Image]:
    """Returns the masks (mode "L") of a shape with and without its outline, cropped to the shape.

    Args:
      shape: One of `SHAPES`.
      side: Side of the square that the unrotated shape fills, in pixels.
      angle: Rotation, in degrees.
    """
    scale = _SUPERSAMPLING
    pad = side // 4  # room for the corners of a rotated shape
    padded = side + 2 * pad
    canvas = Image.new("L", (padded * scale, padded * scale))
    _draw_shape(ImageDraw.Draw(canvas), shape, canvas.width / 2, side * scale / 2)
    whole = canvas.rotate(angle, Image.Resampling.BICUBIC)
    inner = whole.filter(ImageFilter.MinFilter(2 * scale - 1))  # the outline is about 1 pixel
    small = [m.resize((padded, padded), Image.Resampling.BOX) for m in (whole, inner)]
    box = small[0].point([255 * (value >= 128) for value in range(256)]).getbbox()
    return small[0].crop(box), small[1].crop(box)


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, center: float, radius: float) -> None:
    c, r = center, radius
    if shape == "circle":
        draw.ellipse((c - r, c - r, c + r, c + r), fill=255)
    elif shape == "ring":
        hole = r * RING_HOLE
        draw.ellipse((c - r, c - r, c + r, c + r), fill=255)
        draw.ellipse((c - hole, c - hole, c + hole, c + hole), fill=0)
    elif shape == "square":
        draw.rectangle((c - 0.9 * r, c - 0.9 * r, c + 0.9 * r, c + 0.9 * r), fill=255)
    elif shape == "cross":
        arm = 0.34 * r
        draw.rectangle((c - r, c - arm, c + r, c + arm), fill=255)
        draw.rectangle((c - arm, c - r, c + arm, c + r), fill=255)
    elif shape == "triangle":
        draw.polygon([(c - r, c + 0.87 * r), (c + r, c + 0.87 * r), (c, c - 0.87 * r)], fill=255)
    elif shape == "star":
        points = []
        for corner in range(10):
            reach = 1.05 * r if corner % 2 == 0 else 0.44 * r
            turn = math.pi * (corner / 5 - 0.5)
            points.append((c + reach * math.cos(turn), c + reach * math.sin(turn)))
        draw.polygon(points, fill=255)
    else:
        raise ValueError(f"shape must be one of {SHAPES}, got {shape!r}")


def paint_shape(
    picture: Image.Image, shape: str, side: int, angle: int, corner: tuple[int, int], color: Rgb
) -> None:
    """Draws a shape with a dark outline; `corner` is the top left of its box, in pixels."""
    whole, inner = shape_masks(shape, side, angle)
    picture.paste(OUTLINE, corner, whole)
    picture.paste(color, corner, inner)


def _strokes(
    size: int,
    rng: np.random.Generator,
    count: int,
    length: float,
    width: int,
    fill: Rgb,
    turn: tuple[float, float] = (0.0, math.pi),
) -> Image.Image:
    """A transparent image of `count` short lines with angles within `turn`, in radians."""
    layer = Image.new("RGBA", (2 * size, 2 * size), (*fill, 0))
    draw = ImageDraw.Draw(layer)
    starts = rng.uniform(0, 2 * size, (count, 2))
    angles = rng.uniform(*turn, count)
    lengths = 2 * size * length * rng.uniform(0.5, 1.5, count)
    for (x, y), angle, long in zip(starts.tolist(), angles.tolist(), lengths.tolist(), strict=True):
        end = (x + long * math.cos(angle), y + long * math.sin(angle))
        draw.line((x, y, *end), fill=(*fill, 150), width=width)
    return layer.resize((size, size), Image.Resampling.BOX)


def _night(size: int, rng: np.random.Generator) -> Image.Image:
    return _strokes(size, rng, 30, 0.004, 3, (255, 250, 220))  # stars


def _snow(size: int, rng: np.random.Generator) -> Image.Image:
    return _strokes(size, rng, 45, 0.012, 5, (255, 255, 255))  # flakes


def _grass(size: int, rng: np.random.Generator) -> Image.Image:
    return _strokes(size, rng, 110, 0.06, 2, (170, 205, 90), (1.25, 1.9))  # upright blades


def _sand(size: int, rng: np.random.Generator) -> Image.Image:
    return _strokes(size, rng, 160, 0.006, 2, (120, 90, 50))  # grains


def _water(size: int, rng: np.random.Generator) -> Image.Image:
    return _strokes(size, rng, 40, 0.12, 2, (190, 225, 235), (-0.15, 0.15))  # ripples


def _brick(size: int, rng: np.random.Generator) -> Image.Image:
    layer = Image.new("RGBA", (2 * size, 2 * size), (225, 205, 190, 0))
    draw = ImageDraw.Draw(layer)
    height, width = size // 5, size // 2
    offset = int(rng.integers(height))
    for row, y in enumerate(range(offset - height, 2 * size, height)):
        draw.line((0, y, 2 * size, y), fill=(225, 205, 190, 150), width=3)
        start = (row % 2) * width // 2 + offset - width
        for x in range(start, 2 * size, width):
            draw.line((x, y, x, y + height), fill=(225, 205, 190, 150), width=3)
    return layer.resize((size, size), Image.Resampling.BOX)


# How each place looks: the color of its ground and what lies on it.
PLACES: dict[str, tuple[Rgb, Callable[[int, np.random.Generator], Image.Image]]] = {
    "at night": ((38, 42, 84), _night),
    "in the snow": ((206, 212, 222), _snow),
    "on the grass": ((88, 132, 66), _grass),
    "on the beach": ((206, 182, 132), _sand),
    "on the water": ((70, 128, 158), _water),
    "by a brick wall": ((150, 92, 74), _brick),
}


def draw_background(place: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Returns an RGB image of a place.

    Light and tint vary so much that each place's pixels also occur in others: a place is recognized by its
    texture and overall color, not by any single pixel. There is gray clutter that isn't annotated.
    """
    ground, texture = PLACES[place]
    light = rng.uniform(0.7, 1.12)
    tint = rng.uniform(-20, 20, 3)
    patches = rng.uniform(0.8, 1.2, (4, 4))  # soft patches of shade
    base = np.clip((np.asarray(ground) * light + tint) * patches[..., None], 0, 255)
    picture = Image.fromarray(base.astype(np.uint8))
    picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    layer = texture(size, rng)
    picture.paste(layer, mask=layer.getchannel("A"))
    gray = int(rng.integers(60, 200))
    clutter = _strokes(size, rng, int(rng.integers(4, 11)), 0.05, 4, (gray, gray, gray))
    picture.paste(clutter, mask=clutter.getchannel("A"))
    return picture
