"""What a query asks, and the photos that answer it.

A part of a query is a text or a picture at a level, and may be unwanted. A photo's cosine with a part is that
of its best item at that level. Cosines of different levels and texts lie in different ranges, so each is
measured in standard deviations from the mean over the album's items: z = (cosine - mean) / deviation. A photo's
score is the sum of its z over the parts, those of unwanted ones subtracted.

Photos that are among the nearest of at least one wanted part are scored by all parts; the others aren't.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from scenarioclip_jax.data.images import open_image
from scenarioclip_jax.inference import Model
from scenarioclip_jax.models.scenario_clip import LEVELS
from scenarioclip_jax.search.store import AlbumError, Store
from scenarioclip_jax.search.vectors import Vectors, open_vectors

DEEP = 1000  # nearest items of each part whose photos are scored, at least,
PER_HIT = 20  # and for each photo that is asked for


class Part(NamedTuple):
    """Something that a photo should show, or shouldn't.

    Attributes:
      told: What it is, for people.
      queries: Embeddings of length 1 by level; with several levels, the best of them counts.
      wanted: Whether it should be shown.
    """

    told: str
    queries: Mapping[str, Float[np.ndarray, " D"]]
    wanted: bool = True


class Match(NamedTuple):
    """How well a photo shows a part.

    Attributes:
      part: The part, as it is told.
      wanted: Whether it should be shown.
      level: The level that counted.
      cosine: Of the photo's best item.
      z: The same in standard deviations from the album's mean.
      boxes: Where that item is, in pixels of the upright photo; none for the whole photo.
    """

    part: str
    wanted: bool
    level: str
    cosine: float
    z: float
    boxes: Sequence[Sequence[float]]


class Hit(NamedTuple):
    """A photo that was found.

    Attributes:
      paths: Its files below the folder of the photos; several if there are copies.
      size: Width and height in pixels.
      score: The higher, the better; see the module.
      matches: How well it shows each part.
    """

    paths: Sequence[str]
    size: tuple[int, int]
    score: float
    matches: Sequence[Match]

    def as_json(self) -> dict[str, Any]:
        """What `json.dumps` takes, by the names of the fields."""
        return self._asdict() | {"matches": [match._asdict() for match in self.matches]}


class Album:
    """An index, opened to be searched.

    Args:
      folder: The index.

    Attributes:
      store: What is kept of the photos.
      levels: The items that can be found, by level.

    Raises:
      AlbumError: There is no index, or it holds no photo.
    """

    def __init__(self, folder: Path):
        self.store, self._folder = Store(folder), folder
        self._state, self.levels = "", dict[str, Vectors]()
        self._refresh()
        if not self.levels:
            raise AlbumError(f"{folder}: the index holds no photo that could be read")

    def _refresh(self) -> None:
        """Opens the embeddings again if the index has changed."""
        if self.store.state() != self._state:
            self._state, self.levels = open_vectors(self._folder, self.store)

    def text(self, model: Model, text: str, level: str = "", wanted: bool = True) -> Part:
        """A text as part of a query: at a level, or at the one where it fits best.

        Raises:
          AlbumError: The index has nothing at that level.
          ValueError: The text is empty.
        """
        if not text.strip():
            raise ValueError("a text to find is empty")
        levels = [self._known(level)] if level else list(self.levels)
        queries = {each: _unit(model.encode_text([text], each)[0]) for each in levels}
        return Part(text, queries, wanted)

    def picture(self, model: Model, photo: Any, boxes: Sequence[Sequence[float]] = ()) -> Part:
        """A photo as part of a query: the whole, or an object (one box), or a relation (two).

        Raises:
          AlbumError: The index has nothing at that level.
          ValueError: There are more boxes, or one is no box of the photo.
        """
        if len(boxes) > 2:
            raise ValueError(
                f"there are {len(boxes)} boxes; give one for an object, two for a relation"
            )
        level = self._known(LEVELS[len(boxes)])
        if not boxes:
            found, told = model.encode_image([photo], level), f"{photo}"
        elif len(boxes) == 1:
            found, told = model.encode_objects(photo, boxes), f"{photo} at {list(boxes[0])}"
        else:
            found, told = model.encode_relations(photo, [boxes]), f"{photo} at {list(boxes)}"
        if boxes:
            size = open_image(photo).picture.size
            if not all(model.share_in_view(np.array(boxes, np.float32), size)):
                raise ValueError(f"{photo}: the model sees nothing of one of the boxes {boxes}")
        return Part(told, {level: _unit(found[0])})

    def _known(self, level: str) -> str:
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; it must be one of {', '.join(LEVELS)}")
        if level not in self.levels:
            raise AlbumError(
                f"{self.store.file.parent}: holds nothing at the level {level}; index the photos with --boxes "
                "or --detector"
            )
        return level

    def search(self, parts: Sequence[Part], count: int = 20) -> list[Hit]:
        """The photos that show what is asked best, the best first.

        Raises:
          ValueError: Nothing is wanted.
        """
        if not any(part.wanted for part in parts):
            raise ValueError("say what the photos should show, not only what they shouldn't")
        self._refresh()
        asked = [each for part in parts if part.wanted for each in self._asked(part).values()]
        if not asked:
            return []  # the index has changed, and holds nothing at these levels any more
        deep = max(DEEP, PER_HIT * count)
        while True:
            near = [items.contents[items.nearest(query, deep)] for items, query in asked]
            contents = np.unique(np.concatenate(near))
            if len(contents) >= count or all(deep >= len(items.items) for items, _ in asked):
                break
            deep *= 4  # many items of few photos
        found = [self._best(part, contents) for part in parts]
        total = np.sum([best.points(part) for part, best in zip(parts, found, strict=True)], axis=0)
        order = np.argsort(-total, kind="stable")[:count]
        hits = [
            self._hit(
                int(contents[place]), float(total[place]), parts, [b.at(place) for b in found]
            )
            for place in order.tolist()
            if total[place] > -np.inf
        ]
        return [hit for hit in hits if hit.paths]  # but what was forgotten meanwhile

    def _best(self, part: Part, contents: Int[np.ndarray, " C"]) -> "_Best":
        """The best item of each content for a part, at the level that fits best."""
        none = np.full(len(contents), np.nan, np.float32)
        best = _Best(none, none, np.zeros(len(contents), np.int64), np.full(len(contents), ""))
        for level, (items, query) in self._asked(part).items():
            mean, deviation = items.usual(query)
            cosine, row = items.best(query, contents)
            other = _Best(cosine, (cosine - mean) / deviation, row, np.full(len(contents), level))
            better = ~np.isnan(other.z) & ~(best.z >= other.z)
            best = _Best(*(np.where(better, b, a) for a, b in zip(best, other, strict=True)))
        return best

    def _asked(self, part: Part) -> dict[str, tuple[Vectors, Float[np.ndarray, " D"]]]:
        """The items that a part is compared with, and its embedding, by level."""
        return {
            level: (self.levels[level], query)
            for level, query in part.queries.items()
            if level in self.levels
        }

    def _hit(
        self, content: int, score: float, parts: Sequence[Part], found: Sequence["_Best"]
    ) -> Hit:
        matches = [
            Match(
                *(part.told, part.wanted, str(best.level), float(best.cosine), float(best.z)),
                self.store.boxes(int(self.levels[str(best.level)].items[best.row])),
            )
            for part, best in zip(parts, found, strict=True)
            if not np.isnan(best.z)
        ]
        paths, size = self.store.photos_of(content)
        return Hit(paths, size, score, matches)


class _Best(NamedTuple):
    """Of each content, the cosine, z, row and level of its best item; NaN where it has none."""

    cosine: Float[np.ndarray, " C"]
    z: Float[np.ndarray, " C"]
    row: Int[np.ndarray, " C"]
    level: np.ndarray

    def at(self, place: int) -> "_Best":
        return _Best(*(each[place] for each in self))

    def points(self, part: Part) -> np.ndarray:
        """What a part adds to the scores. What has no item at its level can't show it."""
        none = np.isnan(self.z)
        if part.wanted:
            return np.where(none, -np.inf, self.z)
        return np.where(none, 0.0, -self.z)


def _unit(vector: np.ndarray) -> Float[np.ndarray, " D"]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
