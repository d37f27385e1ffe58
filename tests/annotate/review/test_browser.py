"""The page in a real browser: what reviewers see, press and drag, and what is in the files afterwards."""

import json
import shutil

import pytest

from scenarioclip_jax.annotate.review.reviews import Reviews
from tests.annotate.review.servers import served
from tests.harness.browser import open_browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = sync_api.expect
pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]  # a browser, and what it is shown
WAIT = 15_000  # milliseconds
SIDE = 96  # pixels of the drawn photos
EVIL = "<img src=x onerror=document.title='hacked'>"


browser = pytest.fixture(scope="module")(open_browser)


@pytest.fixture(scope="module")
def template(drawn, tmp_path_factory):
    """A working folder whose stages are done, to copy."""
    from tests.annotate.conftest import Folder

    folder = tmp_path_factory.mktemp("reviewed")
    shutil.copytree(drawn, folder / "truth")
    made = Folder(folder / "truth", folder / "truth/images", folder / "work", folder / "a.yaml")
    made.configure()
    made.run()
    return made


@pytest.fixture
def work(template, tmp_path):
    shutil.copytree(template.work, tmp_path / "work")
    return tmp_path / "work"


class Page:
    """A page with the errors that its scripts raised."""

    def __init__(self, browser, address, **options):
        options = {"viewport": {"width": 1366, "height": 768}} | options
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(WAIT)
        self.tab = self.context.new_page()
        self.errors = []
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self.note)
        self.tab.goto(address)
        expect(self.tab.locator("#panel section").first).to_be_visible(timeout=WAIT)

    def note(self, said):
        # What the server refuses is shown, and browsers write it down as well.
        if said.type == "error" and "the server responded with a status of 4" not in said.text:
            self.errors.append(said.text)

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def shows(self, id):
        expect(self.tab.locator("#photo-id")).to_have_text(id, timeout=WAIT)

    def says(self, text):
        expect(self.tab.locator("#verdicts")).to_contain_text(text, timeout=WAIT)

    @property
    def id(self):
        return self.tab.locator("#photo-id").inner_text()

    def box(self, number):
        """Where a box is on the screen: left, top, right, bottom."""
        found = self.tab.locator(".box .line").nth(number).bounding_box()
        return [found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]]

    def drag(self, start, end):
        mouse = self.tab.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        mouse.move(*end)
        mouse.up()

    def close(self):
        self.context.close()
        assert self.errors == []


@pytest.fixture
def opened(browser, work):
    with served(work, "ann") as server:
        page = Page(browser, server.address)
        yield page
        page.close()


