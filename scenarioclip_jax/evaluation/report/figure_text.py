"""Makes any text drawable by matplotlib: every text in a figure goes through `drawable`."""

import functools
import unicodedata
from collections.abc import Iterable

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

MISSING = "\u25a1"  # an empty square, for characters that no installed font has


def drawable(text: str) -> str:
    """Returns a text that matplotlib draws literally and without warnings.

    Dollar signs are escaped, since a pair of them would be parsed as mathematics. Line breaks stay; other white
    space becomes a blank. Characters that the figure's font lacks are drawn in an installed font that has them,
    or else as an empty square. Invisible ones, such as joiners and variation selectors, are removed.
    """
    plain = "".join(_character(each) for each in str(text))
    # Without a bare dollar, matplotlib takes a text literally and draws `\\$` as `$`.
    return plain.replace("$", r"\$")


def drawables(texts: Iterable[str]) -> list[str]:
    """Applies `drawable` to several texts."""
    return [drawable(text) for text in texts]


@functools.lru_cache(maxsize=1 << 16)
def _character(each: str) -> str:
    if each == "\n":
        return each
    if each.isspace():
        return " "
    code = ord(each)
    if code in _coverage(font_manager.findfont("DejaVu Sans")):
        return each
    if unicodedata.category(each) in (
        "Cf",
        "Mn",
        "Me",
        "Cc",
    ):  # zero width: nothing visible is lost
        return ""
    return each if _fall_back(code) else MISSING


@functools.cache
def _coverage(path: str) -> frozenset[int]:
    """The characters that a font contains."""
    return frozenset(FT2Font(path).get_charmap())


# Fonts without readable letters: color fonts can't be drawn; the others hold symbols for missing characters, or
# mathematics under private codes.
_UNFIT = ("emoji", "last resort", "stixnon", "stixsize")
_UNFIT += tuple(f"cm{kind}10" for kind in ("b", "ex", "mi", "r", "ss", "sy", "ti", "tt"))


@functools.cache
def _others() -> list[tuple[str, str]]:
    """The other installed fonts, as (family, file)."""
    found = {}
    for entry in font_manager.fontManager.ttflist:
        if entry.style == "normal" and not any(name in entry.name.lower() for name in _UNFIT):
            found.setdefault(entry.name, entry.fname)
    return sorted(found.items())


def _fall_back(code: int) -> bool:
    """Adds a font with a given character to matplotlib's fallbacks; returns False if none is installed."""
    for family, path in _others():
        try:
            covered = code in _coverage(path)
        except (OSError, RuntimeError):  # gone, or of a kind that the library can't read
            continue
        if covered:
            families = matplotlib.rcParams["font.family"]
            if family not in families:
                matplotlib.rcParams["font.family"] = [*families, family]
            return True
    return False
