"""`normalize_label` as far as the `tokenizers` library can express it, for the tokenizers of exported models.

`AutoProcessor` brings texts into the form that labels have in training. What calls the tokenizer itself, such
as Transformers' `pipeline("zero-shot-image-classification")`, doesn't; so the tokenizer does the same again.
It leaves HTML entities as they are written other than the most usual ones (`USUAL`), those given by number, and
those that are escaped three times over.
"""

import html.entities
import json

from tokenizers import Regex, normalizers

from scenarioclip_jax.data.tokens import Tokenizer

# What HTML 4 names of Latin-1, punctuation and a few signs: each costs a pass over every text.
USUAL = {name: chr(code) for name, code in html.entities.name2codepoint.items() if code < 256}
USUAL |= {"apos": "'", "ndash": "\u2013", "mdash": "\u2014", "hellip": "\u2026", "bull": "\u2022"}
USUAL |= {"lsquo": "\u2018", "rsquo": "\u2019", "ldquo": "\u201c", "rdquo": "\u201d"}
USUAL |= {"euro": "\u20ac", "trade": "\u2122"}
_NUMBERS = (34, 38, 39, 60, 62, 160)
# As in `labels.visible`: control characters but white space, format characters, letters that show nothing.
_INVISIBLE = (
    r"[\x00-\x08\x0e-\x1b\x7f\x{80}-\x{84}\x{86}-\x{9f}\p{Cf}\x{34f}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{2800}"
    r"\x{3164}\x{ffa0}\x{180b}-\x{180f}\x{fe00}-\x{fe0f}\x{e0100}-\x{e01ef}]+"
)
_SPACES = (
    r"[\s\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"
)


def label_normalizer(after: normalizers.Normalizer | None = None) -> normalizers.Normalizer:
    """Returns a normalizer that does this first, and then what `after` does; `after` itself if it does both."""
    own = _own()
    if after is None:
        return normalizers.Sequence(own)
    first = json.loads(normalizers.Sequence(own).__getstate__())["normalizers"]
    there = json.loads(after.__getstate__()).get("normalizers", [])
    return after if there[: len(first)] == first else normalizers.Sequence([*own, after])


def as_if_exported(ours: Tokenizer, theirs: Tokenizer) -> Tokenizer:
    """Returns `ours` with this normalizer in front if `theirs` has it, as tokenizers of exported models do.

    Training hands labels to its tokenizer in their normal form, so the two don't differ by that.
    """
    after = theirs.normalizer
    if after is None or label_normalizer(after) is not after:
        return ours
    return ours.with_normalizer(label_normalizer(ours.normalizer))


def _own() -> list[normalizers.Normalizer]:
    replace = normalizers.Replace
    # "&amp;" comes first, twice, so that "&amp;eacute;" and "&amp;amp;" are replaced wholly.
    names = {"amp": "&"} | USUAL
    steps = [replace("&amp;", "&")]
    steps += [replace(f"&{name};", sign) for name, sign in names.items()]
    steps += [
        replace(Regex(f"&#(?:0*{number}|[xX]0*{number:x});"), chr(number)) for number in _NUMBERS
    ]
    return [
        *steps,
        replace(Regex(_INVISIBLE), ""),
        normalizers.NFKC(),
        replace(Regex(r"(?<=\p{L})\x{3a3}(?!\p{L})"), "\u03c2"),  # a sigma that ends a word
        normalizers.Lowercase(),
        replace("i\u0307", "i"),
        normalizers.NFKC(),
        replace(Regex(_INVISIBLE), ""),
        replace(Regex(_SPACES), " "),
        normalizers.Strip(),
    ]
