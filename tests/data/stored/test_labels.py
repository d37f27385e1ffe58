"""Labels have one form, whatever invisible characters and encodings they were written with."""

import hashlib
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax.data.stored.labels import (
    VERSION,
    differences_from,
    normalize_caption,
    normalize_label,
)


@pytest.mark.parametrize(
    "text",
    [
        *("dog\u200b", "\ufeffdog", "do\u00adg", "\u200edog", "dog\x00", "\uff44\uff4f\uff47"),
        *("DOG", " dog\u3000", "d\u2060og", "dog\ufe0f", "\u2800dog", "dog&nbsp;", "&#100;og"),
        *("dog\u202c", "dog\U000e0020", "&amp;#100;og", "\u115fdog", "dog\x7f", "dog\u0085"),
    ],
)
def test_what_looks_like_dog_is_dog(text):
    assert normalize_label(text) == "dog"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("\ufb01sh", "fish"),
        ("\u0130stanbul", "istanbul"),
        ("I\u0307stanbul", "istanbul"),
        ("dog&amp;cat", "dog&cat"),
        ("dog&amp;amp;cat", "dog&cat"),
        ("AT&T", "at&t"),
        # Without a semicolon it is no entity, though HTML reads some names so: &cent, &not, &copy, &reg, &lt.
        ("city&center", "city&center"),
        ("city&center;", "city&center;"),
        ("in&notin;out", "in\u2209out"),
        ("fish&notit;", "fish&notit;"),
        ("R&D&copy cat", "r&d&copy cat"),
        ("black&lt", "black&lt"),
        ("a&#100og", "a&#100og"),
        # No number of a character has that many digits, and Python refuses to read it.
        ("dog &#" + "9" * 5000 + ";", "dog &#" + "9" * 5000 + ";"),
        ("d&#0000111;g", "dog"),
        ("caf&Eacute;", "caf\u00e9"),
        ("a\u2028b\x0bc", "a b c"),
        ("cafe\u200b\u0301", "caf\u00e9"),
        ("\u72ac", "\u72ac"),
        ("man's hat", "man's hat"),
        ("\u200b", ""),
    ],
)
def test_labels(text, label):
    assert normalize_label(text) == label


@pytest.mark.slow
def test_normalizing_again_changes_nothing():
    """Over every character that isn't plain: alone, before an accent, and in an entity."""
    for code in range(sys.maxunicode + 1):
        each = chr(code)
        if unicodedata.category(each) in ("Cs", "Cn", "Co"):
            continue
        label = normalize_label.__wrapped__(f"a{each}\u0301 &{each}amp;")
        assert normalize_label.__wrapped__(label) == label, hex(code)
        assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in label), hex(code)


@given(st.text())
def test_any_text_has_one_form(text):
    label = normalize_label(text)
    assert normalize_label(label) == label
    assert normalize_label(f"\u200b{text}\u200b".upper().lower()) == normalize_label(
        text.upper().lower()
    )
    caption = normalize_caption(text)
    assert normalize_caption(caption) == caption


# The digest of the normal forms of `KINDS`, by version. If this fails, the form has changed: raise `VERSION`,
# say in `_CHANGED` how, and add the new digest; data sets that were built before say then that they are older.
DIGESTS = {3: "4b15cb168a7a8e07"}
KINDS = (
    "Dog|d\u00adog|dog&nbsp;|city&center|caf&Eacute;|a&#100;og|a&#100og|&amp;amp;|\u0130stanbul|\ufb01sh|\u200b|"
    "a\u2028b|e\u0301|\uff24og|dog\ufe0f|\u1160x|man's  hat|&bogus;|&lt|stra\u00dfe|\u03a3\u03a3|\u2126|I|"
    "\u0131"
).split("|")


def test_the_version_is_raised_whenever_the_form_changes():
    found = "\n".join(map(normalize_label, KINDS)).encode()
    assert hashlib.sha256(found).hexdigest()[:16] == DIGESTS.get(VERSION)


def test_data_sets_of_earlier_versions_say_what_has_changed():
    assert differences_from(VERSION) == []
    assert len(differences_from(1)) == VERSION - 1
    assert "city&center" in differences_from(2)[0]
