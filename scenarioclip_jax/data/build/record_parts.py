"""Reads the parts of a record: objects with their masks, and relations with their negatives.

Each is a list, as published, or an object with named fields; docs/guides/format.md specifies both.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeGuard

from scenarioclip_jax.data.build.metadata_files import Repeated, show
from scenarioclip_jax.data.build.problems import DROPPED, FIXED, GUESSED, NOTED, Problems
from scenarioclip_jax.data.build.records import Box, MaskRecord, ObjectRecord, RelationRecord
from scenarioclip_jax.data.stored.labels import looks_the_same, normalize_label, relation_text
from scenarioclip_jax.data.stored.scene import NEGATIVE_KINDS, Triplet, negative_kind
from scenarioclip_jax.json_values import is_number

_OBJECT = ("name", "box", "mask", "score", "attributes")
_RELATION = ("triplet", "subject", "predicate", "object", "focus", "negatives", "paraphrases")
_LARGEST = 1 << 28  # pixels of a mask; decoded, each takes a byte


class PartReader:
    """Reads parts; equal texts and triplets are stored once, since a data set has few distinct ones.

    Args:
      problems: Collects what can't be used.
    """

    def __init__(self, problems: Problems):
        self.problems = problems
        self._merged: Counter[str] = Counter()  # labels by their spelling, if that is unusual
        self._known: dict[Any, Any] = {}

    def list_merged(self) -> None:
        """Lists the unusual spellings that were met."""
        for text, count in sorted(self._merged.items()):
            detail = f"{text!a} ({count} x) is read as {normalize_label(text)!r}"
            self.problems.add("label_spelling", NOTED, "label", "all metadata", detail)

    def label(self, text: str) -> str:
        """The normal form of a label."""
        if not looks_the_same(text):
            self._merged[text] += 1
        return self._once(normalize_label(text))

    def _once(self, value: Any) -> Any:
        return self._known.setdefault(value, value)

    def _add(
        self, reason: str, effect: str, what: str, where: str, detail: str, id: str = ""
    ) -> None:
        self.problems.add(reason, effect, what, where, detail, id)

    def object(self, item: Any, where: str, id: str) -> ObjectRecord | None:
        """Returns an object, or None if it can't be used."""
        fields: Any = dict(zip(_OBJECT, item, strict=False)) if _is_pair(item) else item
        if isinstance(fields, dict):
            name, box = fields.get("name"), _box(fields.get("box"))
            if isinstance(name, str) and normalize_label(name) and box:
                self._say_unknown(fields, _OBJECT, where, id)
                return ObjectRecord(
                    self.label(name),
                    box,
                    self._mask(fields.get("mask"), f"{where}.mask", id),
                    self._score(fields.get("score"), f"{where}.score", id),
                    self._attributes(fields.get("attributes"), f"{where}.attributes", id),
                )
        form = "[name, [x0, y0, x1, y1]]"
        if isinstance(item, dict):
            form = '{"name": text, "box": [x0, y0, x1, y1]}'
        detail = f"an object should be {form}, got {show(item)}"
        self._add("malformed_object", DROPPED, "object", where, detail, id)
        return None

    def _say_unknown(
        self, fields: dict[str, Any], known: Sequence[str], where: str, id: str
    ) -> None:
        if isinstance(fields, Repeated):
            keys = ", ".join(fields.keys_given_twice)
            detail = f"{show(dict(fields))} has {keys} twice; the last counts"
            self._add("duplicate_key", GUESSED, "object", where, detail, id)
        for field in fields:
            if field not in known:
                detail = f"{field!r} is ignored; known are {', '.join(known)}"
                self._add("unknown_entry", GUESSED, "object", where, detail, id)

    def _mask(self, item: Any, where: str, id: str) -> MaskRecord | None:
        if item is None:
            return None
        if isinstance(item, dict):
            size, counts = item.get("size"), item.get("counts")
            if isinstance(counts, list) and all(map(_is_count, counts)):
                counts = tuple(counts)
            if _is_size(size) and isinstance(counts, str | tuple):
                return MaskRecord(size[1], size[0], counts)
        hint = ""
        if isinstance(item, list):
            hint = " (polygons aren't read; pycocotools turns them into run lengths)"
        detail = (
            f'a mask should be {{"size": [height, width], "counts": …}}, got {show(item)}{hint}'
        )
        self._add("malformed_mask", DROPPED, "mask", where, detail, id)
        return None

    def _score(self, item: Any, where: str, id: str) -> float | None:
        if item is None or (is_number(item) and 0 <= item <= 1):
            return None if item is None else float(item)
        detail = f"a score should be a number from 0 to 1, got {show(item)}; taken as none"
        self._add("malformed_field", FIXED, "object", where, detail, id)
        return None

    def _attributes(self, item: Any, where: str, id: str) -> tuple[str, ...]:
        given = [] if item is None else item if isinstance(item, list) else [item]
        found = []
        for index, text in enumerate(given):
            if isinstance(text, str) and normalize_label(text):
                found.append(self.label(text))
                continue
            detail = f"an attribute should be a text, got {show(text)}"
            self._add("malformed_field", DROPPED, "attribute", f"{where}[{index}]", detail, id)
        return self._once(tuple(dict.fromkeys(found)))

    def relation(
        self, item: Any, where: str, id: str, objects: Sequence[ObjectRecord | None]
    ) -> RelationRecord | None:
        """Returns a relation, or None if it can't be used.

        Args:
          item: What the record says.
          where: Place of the relation, for messages.
          id: Id of the record.
          objects: The record's objects by their place in its list; None for those that were left out.
        """
        fields: Any = item
        at = ("[0]", "[2]", "[3]") if isinstance(item, list) else (".focus", ".negatives", "")
        if isinstance(item, list):
            fields = dict(zip(("focus", "triplet", "negatives", "pair"), item, strict=False))
            for index, extra in enumerate(item[4:], 4):
                detail = f"a relation has four entries at most, {show(extra)} is ignored"
                self._add("unknown_entry", GUESSED, "relation", f"{where}[{index}]", detail, id)
        elif isinstance(item, dict):
            self._say_unknown(item, _RELATION, where, id)
            if item.get("predicate") is not None and item.get("triplet") is not None:
                detail = (
                    f"the predicate {show(item['predicate'])} is ignored, as there is a triplet"
                )
                self._add("unknown_entry", GUESSED, "relation", where, detail, id)
            fields = self._named(item, objects)
        triplet = self._triplet(fields.get("triplet")) if isinstance(fields, dict) else None
        if not triplet:
            detail = f"a relation should be [path, [subject, predicate, object]], got {show(item)}"
            reason = "malformed_relation"
            if isinstance(item, dict) and self._lacks_object(item, objects):
                reason = "missing_participant"
                detail = f"{show(item)} names an object that was left out"
            elif isinstance(item, dict):
                detail = (
                    'a relation should be {"subject": index, "predicate": text, "object": index} or have a '
                    f'"triplet"; got {show(item)}, with {len(objects)} objects'
                )
            self._add(reason, DROPPED, "relation", where, detail, id)
            return None
        focus = fields.get("focus")
        path = focus if isinstance(focus, str) and focus.strip() else ""
        if focus is not None and not isinstance(focus, str):
            detail = f"the path of a focused-region image should be a text, got {show(focus)}"
            self._add("malformed_focus", GUESSED, "relation", f"{where}{at[0]}", detail, id)
        pair = None
        if fields.get("pair") is not None:
            pair = self._pair(fields["pair"], triplet, f"{where}{at[2]}", id, objects)
        return RelationRecord(
            path,
            triplet,
            tuple(self._negatives(fields.get("negatives"), triplet, f"{where}{at[1]}", id)),
            pair,
            self._paraphrases(fields.get("paraphrases"), triplet, f"{where}.paraphrases", id),
        )

    def _named(
        self, item: dict[str, Any], objects: Sequence[ObjectRecord | None]
    ) -> dict[str, Any]:
        """A relation with named fields in the terms of a published one."""
        fields = {field: value for field, value in item.items() if field in _RELATION}
        first, second = item.get("subject"), item.get("object")
        if first is not None or second is not None:
            fields["pair"] = [first, second]
        if item.get("triplet") is not None:
            return fields
        if _is_index(first, len(objects)) and _is_index(second, len(objects)):
            subject, object_ = objects[first], objects[second]
            if subject and object_:
                fields["triplet"] = [subject.name, item.get("predicate"), object_.name]
        return fields

    def _lacks_object(self, item: dict[str, Any], objects: Sequence[ObjectRecord | None]) -> bool:
        ends = [item.get("subject"), item.get("object")]
        named = [objects[end] for end in ends if _is_index(end, len(objects))]
        return len(named) == 2 and not all(named)

    def _negatives(self, given: Any, own: Triplet, where: str, id: str) -> list[Triplet]:
        given = [] if given is None else given
        if self._triplet(given):  # a single triplet, not in a list
            given = [given]
        found = []
        for index, item in enumerate(given if isinstance(given, list) else [given]):
            typed = isinstance(item, list) and len(item) == 4
            negative = self._triplet(item[:3] if typed else item)
            if not negative:
                detail = f"a negative should be [subject, predicate, object], got {show(item)}"
                self._add(
                    "malformed_negative", DROPPED, "negative", f"{where}[{index}]", detail, id
                )
                continue
            if typed and item[3] != (kind := negative_kind(own, negative)):
                # Which kind it is follows from the two triplets, so nothing is lost.
                known = "" if item[3] in NEGATIVE_KINDS else f"; known are {NEGATIVE_KINDS}"
                detail = (
                    f"{show(item)} is called {show(item[3])}, but is of the kind {kind!r}{known}"
                )
                self._add("negative_kind", FIXED, "negative", f"{where}[{index}]", detail, id)
            found.append(negative)
        return found

    def _paraphrases(self, given: Any, own: Triplet, where: str, id: str) -> tuple[str, ...]:
        found = []
        given = [] if given is None else given if isinstance(given, list) else [given]
        for index, item in enumerate(given):
            triplet = self._triplet(item)
            text = relation_text(triplet) if triplet else item
            if isinstance(text, str) and normalize_label(text):
                found.append(self.label(text))
                continue
            detail = f"a paraphrase should be a text or a triplet, got {show(item)}"
            self._add("malformed_field", DROPPED, "paraphrase", f"{where}[{index}]", detail, id)
        return tuple(text for text in dict.fromkeys(found) if text != relation_text(own))

    def _pair(
        self,
        item: Any,
        triplet: Triplet,
        where: str,
        id: str,
        objects: Sequence[ObjectRecord | None],
    ) -> tuple[int, int] | None:
        """Reads which objects take part, as indices among those that were understood."""
        reason = ""
        if not (isinstance(item, list) and len(item) == 2 and all(type(i) is int for i in item)):
            reason = "should be [subject_index, object_index]"
        elif not all(0 <= i < len(objects) for i in item):
            reason = f"should be below the number of objects, {len(objects)}"
        else:
            ends = [objects[i] for i in item]
            names = [end.name if end else "" for end in ends]
            if not all(ends):
                reason = "names an object that was left out"
            elif names != [triplet[0], triplet[2]]:
                reason = (
                    f"names {names[0]!r} and {names[1]!r}, not {triplet[0]!r} and {triplet[2]!r}"
                )
        if reason:
            detail = f"{show(item)} {reason}; the participants are found by their names"
            self._add("malformed_indices", GUESSED, "relation", where, detail, id)
            return None
        place = {i: at for at, i in enumerate(i for i, each in enumerate(objects) if each)}
        return place[item[0]], place[item[1]]

    def _triplet(self, item: Any) -> Triplet | None:
        if not (
            isinstance(item, list) and len(item) == 3 and all(isinstance(x, str) for x in item)
        ):
            return None
        if not all(map(normalize_label, item)):
            return None
        subject, predicate, object_ = map(self.label, item)
        return self._once((subject, predicate, object_))


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2


def _box(item: Any) -> Box | None:
    if isinstance(item, list) and len(item) == 4 and all(map(is_number, item)):
        x0, y0, x1, y1 = map(float, item)
        return x0, y0, x1, y1
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_index(value: Any, count: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < count


def _is_size(value: Any) -> TypeGuard[list[int]]:
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        return False
    return min(value) > 0 and value[0] * value[1] < _LARGEST
