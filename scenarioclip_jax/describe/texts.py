"""Texts that a model has embedded, so that many photos cost them once."""

import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float

MOST = 100_000  # texts of a level that are kept


class CutTextWarning(UserWarning):
    """A text is longer than a model reads, so texts that differ behind that are the same to it."""


class TextEncoder(Protocol):
    """What is needed of a model, see `inference.Model`."""

    def encode_text(
        self, texts: str | Sequence[str], level: str = ...
    ) -> Float[np.ndarray, "N D"]: ...

    def cut_texts(self, texts: Sequence[str], level: str = ...) -> list[str]: ...


class Texts:
    """Embeds texts, each once.

    Args:
      model: The model.
    """

    def __init__(self, model: TextEncoder):
        self._model = model
        self._known: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, texts: Sequence[str], level: str) -> Float[np.ndarray, "N D"]:
        """The embeddings of texts at a level; warns if some are cut."""
        known = self._known.setdefault(level, {})
        if len(known) > MOST:
            known.clear()
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            if cut := self._model.cut_texts(new, level):
                warnings.warn(
                    f"the model doesn't read the end of {len(cut)} of {len(new)} texts at the level {level}, "
                    f"such as {cut[0]!r}; what differs only there has the same score: use shorter words",
                    CutTextWarning,
                    stacklevel=2,
                )
            known.update(zip(new, self._model.encode_text(new, level), strict=True))
        return np.stack([known[text] for text in texts])
