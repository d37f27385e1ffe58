"""What the report at a run's end shows: its scores, its way there, and some photos."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from scenarioclip_jax.evaluation.embed.embedder import Stopped
from scenarioclip_jax.train import report_page, report_photos
from scenarioclip_jax.train.report import write_report
from scenarioclip_jax.train.report_photos import gallery_scenes
from tests.train import tiny


@pytest.mark.parametrize(
    ("asked", "there", "shown"), [(0, 2000, 512), (3, 12, 3), (0, 12, 12), (900, 2000, 512)]
)
def test_the_gallery_is_what_was_recognized(asked, there, shown):
    config = SimpleNamespace(report=SimpleNamespace(scenes=asked))
    assert gallery_scenes(config, range(there)) == shown


def test_what_is_reported_is_the_test_split(tmp_path):
    asked = []

    def recognize(params, split, scenes):
        asked.append((split, scenes))
        raise Stopped

    watch = SimpleNamespace(
        progress=SimpleNamespace(say=lambda text: None),
        validator=SimpleNamespace(recognize=recognize),
    )
    data = SimpleNamespace(sets=[SimpleNamespace(test=object())])
    state = SimpleNamespace(weights=lambda: {"student": {}})
    world = SimpleNamespace(changes=[], state=state)
    with pytest.raises(Stopped):
        write_report(SimpleNamespace(config=tiny.config(tmp_path)), world, data, watch, tmp_path)
    assert asked == [("test", 16)]


def recognition(top1):
    scores = {"count": 40.0, "classes": 20.0, "top1": top1, "chance_top1": 0.05, "macro_top1": 0.1}
    return SimpleNamespace(scores={"object": scores})


def test_cards_show_the_test_score_and_the_way_there():
    found = {
        "": {"student": recognition(0.25), "ema": recognition(0.5)},
        "small": {"student": recognition(0.75), "ema": recognition(0.5)},
    }
    rows = [
        {"step": step, "validation/student/object/top1": value}
        for step, value in ((1, 0.1), (2, 0.2))
    ]
    together, small = report_page.cards(found, rows)
    assert (together.title, together.score, together.times) == (
        "Object",
        "25.0%",
        "5.0 times chance",
    )
    assert together.others == (("ema", "50.0%"),)
    (points,) = re.findall(r'points="([^"]*)"', together.spark)
    assert points == "0.0,16.0 100.0,2.0"  # from half of the height to the top
    assert (small.title, small.score, small.spark) == ("Object, small", "75.0%", "")
    shown = report_page.table(found)
    assert re.findall(r'<th class="group"[^>]*>([^<]*)', shown)[:2] == ["Object", "Object, small"]
    assert re.findall(r"<b>([^<]*)", shown)[:4] == ["25.0%", "50.0%", "75.0%", "50.0%"]
    assert "small>chance 5.0%<" in shown


def test_hits_and_misses_say_what_was_nearer_and_ties_are_misses():
    classes, own = ["a cat", "a dog"], ["a dog", "a dog", "a cat"]
    scores = np.array([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]])
    draw = np.random.default_rng(0)
    found = report_photos._hits_and_misses(own, classes, scores, draw)
    assert found == {
        "hits": [(0, "a dog", True)],
        "misses": [(1, "a dog, not a cat", False), (2, "a cat, not a dog", False)],
    }
    near = report_photos._nearest(own, classes, scores, draw, 5)
    assert near["nearest to “a dog”"] == [
        (0, "a dog", True),
        (2, "a cat", None),
        (1, "a dog", True),
    ]
