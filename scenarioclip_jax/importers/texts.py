"""Names, predicates and captions as they should be in a record."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

_UNSEEN = "\ufeff\u200b\u00ad"  # byte order mark, zero-width space, soft hyphen


def clean(text: object) -> str:
    """Text without control characters and repeated spaces, in composed Unicode; "" for what isn't text."""
    if not isinstance(text, str):
        return ""
    text = unicodedata.normalize("NFC", text)
    # Unpaired surrogates, as broken JSON may hold, can't be written. Joiners stay: emoji and scripts need them.
    text = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter
        for letter in text
        if letter not in _UNSEEN
    )
    return re.sub(r"\s+", " ", text).strip()


def label(text: object, aliases: Mapping[str, str] | None = None) -> str:
    """A name or predicate that people typed: lower case, without punctuation at its ends, aliases resolved."""
    text = clean(text).lower().strip(".,;:!?\"'`()[]{}*_- ")
    return (aliases or {}).get(text, text)


def stuff_name(text: object) -> str:
    """The name of one of COCO's panoptic classes, as one would say it: "tree", not "tree-merged"."""
    return re.sub(r"(-(merged|other|stuff))+$", "", clean(text))


def captions(texts: Iterable[object]) -> list[str]:
    """Captions, each once, without empty ones."""
    return list(dict.fromkeys(text for text in map(clean, texts) if text))
