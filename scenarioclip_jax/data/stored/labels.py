"""The normal form of labels in class lists, annotations, negatives, and the class texts of an evaluation."""

import functools
import html
import html.entities
import re
import unicodedata
from collections.abc import Iterable, Mapping, Set
from typing import Any

# Of the normal form; every change of what `normalize_label` returns raises it. Data sets hold the version that
# they were built with, none if it was 1.
VERSION = 3
_CHANGED = {
    2: "labels kept invisible characters and HTML entities",
    3: "names of HTML entities were replaced even without a semicolon, as in `city&center`",
}

# Invisible characters that Unicode calls letters or marks: joiners, fillers, variation selectors.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_INVISIBLE += "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10))))
_INVISIBLE += "".join(map(chr, range(0xE0100, 0xE01F0)))
_BLANK = {ord(each): None for each in _INVISIBLE}
_MOST = 64  # rounds; each shortens the text or changes letters permanently
_ENTITY = re.compile(r"&(?:#[0-9]{1,9}|#[xX][0-9a-fA-F]{1,9}|[A-Za-z][A-Za-z0-9]*);")


@functools.lru_cache(1 << 16)
def normalize_label(text: str) -> str:
    """Returns the normal form of a label, for both classes and annotations.

    Lower case, Unicode NFKC, HTML entities that end with a semicolon unescaped, no invisible, control or format
    characters, and runs of white space as one space. Applying it again changes nothing.
    """
    for _ in range(_MOST):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    text = unicodedata.normalize("NFKC", visible(_ENTITY.sub(_character, text))).lower()
    # The Turkish dotted capital I becomes an i with a second dot in lower case.
    return " ".join(unicodedata.normalize("NFKC", text.replace("i\u0307", "i")).split())


def _character(entity: re.Match[str]) -> str:
    """The characters of an entity, itself if there is none of that name.

    `html.unescape` also reads old names without a semicolon, even within words: "city&center" as "city¢er".
    """
    text = entity.group()
    return html.unescape(text) if text[1] == "#" else html.entities.html5.get(text[1:], text)


def visible(text: str) -> str:
    """Removes control, format and other invisible characters from a text; white space stays."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each
        for each in text.translate(_BLANK)
        if each.isspace() or unicodedata.category(each) not in ("Cc", "Cf")
    )


def differences_from(version: int) -> list[str]:
    """Says how labels of an earlier version differ from those of today; empty for this version."""
    return [text for number, text in _CHANGED.items() if version < number]


def normalize_caption(text: str) -> str:
    """Returns a caption in NFC without invisible characters, runs of white space as one space; keeps case."""
    return unicodedata.normalize("NFC", " ".join(visible(text).split()))


def looks_the_same(text: str) -> bool:
    """Whether a label differs from its normal form only in case, spaces and the encoding of accents."""
    return normalize_label(text) == " ".join(unicodedata.normalize("NFC", text.lower()).split())


def labels_of(texts: str | Iterable[str]) -> list[str]:
    """Returns one text, or several, in the normal form.

    Raises:
      ValueError: `texts` isn't a string or an iterable of strings, or one holds half of a surrogate pair.
    """
    one = isinstance(texts, str | bytes | Mapping | Set) or not isinstance(texts, Iterable)
    found: list[Any] = [texts] if one else list(texts)
    for text in found:
        if not isinstance(text, str):
            raise ValueError(
                f"expected a string or a list of strings, got {text!r:.80} ({type(text).__name__})"
            )
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            raise ValueError(
                f"{text!r:.80} holds half of a surrogate pair, no character: it was decoded wrongly"
            )
    return list(map(normalize_label, found))


def relation_text(triplet: tuple[str, str, str]) -> str:
    """The text of a relation: its triplet joined by spaces."""
    return " ".join(triplet)
