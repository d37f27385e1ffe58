"""What predicates mean: which are the same, which follow from each other, which exclude each other.

A predicate is known, or it is itself and nothing is said of it: every question here is answered with "no" then.
Answers hold for one ordered pair of things. The knowledge is data in `predicate_table.py`.
"""

import functools

from scenarioclip_jax.words import box_rules
from scenarioclip_jax.words import predicate_table as table
from scenarioclip_jax.words.box_rules import Box

_ROWS = {row.name: row for row in table.ROWS}


def _verb_forms() -> dict[str, str]:
    forms = {}
    for line in table.VERBS.replace("\n", " ").split(";"):
        plain, present, participle = line.split()
        if plain.endswith(("s", "sh", "ch", "x", "o")):
            third = plain + "es"
        elif plain.endswith("y") and plain[-2] not in "aeou":
            third = plain[:-1] + "ies"
        else:
            third = plain + "s"
        passive = f"{participle} by"
        forms |= {plain: present, third: present, present: present, passive: passive}
    return forms


_VERB_FORMS = _verb_forms()
_PASSIVE = {}
for _plain_form in table.VERBS.replace("\n", " ").split(";"):
    _, _present, _participle = _plain_form.split()
    _PASSIVE[_present] = table.INVERSES.get(_present, f"{_participle} by")
_ACTIVE = {passive: active for active, passive in _PASSIVE.items()}
_FORMS = (
    _VERB_FORMS
    | table.READ_AS
    | {text: row.name for row in table.ROWS for text in (row.name, *row.same, *row.read)}
)
_VERBS = frozenset(name for name in _VERB_FORMS.values() if _FORMS[name] == name)  # and "held by"
_POSTURES = {text: name for name, texts in table.POSTURES.items() for text in texts}


@functools.lru_cache(maxsize=1 << 14)
def clean(predicate: str) -> str:
    """Lower case, single spaces, and no auxiliary verb: "is  Holding" is "holding"."""
    words = predicate.lower().replace("-", " ").replace("_", " ").split()
    while len(words) > 1 and words[0] in table.AUXILIARIES:
        words.pop(0)
    return " ".join(words)


@functools.lru_cache(maxsize=1 << 14)
def normalize_predicate(predicate: str) -> str:
    """One text for all that mean the same: "is holding" and "holds" are "holding".

    "held" without "by" stays as it is, since it can be either.
    """
    text = clean(predicate)
    if text in _FORMS:
        return _FORMS[text]
    first, _, rest = text.partition(" ")
    if first in table.FILLERS and rest and rest != "by":  # "seen by"
        return normalize_predicate(rest)
    if first in _POSTURES:
        words = [word for word in rest.split() if word not in table.FILLERS]
        place = _FORMS.get(" ".join(words), "")
        if place in _ROWS and _ROWS[place].spatial:
            return f"{_POSTURES[first]} {place}"
    return text


def known(predicate: str) -> bool:
    """Whether the tables say anything of a predicate."""
    posture, core = _split(normalize_predicate(predicate))
    return bool(posture) or core in _ROWS or core in _VERBS


def same(p: str, q: str) -> bool:
    """Whether two predicates mean the same."""
    return normalize_predicate(p) == normalize_predicate(q)


def symmetric(predicate: str) -> bool:
    """Whether a triplet is certainly as true with its ends swapped: "next to"."""
    name = normalize_predicate(predicate)
    return (name in _ROWS and _ROWS[name].mutual == "yes") or name in _always_mutual()


def maybe_symmetric(predicate: str, both_can_act: bool = True) -> bool:
    """Whether a triplet may be as true with its ends swapped; so it is of all that is unknown.

    Args:
      predicate: The predicate.
      both_can_act: Whether both ends may be people or animals. "Holding" is true one way only, if not.
    """
    posture, core = _split(normalize_predicate(predicate))
    if posture:
        return _ROWS[core].mutual != "no"
    if core in _ROWS:
        return _ROWS[core].mutual == "maybe"
    if core in _always_mutual():
        return False
    if core in _VERBS:
        return both_can_act and _ACTIVE.get(core, core) in table.MUTUAL_VERBS
    return True


