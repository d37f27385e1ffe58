"""Reads a language model's answer. What it says is taken or left out, never completed or guessed at.

Repairing broken JSON (as the package json-repair does) is left alone on purpose: it closes what was cut off, so
half a name would become an object. What isn't JSON is a failure, which is counted and asked again.
"""

import json
import re
import unicodedata
from typing import Any

from scenarioclip_jax.annotate.results import Caption, Failure
from scenarioclip_jax.data.stored.scene import Triplet

CAPTION_KEYS = ("caption", "dense caption", "dense_caption")
# Characters of an answer that a failure shows.
_SHOWN = 200
_THOUGHTS = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


def parse(
    text: str, *, cut_off: bool = False, max_objects: int = 10, max_relations: int = 12
) -> Caption | Failure:
    """Reads an answer.

    It may stand in a code fence or among other text. Names are normalized (`normalize_answer`); each is there
    once. A relation that isn't three texts is left out; a name that only a relation has becomes an object.

    Args:
      text: The answer.
      cut_off: Whether it ended because it was too long.
      max_objects, max_relations: How many are kept, the first ones. Names in the relations that are kept stay
        whatever their number.

    Returns:
      The caption, or a failure of one of the kinds `empty`, `cut_off`, `not_json`, `wrong_shape` (no object
      of JSON, or a part of it has another type), `no_action`, `no_objects` and `no_caption`.
    """
    answer = read_object(text, "objects", cut_off=cut_off)
    if isinstance(answer, Failure):
        return answer
    shown = _beginning(text)
    try:
        action = normalize_answer(_text(answer, "action"))
        caption = _one_line(_text(answer, *CAPTION_KEYS))
        listed = [name for item in _list(answer, "objects") if (name := _name(item))]
        triplets = [t for item in _list(answer, "relations") if (t := _triplet(item))]
    except TypeError as error:
        return Failure("wrong_shape", f"{error}; {shown}")
    relations = tuple(dict.fromkeys(triplets))[:max_relations]
    ends = [name for subject, _, object_ in relations for name in (subject, object_)]
    objects = tuple(dict.fromkeys([*list(dict.fromkeys(listed))[:max_objects], *ends]))
    for part, kind in ((action, "no_action"), (objects, "no_objects"), (caption, "no_caption")):
        if not part:
            return Failure(kind, f"the answer has {kind.replace('_', ' ')}; {shown}")
    return Caption(action, objects, relations, caption)


def read_object(text: str, key: str, *, cut_off: bool = False) -> dict[str, Any] | Failure:
    """Reads the JSON object of an answer, which may stand in a code fence or among other text.

    Args:
      text: The answer.
      key: What the object has. If none has it, the first object is taken.
      cut_off: Whether the answer ended because it was too long.

    Returns:
      The object, or a failure of one of the kinds `empty`, `cut_off`, `not_json` and `wrong_shape`.
    """
    shown, text = _beginning(text), _THOUGHTS.sub("", text).strip()
    if cut_off:
        return Failure("cut_off", f"the answer is longer than max_tokens; {shown}")
    if not text:
        return Failure("empty", f"there is no answer; {shown}")
    answer = _json(text, key)
    if isinstance(answer, Failure):
        return Failure(answer.kind, f"{answer.detail}; {shown}")
    return answer


def _beginning(text: str) -> str:
    return f"the answer begins {text.strip()[:_SHOWN]!r}"


def normalize_answer(name: str) -> str:
    """A name or predicate in lower case, on one line, without underscores and punctuation around it."""
    return _one_line(name.replace("_", " ")).strip(" .,;:!?\"'`*").lower()


def _json(text: str, key: str) -> dict[str, Any] | Failure:
    """The first object of JSON in a text that has the key; else the first object."""
    try:
        found: Any = json.loads(text, strict=False)
    except (json.JSONDecodeError, RecursionError):
        found = _embedded(text, key)
        if found is None:
            return Failure("not_json", "the answer holds no JSON object that can be read")
    if not isinstance(found, dict):
        return Failure("wrong_shape", f"a JSON object is expected, found {_type(found)}")
    return found


def _embedded(text: str, key: str) -> dict[str, Any] | None:
    decoder = json.JSONDecoder(strict=False)
    first, start = None, text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1  # a brace of the text around it
        else:
            if key in found:
                return found
            first = first or found
        start = text.find("{", end)
    return first


def _text(answer: dict[str, Any], *keys: str) -> str:
    for key in keys:
        value = answer.get(key)
        if value is not None and not isinstance(value, str):
            raise TypeError(f'"{key}" has to be a text, found {_type(value)}')
        if value:
            return value
    return ""


def _list(answer: dict[str, Any], key: str) -> list[Any]:
    value = answer.get(key)
    if value is not None and not isinstance(value, list):
        raise TypeError(f'"{key}" has to be a list, found {_type(value)}')
    return value or []


def _name(item: Any) -> str:
    return normalize_answer(item) if isinstance(item, str) else ""


def _triplet(item: Any) -> Triplet | None:
    if not isinstance(item, list) or len(item) != 3:
        return None
    subject, predicate, object_ = map(_name, item)
    return (subject, predicate, object_) if subject and predicate and object_ else None


def _one_line(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _type(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a text", bool: "a truth value"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "null")
