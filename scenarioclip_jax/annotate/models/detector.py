"""Zero-shot detectors of Hugging Face: Grounding DINO (also MM-Grounding-DINO and LLMDet weights) and OWL."""

from collections.abc import Iterable, Iterator, Sequence

from scenarioclip_jax.annotate.models.batches import Batches, Item
from scenarioclip_jax.annotate.models.detections import Detection, select
from scenarioclip_jax.annotate.models.load import load, load_network, require
from scenarioclip_jax.annotate.models.protocols import DetectAnswer, ModelError
from scenarioclip_jax.annotate.models.zero_shot import FamilyError, ZeroShot
from scenarioclip_jax.annotate.results import Photo
from scenarioclip_jax.annotate.settings import DetectSettings


class ZeroShotDetector:
    """Finds objects by their names.

    It computes in float32: coordinates in bfloat16 would be off by up to four pixels in a thousand.

    Args:
      settings: Which model, and its thresholds.

    Raises:
      ModelError: The model can't be loaded, or is of another family.
    """

    def __init__(self, settings: DetectSettings):
        torch = require("torch", settings.model)
        self._settings = settings
        processor = load("AutoProcessor", settings.model, settings.revision)
        network = load_network(
            "AutoModelForZeroShotObjectDetection", settings.model, settings.revision, torch.float32
        )
        try:
            self._find = ZeroShot(network, processor, settings.threshold, settings.text_threshold)
        except FamilyError as error:
            raise ModelError(f"{settings.model}: {error}") from None

    def detect(self, requests: Iterable[tuple[Photo, Sequence[str]]]) -> Iterator[DetectAnswer]:
        """Finds objects by their names; for a photo without names the model doesn't run."""
        batches = Batches(self._settings.model, self._settings.batch, self._run)
        for photo, _, result in batches(requests):
            yield DetectAnswer(photo.id, result)

    def _run(self, batch: Sequence[Item[Sequence[str]]]) -> list[list[Detection]]:
        found = self._find([item.image for item in batch], [item.extra for item in batch])
        settings = self._settings
        return [select(each, settings.overlap, settings.max_boxes) for each in found]
