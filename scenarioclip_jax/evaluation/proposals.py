"""Boxes that a detector proposes, in place of the annotated ones.

FILE.json   [{image_id, bbox: [x, y, width, height], score}, …], COCO's results format
"""

from pathlib import Path
from typing import Any

from scenarioclip_jax.evaluation.files import SuiteError, read_json, rows
from scenarioclip_jax.evaluation.score.result import Skips


def read_proposals(
    file: Path, skips: Skips, digests: dict[str, str]
) -> dict[Any, tuple[list[list[float]], list[float]]]:
    """Boxes and scores of the proposals by image.

    Args:
      skips: Gets boxes without an area, which are left out.
      digests: Gets the file's SHA-256.

    Raises:
      SuiteError: The file isn't in the format, or a score isn't between 0 and 1.
    """
    of_image: dict[Any, tuple[list, list]] = {}
    for row in rows(read_json(file, digests), file):
        image, box, score = (
            row.get("image_id", (int, str)),
            row.numbers("bbox", 4),
            row.number("score"),
        )
        if not 0 <= score <= 1:
            raise SuiteError(f"{row.where}: score {score}, expected 0 to 1")
        if box[2] <= 0 or box[3] <= 0:
            skips.add("proposal without an area", row.where)
            continue
        boxes, scores = of_image.setdefault(image, ([], []))
        boxes.append(box)
        scores.append(score)
    return of_image
