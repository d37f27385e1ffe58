"""Time and peak memory of imports, by the number of photos.

    python -m benchmarks.importers --json FILE [--photos 10000,100000]

Writes annotations of that many photos in the formats of COCO (7 objects with polygons and 5 captions a photo,
not sorted by photo) and of Visual Genome (20 objects, 15 relationships and 10 regions a photo), and imports
each in a process of its own. There are no photos: importers don't need them.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

WIDTH, HEIGHT = 640, 480
NAMES = ["person", "dog", "leash", "tree", "car", "street", "bag", "chair", "table", "cup"]


def box(random: random.Random) -> tuple[int, int, int, int]:
    """x, y, width, height."""
    x, y = random.randrange(1, WIDTH - 60), random.randrange(1, HEIGHT - 60)
    return x, y, random.randrange(20, WIDTH - x), random.randrange(20, HEIGHT - y)


def write_array(file: TextIO, values: Iterable[Any]) -> None:
    for number, value in enumerate(values):
        file.write(("[" if number == 0 else ",") + json.dumps(value))
    file.write("]")


def coco(folder: Path, photos: int) -> list[str]:
    """Writes instances and captions; returns the arguments of the import."""
    images = [
        {"id": n, "file_name": f"{n:012}.jpg", "width": WIDTH, "height": HEIGHT}
        for n in range(photos)
    ]

    def instances() -> Iterator[dict[str, Any]]:
        draw = random.Random(0)
        for id in range(7 * photos):
            x, y, w, h = box(draw)
            corners = [x, y, x + w, y, x + w, y + h / 3, x + w / 2, y + h, x, y + h]
            # A stride over the photos, so that those of one photo are far apart.
            yield {
                **{"id": id, "image_id": id * 7919 % photos, "category_id": draw.randrange(10)},
                **{"bbox": [x, y, w, h], "segmentation": [corners], "iscrowd": 0, "area": w * h},
            }

    def captions() -> Iterator[dict[str, Any]]:
        for id in range(5 * photos):
            yield {
                "id": id,
                "image_id": id * 7919 % photos,
                "caption": f"A photo with the number {id}.",
            }

    categories = [{"id": id, "name": name} for id, name in enumerate(NAMES)]
    arguments = ["coco"]
    for kind, annotations in (("instances", instances()), ("captions", captions())):
        path = folder / f"{kind}_train2017.json"
        with path.open("w") as file:
            file.write('{"images":')
            write_array(file, images)
            file.write(',"annotations":')
            write_array(file, annotations)
            file.write(f',"categories":{json.dumps(categories)}}}')
        arguments += [f"--{kind}", str(path)]
    return arguments


def visual_genome(folder: Path, photos: int) -> list[str]:
    """Writes Visual Genome's files; returns the arguments of the import."""

    def entries(kind: str) -> Iterator[dict[str, Any]]:
        for id in range(photos):
            draw = random.Random(id)
            things = []
            for number in range(20):
                x, y, w, h = box(draw)
                thing = {"object_id": 20 * id + number, "x": x, "y": y, "w": w, "h": h}
                things.append(thing | {"name": draw.choice(NAMES)})
            if kind == "image_data":
                url = f"https://cs.stanford.edu/people/rak248/VG_100K/{id}.jpg"
                yield {"image_id": id, "width": WIDTH, "height": HEIGHT, "url": url}
            elif kind == "objects":
                objects = [thing | {"names": [thing["name"]]} for thing in things]
                yield {"image_id": id, "objects": objects}
            elif kind == "relationships":
                pairs = [draw.sample(things, 2) for _ in range(15)]
                yield {
                    "image_id": id,
                    "relationships": [
                        {"subject": a, "predicate": "near", "object": b} for a, b in pairs
                    ],
                }
            else:
                sides = ("x", "y", "width", "height")
                regions = [dict(zip(sides, box(draw), strict=True)) for _ in range(10)]
                yield {
                    "id": id,
                    "regions": [region | {"phrase": "a part of it"} for region in regions],
                }

    for kind in ("image_data", "objects", "relationships", "region_descriptions"):
        with (folder / f"{kind}.json").open("w") as file:
            write_array(file, entries(kind))
    return ["visual-genome", f"--annotations={folder}"]


def measure(arguments: list[str], output: Path) -> dict[str, float]:
    """Runs an import; returns seconds and its peak of resident memory."""
    command = [sys.executable, "-m", "scenarioclip_jax.importers", *arguments, f"--output={output}"]
    started = time.monotonic()
    with tempfile.TemporaryFile() as told:
        child = subprocess.Popen(command, stdout=told, stderr=told)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            told.seek(0)
            raise RuntimeError(told.read().decode()[-2000:])
    return {
        "seconds": round(time.monotonic() - started, 1),
        "CPU seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak MiB": round(usage.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", required=True, metavar="FILE", help="where the figures go")
    parser.add_argument("--photos", default="10000,100000", help="numbers of photos")
    args = parser.parse_args()
    found = []
    for photos in map(int, args.photos.split(",")):
        for write in (coco, visual_genome):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                arguments = write(folder, photos)
                size = sum(path.stat().st_size for path in folder.iterdir())
                row = {"source": arguments[0], "photos": photos, "annotations MiB": size >> 20}
                row |= measure(arguments, folder / "out")
                row["metadata MiB"] = (folder / "out/metadata.jsonl.gz").stat().st_size >> 20
            print(row, flush=True)
            found.append(row)
    Path(args.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
