"""The one form of a label: of class lists, annotations, negatives, and the class texts of an evaluation."""

import functools
import html
import re
import unicodedata

VERSION = (
    2  # of the form; data sets whose summary says less keep invisible characters and HTML entities
)

# What shows nothing though Unicode calls it a letter or a mark: joiners, fillers, variation selectors.
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
_INVISIBLE += "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10))))
_INVISIBLE += "".join(map(chr, range(0xE0100, 0xE01F0)))
_BLANK = {ord(each): None for each in _INVISIBLE}
_MOST = 64  # rounds; each shortens a text or changes letters for good
_ENTITY = re.compile(r"&(#[0-9]|#[xX][0-9a-fA-F]|[A-Za-z])")


@functools.lru_cache(1 << 16)
def normalize_label(text: str) -> str:
    """The one form of a label, of classes and annotations alike.

    Lower case, Unicode NFKC, HTML entities unescaped, without invisible, control and format characters, runs of
    white space as one space. Applied again it changes nothing.
    """
    for _ in range(_MOST):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    if _ENTITY.search(text):
        text = html.unescape(text)
    text = unicodedata.normalize("NFKC", visible(text)).lower()
    # The lower case of the Turkish dotted capital I is an i with a second dot.
    return " ".join(unicodedata.normalize("NFKC", text.replace("i\u0307", "i")).split())


def visible(text: str) -> str:
    """A text without what shows nothing: control, format and other invisible characters. White space stays."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each
        for each in text.translate(_BLANK)
        if each.isspace() or unicodedata.category(each) not in ("Cc", "Cf")
    )


def normalize_caption(text: str) -> str:
    """A caption in NFC, without invisible characters, runs of white space as one space; case stays."""
    return unicodedata.normalize("NFC", " ".join(visible(text).split()))


def looks_the_same(text: str) -> bool:
    """Whether the form of a label differs from it by case, spaces and accents' encoding only."""
    return normalize_label(text) == " ".join(unicodedata.normalize("NFC", text.lower()).split())