def asymmetric(predicate: str, both_can_act: bool = True) -> bool:
    """Whether a triplet is certainly false with its ends swapped."""
    return not symmetric(predicate) and not maybe_symmetric(predicate, both_can_act)


@functools.lru_cache(maxsize=1 << 14)
def inverse(predicate: str) -> str | None:
    """What the object is to the subject: "below" for "above", "held by" for "holding"; None if unknown.

    What is true of a pair has an inverse that is true, too, but it can say less: "in front of" is the inverse
    of "standing behind".
    """
    if clean(predicate) in ("on top of", "atop"):
        return "under"
    posture, core = _split(normalize_predicate(predicate))
    if posture and core == "on":
        return "under" if posture in ("sitting", "standing", "lying", "parked") else None
    if core in _VERBS and not posture:
        return _PASSIVE.get(core) or _ACTIVE.get(core)
    if core not in _ROWS:
        return None
    return core if _ROWS[core].mutual == "yes" else _ROWS[core].inverse or None


def wordings(predicate: str) -> tuple[str, ...]:
    """Other texts that are true of whatever the predicate is true of."""
    text, name = clean(predicate), normalize_predicate(predicate)
    if text in ("on top of", "atop"):
        return tuple(t for t in ("on top of", "atop", "on") if t != text)
    posture, core = _split(name)
    if core not in _ROWS:
        return (core,) if core in _VERBS and core != text else ()
    row = _ROWS[core]
    if posture:
        return tuple(f"{posture} {t}" for t in row.same) if f"{posture} {core}" == text else ()
    if text in (row.name, *row.same):
        return tuple(t for t in (row.name, *row.same) if t != text)
    return ()


def opposites(predicate: str, of_person: bool = False) -> tuple[str, ...]:
    """Predicates that can't be true of the same subject and object, the likeliest to be mistaken for it first.

    Args:
      predicate: The predicate.
      of_person: Whether the subject is a person, who stands, sits or lies.
    """
    name = normalize_predicate(predicate)
    posture, core = _split(name)
    found = []
    if posture and of_person:
        own = [group for group in table.POSTURE_GROUPS if posture in group]
        others = ("sitting", "standing", "lying") if own else ()
        found += [f"{other} {core}" for other in others if other not in own[0]]
    if posture == "riding" or not posture:
        found += table.EXCLUSIVE.get(posture or core, ())
    if core in _ROWS:
        places = list(_ROWS[core].opposites)
        if posture and core == "on":
            places.append("below")
        found += [f"{posture} {place}" if posture else place for place in places]
    if (
        asymmetric(name, both_can_act=True)
        and (back := inverse(name))
        and normalize_predicate(back) != name
    ):
        found.append(back)
    return tuple(dict.fromkeys(text for text in found if normalize_predicate(text) != name))


@functools.lru_cache(maxsize=1 << 12)
def implied(predicate: str) -> frozenset[str]:
    """All that is true of a pair of which the predicate is true, by their normal names."""
    name = normalize_predicate(predicate)
    posture, core = _split(name)
    found = {name}
    if posture:
        found |= implied(core)
        if core == "on" and posture == "riding":
            found.add("riding")
    if core in _ROWS:
        for other in _ROWS[core].implies:
            found |= implied(other)
    if core in table.CONTACT or core in ("holding", "carrying", "held by", "carried by"):
        found.add("near")
    if core == "containing":
        found.add("near")
    if core == "riding":
        found.add("on")
    return frozenset(found)


def implies(p: str, q: str) -> bool:
    """Whether q is true of a pair whenever p is."""
    return normalize_predicate(q) in implied(p)


