"""What is done for requests, in lists, in the one thread that owns the device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from scenarioclip_jax.data.photo_boxes import check_boxes
from scenarioclip_jax.describe.boxes import Detector
from scenarioclip_jax.describe.texts import Texts
from scenarioclip_jax.describe.together import Wanted, describe_together
from scenarioclip_jax.describe.vocabulary import read_words
from scenarioclip_jax.describe.word_lists import Words
from scenarioclip_jax.inference import Model
from scenarioclip_jax.search.model import same_model
from scenarioclip_jax.search.query import Album, Part


class Sought(NamedTuple):
    """What an album's photos should show, or shouldn't: a text, or something like a photo or a place in one.

    Attributes:
      text: The text; "" with a photo.
      level: The text's level; "" for the one where it fits best.
      photo: The photo.
      boxes: None for the whole photo, one for an object, two for a relation.
      wanted: Whether it should be shown.
    """

    text: str = ""
    level: str = ""
    photo: Image.Image | None = None
    boxes: Sequence[Sequence[float]] = ()
    wanted: bool = True


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

    def places(self, items: Sequence[tuple[Image.Image, Any, str]]) -> list[np.ndarray]:
        """Embeds boxes or pairs of boxes of a photo at their level, [N, D] each; those of a level at once."""
        found: dict[int, np.ndarray] = {}
        for level in {level for *_, level in items}:
            own = [index for index, item in enumerate(items) if item[2] == level]
            asked = [
                (photo, check_boxes(boxes, level, photo.size))
                for photo, boxes, _ in (items[index] for index in own)
            ]
            found |= dict(zip(own, self.model.encode_places_of(asked, level), strict=True))
        return [found[index] for index in range(len(items))]

    def describe(
        self, items: Sequence[tuple[Image.Image, Any, Mapping[str, Any] | None]]
    ) -> list[dict[str, Any]]:
        """The scene graph of each photo with boxes and words; all are found together."""
        wanted = [
            Wanted(photo, boxes, self.words or Words() if words is None else read_words(words))
            for photo, boxes, words in items
        ]
        graphs = describe_together(self.model, wanted, self._texts, self._detector)
        return [graph.to_dict() for graph in graphs]

    def search(self, items: Sequence[tuple[Sequence["Sought"], int]]) -> list[Any]:
        """The album's photos that show all that is sought."""
        assert self._index is not None
        if self._album is None:
            self._album = Album(self._index)  # here, as SQLite stays in the thread that opened it
        found = []
        for sought, count in items:
            parts = [self._part(self._album, each) for each in sought]
            hits = self._album.search(parts, count)
            self._found.update(path for hit in hits for path in hit.paths)
            found.append([hit.as_json() for hit in hits])
        return found

    def _part(self, album: Album, sought: "Sought") -> Part:
        if sought.photo is None:
            return album.text(self.model, sought.text, sought.level, sought.wanted)
        part = album.picture(self.model, sought.photo, sought.boxes)
        where = ("", " at a box", " at two boxes")[len(sought.boxes)]
        return part._replace(told=f"the photo{where}", wanted=sought.wanted)

    def photo_file(self, path: str) -> Path | None:
        """The file of a photo that a search has returned; None for any other path."""
        return self._photos / path if path in self._found else None
