"""Average precision by COCO's protocol, computed by the benchmark's own code (pycocotools)."""

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scenarioclip_jax.evaluation.score.boxes import corners, overlaps, strongest

MOST = 100  # detections of an image that count
MOST_OF_LVIS = 300
SCALE = 100.0  # of cosines before the softmax over classes: CLIP's largest
OVERLAP = (
    0.5  # IoU above which the weaker of two boxes of one class is dropped, if boxes are proposals
)
EVERYWHERE = [-1e9, -1e9, 2e9, 2e9]
_IOU50, _IOU75 = 0, 5  # among COCO's ten thresholds


class Precision(NamedTuple):
    """Average precisions [C] by category: over all IoU thresholds from 0.5 to 0.95, at 0.5 and at 0.75.

    NaN for a category without a box.
    """

    ap: Float[np.ndarray, " C"]
    ap50: Float[np.ndarray, " C"]
    ap75: Float[np.ndarray, " C"]


def probabilities(cosines: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Softmax over classes of scaled cosines."""
    logits = SCALE * cosines
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def detections(
    image_id: Any,
    boxes: Float[np.ndarray, "N 4"],
    scores: Float[np.ndarray, "N C"],
    categories: Sequence[int],
    *,
    suppress: bool,
    most: int = MOST,
) -> list[dict[str, Any]]:
    """The best (box, class) pairs of an image, as entries of COCO's results format.

    Args:
      boxes: x, y, width, height in pixels.
      scores: Score of each box for each class.
      categories: Ids of the classes.
      suppress: Whether a box is dropped for a class where a better one overlaps it.
      most: The number of pairs at most.
    """
    kept = np.ones_like(scores, bool)
    if suppress:
        overlapping = overlaps(corners(boxes), corners(boxes)) > OVERLAP
        for at in range(scores.shape[1]):
            kept[:, at] = strongest(overlapping, scores[:, at])
    rows, columns = np.nonzero(kept)
    order = np.argsort(-scores[rows, columns], kind="stable")[:most]
    return [
        {
            "image_id": image_id,
            "category_id": int(categories[columns[i]]),
            "bbox": boxes[rows[i]].tolist(),
            "score": float(scores[rows[i], columns[i]]),
        }
        for i in order
    ]


def average_precision(truth: dict[str, Any], found: Sequence[dict[str, Any]]) -> Precision:
    """Average precisions of detections.

    Args:
      truth: `images`, `annotations` (with `area` and `iscrowd`) and `categories`, as in COCO's files.
      found: Entries of COCO's results format; at least one.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        gold = _open(truth)
        return _score(COCOeval(gold, gold.loadRes(list(found)), "bbox"), MOST)


def lvis_precision(
    truth: dict[str, Any],
    found: Sequence[dict[str, Any]],
    looked_for: Mapping[int, Collection[Any]],
    incomplete: Collection[tuple[Any, int]],
) -> Precision:
    """Average precisions of a data set whose images were each looked at for some categories only (LVIS).

    The rules are those of Gupta et al. 2019, section 2: a category is scored in the images that were looked at
    for it, and where not all of its objects are annotated, detections of no annotated one are ignored.

    Args:
      truth, found: As for `average_precision`.
      looked_for: Ids of the images that were looked at for each category.
      incomplete: The images and categories where some objects have no annotation.
    """
    known = [one for one in found if one["image_id"] in looked_for.get(one["category_id"], ())]
    if not known:
        annotated = {one["category_id"] for one in truth["annotations"] if not one["iscrowd"]}
        nothing = [0.0 if one["id"] in annotated else np.nan for one in truth["categories"]]
        return Precision(*[np.array(nothing)] * len(Precision._fields))
    # To COCO's code, a crowd that is everywhere explains what no object does, and is no miss itself.
    crowds = [
        {"image_id": image, "category_id": category}
        | {"bbox": EVERYWHERE, "area": 0.0, "iscrowd": 1}
        for image, category in incomplete
    ]
    annotations = [each | {"id": at} for at, each in enumerate([*truth["annotations"], *crowds], 1)]
    parts = []
    with contextlib.redirect_stdout(io.StringIO()):
        gold = _open(truth | {"annotations": annotations})
        seen = gold.loadRes(known)
        for category in (each["id"] for each in truth["categories"]):
            scoring = COCOeval(gold, seen, "bbox")
            scoring.params.catIds = [category]
            scoring.params.imgIds = sorted(looked_for.get(category, ()))
            parts.append(_score(scoring, MOST_OF_LVIS) if scoring.params.imgIds else None)
    absent = np.array([np.nan])
    return Precision(
        *(
            np.concatenate([absent if part is None else part[i] for part in parts])
            for i in range(len(Precision._fields))
        )
    )


def _open(truth: dict[str, Any]) -> COCO:
    gold = COCO()
    gold.dataset = truth
    gold.createIndex()
    return gold


def _score(scoring: COCOeval, most: int) -> Precision:
    """Runs COCO's code on objects of any size."""
    scoring.params.maxDets = [1, 10, most]
    scoring.params.areaRng, scoring.params.areaRngLbl = scoring.params.areaRng[:1], ["all"]
    scoring.evaluate()
    scoring.accumulate()
    # [thresholds, recalls, categories, sizes of objects, numbers of detections]; -1: nothing to find
    precision = scoring.eval["precision"][:, :, :, 0, -1].astype(float)
    precision[precision < 0] = np.nan

    def mean(part: np.ndarray) -> np.ndarray:
        absent = np.isnan(part).all(axis=(0, 1))
        return np.where(absent, np.nan, np.nansum(part, axis=(0, 1)) / part[..., 0].size)

    chosen = slice(_IOU50, _IOU50 + 1), slice(_IOU75, _IOU75 + 1)
    return Precision(mean(precision), mean(precision[chosen[0]]), mean(precision[chosen[1]]))
