"""Zero-shot detectors of Hugging Face: Grounding DINO (also MM-Grounding-DINO and LLMDet weights) and OWL."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from scenarioclip_jax.annotate.models.batches import Batches, Item
from scenarioclip_jax.annotate.models.boxes import clip, match_label, select
from scenarioclip_jax.annotate.models.load import device, load, load_network, require
from scenarioclip_jax.annotate.models.protocols import DetectAnswer, ModelError
from scenarioclip_jax.annotate.results import Detection, Photo
from scenarioclip_jax.annotate.settings import DetectSettings

# One text for all names, which the model finds words of.
_TEXT = ("grounding-dino", "mm-grounding-dino")
# A text for each name.
_LISTS = ("owlv2", "owlvit")
# Marks of a text encoder in a label, such as [SEP].
_MARK = re.compile(r"\[[A-Z]+\]")


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
        self._processor = load("AutoProcessor", settings.model, settings.revision)
        self._model = load_network(
            "AutoModelForZeroShotObjectDetection", settings.model, settings.revision, torch.float32
        )
        self._device = device()
        self._family = self._model.config.model_type
        if self._family not in (*_TEXT, *_LISTS):
            raise ModelError(
                f"{settings.model}: a model of the family {self._family}; those that are known: "
                f"{', '.join((*_TEXT, *_LISTS))}"
            )
        post_process = self._processor.post_process_grounded_object_detection
        thresholds = {
            "threshold": settings.threshold,
            "text_threshold": settings.text_threshold,
        }
        known = inspect.signature(post_process).parameters
        self._thresholds = {name: value for name, value in thresholds.items() if name in known}

    def detect(self, requests: Iterable[tuple[Photo, Sequence[str]]]) -> Iterator[DetectAnswer]:
        """Finds objects by their names; for a photo without names the model doesn't run."""
        batches = Batches(self._settings.model, self._settings.batch, self._run)
        for photo, result in batches(requests):
            yield DetectAnswer(photo.id, result)

    def _run(self, batch: Sequence[Item[Sequence[str]]]) -> list[list[Detection]]:
        found: list[list[Detection]] = [[] for _ in batch]
        passes = [
            (place, item, names)
            for place, item in enumerate(batch)
            for names in self._parts(item.extra)
        ]
        size = len(batch)
        for start in range(0, len(passes), size):
            group = passes[start : start + size]
            results = self._forward([(item, names) for _, item, names in group])
            for (place, item, names), result in zip(group, results, strict=True):
                found[place] += self._detections(item, names, result)
        settings = self._settings
        return [select(each, settings.overlap, settings.max_boxes) for each in found]

    def _parts(self, names: Sequence[str]) -> list[list[str]]:
        """Names by passes: as many in one as the text encoder of a model of one text takes."""
        if self._family in _LISTS:
            return [list(names)] if names else []
        limit = self._text_limit() - 2  # the marks of begin and end
        parts: list[list[str]] = []
        room = 0
        for name in names:
            length = len(self._processor.tokenizer.tokenize(_prompt(name)))
            if length > room or not parts:
                parts.append([])
                room = limit
            parts[-1].append(name)
            room -= length
        return parts

    def _text_limit(self) -> int:
        config = self._model.config
        return min(config.max_text_len, config.text_config.max_position_embeddings)

    def _forward(self, group: Sequence[tuple[Item, list[str]]]) -> list[dict[str, Any]]:
        """What the processor makes of the model's outputs: scores, boxes in pixels and labels, on the CPU."""
        import torch

        names = [names for _, names in group]
        images = [item.image for item, _ in group]
        inputs = self._text_inputs(images, names) if self._family in _TEXT else None
        inputs = inputs or self._list_inputs(images, names)
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self._device))
        outputs = SimpleNamespace(
            logits=outputs.logits.float().cpu(),
            pred_boxes=outputs.pred_boxes.float().cpu(),
            input_ids=inputs["input_ids"].cpu(),
        )
        return self._processor.post_process_grounded_object_detection(
            outputs, target_sizes=[image.size[::-1] for image in images], **self._thresholds
        )

    def _text_inputs(self, images: list[Any], names: list[list[str]]) -> Any:
        return self._processor(
            images=images,
            text=[" ".join(map(_prompt, each)) for each in names],
            padding=True,
            truncation=True,  # a name that is too long by itself
            max_length=self._text_limit(),
            return_tensors="pt",
        )

    def _list_inputs(self, images: list[Any], names: list[list[str]]) -> Any:
        inputs = self._processor(
            images=images,
            text=[[f"a photo of a {name}" for name in each] for each in names],
            padding="max_length",
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        # The processor fills shorter lists with texts, which the model would find objects of; it leaves out
        # those that begin with 0.
        rows = inputs["input_ids"].view(len(names), -1, inputs["input_ids"].shape[-1])
        for each, row in zip(names, rows, strict=True):
            row[len(each) :] = 0
        return inputs

    def _detections(
        self, item: Item, names: Sequence[str], result: dict[str, Any]
    ) -> Iterator[Detection]:
        labels: list[str] | None = result.get("text_labels")
        if labels is None:  # a model of lists: places in them
            labels = [names[int(place)] for place in result["labels"].tolist()]
        labels = [_MARK.sub(" ", label).strip(" .") for label in labels]
        boxes, scores = result["boxes"].tolist(), result["scores"].tolist()
        for label, box, score in zip(labels, boxes, scores, strict=True):
            name, inside = match_label(label, names), clip(box, item.image.size)
            if name is not None and inside is not None:
                yield Detection(name, inside, score, label if label != name else "")


def _prompt(name: str) -> str:
    """A name as a part of a text: in lower case and with the one period that ends it."""
    return f"{' '.join(name.lower().replace('.', ' ').split())}."
