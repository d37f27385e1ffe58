"""What is done for requests, in lists, in the one thread that owns the device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scenarioclip_jax.describe.detector import Detector
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.inference import Model
from scenarioclip_jax.search.model import same_model
from scenarioclip_jax.search.query import Album


class Service:
    """A model with its words and, perhaps, an album. Its methods return one result for each item.

    Args:
      model: The model.
      words: The words that photos are described with where a request has none.
      index: The album's index.
      detector: What finds boxes where a request has none.

    Raises:
      AlbumError: The index can't be used, or another model made it.
    """

    def __init__(
        self,
        model: Model,
        words: Words | None,
        index: Path | None = None,
        detector: Detector | None = None,
    ):
        self.model, self.words, self.has_album = model, words, index is not None
        self._index, self._detector = index, detector
        self._texts = Texts(model)  # most requests name things by the same words
        self._album: Album | None = None
        if index is not None:
            store = Album(index).store
            same_model(store, model, "--model")
            self._photos = Path(store.facts()["photos"])
        self._found: set[str] = set()  # paths of photos that searches have returned

    def texts(self, items: Sequence[tuple[Sequence[str], str]]) -> list[np.ndarray]:
        """Embeds texts at a level, [N, D] each; those of all requests of a level at once."""
        found: dict[int, np.ndarray] = {}
        for level in {level for _, level in items}:
            own = [index for index, item in enumerate(items) if item[1] == level]
            joined = [text for index in own for text in items[index][0]]
            ends = np.cumsum([len(items[index][0]) for index in own])[:-1]
            parts = np.split(self.model.encode_text(joined, level), ends)
            found |= dict(zip(own, parts, strict=True))
        return [found[index] for index in range(len(items))]

    def photos(self, items: Sequence[Image.Image]) -> list[np.ndarray]:
        """Embeds whole photos, [1, D] each."""
        return [each[None] for each in self.model.encode_image(items, "global")]

    def boxes(self, items: Sequence[tuple[Image.Image, Any]]) -> list[np.ndarray]:
        """Embeds objects of a photo, [N, D] each."""
        return [self.model.encode_objects(photo, boxes) for photo, boxes in items]

    def describe(
        self, items: Sequence[tuple[Image.Image, Any, dict[str, Any] | None]]
    ) -> list[dict[str, Any]]:
        """The scene graph of each photo with boxes and words."""
        return [
            self.model.describe(
                photo,
                boxes,
                words=words or self.words or {},
                detector=self._detector,
                texts=self._texts,
            ).to_dict()
            for photo, boxes, words in items
        ]

    def search(self, items: Sequence[tuple[Sequence[tuple[str, str, bool]], int]]) -> list[Any]:
        """The photos that show what is asked: texts with a level and whether they are wanted."""
        assert self._index is not None
        if self._album is None:
            self._album = Album(self._index)  # here, as SQLite stays in the thread that opened it
        found = []
        for parts, count in items:
            asked = [self._album.text(self.model, *part) for part in parts]
            hits = self._album.search(asked, count)
            self._found.update(path for hit in hits for path in hit.paths)
            found.append([hit.as_json() for hit in hits])
        return found

    def photo_file(self, path: str) -> Path | None:
        """The file of a photo that a search has returned; None for any other path."""
        return self._photos / path if path in self._found else None
