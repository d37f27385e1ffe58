"""The report of an evaluation: numbers by hand, boxes where they belong, and one file for any reader."""

import html
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.evaluation.embed.encoder import Picture
from scenarioclip_jax.evaluation.report.cards import cards, times_chance
from scenarioclip_jax.evaluation.report.shots import MISSING, collect_shots, of_file, shown
from scenarioclip_jax.evaluation.report.write import write_report
from scenarioclip_jax.evaluation.score.result import Confusion, Example, Metric, Result
from tests.data.fake_scenes import fake_scene

HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x>&amp;'


class Page(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def of(self, *names):
        return [attrs for tag, attrs in self.tags if tag in names]


def result(label="a dog"):
    hits = {"global": [1, 0, 0, 0], "object": [1, 1, 1, 0], "relation": [0, 0, 0, 1]}
    found = Result({}, {}, "each level its own", "How.")
    for level, each in hits.items():
        found.metrics[f"{level}/top1"] = Metric(np.array(each, float), chance=0.05)
        found.metrics[f"{level}/macro_top1"] = Metric(np.array(each, float), chance=0.05)
        found.counts |= {f"{level} pictures": 4, f"{level} classes": 20}
        classes = {label: (0.5, 2), "a cat": (0.25, 4)}
        found.bars[f"{level}: strict top-1 by class"] = classes
    found.bars[f"nearest to {label}"] = {label: (0.5, 2)}
    found.confusions["predicates"] = Confusion([label, "b"], np.array([[3, 1], [0, 2]]))
    found.examples["object: hits, drawn by chance"] = [Example(("object", 0), label, True)]
    found.examples["object: misses, drawn by chance"] = [
        Example(("object", 1), f"{label}, not a cat", False)
    ]
    return found


class Data:
    """A data set of one scene."""

    def count(self, split):
        return {"test": 1234}[split]

    def shots(self, wanted):
        view = np.zeros((8, 8, 3), np.uint8)
        return collect_shots([fake_scene(0)], wanted, {"object": {0: view, 1: view}})


def summary_of(found, label="student"):
    metrics = {
        name: {
            "value": metric.value,
            "interval": [metric.value, metric.value],
            "chance": metric.chance,
            "samples": 4,
            "unit": "share",
        }
        for name, metric in found.metrics.items()
    }
    column = {"metrics": metrics, "skipped": {}, "damaged_images": {"count": 0}}
    column["texts"] = {"tokens": [8], "cut": 0, "different": 3}
    model = {"path": "the/run", "step": 4321, "arch": "a", "weights": "student", "image_size": 8}
    model |= {"checkpoint_hash": "0", "fit": "contain", "token_lengths": {}}
    return {
        "models": {label: model},
        "suites": {"zero_shot": {"protocol": "How.", "columns": {label: column}}},
        "failed": {},
        "left_out": {},
        "data": "the/data",
        "data_chosen_by": "",
        "data_notes": [],
        "seed": 7,
        "devices": "1 x cpu",
        "intervals": "95%",
        "prompt": "{}",
        "captions": "",
        "counting": {"strict": "", "any_label": ""},
        "versions": {},
    }


def written(path, label="a dog", column="student"):
    found = result(label)
    write_report(
        path / "report.html",
        summary_of(found, column),
        {"zero_shot": {column: found}},
        {"": Data()},
    )
    return Page((path / "report.html").read_text("utf-8"))


def test_cards_show_score_and_times_chance_of_each_level():
    found = result()
    made = cards(summary_of(found), {"zero_shot": {"student": found, "ema": found}})
    assert [(card.level, card.score, card.times) for card in made] == [
        ("global", "25.0%", "5.0 times chance"),
        ("object", "75.0%", "15.0 times chance"),
        ("relation", "25.0%", "5.0 times chance"),
    ]
    assert {(card.chance, card.what.split()[0]) for card in made} == {("chance 5.0%", "20")}
    assert made[1].others == (("ema", "75.0%"),)
    heights = re.findall(r'<rect [^>]*height="([\d.]+)"', made[0].spark)
    assert [float(each) for each in heights] == [14, 7]  # best class first, of 28 for 100%
    assert (times_chance(0.5, None), times_chance(0.9, 0.003)) == ("", "300 times chance")


def test_an_evaluation_without_recognition_has_cards_of_its_main_figures():
    found = Result({"accuracy": Metric(np.array([1.0, 0.0]), chance=0.5)}, {}, "global", "How.")
    summary = summary_of(found)
    summary["suites"] = {"vsr": summary["suites"]["zero_shot"]}
    (card,) = cards(summary, {"vsr": {"student": found}})
    assert card[:6] == (
        "",
        "Visual Spatial Reasoning",
        "",
        "50.0%",
        "accuracy",
        "1.0 times chance",
    )


def test_scores_and_photos_come_before_tables_which_are_folded(tmp_path):
    text = written(tmp_path).text
    order = ['id="scores"', 'class="card global"', 'id="pictures"', 'id="zero_shot"', "<table"]
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    before = text[: text.index('<table class="scores">')]
    assert before.count("<details>") > before.count("</details>")
    head = text[: text.index("<nav>")]
    for told in ("the/data", "1,234", "step 4,321"):
        assert told in head
    assert re.search(r"<dt>Date</dt><dd>\d{4}-\d\d-\d\d", head)


def test_boxes_lie_where_the_annotation_says(tmp_path):
    scene = fake_scene(0)
    wanted = {"global": {0}, "object": {0, 1}, "relation": {0}}
    shots = collect_shots([scene, fake_scene(1)], wanted, {})
    size = np.array([scene.width, scene.height] * 2)
    for row in (0, 1):
        shot = shots["object"][row]
        np.testing.assert_allclose(shot.boxes * size, scene.object_boxes[row : row + 1])
        height, width = shot.photo.shape[:2]
        ((x, y, w, h),) = shown(shot, "", True)["boxes"]
        x0, y0, x1, y1 = scene.object_boxes[row]
        np.testing.assert_allclose([x / width * size[0], y / height * size[1]], [x0, y0], rtol=1e-5)
        np.testing.assert_allclose(
            [w / width, h / height] * size[:2], [x1 - x0, y1 - y0], rtol=1e-5
        )
    np.testing.assert_allclose(shots["relation"][0].boxes * size, scene.relations[0].boxes)
    assert not len(shots["global"][0].boxes)
    assert {each.id for level in shots.values() for each in level.values()} == {scene.id}
    # A scene without an action has no row at the global level.
    untold = collect_shots([scene._replace(action=""), fake_scene(1)], {"global": {0}}, {})
    assert untold["global"][0].id == fake_scene(1).id


def test_a_part_of_a_file_is_shown_in_its_whole_photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (640, 400)).save(path)
    shot = of_file(Picture(path, crop=(64, 40, 320, 200)))
    np.testing.assert_allclose(shot.boxes, [[0.1, 0.1, 0.5, 0.5]])
    assert shown(shot, "", None)["boxes"] == [(32, 20, 128, 80)]
    gone = of_file(Picture(tmp_path / "gone.png"))
    assert gone == MISSING._replace(id="gone.png", boxes=gone.boxes)
    assert shown(gone, "", None)["alt"] == "photo that can't be read any more"


