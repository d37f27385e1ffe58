"""Two models side by side: what is opened, and how the page shows where they differ."""

import json

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.command import main
from scenarioclip_jax.demo.examples import make_examples
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.models import open_models
from scenarioclip_jax.demo.service import Service
from tests.demo.test_page import LISTS, TOKEN, WORDS, opened, served
from tests.harness.browser import open_browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = sync_api.expect
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def models(album):
    return open_models(str(album / "model"), "student", "ema")


@pytest.fixture(scope="module")
def address(models):
    batcher = Batcher(64)
    services = {name: Service(model, WORDS) for name, model in models.items()}
    app = make_app(services, batcher, Metrics(), TOKEN, frozenset({"127.0.0.1"}), LISTS)
    with served(app) as address:
        yield address
    batcher.close()


browser = pytest.fixture(scope="module")(open_browser)


def percent(share):
    return f"{100 * share:.{1 if share < 0.1 else 0}f}%"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1000])
def test_both_graphs_are_shown_and_what_differs_is_marked(
    models, browser, address, width, tmp_path
):
    example = make_examples()[0]
    (tmp_path / "photo.png").write_bytes(example.file)
    wanted = [
        model.describe(Image.open(tmp_path / "photo.png"), example.boxes, words=WORDS)
        for model in models.values()
    ]
    with opened(browser, address, width) as page:
        page.click("#examples button:nth-child(1)")
        page.wait_for_selector("#found-relations li")
        assert page.locator("#heads button").all_inner_texts() == ["model, student", "model, ema"]
        for index in range(len(example.boxes)):
            line = page.locator("#found-objects li").nth(index)
            both = [each.objects[index] for each in wanted]
            cells = line.locator(".cell").all()
            for cell, found in zip(cells, both, strict=True):
                assert percent(found.score) in cell.inner_text()
            apart = abs(both[0].score - both[1].score) >= 0.05 or both[0].name != both[1].name
            assert ("differs" in line.get_attribute("class")) == apart
        boxes = [cell.bounding_box() for cell in page.locator("#found-actions .cell").all()[:2]]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]  # next to each other
        assert boxes[0]["y"] == pytest.approx(boxes[1]["y"], abs=1)
        page.click("#heads button:nth-child(2)")
        expect(page.locator("#heads button:nth-child(2)")).to_have_attribute("aria-pressed", "true")
        drawn = page.locator("#stage g[data-object='0'] text").text_content()
        assert drawn == f"0 {wanted[1].objects[0].name}"
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_scores_that_differ_are_marked(browser, address):
    """What the page makes of answers that are known."""

    def answer(route):
        second = route.request.post_data_json["model"].endswith("ema")
        names = [{"text": "horse", "score": 0.9 - 0.4 * second}]
        name = "boat" if second else "horse"
        objects = [
            {"name": "horse", "score": 0.9 - 0.4 * second, "box": [1, 1, 30, 30], "names": names},
            {"name": name, "score": 0.5, "box": [40, 40, 90, 90], "names": names},
        ]
        relations = [] if second else [{"subject": 0, "object": 1, "score": 0.3}]
        for each in relations:
            each |= {"predicate": "on", "text": "horse on horse"}
        actions = [{"text": "riding", "score": 0.52 + 0.01 * second}]
        graph = {"actions": actions, "objects": objects, "relations": relations}
        route.fulfill(body=json.dumps(graph), content_type="application/json")

    with opened(browser, address) as page:
        page.route("**/describe", answer)
        page.set_input_files(
            "#file",
            {"name": "a.png", "mimeType": "image/png", "buffer": make_examples()[0].file},
        )
        page.wait_for_selector("#found-relations li")
        told = {
            kind: page.locator(f"#found-{kind} li .apart").all_inner_texts()
            for kind in ("actions", "objects", "relations")
        }
        assert told == {
            "actions": ["+1"],
            "objects": ["\u221240", "differs"],
            "relations": ["differs"],
        }
        assert page.locator("li.differs").count() == 3
        for which, name in ((2, "boat"), (1, "horse")):
            page.click(f"#heads button:nth-child({which})")
            assert page.locator("#stage g[data-object='1'] text").text_content() == f"1 {name}"
        assert "not among the best" in page.inner_text("#found-relations li")


def test_models_are_opened_by_names_that_differ(models, album):
    assert list(models) == ["model, student", "model, ema"]
    student, ema = (model.encode_text(["riding"]) for model in models.values())
    assert np.abs(student - ema).max() > 1e-3
    path = str(album / "model")
    assert list(open_models(path, "ema", path)) == ["model, ema", "model, student"]
    (one,) = open_models(path, "student")
    assert one == "model, scenario_clip_1"


@pytest.mark.parametrize("compare", ["student", "PATH"])
def test_the_same_weights_twice_are_refused(album, compare):
    path = str(album / "model")
    with pytest.raises(SystemExit, match="these weights are shown already; give ema"):
        main([f"--model={path}", f"--compare={path if compare == 'PATH' else compare}"])
