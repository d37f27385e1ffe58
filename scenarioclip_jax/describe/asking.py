"""What the steps to a scene graph ask of a model, and the answers.

Steps are a generator that yields what it wants to have embedded and is sent the embeddings, so that what
several photos ask can be computed together; see `describe.together`.

Folders for PyTorch carry a copy of this module.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from PIL import Image

from scenarioclip_jax.describe.texts import TextEncoder, Texts


class Encoder(TextEncoder, Protocol):
    """What is needed of a model, see `inference.Model`."""

    def encode_image(self, images: Any, level: str = ...) -> Float[np.ndarray, "N D"]: ...

    def encode_objects(self, photo: Any, boxes: Any) -> Float[np.ndarray, "N D"]: ...

    def encode_relations(self, photo: Any, pairs: Any) -> Float[np.ndarray, "N D"]: ...

    def similarity(
        self, images: Float[np.ndarray, "N D"], texts: Float[np.ndarray, "M D"]
    ) -> Float[np.ndarray, "N M"]: ...

    def logit_scale(self, level: str = ...) -> float: ...

    def temperature(self, level: str = ...) -> float: ...

    def share_in_view(
        self, boxes: Float[np.ndarray, "N 4"], size: tuple[int, int]
    ) -> np.ndarray: ...


class Places(NamedTuple):
    """A whole photo to embed (level `global`, no boxes), or objects [N, 4] or relations [N, 2, 4] in it."""

    level: str
    picture: Image.Image
    boxes: Any = ()


class Wording(NamedTuple):
    """Texts to embed at a level."""

    level: str
    texts: Sequence[str]


Asked = Places | Wording


def answered(steps: Generator, answer: Callable[[Asked], np.ndarray]) -> Any:
    """Takes steps to their end, with what `answer` says to each, and returns what they have found."""
    told = None
    while True:
        try:
            asked = steps.send(told)
        except StopIteration as end:
            return end.value
        told = answer(asked)


def alone(model: Encoder, texts: Texts) -> Callable[[Asked], np.ndarray]:
    """Answers the steps of one photo."""

    def answer(asked: Asked) -> np.ndarray:
        if isinstance(asked, Wording):
            return texts(asked.texts, asked.level)
        if asked.level == "global":
            return model.encode_image([asked.picture], "global")
        encode = model.encode_objects if asked.level == "object" else model.encode_relations
        return encode(asked.picture, asked.boxes)

    return answer
