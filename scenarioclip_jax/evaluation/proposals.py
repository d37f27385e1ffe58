"""Boxes that a detector proposes, in place of the annotated ones.

FILE.json   [{image_id, bbox: [x, y, width, height], score, category_id}, …], COCO's results format; few suites
            ask for the category
"""

from pathlib import Path
from typing import Any, NamedTuple

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.records import read_json, rows
from scenarioclip_jax.evaluation.score.result import Skips


class Proposals(NamedTuple):
    """The N proposals of an image.

    Attributes:
      boxes: x, y, width, height in pixels.
      scores: From 0 to 1.
      categories: Ids of their classes; empty if those weren't asked for.
    """

    boxes: list[list[float]]
    scores: list[float]
    categories: list[int]


def read_proposals(
    file: Path, skips: Skips, digests: dict[str, str], *, named: bool = False
) -> dict[Any, Proposals]:
    """The proposals by image.

    Args:
      skips: Gets boxes without an area, which are left out.
      digests: Gets the file's SHA-256.
      named: Whether each has to have a category.

    Raises:
      SuiteError: The file isn't in the format, or a score isn't between 0 and 1.
    """
    of_image: dict[Any, Proposals] = {}
    for row in rows(read_json(file, digests), file):
        image, box, score = (
            row.get("image_id", (int, str)),
            row.numbers("bbox", 4),
            row.number("score"),
        )
        if not 0 <= score <= 1:
            raise SuiteError(f"{row.where}: score {score}, expected 0 to 1")
        category = [int(row.number("category_id"))] if named else []
        if box[2] <= 0 or box[3] <= 0:
            skips.add("proposal without an area", row.where)
            continue
        own = of_image.setdefault(image, Proposals([], [], []))
        own.boxes.append(box)
        own.scores.append(score)
        own.categories.extend(category)
    return of_image
