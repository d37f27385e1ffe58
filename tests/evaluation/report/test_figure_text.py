"""Any label in any figure: drawn literally, without mathematics, without warnings."""

import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from scenarioclip_jax.evaluation.report import charts, pictures, svg
from scenarioclip_jax.evaluation.report.figure_text import MISSING, drawable
from scenarioclip_jax.evaluation.score.result import Confusion

LABELS = [
    "she pays $_$ dollars",
    "ba$$in",
    "$$",
    r"$\foo$",
    r"a\$b$c",
    "$x^2$",
    "\\",
    "x" * 30 + "$" * 30,
    "犬が走る 🐕‍🦺 หมา",
    "a\x00b\tc\x85d\u2028e",
    "half \ud83d of a pair",
    "مرحبا e\u0301",
]


def shown(text: str) -> str:
    """What matplotlib says that it draws for a text."""
    drawn, parsed_as_math = Figure().text(0, 0, text)._preprocess_math(text)
    assert not parsed_as_math
    return drawn


@pytest.mark.parametrize("text", ["$_$", "ba$$in", r"a\$b", r"\\$x$ \alpha", "100 %, #1 & {2}^3"])
def test_what_the_font_has_is_drawn_as_it_stands(text):
    assert shown(drawable(text)) == text


@given(st.text(alphabet=st.sampled_from("$\\{}^_ab "), max_size=20))
@settings(derandomize=True, max_examples=200, deadline=None)
def test_no_text_is_mathematics(text):
    assert shown(drawable(text)) == text


def test_what_no_font_has_is_a_square():
    assert drawable("\U000e1234犬\x00x") in (MISSING * 2 + "x", MISSING + "犬x")


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_every_chart_draws_every_label_without_a_warning(label):
    picture = np.zeros((8, 8, 3), np.uint8)
    bars = {label: (0.5, 3), "b": (0.2, 1)}
    points = np.arange(4.0).reshape(2, 2)
    line = {label: ([1, 2], [0.1, 0.2]), label + pictures.EMA: ([1, 2], [0.1, 0.2])}
    summary = {
        "models": {label: {}},
        "suites": {
            "other": {
                "columns": {
                    label: {
                        "metrics": {
                            label: {
                                "value": 0.5,
                                "interval": [0.1, 0.9],
                                "chance": 0.5,
                                "unit": "share",
                            }
                        }
                    }
                }
            }
        },
    }
    figures = [
        lambda: charts.bars({label: bars, "two": bars}),
        lambda: charts.confusion(Confusion([label, "b"], np.eye(2, dtype=int))),
        lambda: charts.guesses([charts.Guess(picture, label, {label: 0.9, "b": 0.1}, label)]),
        lambda: charts.cosines({label: [np.eye(2)]}, names=[label]),
        lambda: charts.embedding_maps({label: (points, points, [label, "b", label, "b"])}),
        lambda: charts.overview(summary),
        lambda: pictures.curves(line, colors={}, steps=2),
        lambda: pictures.picture_grid([(label, [(picture, label), (picture, label, "#333333")])]),
        lambda: pictures.picture_grid([(label, [pictures.hit_or_miss(picture, label, label)])]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw in figures:
            ElementTree.fromstring(svg.inline(draw(), label))


def test_right_and_wrong_are_no_levels_colors_and_have_marks():
    assert not {pictures.RIGHT, pictures.WRONG} & set(pictures.COLORS.values())
    picture = np.zeros((8, 8, 3), np.uint8)
    assert pictures.hit_or_miss(picture, "a dog", "a dog").caption == "\u2713 a dog"
    assert pictures.hit_or_miss(picture, "a cat", "a dog").color is None


def test_the_default_font_is_the_one_that_is_asked():
    assert matplotlib.rcParams["font.sans-serif"][0] == "DejaVu Sans"