@functools.lru_cache(maxsize=1 << 14)
def may_be_said(p: str, q: str) -> bool:
    """Whether a reader may say q of a pair of which p is true, whatever its boxes are."""
    said = normalize_predicate(q)
    place = _split(said)[1]
    for name in implied(p):
        core = _split(name)[1]
        if said == name or (core in _ROWS and place in _ROWS[core].may):
            return True
    return False


@functools.lru_cache(maxsize=1 << 14)
def excludes(p: str, q: str, of_person: bool = False, both_can_act: bool = True) -> bool:
    """Whether p, which is true of a pair, shows that q is false of it.

    Args:
      p: A true predicate.
      q: The predicate to judge.
      of_person: Whether the subject is a person.
      both_can_act: Whether both ends may be people or animals.
    """
    if may_be_said(p, q):
        return False
    for a in implied(p):
        for b in implied(q):
            if b in map(normalize_predicate, opposites(a, of_person)):
                return True
            if a in map(normalize_predicate, opposites(b, of_person)):
                return True
            back = inverse(a)
            if back and normalize_predicate(back) == b and a != b and asymmetric(a, both_can_act):
                return True
    return False


def could_hold(predicate: str, subject: Box, object_: Box, size: tuple[int, int]) -> bool | None:
    """Whether a lenient reader could call a predicate true of two boxes; None if boxes can't tell.

    Args:
      predicate: The predicate.
      subject, object_: Boxes in pixels.
      size: Width and height of the photo, in pixels.
    """
    name = normalize_predicate(predicate)
    core = _split(name)[1]
    if core not in box_rules.RULES and _ACTIVE.get(core, core) in table.CONTACT:
        return box_rules.touch(box_rules.Pair(subject, object_, size))
    rule = box_rules.RULES.get(core)
    return None if rule is None else rule(box_rules.Pair(subject, object_, size))


def example(predicate: str, subject: Box, object_: Box, size: tuple[int, int]) -> float:
    """How good an example of a predicate two boxes are, from 0 to 1; 1 if boxes can't tell.

    Args:
      predicate: The predicate.
      subject, object_: Boxes in pixels.
      size: Width and height of the photo, in pixels.
    """
    rule = box_rules.EXAMPLES.get(_split(normalize_predicate(predicate))[1])
    return 1.0 if rule is None else rule(box_rules.Pair(subject, object_, size))


def in_one_place(predicate: str) -> bool:
    """Whether a thing that is so to one object isn't so to another one that is elsewhere: "on"."""
    return _split(normalize_predicate(predicate))[1] in table.ONE_PLACE


def usual_objects(predicate: str) -> tuple[str, ...]:
    """Things that are often the object of a verb: "horse" and "bicycle" of "riding"."""
    words = table.USUAL_OBJECTS.get(normalize_predicate(predicate), "").split()
    return tuple(word.replace("_", " ") for word in words)


def tells_depth(predicate: str) -> bool:
    """Whether a predicate says which of two things is nearer: "in front of", "behind" and their like."""
    return any(_split(name)[1] in ("in front of", "behind") for name in implied(predicate))


def needs_actor(predicate: str) -> str | None:
    """Which end only a person or an animal can be: "subject", "object" (of "worn by"), or None."""
    name = normalize_predicate(predicate)
    if name in table.NEEDS_ACTOR:
        return "subject"
    return "object" if _ACTIVE.get(name) in table.NEEDS_ACTOR else None


def _always_mutual() -> frozenset[str]:
    return table.ALWAYS_MUTUAL | {_PASSIVE[verb] for verb in table.ALWAYS_MUTUAL}


def _split(name: str) -> tuple[str, str]:
    """The posture and the rest of a normal name: "sitting behind" is ("sitting", "behind")."""
    first, _, rest = name.partition(" ")
    return (first, rest) if first in table.POSTURES and rest in _ROWS else ("", name)
