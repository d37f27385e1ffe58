"""All photos of a working folder as short rows for the page's list, and each one in full."""

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image

from scenarioclip_jax.annotate.chain import DONE, FAILED, Chain, Link
from scenarioclip_jax.annotate.records import Entry
from scenarioclip_jax.annotate.stages import VALIDATE
from scenarioclip_jax.annotate.work import Work
from scenarioclip_jax.data.stored.labels import normalize_label

Scene = dict[str, Any]
SCENE, LEFT_OUT, FAILURE, WAITING, UNREADABLE = (
    "scene",
    "left out",
    "failed",
    "not done",
    "unreadable",
)


class Row(NamedTuple):
    """A photo in the list.

    Attributes:
      state: SCENE; LEFT_OUT by the filters of `validate`; FAILURE of a stage; WAITING for one; or UNREADABLE.
      objects, relations: How many there are.
      score: The least score of an object; None where no object has one.
      labels: The names of the objects, the predicates and the action, each once.
      reasons: What was left out or failed, as the filters and failures are called, each once.
    """

    state: str
    objects: int = 0
    relations: int = 0
    score: float | None = None
    labels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class _Place(NamedTuple):
    """Where a photo's records are: of the photo, and of its last stage, with that stage's name."""

    photo: Entry
    stage: str
    last: Entry | None


class Catalog:
    """The photos of a working folder, as they are when this is made.

    Args:
      work: The working folder.

    Attributes:
      ids: The photos that are listed, in the order of their ids.
      rows: Their rows.
    """

    def __init__(self, work: Work):
        self._chain, self._reading = Chain(work), threading.Lock()
        self._places: dict[str, _Place] = {}
        rows: dict[str, Row] = {}
        for id, links in self._chain.links():
            photo = self._chain.listing.find(id)
            assert photo  # it was listed just now
            rows[id] = self._row(id, photo, links)
        for id, entry in self._chain.listing.failed():
            self._places[id] = _Place(entry, "photos", entry)
            rows[id] = Row(UNREADABLE, reasons=(entry.kind,))
        self.ids = sorted(rows)
        self.rows = [rows[id] for id in self.ids]
        self.numbers = {id: number for number, id in enumerate(self.ids)}

    def _row(self, id: str, photo: Entry, links: dict[str, Link]) -> Row:
        last = links[VALIDATE.name].entry
        if last and last.done:
            self._places[id] = _Place(photo, VALIDATE.name, last)
            output = self._chain.records[VALIDATE.name].read(last)["output"]
            return row_of(output["scene"], output["removed"])
        first = next(link for link in links.values() if link.state != DONE)
        self._places[id] = _Place(photo, first.stage, first.entry)
        if first.state == FAILED and first.entry:
            return Row(FAILURE, reasons=(f"{first.stage}: {first.entry.kind}",))
        return Row(WAITING, reasons=(f"{first.stage}: {first.state}",))

    def digest(self, id: str) -> str:
        """Digest of the photo's scene; "" if the stages haven't come so far. Raises KeyError."""
        place = self._places[id]
        return place.last.digest if place.stage == VALIDATE.name and place.last else ""

    def size(self, id: str) -> tuple[int, int]:
        """Width and height of a photo, in pixels; raises KeyError if it's unreadable or not there."""
        with self._reading:
            known = self._chain.listing.records.read(self._places[id].photo).get("output")
        if known is None:
            raise KeyError(id)
        return known["width"], known["height"]

    def scene(self, id: str) -> tuple[Scene | None, list[list[str]]]:
        """The scene of a photo after `validate`, and what was left out or failed: name and detail.

        Raises:
          KeyError: There is no such photo.
        """
        place = self._places[id]
        if place.last is None:
            return None, [["not done", f"the stage {place.stage} has not been run for this photo"]]
        records = self._chain.records.get(place.stage, self._chain.listing.records)
        with self._reading:
            line = records.read(place.last)
        if failure := line.get("failure"):
            return None, [[f"{place.stage}: {failure['kind']}", failure["detail"]]]
        return line["output"]["scene"], line["output"]["removed"]

    def version(self, id: str) -> str:
        """What names the content of a photo; raises KeyError."""
        return self._places[id].photo.digest

    def open(self, id: str) -> Image.Image | None:
        """Decodes a photo; None if its file has changed since this was made.

        Raises:
          KeyError: It's unreadable, or isn't listed.
        """
        place = self._places[id]
        if not place.photo.done:
            raise KeyError(id)
        with self._reading:
            if self._chain.listing.find(id) != place.photo:
                return None
            photo = self._chain.listing.photo(id, place.photo)
        return photo.open()

    def scenes(self) -> Iterator[tuple[str, str]]:
        """Ids and digests of all photos with a scene."""
        for id, row in zip(self.ids, self.rows, strict=True):
            if row.state == SCENE:
                yield id, self.digest(id)

    def close(self) -> None:
        self._chain.close()


def row_of(scene: Scene | None, removed: list[list[str]]) -> Row:
    """The row of a photo whose stages are done."""
    reasons = tuple(dict.fromkeys(name for name, _ in removed))
    if scene is None:
        return Row(LEFT_OUT, reasons=reasons)
    labels = [thing["name"] for thing in scene["objects"]]
    labels += [relation["predicate"] for relation in scene["relations"]]
    labels += [scene["action"]] if "action" in scene else []
    scores = [thing["score"] for thing in scene["objects"] if thing.get("score") is not None]
    return Row(
        SCENE,
        len(scene["objects"]),
        len(scene["relations"]),
        min(scores, default=None),
        tuple(dict.fromkeys(map(normalize_label, labels))),
        reasons,
    )
