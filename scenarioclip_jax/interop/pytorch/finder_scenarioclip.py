"""Finds the boxes of objects where nobody gives any, by a zero-shot detector of Hugging Face."""

import functools
from pathlib import Path

import transformers

from .detections import object_boxes
from .zero_shot import ZeroShot


def open_finder(detector, threshold, device):
    """Returns a function that gives the boxes [N, 4] of a picture's objects by their names.

    Args:
      detector: A name on the hub or a folder, for AutoModelForZeroShotObjectDetection: Grounding DINO,
        MM-Grounding-DINO, LLMDet or OWL. Or such a function, which is returned as it is.
      threshold: Least score of a box.
      device: Where it runs.
    """
    if not isinstance(detector, str | Path):
        return detector
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must be between 0 and 1")
    return _opened(str(detector), threshold, str(device))


@functools.lru_cache(maxsize=1)  # for the next photo
def _opened(name, threshold, device):
    processor = transformers.AutoProcessor.from_pretrained(name)
    # float32, because coordinates in half precision would be off by several pixels.
    network = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(name).float()
    zero_shot = ZeroShot(network.to(device).eval(), processor, threshold, threshold)

    def find(picture, names):
        return object_boxes(zero_shot([picture], [list(names)])[0])

    return find
