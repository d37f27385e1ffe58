"""The pieces of a report for a notebook: cards and photos, within a page of another style."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from scenarioclip_jax.evaluation.report.cards import Card
from scenarioclip_jax.evaluation.report.page import HERE, render
from scenarioclip_jax.evaluation.report.pictures import MARKS


def cards(shown: Sequence[Card]) -> Markup:
    """Level cards, such as those of `report.cards.cards`."""
    return _fragment(cards=list(shown), photos=[])


def photos(shown: Sequence[dict[str, Any]]) -> Markup:
    """Photos with their boxes and captions, as `report.shots.shown` returns them."""
    return _fragment(cards=[], photos=list(shown))


def _fragment(**pieces: Any) -> Markup:
    return Markup(render(HERE / "fragment.html", marks=MARKS, **pieces))
