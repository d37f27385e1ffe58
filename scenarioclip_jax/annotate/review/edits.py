"""Makes the new scene of what a reviewer changed, or says what is wrong with it.

The page sends what people edit: names, boxes, predicates, texts. What they don't edit (masks, scores,
negatives) is taken from the scene that they began with, as far as it still fits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from scenarioclip_jax.data.stored.labels import normalize_caption, normalize_label
from scenarioclip_jax.data.stored.scene import Triplet
from scenarioclip_jax.json_values import is_number
from scenarioclip_jax.words import predicates
from scenarioclip_jax.words.names import read_name

Scene = dict[str, Any]
EMPTY: Scene = {"objects": [], "relations": []}
_LONGEST = {"label": 200, "caption": 2000}  # characters
_MOST = 500  # objects, relations, captions
_MIN_SIDE = 1.0  # of a box, in pixels


class Problem(NamedTuple):
    """What is wrong with an edit.

    Attributes:
      where: The place, such as "objects/2/box".
      what: What to do.
    """

    where: str
    what: str


class Edited(NamedTuple):
    """What became of an edit.

    Attributes:
      scene: The new scene; None if there are problems.
      problems: What is wrong.
      notes: What was left out, since it no longer fits.
    """

    scene: Scene | None
    problems: list[Problem]
    notes: list[str]


def edited(values: Any, base: Scene, size: tuple[int, int]) -> Edited:
    """Makes the new scene.

    Args:
      values: What the page sends: `action`, `captions`, `objects` of `name`, `box` and `from`, `relations` of
        `subject`, `predicate`, `object` and `from`; `from` is the position in `base`, None for a new one.
      base: The scene that was shown.
      size: Width and height of the photo, in pixels.
    """
    return _Edit(base, size).read(values)


class _Edit:
    def __init__(self, base: Scene, size: tuple[int, int]):
        self._base, self._size = base, size
        self._problems: list[Problem] = []
        self._notes: list[str] = []

    def read(self, values: Any) -> Edited:
        if not isinstance(values, Mapping):
            return Edited(None, [Problem("", "the scene isn't an object of JSON")], [])
        known = {"action", "captions", "objects", "relations"}
        scene = {name: value for name, value in self._base.items() if name not in known}
        action = values.get("action", "")
        if action != self._base.get("action"):  # a text that nobody touched keeps its spelling
            action = self._text(action, "action", "label", empty=True)
        if action:
            scene["action"] = action
        before = self._base.get("captions", [])
        captions = [
            text if text in before else self._text(text, f"captions/{number}", "caption")
            for number, text in enumerate(self._list(values, "captions"))
        ]
        if captions:
            scene["captions"] = captions
        things = self._list(values, "objects")
        objects = [self._object(number, thing) for number, thing in enumerate(things)]
        links = self._list(values, "relations")
        relations = [self._relation(n, link, objects) for n, link in enumerate(links)]
        if self._problems:
            return Edited(None, self._problems, [])
        scene |= {"objects": objects, "relations": relations}
        self._check_twice(scene)
        if not (objects or captions or action):
            self._problem("objects", "nothing is left of the scene; drop it instead")
        if self._problems:
            return Edited(None, self._problems, [])
        self._leave_out_texts(scene, links)
        return Edited(scene, [], self._notes)

    def _problem(self, where: str, what: str) -> None:
        self._problems.append(Problem(where, what))

    def _list(self, values: Mapping[str, Any], field: str) -> list[Any]:
        found = values.get(field, [])
        if not isinstance(found, list) or len(found) > _MOST:
            self._problem(field, f"should be a list of at most {_MOST}")
            return []
        return found

    def _text(self, value: Any, where: str, kind: str, *, empty: bool = False) -> str:
        if not isinstance(value, str):
            self._problem(where, "should be a text")
            return ""
        try:
            value.encode()
        except UnicodeEncodeError:
            self._problem(where, "holds half of a character; type it again")
            return ""
        text = normalize_label(value) if kind == "label" else normalize_caption(value)
        if not text and not empty:
            self._problem(where, "is empty; type a text, or remove it")
        if len(text) > _LONGEST[kind]:
            self._problem(where, f"is longer than {_LONGEST[kind]} characters")
        return text

    def _from(self, value: Mapping[str, Any], field: str) -> tuple[int | None, Scene]:
        """The position in the scene that was shown, and what was there."""
        number, base = value.get("from"), self._base[field]
        if number is None:
            return None, {}
        if type(number) is not int or not 0 <= number < len(base):
            self._problem(field, f"`from` names {number!r}, which the scene doesn't have; reload")
            return None, {}
        return number, base[number]

    def _object(self, number: int, value: Any) -> Scene:
        where = f"objects/{number}"
        if not isinstance(value, Mapping):
            self._problem(where, "should be an object of JSON")
            return {}
        _, before = self._from(value, "objects")
        name, box = value.get("name", ""), self._numbers(value.get("box"), f"{where}/box")
        if name != before.get("name"):
            name = self._text(name, f"{where}/name", "label")
        thing = dict(before) | {"name": name}
        # Nor is a box that nobody touched refused for what a detector did.
        if not before or box != [round(side, 2) for side in before["box"]]:
            self._check_box(box, f"{where}/box")
            thing["box"] = box
            if thing.pop("mask", None) is not None:
                self._notes.append(f"the mask of {name}, whose box has changed")
        return thing

    def _numbers(self, value: Any, where: str) -> list[float]:
        if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
            self._problem(where, "should be four numbers: left, top, right, bottom")
            return []
        return [round(float(side), 2) for side in value]

    def _check_box(self, box: list[float], where: str) -> None:
        if not box:
            return  # which was said
        (x0, y0, x1, y1), (width, height) = box, self._size
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            self._problem(where, f"leaves the photo of {width} x {height} pixels")
        elif x1 - x0 < _MIN_SIDE or y1 - y0 < _MIN_SIDE:
            self._problem(where, "has no area; draw it larger, or remove the object")

    def _relation(self, number: int, value: Any, objects: list[Scene]) -> Scene:
        where = f"relations/{number}"
        if not isinstance(value, Mapping):
            self._problem(where, "should be an object of JSON")
            return {}
        _, before = self._from(value, "relations")
        for end in ("subject", "object"):
            index = value.get(end)
            if type(index) is not int or not 0 <= index < len(objects):
                self._problem(f"{where}/{end}", "names an object that isn't there; choose another")
                return {}
        if value["subject"] == value["object"]:
            self._problem(f"{where}/object", "subject and object are the same; choose another")
        predicate = value.get("predicate", "")
        if predicate != before.get("predicate"):
            predicate = self._text(predicate, f"{where}/predicate", "label")
        ends = {"subject": value["subject"], "predicate": predicate, "object": value["object"]}
        return dict(before) | ends

    def _check_twice(self, scene: Scene) -> None:
        seen: set[tuple[int, str, int]] = set()
        for number, each in enumerate(scene["relations"]):
            key = (each["subject"], normalize_label(each["predicate"]), each["object"])
            if key in seen:
                self._problem(f"relations/{number}", "is there twice; remove one")
            seen.add(key)

    def _leave_out_texts(self, scene: Scene, links: list[Any]) -> None:
        """Removes negatives and paraphrases of relations that say something else now, and what became true."""
        true = _facts(scene) - _facts(self._base)
        for relation, link in zip(scene["relations"], links, strict=True):
            texts = {name for name in ("negatives", "paraphrases") if relation.get(name)}
            if not texts:
                continue
            triplet = _triplet(scene, relation)
            if triplet != _triplet(self._base, self._base["relations"][link["from"]]):
                for name in sorted(texts):
                    self._notes.append(f"the {name} of “{' '.join(triplet)}”, which was changed")
                    del relation[name]
                continue
            false = relation.get("negatives", [])
            kept = [each for each in false if not true & _meanings(_parts(each))]
            if len(kept) < len(false):
                number = len(false) - len(kept)
                told = "1 negative" if number == 1 else f"{number} negatives"
                self._notes.append(f"{told} of “{' '.join(triplet)}”, true of the scene now")
                relation["negatives"] = kept


def _facts(scene: Scene) -> set[Triplet]:
    return {m for each in scene["relations"] for m in _meanings(_triplet(scene, each))}


def _triplet(scene: Scene, relation: Scene) -> Triplet:
    subject, object_ = (scene["objects"][relation[end]]["name"] for end in ("subject", "object"))
    return subject, relation["predicate"], object_


def _parts(negative: list[str]) -> Triplet:
    subject, predicate, object_ = negative[:3]
    return subject, predicate, object_


def _meanings(triplet: Triplet) -> set[Triplet]:
    """A triplet with its words in their normal forms, and what says the same the other way around."""
    subject, object_ = read_name(triplet[0]).noun, read_name(triplet[2]).noun
    found = {(subject, predicates.normalize_predicate(triplet[1]), object_)}
    if inverse := predicates.inverse(triplet[1]):
        found.add((object_, predicates.normalize_predicate(inverse), subject))
    return found
