"""What `describe` needs of a model: embeddings of photos, of parts of them and of texts, as NumPy arrays."""

import numpy as np
import torch

BATCH = 32  # pictures or texts at once


class Encoder:
    """Embeds by a model, with inputs from its processor. Embeddings are float32 [N, D] on the host."""

    def __init__(self, model, processor):
        self._model, self._processor = model, processor

    def encode_image(self, images, level="global"):
        pixels = self._processor(images=images, level=level)["pixel_values"]
        return self._batched(self._model.encode_image, pixels, level)

    def encode_objects(self, photo, boxes):
        return self._encode_parts(photo, boxes, "object")

    def encode_relations(self, photo, pairs):
        return self._encode_parts(photo, pairs, "relation")

    def _encode_parts(self, photo, boxes, level):
        inputs = self._processor(images=photo, boxes=boxes, level=level)
        if "boxes" not in inputs:  # each part is a picture
            return self._batched(self._model.encode_image, inputs["pixel_values"], level)
        with torch.no_grad():
            found = self._model.encode_image(**inputs.to(self._model.device), level=level)
        return _on_host(found[0])

    def encode_text(self, texts, level="global"):
        ids = self._processor(text=list(texts), level=level)["input_ids"]
        return self._batched(self._model.encode_text, ids, level)

    def _batched(self, encode, inputs, level):
        with torch.no_grad():
            found = [encode(part.to(self._model.device), level) for part in inputs.split(BATCH)]
        return _on_host(torch.cat(found))

    def similarity(self, images, texts):
        """Cosines [N, M]."""
        images, texts = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (images, texts))
        return images @ texts.T

    def logit_scale(self, level="global"):
        return self._model.logit_scale(level).item()

    def temperature(self, level="global"):
        return self._model.config.temperatures.get(level, 1.0)

    def share_in_view(self, boxes, size):
        return self._processor.image_processor.share_in_view(boxes, size)

    def cut_texts(self, texts, level="global"):
        return self._processor.cut_texts(texts, level)


def _on_host(embeddings):
    return embeddings.float().cpu().numpy()
