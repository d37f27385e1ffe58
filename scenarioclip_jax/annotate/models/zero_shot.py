"""A zero-shot detector of Hugging Face: pictures and names in, boxes with names and scores out.

Folders for PyTorch carry a copy of this module.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from PIL import Image

from scenarioclip_jax.annotate.models.detections import Detection, clip, match_label
from scenarioclip_jax.errors import ReadableError

# One text for all names, which the model finds words of.
_TEXT = ("grounding-dino", "mm-grounding-dino")
# A text for each name.
_LISTS = ("owlv2", "owlvit")
# Marks of a text encoder in a label, such as [SEP].
_MARK = re.compile(r"\[[A-Z]+\]")


class FamilyError(ReadableError, ValueError):
    """A model isn't of a family that is known here."""


class ZeroShot:
    """Finds objects by their names, with a model of Grounding DINO's families or of OWL's.

    Args:
      network: What AutoModelForZeroShotObjectDetection loads.
      processor: What AutoProcessor loads from the same place.
      threshold: Least score of a box.
      text_threshold: Least score of a word that belongs to a box, for models that have it.

    Raises:
      FamilyError: The model is of another family.
    """

    def __init__(self, network: Any, processor: Any, threshold: float, text_threshold: float):
        self._model, self._processor = network, processor
        self._family = network.config.model_type
        if self._family not in (*_TEXT, *_LISTS):
            raise FamilyError(
                f"a model of the family {self._family}; those that are known: "
                f"{', '.join((*_TEXT, *_LISTS))}"
            )
        post_process = processor.post_process_grounded_object_detection
        thresholds = {"threshold": threshold, "text_threshold": text_threshold}
        known = inspect.signature(post_process).parameters
        self._thresholds = {name: value for name, value in thresholds.items() if name in known}

    def __call__(
        self, images: Sequence[Image.Image], names: Sequence[Sequence[str]]
    ) -> list[list[Detection]]:
        """What is found in each RGB image of the names that are asked for there, boxes in its pixels."""
        found: list[list[Detection]] = [[] for _ in images]
        passes = [(place, part) for place, each in enumerate(names) for part in self._parts(each)]
        size = len(images)
        for start in range(0, len(passes), size):
            group = passes[start : start + size]
            shown = [images[place] for place, _ in group]
            results = self._forward(shown, [part for _, part in group])
            for (place, part), image, result in zip(group, shown, results, strict=True):
                found[place] += _detections(image, part, result)
        return found

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

    def _forward(self, images: list[Image.Image], names: list[list[str]]) -> list[dict[str, Any]]:
        """What the processor makes of the model's outputs: scores, boxes in pixels and labels, on the CPU."""
        import torch

        inputs = self._text_inputs(images, names) if self._family in _TEXT else None
        inputs = inputs or self._list_inputs(images, names)
        with torch.inference_mode():
            outputs = self._model(**inputs.to(self._model.device))
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
    image: Image.Image, names: Sequence[str], result: dict[str, Any]
) -> Iterator[Detection]:
    labels: list[str] | None = result.get("text_labels")
    if labels is None:  # a model of lists: places in them
        labels = [names[int(place)] for place in result["labels"].tolist()]
    labels = [_MARK.sub(" ", label).strip(" .") for label in labels]
    boxes, scores = result["boxes"].tolist(), result["scores"].tolist()
    for label, box, score in zip(labels, boxes, scores, strict=True):
        name, inside = match_label(label, names), clip(box, image.size)
        if name is not None and inside is not None:
            yield Detection(name, inside, score, label if label != name else "")


def _prompt(name: str) -> str:
    """A name as a part of a text: in lower case and with the one period that ends it."""
    return f"{' '.join(name.lower().replace('.', ' ').split())}."
