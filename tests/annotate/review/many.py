"""Writes a working folder with thousands of scenes, without running the stages on thousands of photos.

    python -m tests.annotate.review.many DIR COUNT

makes DIR/work, which `annotate review --output DIR/work` opens.
"""

import functools
import os
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from scenarioclip_jax.annotate.chain import Chain
from scenarioclip_jax.annotate.line_files import encode_line
from scenarioclip_jax.annotate.records import json_digest, result_line
from scenarioclip_jax.annotate.stages.photos import key_of
from scenarioclip_jax.annotate.work import Work, open_work

NAMES = [f"{first} {last}" for first in ("red", "old", "tall", "small") for last in ("dog", "man")]
NAMES += [f"thing {number}" for number in range(400)]
PREDICATES = ("on", "holding", "behind", "next to", "riding", "looking at")
SIZE = (640, 480)


def write_many(folder: Path, count: int) -> Work:
    """Makes a working folder; all photos are one file under many names."""
    images = folder / "images"
    images.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    work = open_work(folder / "work", images)
    chain = Chain(work)
    lines: dict[str, list[bytes]] = {"photos": []} | {stage.name: [] for stage in chain.stages}
    for number in range(count):
        id = f"photo_{number:06}.jpg"
        os.link(folder / "photo.jpg", images / id)
        known = {"sha256": f"{number:064x}", "width": SIZE[0], "height": SIZE[1], "hash": "0" * 64}
        lines["photos"].append(encode_line(result_line(id, key_of(images / id, {}), known, {})))
        before = (json_digest(known),)
        for stage in chain.stages:
            output = _outputs(number).get(stage.name, {"text": id})
            key = json_digest([chain._identities[stage.name], *before])
            lines[stage.name].append(encode_line(result_line(id, key, output, {"by": "x"})))
            before = (key, json_digest(output))
    chain.close()
    for name, found in lines.items():
        (work.folder / name).mkdir(exist_ok=True)
        (work.folder / name / "0-of-1.jsonl").write_bytes(b"".join(found))
    return work


@functools.cache
def _masks() -> list[dict]:
    """Masks with about as many runs as those of real objects."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    draw, found = random.Random(0), []
    for _ in range(20):
        cx, cy, r = draw.randint(50, 590), draw.randint(50, 430), draw.randint(20, 200)
        inside = (x - cx) ** 2 + (y - cy) ** 2 + 30 * (x % 7) * (y % 5) < r * r
        mask = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
        found.append({"size": [SIZE[1], SIZE[0]], "counts": mask["counts"].decode()})
    return found


def _outputs(number: int) -> dict[str, dict]:
    draw = random.Random(number)
    objects = []
    for _ in range(draw.randint(3, 9)):
        x, y = draw.randint(0, 500), draw.randint(0, 380)
        box = [x, y, x + draw.randint(20, 140), y + draw.randint(20, 100)]
        mask = _masks()[draw.randrange(20)]
        score = round(draw.uniform(0.3, 1), 4)
        objects.append({"name": draw.choice(NAMES), "box": box, "score": score, "mask": mask})
    relations = []
    for _ in range(draw.randint(1, 6)):
        subject, object_ = draw.sample(range(len(objects)), 2)
        texts = [["a", draw.choice(PREDICATES), "b", "other"] for _ in range(6)]
        relations.append(
            {
                "subject": subject,
                "predicate": draw.choice(PREDICATES),
                "object": object_,
                "negatives": texts,
            }
        )
    scene = {"action": draw.choice(NAMES), "objects": objects, "relations": relations}
    masks = [each["mask"] | {"score": 0.9} for each in objects]
    return {
        "segment": {"masks": masks},
        "validate": {"scene": scene, "removed": [["object_score", "x: score 0.1 below 0.3"]]},
    }


if __name__ == "__main__":
    write_many(Path(sys.argv[1]), int(sys.argv[2]))
