"""A model whose embeddings are known by heart: colors and their words, and photos in these colors."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "gray": (1, 1, 1)}
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "gray": (128, 128, 128)}


class Colors:
    """Embeds pictures by their mean color, and texts by the colors that they name."""

    def __init__(self, fail_after: int | None = None):
        self.embedded, self._left = 0, fail_after

    def encode_image(self, images, level="global"):
        self.embedded += len(images)
        if self._left is not None:
            self._left -= len(images)
            if self._left < 0:
                raise KeyboardInterrupt
        opened = [
            image if isinstance(image, Image.Image) else Image.open(image) for image in images
        ]
        return np.array(
            [np.asarray(image.convert("RGB"), float).mean((0, 1)) + 0.1 for image in opened]
        )

    def encode_places(self, image, places, level):
        pixels = np.asarray(image, float)
        return np.array(
            [
                np.mean(
                    [
                        pixels[int(y0) : int(y1), int(x0) : int(x1)].mean((0, 1))
                        for x0, y0, x1, y1 in ends
                    ],
                    0,
                )
                for ends in places
            ]
        )

    def encode_objects(self, photo, boxes):
        return self.encode_places(Image.open(photo), [[box] for box in boxes], "object")

    def encode_relations(self, photo, pairs):
        return self.encode_places(Image.open(photo), pairs, "relation")

    def encode_text(self, texts, level="global"):
        return np.array(
            [np.sum([WORDS[w] for w in text.split() if w in WORDS], 0) for text in texts], float
        )

    def share_in_view(self, boxes, size):
        return np.ones(len(boxes))


def paint(file: Path, ground: str, *things: tuple[str, tuple[int, int, int, int]]) -> Path:
    """Writes a photo of 60 x 40 pixels with things in boxes."""
    picture = Image.new("RGB", (60, 40), RGB[ground])
    for color, box in things:
        x0, y0, x1, y1 = box
        ImageDraw.Draw(picture).rectangle((x0, y0, x1 - 1, y1 - 1), fill=RGB[color])
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
    return file
