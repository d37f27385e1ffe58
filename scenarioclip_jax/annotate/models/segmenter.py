"""Masks of boxes by SAM, SAM 2 and SAM 3.

Photos are prepared here and not by the models' own processors, which need torchvision for SAM 2 and SAM 3.
There is little to do: in SAM a photo's longer side fills a square, in the others the photo is stretched to it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from pycocotools import mask as run_lengths

from scenarioclip_jax.annotate.models.batches import Batches, Item
from scenarioclip_jax.annotate.models.detections import Box
from scenarioclip_jax.annotate.models.load import (
    device,
    load,
    load_image_settings,
    load_network,
    require,
)
from scenarioclip_jax.annotate.models.protocols import ModelError, SegmentAnswer
from scenarioclip_jax.annotate.results import Mask, Photo
from scenarioclip_jax.annotate.settings import SegmentSettings

# The class of a family, by what its config says it is. Weights are published as those of the video models, of
# which the image model is a part. SAM 3's detector takes texts; what takes boxes is its tracker.
_CLASSES = {
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "sam3_tracker": "Sam3TrackerModel",
    "sam3_tracker_video": "Sam3TrackerModel",
    "sam3_video": "Sam3TrackerModel",
}
# Boxes that are decoded at a time.
_BOXES = 32


class Fit(NamedTuple):
    """How a photo lies in the square that a model sees.

    Attributes:
      side: Side of the square, in pixels.
      inner: Width and height of what the photo fills, from the upper left corner on.
      pads: Whether the rest is padding.
    """

    side: int
    inner: tuple[int, int]
    pads: bool


class BoxSegmenter:
    """Finds the mask of each box.

    A photo is embedded once, in bfloat16 on GPUs. Its boxes are decoded in float32, because coordinates in
    bfloat16 would be off by up to four pixels in a thousand.

    Args:
      settings: Which model.

    Raises:
      ModelError: The model can't be loaded, or is of another family.
    """

    def __init__(self, settings: SegmentSettings):
        torch = require("torch", settings.model)
        self._settings = settings
        family = load("AutoConfig", settings.model, settings.revision).model_type
        if family not in _CLASSES:
            raise ModelError(
                f"{settings.model}: a model of the family {family}; those that are known: {', '.join(_CLASSES)}"
            )
        self._pads = family == "sam"
        self._model = load_network(
            _CLASSES[family], settings.model, settings.revision, torch.float32
        )
        self._device = device()
        self._side = int(self._model.config.prompt_encoder_config.image_size)
        images = load_image_settings(settings.model, settings.revision)
        self._mean = np.array(images["image_mean"], np.float32)
        self._std = np.array(images["image_std"], np.float32)

    def segment(self, requests: Iterable[tuple[Photo, Sequence[Box]]]) -> Iterator[SegmentAnswer]:
        """Finds the masks of boxes, in their order; for a photo without boxes the model doesn't run."""
        batches = Batches(self._settings.model, self._settings.batch, self._run)
        for photo, _, result in batches(requests):
            yield SegmentAnswer(photo.id, result)

    def _run(self, batch: Sequence[Item[Sequence[Box]]]) -> list[list[Mask]]:
        import torch

        places = [place for place, item in enumerate(batch) if item.extra]
        masks: list[list[Mask]] = [[] for _ in batch]
        if not places:
            return masks
        prepared = [self._prepare(batch[place].image) for place in places]
        pixels = torch.from_numpy(np.stack([pixels for pixels, _ in prepared])).to(self._device)
        fast = torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"
        )
        with torch.inference_mode():
            with fast:
                embeddings = self._model.get_image_embeddings(pixels)
            for row, (place, (_, fit)) in enumerate(zip(places, prepared, strict=True)):
                item = batch[place]
                for start in range(0, len(item.extra), _BOXES):
                    boxes = item.extra[start : start + _BOXES]
                    logits, scores = self._decode(_row(embeddings, row), item.image, boxes, fit)
                    for each, score in zip(logits, scores.tolist(), strict=True):
                        mask = upscale(each, fit, item.image.size) > 0
                        masks[place].append(_encode(mask.cpu().numpy(), score))
        return masks

    def _prepare(self, image: Image.Image) -> tuple[Float[np.ndarray, "3 side side"], Fit]:
        """A photo as the model sees it: normalized, and with zeros beside what it fills."""
        side = self._side
        scale = side / max(image.size)
        width, height = (int(each * scale + 0.5) for each in image.size)
        inner = (max(width, 1), max(height, 1)) if self._pads else (side, side)
        fit = Fit(side, inner, self._pads)
        resized = np.asarray(image.resize(fit.inner, Image.Resampling.BILINEAR), np.float32)
        pixels = np.zeros((side, side, 3), np.float32)
        pixels[: fit.inner[1], : fit.inner[0]] = (resized / 255 - self._mean) / self._std
        return pixels.transpose(2, 0, 1), fit

    def _decode(self, embedding: Any, image: Image.Image, boxes: Sequence[Box], fit: Fit) -> Any:
        """Of each box the best of its masks: logits [boxes, h, w], and what is expected of their overlap."""
        import torch

        scale = np.tile(np.divide(fit.inner, image.size), 2)
        prompts = torch.from_numpy(np.array(boxes, np.float32) * scale.astype(np.float32))
        outputs = self._model(
            image_embeddings=embedding,
            input_boxes=prompts[None].to(self._device),
            multimask_output=True,
        )
        scores, best = outputs.iou_scores[0].float().max(dim=-1)
        logits = outputs.pred_masks[0].float()
        return logits[torch.arange(len(boxes), device=logits.device), best], scores.clamp(0, 1)


def upscale(logits: Any, fit: Fit, size: tuple[int, int]) -> Any:
    """A mask's logits, [h, w] over a model's square, at a photo's size: [height, width].

    Args:
      logits: A tensor.
      fit: How the photo lies in the square.
      size: The photo's width and height, in pixels.
    """
    from torch.nn.functional import interpolate

    logits = logits[None, None]
    if fit.pads:
        logits = interpolate(logits, (fit.side, fit.side), mode="bilinear", align_corners=False)
        logits = logits[..., : fit.inner[1], : fit.inner[0]]
    return interpolate(logits, size[::-1], mode="bilinear", align_corners=False)[0, 0]


def _row(embeddings: Any, row: int) -> Any:
    """The embedding of one photo, in float32. SAM 2 and SAM 3 have one for each of three resolutions."""
    if isinstance(embeddings, list | tuple):
        return [each[row : row + 1].float() for each in embeddings]
    return embeddings[row : row + 1].float()


def _encode(mask: Bool[np.ndarray, "height width"], score: float) -> Mask:
    coded: Any = run_lengths.encode(np.asfortranarray(mask, np.uint8))
    height, width = mask.shape
    return Mask((height, width), coded["counts"].decode("ascii"), score)
