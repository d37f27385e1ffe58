"""The page in a real browser: photos, boxes, words and the album, as people use them, and what goes wrong."""

import base64
import contextlib
import io
import socket
import threading

import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

import scenarioclip_jax
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.examples import make_examples
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.page import page_files
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.describe.word_lists import Words
from tests.harness.browser import open_browser

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = sync_api.expect
pytestmark = pytest.mark.timeout(180)
WAIT = 30_000  # milliseconds
TOKEN = "a-token-of-this-test"
EVIL = "<img src=x onerror=document.title='hacked'>"
WORDS = Words(("riding", "sleeping"), ("horse", EVIL), ("on", "near"))

LISTS = {"words.json": WORDS, "the run's data": Words(("resting",), ("cat", "mat"), ("on",))}


@pytest.fixture(scope="module")
def service(album):
    Image.new("RGB", (40, 30), "gray").save(album / "secret.png")  # isn't in the album
    return Service(scenarioclip_jax.load(album / "model"), WORDS, album / "a")


@pytest.fixture(scope="module")
def app(service):
    batcher = Batcher(64)
    hosts = frozenset({"127.0.0.1"})
    yield make_app({"a model": service}, batcher, Metrics(), TOKEN, hosts, LISTS)
    batcher.close()


@contextlib.contextmanager
def served(app):
    """The page's address while it is served."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        # Signals are the test runner's own.
        server.capture_signals = contextlib.nullcontext
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/#{TOKEN}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def address(app):
    with served(app) as address:
        yield address


browser = pytest.fixture(scope="module")(open_browser)


@contextlib.contextmanager
def opened(browser, address, width=1000):
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.wait_for_selector("#examples button:nth-child(5) img")
        yield page


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page


def photo(color="teal", size=(400, 300), kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, kind)
    return {"name": f"{color}.png", "mimeType": "image/png", "buffer": stream.getvalue()}


def drag(page, start, end):
    """Marks a box; places are shares of the photo."""
    box = page.locator("#stage svg").bounding_box()
    for number, (x, y) in enumerate((start, end)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        (page.mouse.up if number else page.mouse.down)()


def upload(page, given):
    page.set_input_files("#file", given)


def texts(page, kind):
    return page.locator(f"#found-{kind} li").all_inner_texts()


@pytest.mark.slow
def test_a_photo_gets_a_graph_of_the_boxes_that_are_dragged_on_it(page):
    upload(page, photo())
    page.wait_for_selector("#found-actions li")
    assert len(texts(page, "objects")) == 0
    drag(page, (0.1, 0.1), (0.5, 0.6))
    page.wait_for_selector("#found-objects li:nth-child(1)")
    with page.expect_request("**/describe") as asked:
        drag(page, (0.9, 0.9), (0.4, 0.5))  # from the other corner
    page.wait_for_selector("#found-relations li")
    first, second = asked.value.post_data_json["boxes"]
    assert first == pytest.approx([40, 30, 200, 180], abs=2)  # pixels of the photo
    assert second == pytest.approx([160, 150, 360, 270], abs=2)
    assert len(texts(page, "objects")) == 2
    assert len(texts(page, "relations")) == 1
    assert page.locator("#stage g[data-object]").count() == 2
    assert page.locator("#stage g[data-relation]").count() == 1
    # Drawn where they were dragged: the rectangle's own numbers are the photo's pixels.
    assert float(
        page.locator("#stage g[data-object='0'] rect").get_attribute("x")
    ) == pytest.approx(40, abs=2)
    page.click("#undo")
    expect(page.locator("#found-objects li")).to_have_count(1, timeout=WAIT)
    assert page.locator("#stage g[data-relation]").count() == 0


def test_pointing_at_a_line_lights_what_belongs_to_it(page):
    page.click("#examples button:nth-child(1)")
    page.wait_for_selector("#found-relations li")
    page.hover("#found-relations li:nth-child(1)")
    assert page.locator("#stage g[data-object].lit").count() == 2
    assert page.locator("#stage g[data-relation].lit").count() == 1
    page.locator("#found-objects li").nth(2).focus()  # by the keyboard, too
    assert page.locator("#stage g[data-object='2'].lit").count() == 1


@pytest.mark.slow
def test_words_move_the_scores(page):
    page.click("#examples button:nth-child(1)")
    page.wait_for_selector("#found-actions li:nth-child(2)")
    page.click("#words summary")
    page.fill("#actions", "riding")
    expect(page.locator("#found-actions li")).to_have_count(1, timeout=WAIT)
    assert texts(page, "actions")[0].split() == ["100%", "riding"]
    page.fill("#objects", "")  # boxes need names
    page.wait_for_selector("#message:not([hidden])")
    assert "give words for objects" in page.inner_text("#message")
    page.fill("#objects", "boat")
    expect(page.locator("#message")).to_be_hidden(timeout=WAIT)
    expect(page.locator("#found-objects")).to_contain_text("boat", timeout=WAIT)


def test_lists_of_words_can_be_taken(page):
    page.click("#examples button:nth-child(1)")
    page.click("#words summary")
    assert page.locator("#lists button").all_inner_texts() == ["words.json", "the run's data"]
    page.click("#lists button:nth-child(2)")
    expect(page.locator("#found-actions li")).to_have_count(1, timeout=WAIT)
    assert texts(page, "actions")[0].split() == ["100%", "resting"]
    assert page.input_value("#objects") == "cat\nmat"
    page.click("#lists button:nth-child(1)")
    expect(page.locator("#found-actions li")).to_have_count(2, timeout=WAIT)


def test_boxes_by_keyboard(page):
    upload(page, photo())
    page.wait_for_selector("#found-actions li")
    page.focus("#stage")
    page.keyboard.press("Enter")
    box = page.locator("#stage g[data-object='0']")
    expect(box).to_be_focused()
    assert box.get_attribute("aria-label").endswith("133, 100 to 267, 200")  # the middle third
    assert "Delete removes it" in page.inner_text(f"#{box.get_attribute('aria-describedby')}")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)  # each by 4 pixels, a hundredth of 400
    page.wait_for_selector("#right:not(.waiting) #found-objects li")
    expect(box).to_be_focused()  # though it was drawn anew
    rectangle = [float(box.locator("rect").get_attribute(name)) for name in ("x", "y", "width")]
    assert rectangle == pytest.approx([400 / 3 - 8, 100 - 4, 400 / 3 + 4], abs=0.01)
    assert box.locator("rect").evaluate("each => getComputedStyle(each).strokeWidth") == "5px"
    assert page.inner_text("#said") == "box 0: 125, 96 to 263, 200"
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#stage g[data-object='1']")).to_be_focused()
    for _ in range(60):  # no further than the edge
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Delete")
    expect(box).to_be_focused()
    page.keyboard.press("Delete")
    expect(page.locator("#stage")).to_be_focused()
    assert page.locator("#stage g[data-object]").count() == 0


def test_names_are_no_markup(page):
    page.click("#examples button:nth-child(1)")
    page.wait_for_selector("#found-objects li")
    assert any(EVIL.lower() in text for text in texts(page, "objects"))
    assert page.title() != "hacked"
    assert page.locator("#right img").count() == 0


@pytest.mark.slow
def test_bad_and_huge_files_are_told_and_the_photo_stays(page):
    upload(page, photo())
    page.wait_for_selector("#found-actions li")
    huge = {"name": "huge.png", "mimeType": "image/png", "buffer": bytes(12 << 20)}
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"}
    for given, told in ((huge, "huge.png has 12 MiB; at most 11"), (bad, "can't show that file")):
        upload(page, given)
        expect(page.locator("#message")).to_contain_text(told, timeout=WAIT)
        assert page.locator("#found-actions li").first.is_visible()  # of the photo before
    drag(page, (0.1, 0.1), (0.5, 0.6))  # the first photo can still be asked
    page.wait_for_selector("#found-objects li")
    assert page.locator("#message").is_hidden()


def test_two_people_at_once_get_their_own_answers(browser, page, address):
    other = browser.new_context().new_page()
    other.goto(address)
    other.wait_for_selector("#examples button:nth-child(5) img")
    sizes = [len(each.boxes) for each in make_examples()]
    first = next(i for i in range(1, 5) if sizes[i] != sizes[0])
    for _ in range(3):
        other.click(f"#examples button:nth-child({first + 1})")
        page.click("#examples button:nth-child(1)")
    for each, wanted in ((page, sizes[0]), (other, sizes[first])):
        expect(each.locator("#found-objects li")).to_have_count(wanted, timeout=WAIT)
    other.context.close()


def test_the_album_is_searched(page):
    page.fill("#query", "red circle")
    page.click("#search button")
    page.wait_for_selector("#hits figure:nth-child(2) img[src]")
    assert sorted(
        text.split()[-1] for text in page.locator("#hits figcaption").all_inner_texts()
    ) == [
        "blue.png",
        "red.png",
    ]


@pytest.mark.parametrize("width", [390, 1000])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.click("#examples button:nth-child(1)")
    page.wait_for_selector("#found-relations li")
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_the_token_there_is_nothing_but_the_page(browser, address):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address.partition("#")[0])
        page.wait_for_selector("#message:not([hidden])")
        assert "open the address that the command has printed" in page.inner_text("#message")


@pytest.fixture
def client(app):
    return TestClient(app, "http://127.0.0.1", headers={"authorization": f"Bearer {TOKEN}"})


def test_no_file_but_those_that_a_search_has_found_is_served(client):
    for path in ("../secret.png", "../photos/red.png", "/etc/hostname", "..", ""):
        assert client.get("/thumbnail", params={"path": path}).status_code == 404, path
    found = client.post("/search", json={"parts": [{"text": "red"}]}).json()["hits"]
    answer = client.get("/thumbnail", params={"path": found[0]["paths"][0]})
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == (40, 30)
    for path in ("/../command.py", "/page/page.js", "/examples/99", "/examples/-1"):
        assert client.get(path).status_code == 404, path


def test_only_the_page_itself_needs_no_token(client):
    client.headers.pop("authorization")
    for path in page_files():
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in (
        "/start",
        "/examples/0",
        "/thumbnail?path=red.png",
        "/docs",
        "/metrics",
        "/health",
    ):
        assert client.get(path).status_code == 401, path
    body = {"photo": base64.b64encode(photo()["buffer"]).decode()}
    assert client.post("/describe", json=body).status_code == 401
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421


def test_scripts_make_no_markup_of_texts():
    for path, content in page_files().items():
        code = content.decode()
        assert "innerHTML" not in code, path
        assert "http://" not in code.replace("http://www.w3.org", ""), path
        assert "https://" not in code, path
