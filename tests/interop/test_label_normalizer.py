"""Tokenizers of exported models bring texts into the form of labels by themselves."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from scenarioclip_jax.data.stored.labels import normalize_label
from scenarioclip_jax.interop.label_normalizer import label_normalizer
from tests.data.stored.test_labels import KINDS, test_labels

NORMALIZER = label_normalizer()
CASES = [text for mark in test_labels.pytestmark for text, _ in mark.args[1]]
# Entities that are neither usual nor named: they stay as they are written.
KEPT = {"in&notin;out", "d&#0000111;g", "a&#100;og"}
# What Unicode added since the version that the library tokenizers has and that stands for other characters:
# a Python with newer tables replaces them.
LATER = [0x32FF, *range(0xA7F2, 0xA7F5), 0xAB69, *range(0x10780, 0x107C0), *range(0x1E030, 0x1E090)]
LATER += [0x1F16C, *range(0x1FBF0, 0x1FBFA)]


@pytest.mark.parametrize("text", [*CASES, *KINDS])
def test_labels_have_the_form_that_training_gives_them(text):
    found = NORMALIZER.normalize_str(text)
    assert found == (text if text in KEPT else normalize_label(text))


@pytest.mark.slow
def test_every_character_has_that_form():
    different = []
    for code in set(range(sys.maxunicode + 1)).difference(LATER):
        each = chr(code)
        if unicodedata.category(each) in ("Cs", "Cn", "Co"):
            continue
        if NORMALIZER.normalize_str(f"a {each} b") != normalize_label(f"a {each} b"):
            different.append(hex(code))
    assert not different


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_any_text_of_usual_letters_has_that_form(text):
    text = text.replace("&", "and")
    assert NORMALIZER.normalize_str(text) == normalize_label(text)


@given(st.text())
def test_labels_in_their_form_stay(text):
    """So the processor, which normalizes too, gives the same tokens as before."""
    label = normalize_label(text.replace("&", "and").replace("\u03c3", "s").replace("\u03c2", "s"))
    assert NORMALIZER.normalize_str(label) == label


def test_what_a_tokenizer_does_itself_comes_after_and_nothing_is_done_twice():
    both = label_normalizer(normalizers.Replace("dog", "cat"))
    assert both.normalize_str("Hot&nbsp;DOG") == "hot cat"
    assert label_normalizer(both) is both
