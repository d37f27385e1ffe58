"""Finds the boxes of objects where nobody gives any, by a zero-shot detector of Hugging Face."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.errors import ReadableError


class DetectorError(ReadableError):
    """A detector failed at a picture."""


def open_detector(model: str, threshold: float = 0.25) -> Detector:
    """Loads a detector: Grounding DINO, MM-Grounding-DINO, LLMDet or OWL. It needs the extra `annotate`.

    What a box is called is up to the model that describes the photo, so boxes of different names that lie on
    each other are one.

    Args:
      model: A name on the hub, or a folder.
      threshold: Least score of a box.

    Raises:
      ModelError: It can't be loaded, or is of another family.
      ValueError: The threshold isn't between 0 and 1.
    """
    # Here, because most who describe photos have boxes.
    from scenarioclip_jax.annotate.models.detections import object_boxes
    from scenarioclip_jax.annotate.models.detector import ZeroShotDetector
    from scenarioclip_jax.annotate.results import Failure, Photo
    from scenarioclip_jax.annotate.settings import DetectSettings

    if not 0 < threshold < 1:
        raise ValueError(f"the detector's threshold is {threshold}; it must be between 0 and 1")
    settings = DetectSettings(model=model, threshold=threshold, text_threshold=threshold, batch=1)
    detector = ZeroShotDetector(settings)

    def find(picture: Image.Image, names: Sequence[str]) -> Float[np.ndarray, "N 4"]:
        photo = Photo("the picture", picture.size, lambda: picture)
        (answer,) = detector.detect([(photo, list(names))])
        if isinstance(answer.result, Failure):
            raise DetectorError(f"{model}: {answer.result.detail}")
        return object_boxes(answer.result)

    return find
