"""Records of our own format, as published or as it has grown, as a part of other sources."""

import itertools
import json
import math
from typing import Any

from scenarioclip_jax.data.build.problems import DROPPED
from scenarioclip_jax.importers import boxes, masks, metadata, texts
from scenarioclip_jax.importers.draft import Draft, Thing


def add_published(draft: Draft, entry: dict[str, Any]) -> None:
    """Adds what a record tells: captions, objects, and relations by position or by names."""
    draft.add_captions(metadata.captions(entry))
    for position, thing in enumerate(metadata.objects(entry)):
        where, mask = f"objects[{position}]", None
        if thing.get("mask"):
            try:
                height, width = thing["mask"]["size"]
                mask = masks.from_coco(thing["mask"], *(draft.size or (width, height)))
            except (ValueError, TypeError, KeyError) as error:
                draft.problem("broken_mask", DROPPED, "mask", f"{thing['name']}: {error}", where)
        draft.add_object(
            *(position, texts.clean(thing["name"]), boxes.numbers(thing["box"])),
            where=where,
            mask=mask,
            score=thing.get("score"),
            attributes=thing.get("attributes") or (),
        )
    rows = [_fields(draft, relation) for relation in entry.get("relations") or ()]
    true = {triplet for triplet in (triplet_of(row.get("triplet")) for row in rows) if triplet}
    for position, row in enumerate(rows):
        where, triplet = f"relations[{position}]", triplet_of(row.get("triplet"))
        more: dict[str, Any] = {"focus": texts.clean(row.get("focus"))}
        more["paraphrases"] = _paraphrases(draft, row.get("paraphrases") or (), where)
        more["negatives"] = negatives_of(draft, triplet, row.get("negatives") or (), true)
        subject, object = row.get("subject"), row.get("object")
        if isinstance(subject, int) and isinstance(object, int):
            predicate = texts.clean(row.get("predicate")) or (triplet or ("", "", ""))[1]
            draft.add_relation(subject, predicate, object, where=where, **more)
        else:
            add_named_relation(draft, triplet, row.get("triplet"), where, more)


def _paraphrases(draft: Draft, given: Any, where: str) -> list[str | list[str]]:
    """Texts and triplets; what is neither is counted."""
    found: list[str | list[str]] = []
    for value in given if isinstance(given, list) else [given] * bool(given):
        triplet = triplet_of(value)
        if triplet or texts.clean(value):
            found.append(list(triplet) if triplet else texts.clean(value))
        else:
            detail = f"{json.dumps(value)[:100]} is neither a text nor a triplet"
            draft.problem("broken_paraphrase", DROPPED, "relation", detail, where)
    return found


def _fields(draft: Draft, relation: Any) -> dict[str, Any]:
    """A relation with the fields of the grown format, and with the triplet."""
    if isinstance(relation, dict):
        found = dict(relation)
    else:
        found = dict(zip(("focus", "triplet", "negatives", "ends"), relation, strict=False))
        ends = found.pop("ends", None) or (None, None)
        found |= {"subject": ends[0], "object": ends[1]}
    if not found.get("triplet"):
        names = [draft.name_of(found.get(end)) or "" for end in ("subject", "object")]
        found["triplet"] = [names[0], found.get("predicate"), names[1]]
    return found


def add_named_relation(
    draft: Draft, triplet: tuple[str, str, str] | None, given: Any, where: str, more: dict[str, Any]
) -> None:
    """Adds a relation that names its participants: those of the nearest pair of boxes with these names."""
    if not triplet:
        detail = f"{json.dumps(given)[:100]} isn't subject, predicate, object"
        draft.problem("broken_relation", DROPPED, "relation", detail, where)
        return
    subject, predicate, object = triplet
    ends = _nearest(draft.things, subject, object) or (subject, object)  # names, which no key is
    draft.add_relation(ends[0], predicate, ends[1], where=where, **more)


def _nearest(things: list[Thing], subject: str, object: str) -> tuple[Any, Any] | None:
    """Keys of the two objects with these names whose centers are nearest."""

    def distance(a: Thing, b: Thing) -> float:
        return math.hypot(
            a.box[0] + a.box[2] - b.box[0] - b.box[2], a.box[1] + a.box[3] - b.box[1] - b.box[3]
        )

    first = [thing for thing in things if thing.name == subject]
    second = [thing for thing in things if thing.name == object]
    pairs = [(a, b) for a, b in itertools.product(first, second) if a is not b]
    nearest = min(pairs, key=lambda pair: distance(*pair), default=None)
    return (nearest[0].key, nearest[1].key) if nearest else None


def triplet_of(value: Any) -> tuple[str, str, str] | None:
    """Subject, predicate, object, or None: answers also have two or four parts."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    subject, predicate, object = (texts.label(part) for part in value)
    return (subject, predicate, object) if subject and predicate and object else None


def negatives_of(
    draft: Draft, triplet: tuple[str, str, str] | None, given: Any, true: set[tuple[str, str, str]]
) -> list[list[str]]:
    """Negatives with what tells them from the triplet. Those that are true of the photo are left out."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for value in given if triplet else ():
        negative = triplet_of(value)
        if not negative or not triplet:
            detail = f"{json.dumps(value)[:100]} isn't a triplet"
            draft.problem("broken_negative", DROPPED, "negative", detail)
        elif negative in true:
            draft.problem("true_negative", DROPPED, "negative", f"{' '.join(negative)} is true")
        else:
            differs = [a != b for a, b in zip(negative, triplet, strict=True)]
            kinds = {(1, 0, 0): "subject", (0, 1, 0): "predicate", (0, 0, 1): "object"}
            kind = kinds.get(tuple(map(int, differs)), "other")  # type: ignore[arg-type]
            kind = "swapped" if negative == triplet[::-1] else kind
            found[negative] = [*negative, kind]
    return list(found.values())