def test_right_and_wrong_are_signs_and_photos_have_their_ids(tmp_path):
    text = written(tmp_path).text
    right, wrong = re.findall(r'<figure class="photo (\w+)">(.*?)</figure>', text, re.DOTALL)
    assert (right[0], wrong[0]) == ("right", "wrong")
    assert ">\u2713</b> a dog " in right[1]
    assert ">\u2717</b> a dog, not a cat " in wrong[1]
    for _, figure in (right, wrong):
        assert f'<span class="id">{fake_scene(0).id}</span>' in figure
        assert 'class="inset"' in figure
        assert figure.count('class="box"') == 1


@pytest.mark.parametrize("label", ["a dog", HOSTILE, "犬 \x00 مرحبا", "$x_$ 'quoted'"])
def test_the_page_is_one_file_without_scripts_for_any_reader(tmp_path, label):
    page = written(tmp_path, label, column=label)
    assert not page.of("script", "link", "iframe", "object", "embed")
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            assert attrs.get(name, "#").startswith(("data:image/", "#")), (tag, attrs)
    assert not re.search(r"@import|url\((?!#)", page.text)
    images = page.of("img")
    assert images
    assert all(each.get("alt") for each in images)
    charts = [each for each in page.of("svg") if each.get("aria-hidden") != "true"]
    assert len(charts) >= 6
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert [id for id, times in Counter(ids).items() if times > 1] == []
    # Whatever is referred to is there.
    used = re.findall(r'(?:href="|url\()#([^")]+)', page.text)
    assert {html.unescape(each) for each in used} <= set(ids)


def test_the_page_fits_phones_dark_screens_and_paper(tmp_path):
    page = written(tmp_path)
    (viewport,) = [each for each in page.of("meta") if each.get("name") == "viewport"]
    assert "width=device-width" in viewport["content"]
    for rule in ("(prefers-color-scheme: dark)", "print", "(max-width: 56rem)"):
        assert f"@media {rule} {{" in page.text
    tables = page.text.count("<table")
    assert page.text.count('<div class="scroll"><table') == tables > 0
    assert "position: sticky; left: 0" in page.text
    # Texts and lines of charts have the page's colors, which a dark screen changes.
    charts = re.findall(r'<svg class="chart".*?</svg>', page.text, re.DOTALL)
    assert all("currentColor" in each and "#222222" not in each for each in charts)
