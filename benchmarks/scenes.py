"""Scenes with the ragged statistics of real data, drawn by seed: what both sides of a benchmark are given.

Objects a scene: 2 to 8; relations: 1 to 6; both uniform. Box areas as in COCO (Lin et al. 2014; the three sizes
of its evaluation): 41% below 32 x 32 pixels, 34% up to 96 x 96, 25% above, log-uniform inside each. Names are
drawn from 150 objects and 50 predicates by Zipf's law. A word is a token, so texts have the lengths that CLIP's
tokenizer gives to such texts, begin and end included: names 3 to 5, triplets 5 to 9, actions 4 to 9.

Photos are noise whose spectrum falls with frequency as that of natural pictures does (Field 1987), with flat
shapes in the boxes; as JPEGs they are about as large as COCO's.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from PIL import Image, ImageDraw
from tokenizers import models, normalizers, pre_tokenizers

from scenarioclip_jax.data.tokens import BOS, EOS, Tokenizer

WIDTH, HEIGHT = 640, 480  # of photos, pixels
OBJECTS, PREDICATES, ACTIONS = 150, 50, 200  # names in the vocabulary
# Sides of the boxes' squares in the three sizes, pixels, and the share of boxes in each.
SIZES = ((8.0, 32.0, 0.41), (32.0, 96.0, 0.34), (96.0, 420.0, 0.25))
QUALITY = 92  # of JPEGs
LONGEST_TRIPLET = 7  # words


class DrawnScene(NamedTuple):
    """A scene's annotation; boxes are float64 [objects, 4], pixels. A relation names two objects by index."""

    id: str
    action: str
    names: list[str]
    boxes: np.ndarray
    relations: list[tuple[int, str, int]]

    def triplet(self, index: int) -> tuple[str, str, str]:
        subject, predicate, object_ = self.relations[index]
        return self.names[subject], predicate, self.names[object_]


def draw_scenes(
    count: int, seed: int, *, objects: int | None = None, relations: int | None = None
) -> list[DrawnScene]:
    """Draws annotations.

    Args:
      count: scenes.
      seed: of all draws; scene i is the same whatever the count.
      objects, relations: a fixed number in every scene instead of a drawn one.
    """
    return [_draw_scene(index, seed, objects, relations) for index in range(count)]


def _draw_scene(index: int, seed: int, objects: int | None, relations: int | None) -> DrawnScene:
    draw = np.random.default_rng([seed, index])
    number = objects or int(draw.integers(2, 9))
    names = [_words("object", *_zipf(draw, OBJECTS), longest=3) for _ in range(number)]
    boxes = np.stack([_box(draw) for _ in range(number)])
    wanted = relations or int(draw.integers(1, 7))
    found: list[tuple[int, str, int]] = []
    while len(found) < wanted:
        subject, object_ = map(int, draw.choice(number, 2, replace=False))
        predicate = _words("relates", *_zipf(draw, PREDICATES), longest=2)
        relation = (subject, predicate, object_)
        words = " ".join((names[subject], predicate, names[object_])).split()
        if len(words) <= LONGEST_TRIPLET and relation not in found:
            found.append(relation)
    action = " ".join([f"acts{_zipf(draw, ACTIONS)[0]}", *["while"] * int(draw.integers(1, 7))])
    return DrawnScene(f"{seed}-{index}", action, names, boxes, found)


def _zipf(draw: np.random.Generator, size: int) -> tuple[int]:
    weights = 1 / np.arange(1, size + 1)
    return (int(draw.choice(size, p=weights / weights.sum())),)


def _words(kind: str, number: int, longest: int) -> str:
    """A name of one word for most numbers; of two or three for some."""
    count = min(longest, 1 + (number % 4 == 3) + (number % 16 == 15))
    return " ".join([f"{kind}{number}", *["of", "it"][: count - 1]])


def _box(draw: np.random.Generator) -> np.ndarray:
    low, high, _ = SIZES[draw.choice(len(SIZES), p=[share for *_, share in SIZES])]
    side = np.exp(draw.uniform(np.log(low), np.log(high)))
    stretch = np.exp(draw.normal(0, 0.3))
    width = min(side * stretch, WIDTH - 1.0)
    height = min(side * side / width, HEIGHT - 1.0)
    width = min(side * side / height, WIDTH - 1.0)  # where the height was cut, the area is kept
    left, top = draw.uniform(0, WIDTH - width), draw.uniform(0, HEIGHT - height)
    return np.array([left, top, left + width, top + height])


