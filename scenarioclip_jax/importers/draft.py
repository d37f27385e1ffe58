"""A record in the making: takes what a source says of a photo, checks it, and counts what can't be used."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED, FIXED, NOTED
from scenarioclip_jax.importers import boxes, texts
from scenarioclip_jax.importers.boxes import Box
from scenarioclip_jax.importers.problems import ImportProblems
from scenarioclip_jax.importers.source import Record

SLACK = 1.0  # pixels that a box may stick out without being called a problem: rounding, and counting from 1
_MOST_PIXELS = 1 << 30


@dataclass
class Thing:
    """An object of a photo; `group` tells what was annotated at once (see `Draft.merge`)."""

    key: Hashable
    name: str
    box: Box
    where: str
    mask: dict[str, Any] | None = None
    score: float | None = None
    attributes: list[str] = field(default_factory=list)
    group: Hashable = None


@dataclass(frozen=True)
class _Relation:
    subject: Hashable
    predicate: str
    object: Hashable
    where: str
    more: dict[str, Any]  # fields of the record's relation


class Draft:
    """Collects the objects, relations and captions of a photo; `finish` makes the record.

    Args:
      problems: Counts what is left out or changed.
      id: The record's id.
      image_path: The photo, relative to the folder of the photos.
      where: File and place, for problems.
      size: Width and height that boxes and masks refer to, in pixels, or None if the source doesn't tell them.
      limits: Width and height that boxes are cut to, if it isn't `size`: 1, 1 for fractions of the photo.
      fields: Other fields of the record, such as `split`; those that are None or empty are left out.

    Raises:
      ValueError: No photo has that size; masks of it wouldn't fit into memory.
    """

    def __init__(
        self,
        problems: ImportProblems,
        id: str | int,
        image_path: str,
        where: str,
        size: tuple[int, int] | None = None,
        limits: tuple[float, float] | None = None,
        **fields: Any,
    ):
        if not (isinstance(id, int) or texts.clean(id)):
            raise ValueError(f"the id is {id!r}")
        if not texts.clean(image_path):
            raise ValueError(f"the photo's path is {image_path!r}")
        self._problems, self.where = problems, where
        self.id, self._image_path, self.size = id, image_path, None
        self._limits = limits
        if size:
            self.set_size(size)
        self._digits = 3 if limits is None else 6
        self._fields = fields
        self._captions: list[object] = []
        self.things: list[Thing] = []
        self._relations: list[_Relation] = []
        self._names: dict[Hashable, int] = {}  # positions in `things` by key
        self._left_out: set[Hashable] = set()

    def set_size(self, size: tuple[int, int]) -> None:
        """Sets width and height, for sources that only masks tell them; raises ValueError."""
        if not (min(size) >= 1 and size[0] * size[1] <= _MOST_PIXELS):
            raise ValueError(f"a photo of {size[0]} x {size[1]} pixels")
        self.size = size
        self._limits = self._limits or size

    def problem(self, reason: str, effect: str, what: str, detail: str, where: str = "") -> None:
        """Counts a problem of this photo."""
        place = f"{self.where} {where}".strip()
        self._problems.add(reason, effect, what, place, detail, id=str(self.id))

    def leave_out(self, key: Hashable, reason: str, detail: str, where: str = "") -> None:
        """Counts an object that isn't used, so that its relations are known to miss it."""
        self._left_out.add(key)
        self.problem(reason, DROPPED, "object", detail, where)

    def add_object(
        self,
        key: Hashable,
        name: str,
        box: Sequence[float],
        *,
        where: str = "",
        mask: dict[str, Any] | None = None,
        score: float | None = None,
        attributes: Iterable[object] = (),
        group: Hashable = None,
    ) -> bool:
        """Adds an object, unless it has no name or its box shows nothing; returns whether it did.

        Args:
          key: What relations call it; different for each object of the photo.
          name: What it is.
          box: x0, y0, x1, y1.
          where: The field, for problems.
          group: Objects of one group were annotated at once (see `merge`).
        """
        if key in self._names or key in self._left_out:
            self.problem("repeated_id", DROPPED, "object", f"object {key!r} is there twice", where)
            return False
        if not name:
            self.leave_out(key, "no_name", f"object {key!r} has no name", where)
            return False
        if not boxes.is_finite(box):
            self.leave_out(key, "broken_box", f"{name}: {list(box)!r}", where)
            return False
        given = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        if boxes.is_empty(given):
            self.leave_out(key, "empty_box", f"{name}: {self._show(given)} has no area", where)
            return False
        limits = self._limits or (math.inf, math.inf)
        inside = boxes.clip(given, *limits)
        if boxes.is_empty(inside):
            detail = f"{name}: {self._show(given)} is outside of the photo{self._told()}"
            self.leave_out(key, "box_outside", detail, where)
            return False
        slack = SLACK if max(limits) > 1 else SLACK / 1000
        if max(abs(a - b) for a, b in zip(given, inside, strict=True)) > slack:
            detail = f"{name}: {self._show(given)} sticks out of the photo{self._told()}; cut"
            self.problem("box_sticks_out", FIXED, "object", detail, where)
        self._names[key] = len(self.things)
        labels = texts.captions(attributes)
        self.things.append(Thing(key, name, inside, where, mask, score, labels, group))
        return True

    def add_attribute(self, key: Hashable, attribute: str) -> bool:
        """Adds an attribute to an object; returns whether there is such an object."""
        if (position := self._names.get(key)) is None:
            return False
        known = self.things[position].attributes
        if attribute and attribute not in known:
            known.append(attribute)
        return True

    def add_relation(
        self, subject: Hashable, predicate: str, object: Hashable, *, where: str = "", **more: Any
    ) -> None:
        """Adds a relation between two objects by their keys; `more` are other fields of the relation."""
        if not predicate:
            detail = f"{subject!r} to {object!r}"
            self.problem("no_predicate", DROPPED, "relation", detail, where)
            return
        self._relations.append(_Relation(subject, predicate, object, where, more))

    def add_captions(self, captions: Iterable[object]) -> None:
        """Adds captions of the whole photo."""
        self._captions.extend(captions)

    def set_field(self, name: str, value: Any) -> None:
        """Sets another field of the record."""
        self._fields[name] = value

    def knows(self, key: Hashable) -> bool:
        """Whether there was an object with that key, used or left out."""
        return key in self._names or key in self._left_out

    def name_of(self, key: Hashable) -> str | None:
        """The name of an object, or None if there is none with that key."""
        return self.things[self._names[key]].name if key in self._names else None

    def merge(self, same: Callable[[Thing, Thing], bool], reason: str = "merged_boxes") -> None:
        """Makes one object of those that are the same thing: mean box, most frequent name, all attributes.

        Args:
          same: Whether two objects are the same; its first argument is the first of a group (`boxes.groups`).
        """
        found = boxes.groups(len(self.things), lambda i, j: same(self.things[i], self.things[j]))
        merged = []
        for position, group in enumerate(found):
            things = [self.things[i] for i in group]
            one = things[0]
            for thing in things:
                self._names[thing.key] = position
            if len(things) > 1:
                names = Counter(thing.name for thing in things)
                detail = " + ".join(f"{thing.name} {self._show(thing.box)}" for thing in things)
                self.problem(reason, FIXED, "object", detail, one.where)
                if len(names) > 1:
                    self.problem("merged_names", FIXED, "object", ", ".join(names), one.where)
                one.name = names.most_common(1)[0][0]
                one.box = boxes.mean([thing.box for thing in things])
                one.attributes = texts.captions(a for thing in things for a in thing.attributes)
                one.mask = next((thing.mask for thing in things if thing.mask), None)
            merged.append(one)
        self.things = merged

    def finish(self) -> Record | None:
        """The record, or None if there is nothing in it to learn from, which is counted."""
        captions = texts.captions(self._captions)
        relations = self._finished_relations()
        if not (captions or self.things or self._fields.get("action")):
            self.problem("nothing_annotated", DROPPED, "scene", "no object, caption or action")
            return None
        record: Record = {"id": self.id, "image_path": self._image_path}
        if self.size:
            record |= {"width": self.size[0], "height": self.size[1]}
        if captions:
            record["captions"] = captions
        if self.things:
            record["objects"] = [self._finished(thing) for thing in self.things]
        if relations:
            record["relations"] = relations
        return record | {
            name: v for name, v in self._fields.items() if v and self._is_right(name, v)
        }

    def _is_right(self, name: str, value: Any) -> bool:
        """Whether a field that came with the source may have that value; what it may not is counted."""
        right = isinstance(value, str | int) if name == "group" else isinstance(value, str)
        if right and name == "split":
            right = value in ("train", "validation", "val", "test")
        if not right:
            self.problem("broken_field", DROPPED, "field", f"{name} is {str(value)[:80]!r}")
        return right

    def _finished(self, thing: Thing) -> dict[str, Any]:
        values: dict[str, Any] = {"name": thing.name, "box": self._show(thing.box)}
        if thing.score is not None:
            values["score"] = round(min(max(thing.score, 0.0), 1.0), 4)
        if thing.attributes:
            values["attributes"] = thing.attributes
        if thing.mask:
            values["mask"] = thing.mask
        return values

    def _finished_relations(self) -> list[dict[str, Any]]:
        found: dict[tuple[int, str, int], dict[str, Any]] = {}
        for relation in self._relations:
            ends = [self._names.get(end) for end in (relation.subject, relation.object)]
            subject, object = ends
            told = f"{relation.subject!r} {relation.predicate} {relation.object!r}"
            if subject is None or object is None:
                missing = relation.subject if subject is None else relation.object
                left_out = missing in self._left_out
                reason = "participant_left_out" if left_out else "unknown_participant"
                self.problem(reason, DROPPED, "relation", told, relation.where)
            elif subject == object:
                name = self.things[subject].name
                detail = f"{told}: both are {name} {self._show(self.things[subject].box)}"
                self.problem("subject_is_object", DROPPED, "relation", detail, relation.where)
            elif (triple := (subject, relation.predicate, object)) in found:
                self.problem("repeated_relation", NOTED, "relation", told, relation.where)
            else:
                ends = {"subject": subject, "predicate": relation.predicate, "object": object}
                found[triple] = ends | {name: v for name, v in relation.more.items() if v}
        return list(found.values())

    def _told(self) -> str:
        """The photo's size, if it's known."""
        return f" of {self.size[0]} x {self.size[1]}" if self.size else ""

    def _show(self, box: Box) -> list[float]:
        rounded = (round(value, self._digits) for value in box)
        return [int(value) if value == int(value) else value for value in rounded]