@pytest.fixture
def ids(work):
    lines = (work / "photos/0-of-1.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["id"] for line in lines)


def decided(work, reviewer="ann"):
    lines = (work / f"review/{reviewer}.jsonl").read_text().splitlines()
    return [(line["id"], line["action"]) for line in map(json.loads, lines)]


def standing(work, id):
    """The decision that stands, and its scene if it's an edit."""
    reviews = Reviews(work)
    try:
        line = next(
            line
            for line in map(json.loads, (work / "validate/0-of-1.jsonl").read_text().splitlines())
            if line["id"] == id
        )
        found = reviews.standing(id, line["digest"])
        return found[0].action if found else None, reviews.of(id, line["digest"])
    finally:
        reviews.close()


def test_scenes_are_gone_through_kept_dropped_and_taken_back_by_keys(opened, work, ids):
    opened.shows(ids[0])
    opened.press("j")
    opened.shows(ids[1])
    opened.press("j", "k", "k")
    opened.shows(ids[0])
    opened.press("Space")
    opened.shows(ids[1])
    opened.press("x")
    opened.shows(ids[2])
    expect(opened.tab.locator("#decided")).to_have_text(f"2 of {len(ids)} decided")
    assert decided(work) == [(ids[0], "keep"), (ids[1], "drop")]
    opened.press("u")  # the last decision, wherever it was
    opened.shows(ids[1])
    expect(opened.tab.locator("#verdicts span")).to_have_count(0)
    opened.press("u")
    opened.shows(ids[0])
    expect(opened.tab.locator("#decided")).to_have_text(f"0 of {len(ids)} decided")
    assert decided(work)[2:] == [(ids[1], "undo"), (ids[0], "undo")]
    assert standing(work, ids[1]) == (None, None)


def test_keys_that_come_fast_are_done_in_turn(opened, work, ids):
    opened.press("x", "Space", "x", "j", "x", "u", "u")
    expect(opened.tab.locator("#toast")).to_have_text(f"{ids[2]}: no longer dropped")
    opened.shows(ids[2])
    expect(opened.tab.locator("#decided")).to_have_text(f"2 of {len(ids)} decided")
    told = [(0, "drop"), (1, "keep"), (2, "drop"), (4, "drop"), (4, "undo"), (2, "undo")]
    assert decided(work) == [(ids[number], action) for number, action in told]


def test_what_was_decided_is_there_after_a_reload_and_another_start(browser, work, ids):
    with served(work, "ann") as server:
        page = Page(browser, server.address)
        page.press("x")
        page.shows(ids[1])
        page.tab.reload()
        page.shows(ids[1])
        page.press("k")
        page.says("dropped by me")
        expect(page.tab.locator(".row .mark.drop")).to_have_count(1)
        page.close()
    with served(work, "ann") as server:
        page = Page(browser, server.address)
        page.shows(ids[0])
        page.says("dropped by me")
        page.press("Shift+U")
        expect(page.tab.locator("#decided")).to_have_text(f"0 of {len(ids)} decided")
        page.close()


def test_a_box_is_moved_and_resized_by_the_mouse(opened, work, ids):
    before = json.loads(
        next(
            line
            for line in (work / "validate/0-of-1.jsonl").read_text().splitlines()
            if json.loads(line)["id"] == ids[0]
        )
    )["output"]["scene"]
    opened.press("e")
    row = opened.tab.locator("#panel li.object").first
    row.locator(".swatch").click()
    scale = opened.tab.locator("#frame").bounding_box()["width"] / SIDE
    grip = opened.tab.locator(".grip.se").bounding_box()
    at = (grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    opened.drag(at, (at[0] - 8 * scale, at[1] - 6 * scale))
    opened.says("not saved yet")
    opened.press("e")
    opened.says("edited by me")
    expect(opened.tab.locator("#toast")).to_contain_text("the mask of")
    action, scene = standing(work, ids[0])
    assert action == "edit"
    old, new = before["objects"][0], scene["objects"][0]
    expected = [*old["box"][:2], old["box"][2] - 8, old["box"][3] - 6]
    assert new["box"] == pytest.approx(expected, abs=1.5)
    assert "mask" in old
    assert "mask" not in new
    assert scene["objects"][1:] == before["objects"][1:]
    # Arrows move it, and the photo's edge holds it.
    opened.press("e")
    row.locator(".swatch").click()
    opened.press("Shift+ArrowRight", "ArrowDown", "j")
    opened.shows(ids[1])  # saved on the way
    _, moved = standing(work, ids[0])
    x0, y0, x1, y1 = new["box"]
    right = min(10, SIDE - x1)
    assert moved["objects"][0]["box"] == pytest.approx([x0 + right, y0 + 1, x1 + right, y1 + 1])


def test_objects_are_drawn_named_joined_and_removed(opened, work, ids):
    tab = opened.tab
    count = tab.locator("#panel li.object").count()
    frame = tab.locator("#frame").bounding_box()
    opened.press("n")
    start = (frame["x"] + 0.25 * frame["width"], frame["y"] + 0.25 * frame["height"])
    opened.drag(start, (frame["x"] + 0.75 * frame["width"], frame["y"] + 0.5 * frame["height"]))
    tab.keyboard.type("Zeppelin")  # the cursor is in its name
    tab.keyboard.press("Enter")
    opened.press("t")
    tab.keyboard.type("flying over")
    tab.keyboard.press("Enter")
    opened.press("e")
    opened.says("edited by me")
    _, scene = standing(work, ids[0])
    assert len(scene["objects"]) == count + 1
    new = scene["objects"][count]
    assert new["name"] == "zeppelin"
    assert new["box"] == pytest.approx([SIDE / 4, SIDE / 4, SIDE * 3 / 4, SIDE / 2], abs=1)
    relation = scene["relations"][-1]
    assert (relation["subject"], relation["predicate"], relation["object"]) == (
        count,
        "flying over",
        0,
    )
    # Without its object the relation is gone, too.
    relations = len(scene["relations"])
    opened.press("e")
    tab.locator("#panel li.object .swatch").nth(count).click()
    opened.press("Delete", "Escape")
    expect(tab.locator("body.editing")).to_have_count(0)
    _, scene = standing(work, ids[0])
    assert len(scene["objects"]) == count
    assert len(scene["relations"]) == relations - 1


def test_a_name_is_typed_anew_and_a_wrong_one_is_told(opened, work, ids):
    tab = opened.tab
    opened.press("e")
    name = tab.locator("#panel li.object input").first
    name.fill("")
    name.press("Enter")
    opened.press("j")
    expect(tab.locator(".problems")).to_contain_text("object 1, name: is empty")
    opened.shows(ids[0])
    assert decided(work) == []
    tab.locator("#panel li.object input").first.fill("zeppelin")
    opened.press("Enter", "j")
    opened.shows(ids[1])
    _, scene = standing(work, ids[0])
    assert scene["objects"][0]["name"] == "zeppelin"
    opened.press("/")
    tab.keyboard.press("Escape")
    tab.locator("#label").fill("zeppelin")
    expect(tab.locator("#count")).to_have_text(f"1 of {len(ids)} photos")


def test_steps_of_editing_are_taken_back_and_changes_forgotten(opened, work):
    tab = opened.tab
    opened.press("e")
    count = tab.locator("#panel li.object").count()
    tab.locator("#panel li.object .remove").first.click()
    tab.locator("#panel li.object .remove").first.click()
    expect(tab.locator("#panel li.object")).to_have_count(count - 2)
    opened.press("Control+z")
    expect(tab.locator("#panel li.object")).to_have_count(count - 1)
    opened.press("Control+z")
    expect(tab.locator("#panel li.object")).to_have_count(count)
    tab.locator("#panel li.object .remove").first.click()
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.get_by_text("Forget the changes").click()
    expect(tab.locator("#panel li.object")).to_have_count(count)
    opened.press("j", "k")
    assert decided(work) == []


def test_two_reviewers_agree_or_differ_and_see_each_others_edits(browser, work, ids):
    with served(work, "ann") as one, served(work, "ben") as two:
        ann, ben = Page(browser, one.address), Page(browser, two.address)
        ann.press("Space", "x", "e")
        name = ann.tab.locator("#panel li.object input").first
        name.fill("zeppelin")
        ann.press("Enter", "j")
        ann.shows(ids[3])
        # Ben's page looks by itself, every few seconds.
        expect(ben.tab.locator("#by")).to_contain_text("ann 3", timeout=WAIT)
        ben.says("kept by ann")
        ben.press("Space", "Space")  # one alike, one not
        ben.shows(ids[2])
        expect(ben.tab.locator("#panel li.object .name").first).to_have_text("zeppelin")
        expect(ben.tab.locator(".versions button")).to_have_count(2)
        expect(ben.tab.locator("#agreement")).to_have_text("50% agree on 2 shared")
        ben.press("Space")  # keeps what is shown: the edit of Ann
        ben.shows(ids[3])
        expect(ben.tab.locator("#agreement")).to_have_text("67% agree on 3 shared")
        assert decided(work, "ben") == [(ids[0], "keep"), (ids[1], "keep"), (ids[2], "edit")]
        ben.tab.locator("#decision").select_option("differ")
        expect(ben.tab.locator("#count")).to_have_text(f"1 of {len(ids)} photos")
        # As it was made, in place of Ann's edit.
        ben.tab.locator("#clear").click()
        ben.press("k")
        ben.shows(ids[2])
        ben.tab.locator(".versions button", has_text="as made").click()
        ben.press("Space")
        ben.shows(ids[3])
        assert decided(work, "ben")[-1] == (ids[2], "keep")
        ann.close()
        ben.close()


def test_texts_are_never_markup(browser, work, ids):
    for file in work.glob("*/0-of-1.jsonl"):  # the digests stay, so that all records count
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            if line["id"] == ids[0] and file.parent.name == "validate":
                scene = line["output"]["scene"]
                scene["objects"][0]["name"] = scene["relations"][0]["predicate"] = EVIL
                scene["action"], scene["captions"] = EVIL, [EVIL]
                scene["relations"][0]["paraphrases"] = [EVIL]
                line["output"]["removed"] = [[EVIL, EVIL]]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with served(work, "ann") as server:
        page = Page(browser, server.address)
        page.shows(ids[0])
        expect(page.tab.locator("#panel li.object .name").first).to_have_text(EVIL)
        expect(page.tab.locator("#overlay .box text").first).to_have_text(EVIL)
        expect(page.tab.locator(".action")).to_have_text(EVIL)
        page.press("e")
        expect(page.tab.locator("#panel li.object input").first).to_have_value(EVIL)
        page.press("Escape")
        assert page.tab.locator("img").count() == 1, "a text became an element"
        assert page.tab.title() == "Review, ann"
        page.close()


def test_the_address_without_its_token_shows_nothing(browser, work):
    with served(work, "ann") as server:
        context = browser.new_context()
        tab = context.new_page()
        for address in (server.address.partition("?")[0], server.address[:-1]):
            assert tab.goto(address).status == 403
        assert tab.goto(server.address).status == 200
        context.close()


def test_masks_are_where_the_objects_are(opened):
    """The decoder in the page against the boxes: drawn objects fill most of their boxes."""
    found = opened.tab.evaluate(
        """async () => {
          const { sampled } = await import("/masks.js");
          const token = new URLSearchParams(location.search).get("token");
          const headers = { "x-review-token": token };
          const id = document.getElementById("photo-id").textContent;
          const answer = await fetch("/api/scene?id=" + encodeURIComponent(id), { headers });
          const { scene } = await answer.json();
          return scene.objects.map(({ box, mask }) => {
            const [height, width] = mask.size;
            const pixels = sampled(mask, width, height);
            const rows = [];
            for (let y = 0; y < height; y++) rows.push(Array.from(pixels.slice(y * width, (y + 1) * width)));
            const half = sampled(mask, Math.round(width / 2), Math.round(height / 2));
            return { box, mask, rows, half: half.reduce((a, b) => a + b, 0) };
          });
        }"""
    )
    import numpy as np

    from scenarioclip_jax.data.build import coco_masks
    from scenarioclip_jax.data.build.records import MaskRecord

    assert found
    for each in found:
        height, width = each["mask"]["size"]
        truth = coco_masks.decode(MaskRecord(width, height, each["mask"]["counts"]))
        np.testing.assert_array_equal(np.array(each["rows"], bool), truth)
        assert each["half"] == pytest.approx(truth.sum() / 4, rel=0.15)


@pytest.mark.parametrize("size", [(390, 844), (1366, 768)], ids=["phone", "laptop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(browser, work, size, scheme):
    with served(work, "ann") as server:
        viewport = {"width": size[0], "height": size[1]}
        page = Page(browser, server.address, viewport=viewport, color_scheme=scheme)
        for name in ("keep", "drop", "edit", "undo", "photo"):
            place = page.tab.locator(f"#{name}").bounding_box()
            assert place["x"] >= 0, name
            assert place["x"] + place["width"] <= size[0], name
            assert place["y"] + place["height"] <= size[1], name
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= size[0]
        page.close()
