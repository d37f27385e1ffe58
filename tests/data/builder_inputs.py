"""Small data roots in the published format for the tests of the builder."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 120, 80
CAT, DOG = [10, 10, 50, 60], [60, 20, 110, 70]


def photo(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A colorful picture that looks different at every place, and turned."""
    y, x = np.mgrid[:height, :width]
    channels = [60 + x * 190 / width, 60 + y * 190 / height, 150 + 60 * np.sin(x / 9)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def focus_of(picture: Image.Image, boxes=(CAT, DOG)) -> Image.Image:
    focus = Image.new("RGB", picture.size)
    for box in boxes:
        focus.paste(picture.crop(box), box[:2])
    return focus


def record(id: str = "a", /, **changes) -> dict:
    """A good record, with `changes`; its photo is images/<id>.jpg."""
    return {
        "id": id,
        "image_path": f"images/{id}.jpg",
        "action": "Playing  in the Yard",
        "dense_caption": "A cat plays with a dog.",
        "objects": [["Cat", CAT], ["dog", DOG]],
        "relations": [
            [f"focus/{id}_0.jpg", ["cat", "Playing With", "dog"], [["dog", "eating", "cat"]]]
        ],
        **changes,
    }


def write_root(root: Path, *records: dict | object, **classes) -> Path:
    """Writes metadata.json and, for every record, its photo and focused region; returns `root`."""
    for folder in ("images", "focus"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for entry in records:
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            photo().save(root / "images" / f"{entry['id']}.jpg", quality=95, subsampling=0)
            focus = focus_of(photo())
            focus.save(root / "focus" / f"{entry['id']}_0.jpg", quality=95, subsampling=0)
    (root / "metadata.json").write_text(json.dumps({"data": list(records)}))
    if classes:
        (root / "classes.json").write_text(json.dumps(classes))
    return root
