import math

import pytest

from scenarioclip_jax.annotate.models.detections import Detection, clip, match_label, select


@pytest.mark.parametrize(
    ("label", "names", "wanted"),
    [
        ("dog", ["cat", "dog"], "dog"),
        ("Dog", ["dog"], "dog"),
        ("t - shirt", ["shirt", "t-shirt"], "t-shirt"),  # a tokenizer sets hyphens apart
        ("police car dog", ["dog", "police car"], "police car"),  # merged: more words
        ("red car", ["red apple", "car"], "car"),  # a larger share of its words
        ("car", ["apple", "police car"], "police car"),  # partial
        ("##brella", ["dog", "umbrella"], "umbrella"),
        ("##brella dog", ["dog", "umbrella"], "dog"),  # both; the first
        ("", ["dog"], None),
        (".", ["dog", "..."], None),
        ("cat", ["dog", "category"], None),
    ],
)
def test_a_label_stands_for_the_name_whose_words_it_has(label, names, wanted):
    assert match_label(label, names) == wanted


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((-5, -5, 200, 30), (0, 0, 100, 30)),
        ((10, 10, 20, 20), (10, 10, 20, 20)),
        ((10, 10, 10.5, 20), None),
        ((20, 10, 10, 20), None),
        ((150, 10, 160, 20), None),  # beside the photo
        ((math.nan, 0, 5, 5), None),
        ((0, 0, math.inf, 5), None),
    ],
)
def test_boxes_are_clipped_or_left_out(box, wanted):
    assert clip(box, (100, 50)) == wanted


def test_of_boxes_of_one_name_that_overlap_the_best_stays():
    def box(name, x, score):
        return Detection(name, (x, 0.0, x + 10.0, 10.0), score)

    found = [box("a", 0, 0.5), box("a", 2, 0.9), box("b", 2, 0.4), box("a", 20, 0.3)]
    # Overlap of the first two: 80 / 120.
    assert select(found, 0.66, 9) == [found[1], found[2], found[3]]
    assert select(found, 0.67, 9) == [found[1], found[0], found[2], found[3]]
    assert select(found, 0.67, 1) == [found[1], found[2]]
    assert select([], 0.5, 9) == []
