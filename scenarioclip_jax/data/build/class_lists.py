"""Reads `classes.json` and compares it with the classes that occur."""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from scenarioclip_jax import faults
from scenarioclip_jax.data.build.metadata_files import parse, read_text, show
from scenarioclip_jax.data.build.problems import DROPPED, KEPT, NOTED, Problems
from scenarioclip_jax.data.stored.labels import normalize_label

CLASS_KINDS = ("actions", "objects", "relations")
_LISTED, _COMPARED = 20, 3000  # most classes of a kind that are listed; that are compared


def read_classes(root: Path, problems: Problems) -> dict[str, list[str]]:
    """Returns the normalized class texts of `classes.json`, by `CLASS_KINDS`; empty if there is none."""
    path = root / "classes.json"
    classes: dict[str, list[str]] = {kind: [] for kind in CLASS_KINDS}
    if not path.exists():
        return classes
    try:
        content = parse(read_text(path))
    except (OSError, ValueError, RecursionError, EOFError) as error:
        faults.refuse(error, path)
        detail = str(error) or "nested too deep"
        problems.add("malformed_json", DROPPED, "file", path.name, detail)
        return classes
    if not isinstance(content, dict):
        detail = f"expected an object with {', '.join(CLASS_KINDS)}, got {show(content)}"
        problems.add("malformed_file", DROPPED, "file", path.name, detail)
        return classes
    for kind in CLASS_KINDS:
        given = content.get(kind)
        texts = _texts([] if given is None else given, kind)
        if texts is None:
            detail = f"{kind} should be a list of texts, got {show(given)}"
            problems.add("malformed_file", DROPPED, "file", f"{path.name} {kind}", detail)
            continue
        classes[kind] = sorted({normalize_label(text) for text in texts} - {""})
    for key in content.keys() - set(CLASS_KINDS):
        close = difflib.get_close_matches(str(key).lower(), CLASS_KINDS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        detail = f"{show(key)} is ignored; the lists are {', '.join(CLASS_KINDS)}{hint}"
        problems.add("unknown_field", KEPT, "file", path.name, detail)
    return classes


def _texts(given: Any, kind: str) -> list[str] | None:
    """The texts of a list, the keys of {text: number}, or triplets as texts; None for anything else."""
    if isinstance(given, dict):
        numbers = all(type(value) is int for value in given.values())
        texts = all(isinstance(value, str) for value in given.values())
        given = list(given) if numbers else list(given.values()) if texts else None
    if not isinstance(given, list):
        return None
    found = []
    for text in given:
        if kind == "relations" and isinstance(text, list) and len(text) == 3:
            if not all(isinstance(part, str) for part in text):
                return None
            text = " ".join(text)
        if not isinstance(text, str) or not _encodes(text):
            return None
        found.append(text)
    return found


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def compare_classes(
    listed: Mapping[str, Collection[str]],
    occurring: Mapping[str, Collection[str]],
    problems: Problems,
) -> None:
    """Reports classes that occur but aren't listed, and those that resemble a listed one that never occurs.

    Both are kept as classes; one that differs from a listed one by a letter is probably a typo.
    """
    for kind in CLASS_KINDS:
        if not listed[kind]:
            continue
        names, found = set(listed[kind]), set(occurring[kind])
        unlisted, unused = sorted(found - names), sorted(names - found)
        where = f"classes.json {kind}"
        pairs = {}
        if len(unlisted) * len(unused) <= _COMPARED**2 // 10:
            for text in unlisted:
                if close := difflib.get_close_matches(text, unused, 1, 0.65):
                    pairs[text] = close[0]
        for text, close in list(pairs.items())[:_LISTED]:
            detail = f"{text!r} occurs but isn't listed; is it {close!r}, which is listed but never occurs?"
            problems.add("class_spelling", KEPT, "label", where, detail)
        for reason, what, texts in (
            ("class_unlisted", "occur but aren't listed; they are classes too", unlisted),
            ("class_unused", "are listed but never occur", unused),
        ):
            rest = [t for t in texts if t not in pairs and t not in pairs.values()]
            if rest:
                shown = ", ".join(map(repr, rest[:5])) + (", ..." if len(rest) > 5 else "")
                detail = f"{len(rest)} {kind} {what}: {shown}"
                problems.add(reason, NOTED, "file", where, detail)
