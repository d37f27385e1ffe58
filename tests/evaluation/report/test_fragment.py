"""Pieces of a report within a page of another style."""

import numpy as np

from scenarioclip_jax.evaluation.report import fragment
from scenarioclip_jax.evaluation.report.cards import level_card
from scenarioclip_jax.evaluation.report.shots import Shot, shown


def test_the_style_holds_within_the_piece_only():
    page = fragment.cards([level_card("object", {"student": (0.5, 0.1)})])
    style = page[page.index("<style>") : page.index("</style>")]
    assert style.startswith("<style>@scope {")
    assert ":root" not in style
    assert style.count("{") == style.count("}"), "a rule is left open"
    assert page.count("<article") == 1
    assert "5.0 times chance" in page


def test_labels_stay_labels():
    shot = Shot(np.full((8, 12, 3), 90, np.uint8), np.array([[0.25, 0, 0.5, 1.0]]), None, "<b>.jpg")
    page = fragment.photos([shown(shot, "a <script> & more", None)])
    assert "<script>" not in page
    assert "a &lt;script&gt; &amp; more" in page
    assert '<rect class="box" x="3.0" y="0.0" width="3.0" height="8.0"/>' in page
