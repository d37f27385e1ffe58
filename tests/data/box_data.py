"""Small data sets whose boxes are written in any convention, for the tests of what recognizes them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.box_votes import BoxFlags, decide
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import Problems
from tests.data.builder_inputs import focus_of, photo

# Sides of photos; in the second all four differ.
LARGER = {"sizes": ((320, 240), (240, 320), (320, 213))}
MERGED = {"sizes": ((320, 240), (241, 320), (320, 213), (213, 320)), "edge": 0.1}
BACK = {5: 5, 6: 8, 7: 7, 8: 6}  # the orientation that turns an upright picture as it is stored


def as_written(box, size, format="xyxy", units="pixels"):
    """A box, x0, y0, x1, y1 in pixels, as a tool of that convention writes it."""
    scale = {"pixels": None, "unit": 1, "percent": 100, "thousand": 1000}[units]
    x0, y0, x1, y1 = map(float, box)
    if scale:
        x0, x1 = (x * scale / size[0] for x in (x0, x1))
        y0, y1 = (y * scale / size[1] for y in (y0, y1))
    found = {
        "xyxy": (x0, y0, x1, y1),
        "xywh": (x0, y0, x1 - x0, y1 - y0),
        "cxcywh": ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
        "yxyx": (y0, x0, y1, x1),
        "xxyy": (x0, x1, y0, y1),
        "yyxx": (y0, y1, x0, x1),
        "yxhw": (y0, x0, y1 - y0, x1 - x0),
    }[format]
    return [round(value, 6 if units == "unit" else 1) for value in found]


def stored(box, size, orientation):
    """A box of an upright picture, where it is in the picture as stored."""
    if orientation == 1:
        return box
    marked = Image.new("1", size)
    marked.paste(1, tuple(map(int, box)))
    return list(marked.transpose(images.TURNS[BACK.get(orientation, orientation)]).getbbox())


def random_boxes(rng, size, count, largest=0.7, edge=0.2):
    """Boxes of whole pixels as people draw them: of any size, some at the photo's edge."""
    boxes = []
    for _ in range(count):
        sides = [max(4, int(n * rng.uniform(0.05, largest))) for n in size]
        start = [int(rng.integers(0, n - s + 1)) for n, s in zip(size, sides, strict=True)]
        for axis in range(2):
            if rng.random() < edge:
                start[axis] = size[axis] - sides[axis] if rng.random() < 0.5 else 0
        boxes.append([*start, start[0] + sides[0], start[1] + sides[1]])
    return boxes


def write(
    root: Path,
    seed: int,
    photos: int,
    *,
    format="xyxy",
    units="pixels",
    size=None,
    orientation=1,
    as_stored=False,
    focus=False,
    objects=None,
    change=None,
    padded=None,
    drawn=False,
    sizes=((96, 64), (64, 96), (80, 80), (120, 72)),
    **boxes,
) -> list[list[list[int]]]:
    """Writes a data root; returns the boxes of each photo, upright and in pixels.

    `change(rng, box, size)` may change a box before it's written; `orientation` may be a list to choose from.
    `padded`: boxes are in the photo padded to a square, with it in the "middle" or the "corner". `drawn`: a box
    shows something, in a color of its own.
    """
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    (root / "focus").mkdir()
    records, truth = [], []
    for index in range(photos):
        width, height = size or sizes[rng.integers(len(sizes))]
        turn = int(rng.choice(np.atleast_1d(orientation)))
        picture = photo(width, height)
        count = objects or int(rng.integers(1, 7))
        found = random_boxes(rng, (width, height), count, **boxes)
        for box in sorted(found, key=lambda b: (b[0] - b[2]) * (b[3] - b[1])) if drawn else ():
            picture.paste(tuple(rng.integers(0, 256, 3).tolist()), tuple(box))
        exif = Image.Exif()
        exif[0x0112] = turn
        file = picture.transpose(images.TURNS[BACK.get(turn, turn)]) if turn != 1 else picture
        file.save(root / f"images/{index}.jpg", exif=exif, quality=95, subsampling=0)
        placed = [stored(box, (width, height), turn) if as_stored else box for box in found]
        canvas = file.size if as_stored else (width, height)
        changed = [change(rng, box, canvas) if change else box for box in placed]
        names = [f"thing {i}" for i in range(count)]
        relations = []
        if focus and count > 1:
            focus_of(file if as_stored else picture, (placed[0], placed[1])).save(
                root / f"focus/{index}.jpg", quality=92
            )
            relations = [[f"focus/{index}.jpg", [names[0], "near", names[1]]]]
        if padded:
            side = max(canvas)
            start = [(side - n) / 2 if padded == "middle" else 0 for n in canvas] * 2
            changed = [[v + s for v, s in zip(box, start, strict=True)] for box in changed]
            canvas = (side, side)
        written = [as_written(box, canvas, format, units) for box in changed]
        records.append(
            {
                "id": str(index),
                "image_path": f"images/{index}.jpg",
                "action": "playing",
                "objects": [list(each) for each in zip(names, written, strict=True)],
                "relations": relations,
            }
        )
        truth.append(found)
    (root / "metadata.json").write_text(json.dumps({"data": records}))
    return truth


def decided(root, flags=BoxFlags()):  # noqa: B008
    """Returns the decision and the reasons of the problems that came of it."""
    problems = Problems()
    records = read_records(root, problems)
    decision = decide(records, Folders(root).find, flags, problems)
    return decision, [p.reason for p in problems.found]


def dragged(rng, box, size):
    """From any corner to the opposite one."""
    x, y = rng.permutation([box[0], box[2]]), rng.permutation([box[1], box[3]])
    return [int(x[0]), int(y[0]), int(x[1]), int(y[1])]
