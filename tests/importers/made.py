"""A photo whose truth is known, runs of the importer on annotations of it, and what every record must be.

The photo has a rectangle of one color for each object, so whether a box is right is asked of the pixels.
"""

import functools
import gzip
import json
import unicodedata
from pathlib import Path

import jsonschema
import numpy as np
from PIL import Image

import scenarioclip_jax
from scenarioclip_jax.importers import command
from scenarioclip_jax.importers import masks as coco_masks

SIZE = (400, 240)
# x0, y0, x1, y1 and a color
THINGS = {
    "man": ((40, 30, 120, 200), (200, 30, 30)),
    "dog": ((150, 120, 260, 210), (30, 160, 30)),
    "grass": ((280, 10, 390, 230), (30, 30, 200)),
}


def photo(path: Path, size=SIZE, things=None) -> Path:
    """Draws the photo; with another size it is stretched."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)
    for box, color in (things or THINGS).values():
        pixels[box[1] : box[3], box[0] : box[2]] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def box(name: str) -> list[int]:
    return list(THINGS[name][0])


def xywh(name: str) -> list[int]:
    x0, y0, x1, y1 = THINGS[name][0]
    return [x0, y0, x1 - x0, y1 - y0]


def mask(name: str) -> np.ndarray:
    x0, y0, x1, y1 = THINGS[name][0]
    pixels = np.zeros(SIZE[::-1], bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


def write_json(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@functools.cache
def _schema():
    path = Path(scenarioclip_jax.__file__).parent / "data/build/record.schema.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text()))


class Imported:
    """What an import wrote, checked."""

    def __init__(self, folder: Path, masks_fit: bool = True):
        with gzip.open(folder / "metadata.jsonl.gz", "rt", encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        self.records = {record["id"]: record for record in records}
        assert len(self.records) == len(records), "an id is there twice"
        self.summary = json.loads((folder / "import.json").read_text())
        self.problems = [
            json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()
        ]
        self.counts = self.summary["problems"]
        self.folder = folder
        for record in records:
            check(record, masks_fit)
        assert not (folder / ".unfinished").exists()
        assert sum(self.counts.values()) == len(self.problems)  # none of the tests has 1,000

    def reasons(self) -> dict[str, int]:
        """The number of problems by reason alone."""
        found = {}
        for kind, count in self.counts.items():
            reason = kind.partition(":")[0]
            found[reason] = found.get(reason, 0) + count
        return found

    def one(self) -> dict:
        (record,) = self.records.values()
        return record


def check(record: dict, masks_fit: bool = True) -> None:
    """What holds for every record that an importer writes; masks fit their boxes if the source's do."""
    errors = list(_schema().iter_errors(record))
    assert not errors, errors[0].message
    objects, size = record.get("objects", []), (record.get("width"), record.get("height"))
    for thing in objects:
        x0, y0, x1, y1 = thing["box"]
        assert 0 <= x0 < x1, thing
        assert 0 <= y0 < y1, thing
        if size[0]:
            assert x1 <= size[0], thing
            assert y1 <= size[1], thing
        if "mask" in thing:
            assert thing["mask"]["size"] == [size[1], size[0]]
            assert coco_masks.to_array(thing["mask"]).any()
            if masks_fit:
                around = coco_masks.box(thing["mask"])
                # A polygon's edge may lie within a pixel.
                assert np.abs(np.subtract(around, thing["box"])).max() <= 1, (around, thing["box"])
    triplets = [(r["subject"], r["predicate"], r["object"]) for r in record.get("relations", [])]
    assert len(triplets) == len(set(triplets))
    for subject, _, object in triplets:
        assert subject != object
        assert max(subject, object) < len(objects)


def run(source: str, output: Path, *flags) -> Imported:
    """Runs an import by its command line."""
    assert command.main([source, *map(str, flags), f"--output={output}"]) == 0
    return Imported(output)


def fails(capsys, source: str, output: Path, *flags) -> str:
    """Runs an import that has to fail; returns the message. Nothing may be left."""
    before = sorted(output.rglob("*")) if output.exists() else None
    assert command.main([source, *map(str, flags), f"--output={output}"]) == 1
    assert (sorted(output.rglob("*")) if output.exists() else None) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


def names(record: dict) -> list[str]:
    return [thing["name"] for thing in record.get("objects", [])]


def relations(record: dict) -> list[tuple[str, str, str]]:
    """Relations with the names of their objects."""
    objects = names(record)
    return [
        (objects[r["subject"]], r["predicate"], objects[r["object"]])
        for r in record.get("relations", [])
    ]


def assert_boxes_fit(record: dict, photo: Path, expected: dict[str, str], tolerance=0) -> None:
    """Holds boxes against the photo's pixels.

    Args:
      expected: The name in THINGS of each object's name; these have to be there.
      tolerance: Pixels that an edge may be off.
    """
    pixels = np.asarray(Image.open(photo).convert("RGB")).astype(int)
    scale = (
        (pixels.shape[1] / record.get("width", pixels.shape[1])),
        (pixels.shape[0] / record.get("height", pixels.shape[0])),
    )
    found = set()
    for thing in record["objects"]:
        if thing["name"] not in expected:
            continue
        found.add(thing["name"])
        color = THINGS[expected[thing["name"]]][1]
        ys, xs = np.nonzero((np.abs(pixels - color) < 40).all(-1))
        shown = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        there = np.multiply(thing["box"], [*scale, *scale])
        assert np.abs(there - shown).max() <= tolerance, (thing, shown)
    assert found == set(expected)


def composed(text: str) -> str:
    """Text in the Unicode form that importers write."""
    return " ".join(unicodedata.normalize("NFC", text).split())
