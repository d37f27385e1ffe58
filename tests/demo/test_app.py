"""The service answers with what the model says, and refuses what it can't use with a reason."""

import base64
import io
import re
import time

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import scenarioclip_jax
from scenarioclip_jax.demo.app import make_app
from scenarioclip_jax.demo.batcher import Batcher
from scenarioclip_jax.demo.metrics import Metrics
from scenarioclip_jax.demo.photos import MOST_BYTES
from scenarioclip_jax.demo.service import Service
from scenarioclip_jax.describe.vocabulary import read_words

pytestmark = pytest.mark.timeout(180)
HOSTS = frozenset({"127.0.0.1"})
BOXES = [[2, 2, 30, 30], [30, 20, 60, 60]]


def file_of(size=(64, 64)):
    stream = io.BytesIO()
    Image.new("RGB", size, "teal").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


PHOTO = file_of()
HEIC = base64.b64encode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)).decode()


@pytest.fixture(scope="module")
def service(album, small_data):
    return Service(scenarioclip_jax.load(album / "model"), read_words(small_data), album / "a")


def client(service, batcher, token="", hosts=HOSTS):
    app = make_app({"a model": service}, batcher, Metrics(), token, hosts)
    return TestClient(app, "http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def web(service):
    batcher = Batcher(8)
    yield client(service, batcher)
    batcher.close()


def test_a_photo_is_described_as_by_the_model(web, service):
    answer = web.post("/describe", json={"photo": PHOTO, "boxes": BOXES})
    photo = Image.new("RGB", (64, 64), "teal")
    assert answer.json() == service.model.describe(photo, BOXES, words=service.words).to_dict()
    own = {"actions": ["resting"], "objects": ["cat", "mat"], "predicates": ["on"]}
    answer = web.post("/describe", json={"photo": PHOTO, "boxes": BOXES, "words": own}).json()
    assert answer["actions"][0]["text"] == "resting"
    assert {each["name"] for each in answer["objects"]} <= {"cat", "mat"}


def test_a_request_names_one_of_two_models(service, album):
    ema = scenarioclip_jax.load(album / "model", weights="ema")
    batcher = Batcher(8)
    services = {"one": service, "other": Service(ema, service.words)}
    web = TestClient(make_app(services, batcher, Metrics(), "", HOSTS), "http://127.0.0.1")
    assert web.get("/health").json()["models"] == ["one", "other"]
    asked = {"photo": PHOTO, "boxes": BOXES}
    found = [
        web.post("/describe", json=asked | more).json()
        for more in ({}, {"model": "one"}, {"model": "other"})
    ]
    assert found[0] == found[1] != found[2]
    photo = Image.new("RGB", (64, 64), "teal")
    assert found[2] == ema.describe(photo, BOXES, words=service.words).to_dict()
    refused = web.post("/describe", json=asked | {"model": "third"})
    assert refused.status_code == 422
    assert "'third' isn't one of these: one; other" in refused.text
    batcher.close()


def test_texts_and_photos_are_embedded_as_by_the_model(web, service):
    texts = ["red circle", "blue ring"]
    answer = web.post("/embed", json={"texts": texts, "level": "object"}).json()["embeddings"]
    np.testing.assert_allclose(answer, service.model.encode_text(texts, "object"), rtol=1e-5)
    found = web.post("/embed", json={"photo": PHOTO, "boxes": BOXES}).json()["embeddings"]
    whole = Image.new("RGB", (64, 64), "teal")
    np.testing.assert_allclose(found, service.model.encode_objects(whole, BOXES), rtol=1e-4)
    found = web.post("/embed", json={"photo": PHOTO, "pairs": [BOXES, BOXES[::-1]]}).json()
    wanted = service.model.encode_relations(whole, [BOXES, BOXES[::-1]])
    np.testing.assert_allclose(found["embeddings"], wanted, rtol=1e-4, atol=1e-6)
    assert len(web.post("/embed", json={"photo": PHOTO}).json()["embeddings"]) == 1


def test_joined_texts_come_back_to_whom_asked(service):
    asked = [(["red circle"], "object"), (["a", "b"], "global"), (["blue ring"], "object")]
    for (texts, level), found in zip(asked, service.texts(asked), strict=True):
        np.testing.assert_allclose(found, service.model.encode_text(texts, level), rtol=1e-4)


def test_the_album_is_searched(web):
    hits = web.post("/search", json={"parts": [{"text": "sliding"}]}).json()["hits"]
    assert {hit["paths"][0] for hit in hits} == {"red.png", "blue.png"}


def test_the_album_is_searched_for_photos_like_one(web, album):
    red = base64.b64encode((album / "photos/red.png").read_bytes()).decode()
    hits = web.post("/search", json={"parts": [{"photo": red}]}).json()["hits"]
    assert hits[0]["paths"] == ["red.png"]
    assert hits[0]["matches"][0]["part"] == "the photo"
    cosine = hits[0]["matches"][0]["cosine"]
    assert cosine == pytest.approx(1, abs=1e-2)  # kept in half precision
    parts = [{"text": "sliding"}, {"photo": red, "wanted": False}]
    hits = web.post("/search", json={"parts": parts}).json()["hits"]
    assert [match["wanted"] for match in hits[0]["matches"]] == [True, False]


@pytest.mark.parametrize(
    ("path", "asked", "message"),
    [
        ("/describe", {"photo": "?"}, "isn't base64"),
        ("/describe", {"photo": base64.b64encode(b"%PDF").decode()}, "a PDF document"),
        ("/describe", {"photo": HEIC}, "pip install pillow-heif"),
        ("/describe", {"photo": PHOTO, "boxes": [[5, 5, 5, 9]]}, "x0 < x1"),
        ("/describe", {"photo": file_of((9000, 9000))}, "decompression bomb"),
        ("/describe", {"photo": PHOTO, "wrods": {}}, "wrods"),
        ("/describe", {"photo": PHOTO, "words": {}}, "there is no text"),
        ("/embed", {}, "texts or a photo"),
        ("/search", {"parts": [{"text": "x", "wanted": False}]}, "should show"),
        ("/search", {"parts": [{"text": "x", "level": "object"}]}, "nothing at the level"),
        ("/search", {"parts": [{"photo": PHOTO, "boxes": BOXES}]}, "at the level relation"),
        ("/search", {"parts": [{"photo": PHOTO, "text": "x"}]}, "a text or a photo"),
        ("/search", {"parts": [{"text": "x", "boxes": BOXES}]}, "send the photo"),
        ("/search", {"parts": [{"photo": PHOTO, "level": "object"}]}, "boxes say what is meant"),
        ("/embed", {"photo": PHOTO, "boxes": BOXES, "pairs": [BOXES]}, "boxes or pairs"),
        ("/embed", {"photo": PHOTO, "pairs": [BOXES[:1]]}, "at least 2"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(web, path, asked, message):
    answer = web.post(path, json=asked)
    assert answer.status_code == 422
    assert message in answer.text


def test_a_huge_request_another_host_and_a_wrong_token_are_refused(web, service):
    assert web.post("/embed", content=b" " * (MOST_BYTES + 1)).status_code == 413
    assert web.get("/health", headers={"host": "evil.example"}).status_code == 421
    batcher = Batcher(1)
    guarded = client(service, batcher, token="a" * 16)
    assert guarded.get("/health").status_code == 401
    assert (
        guarded.get("/health", headers={"authorization": "Bearer " + "b" * 16}).status_code == 401
    )
    assert guarded.get("/health", headers={"authorization": "Bearer " + "a" * 16}).json()["ready"]
    batcher.close()


def test_a_full_queue_says_when_to_come_back(service):
    batcher = Batcher(1)
    batcher.submit(lambda items: [time.sleep(1)], 0)
    time.sleep(0.2)
    batcher.submit(lambda items: items, 0)
    answer = client(service, batcher).post("/embed", json={"texts": ["a"]})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    batcher.close()


def test_metrics_count_what_is_asked(web):
    web.get("/absent")
    text = web.get("/metrics").text
    assert 'requests_total{route="other",status="404"}' in text
    assert "queue_length 0" in text


def test_the_page_of_addresses_explains_all_fields_and_loads_nothing(web):
    answer = web.get("/docs")
    page, described = answer.text, web.get("/openapi.json").json()
    for path in described["paths"]:
        assert f"{path}</h2>" in page
    for name, schema in described["components"]["schemas"].items():
        for field in schema["properties"] if name.endswith(("Request", "Lists")) else ():
            assert f"<code>{field}</code>" in page, (name, field)
    assert "list of at most 200: list of 2: list of 4: number" in page  # pairs
    assert "integer from 1 to 200" in page  # count
    assert not re.search(r"<script|src=|@import|href=\"http", page)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