def word_tokenizer(eos_id: int = 49407) -> Tokenizer:
    """A tokenizer in which each word of the vocabulary is a token, with CLIP's ids for begin and end."""
    words = [f"object{i}" for i in range(OBJECTS)] + [f"relates{i}" for i in range(PREDICATES)]
    words += [f"acts{i}" for i in range(ACTIONS)] + ["of", "it", "while"]
    ids = {word: number for number, word in enumerate(words)} | {BOS: eos_id - 1, EOS: eos_id}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=EOS))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([BOS, EOS])
    return Tokenizer(tokenizer)


def picture(scene: DrawnScene, seed: int = 0) -> Image.Image:
    """The photo of a scene."""
    draw = np.random.default_rng([seed, *scene.id.encode()])
    rows, columns = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / WIDTH)
    noise = draw.normal(size=(3, HEIGHT, WIDTH // 2 + 1)) * np.exp(
        2j * np.pi * draw.random((3, HEIGHT, WIDTH // 2 + 1))
    )
    planes = np.fft.irfft2(noise / frequency**1.1, s=(HEIGHT, WIDTH))
    planes /= planes.std((1, 2), keepdims=True)
    light, *color = planes
    channels = [light + 0.3 * shift for shift in (color[0], -color[0] / 2, color[1])]
    pixels = np.clip(120 + 48 * np.stack(channels, -1), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    canvas = ImageDraw.Draw(image, "RGBA")
    for box in scene.boxes:
        color = tuple(int(v) for v in draw.integers(0, 256, 3))
        canvas.ellipse(tuple(box), fill=(*color, 128))
    return image


def region(scene: DrawnScene, index: int, shape: str) -> Image.Image:
    """Where a relation's two participants are: mode "L", 255 inside.

    Args:
      shape: "boxes", their boxes; or "outlines", the ellipses that `picture` draws in them.
    """
    mask = Image.new("L", (WIDTH, HEIGHT))
    canvas = ImageDraw.Draw(mask)
    subject, _, object_ = scene.relations[index]
    for x0, y0, x1, y1 in np.floor(scene.boxes[[subject, object_]]).tolist():
        if shape == "boxes":
            canvas.rectangle((x0, y0, x1 - 1, y1 - 1), fill=255)
        else:
            canvas.ellipse((x0, y0, x1 - 1, y1 - 1), fill=255)
    return mask


def write_root(root: Path, scenes: list[DrawnScene], shape: str = "boxes") -> None:
    """Writes scenes in the published format: metadata.json, classes.json, photos and focused regions as JPEG.

    Args:
      shape: of focused regions, see `region`.
    """
    for folder in ("images", "focus"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    records = []
    for scene in scenes:
        file = root / "images" / f"{scene.id}.jpg"
        picture(scene).save(file, quality=QUALITY)
        photo = Image.open(file)  # focused regions are cut from photos as they are stored
        relations = []
        for index in range(len(scene.relations)):
            path = f"focus/{scene.id}_{index}.jpg"
            focus = Image.composite(
                photo, Image.new("RGB", photo.size), region(scene, index, shape)
            )
            focus.save(root / path, quality=QUALITY)
            relations.append([path, scene.triplet(index)])
        objects = [[name, box.tolist()] for name, box in zip(scene.names, scene.boxes, strict=True)]
        records.append(
            {
                "id": scene.id,
                "image_path": f"images/{file.name}",
                "action": scene.action,
                "dense_caption": "",
                "objects": objects,
                "relations": relations,
            }
        )
    (root / "metadata.json").write_text(json.dumps({"data": records}))
    classes = {
        "actions": sorted({scene.action for scene in scenes}),
        "objects": sorted({name for scene in scenes for name in scene.names}),
        "relations": sorted({" ".join(r[1]) for entry in records for r in entry["relations"]}),
    }
    (root / "classes.json").write_text(json.dumps(classes))
