"""The server answers those who have the token, and nothing that isn't listed is served."""

import io
import shutil

import pytest
from PIL import Image
from starlette.testclient import TestClient

from scenarioclip_jax.annotate.review.app import make_app, page_files
from scenarioclip_jax.annotate.review.desk import Desk
from scenarioclip_jax.annotate.work import open_work
from tests.annotate.review.test_assemble import sent

TOKEN, HOST = "the-token", "http://127.0.0.1:8000"
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
WITH = {"x-review-token": TOKEN}


def client(desk, base=HOST, hosts=HOSTS):
    return TestClient(make_app(desk, TOKEN, hosts), base, raise_server_exceptions=False)


@pytest.fixture
def web(desk):
    with client(desk) as web:
        yield web


def decide(web, id, action, **more):
    digest = web.get("/api/scene", params={"id": id}, headers=WITH).json()["digest"]
    values = {"id": id, "digest": digest, "action": action} | more
    return web.post("/api/decide", json=values, headers=WITH)


PATHS = ("/", "/page.js", "/api/list", "/api/changes", "/api/scene?id=x", "/photo?id=x", "/absent")


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [None, "", "the-toke", "the-tokenn", "ü", "THE-TOKEN"])
def test_nothing_is_served_without_the_token(web, path, token):
    headers = {} if token is None else {"x-review-token": token.encode("utf-8")}
    answer = web.get(path, headers=headers)
    assert answer.status_code == 403
    assert "the address that the command has printed" in answer.text
    if token is not None:
        assert web.get("/", params={"token": token}).status_code == 403
    assert not web.cookies


def test_the_page_is_opened_by_its_address_and_then_has_a_cookie(web):
    answer = web.get("/", params={"token": TOKEN})
    assert answer.status_code == 200
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given
    assert "SameSite=Strict" in given
    for path in ("/page.js", "/page.css", "/api/list"):
        assert web.get(path).status_code == 200, path
    web.cookies.clear()
    # Elsewhere the token in an address opens nothing: addresses of photos and scripts end up in logs.
    assert web.get("/page.js", params={"token": TOKEN}).status_code == 403


def test_a_cookie_decides_nothing(web, desk):
    """Another server on this machine is the same site, so that its pages' requests carry the cookie."""
    web.get("/", params={"token": TOKEN})
    id = desk.catalog.ids[0]
    values = {"id": id, "digest": desk.catalog.digest(id), "action": "drop"}
    assert web.post("/api/decide", json=values).status_code == 403
    assert desk.changes(0)["progress"]["decided"] == 0
    assert web.post("/api/decide", json=values, headers=WITH).status_code == 200


def test_cookies_of_two_servers_do_not_overwrite_each_other(desk):
    cookies = set()
    for token in ("one", "two"):
        with TestClient(make_app(desk, token, HOSTS), HOST) as web:
            web.get("/", params={"token": token})
            cookies |= set(web.cookies.keys())
    assert len(cookies) == 2


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:127.0.0.1", 421),
        ("", 421),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(web, host, status):
    assert web.get("/api/changes", headers=WITH | {"host": host}).status_code == status


def test_any_name_will_do_where_others_were_let_in(desk):
    with client(desk, hosts=None) as web:
        assert web.get("/api/changes", headers=WITH | {"host": "lab.example"}).status_code == 200
        assert web.get("/api/changes", headers={"host": "lab.example"}).status_code == 403


def test_browsers_are_told_to_run_nothing_but_the_page(web):
    for path in PATHS:
        policy = web.get(path, headers=WITH).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy


def test_the_page_has_no_address_of_elsewhere_and_reads_no_markup():
    for name, content in page_files().items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, name


@pytest.mark.parametrize(
    "path",
    [
        "/../work.json",
        "/%2e%2e/work.json",
        "/page/../../work.json",
        "/work.json",
        "/review/ann.jsonl",
        "/page.js/../app.py",
        "/app.py",
        "//etc/passwd",
        "/photo/../work.json",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_leads_to_a_file(web, path):
    assert web.get(path, headers=WITH).status_code == 404


def test_only_listed_photos_are_served(web, done):
    secret = done.truth / "secret.jpg"
    next(done.images.iterdir())
    shutil.copy(sorted(done.images.iterdir())[0], secret)
    shutil.copy(secret, done.images / "new.jpg")  # there, but not listed
    name = sorted(done.images.iterdir())[0].name
    for id in (
        "../secret.jpg",
        str(secret),
        f"./{name}",
        f"x/../{name}",
        "new.jpg",
        f"{name}\0.png",
        "",
        "..",
        "/etc/passwd",
        "../metadata.json",
    ):
        assert web.get("/photo", params={"id": id}, headers=WITH).status_code == 404, id
        assert web.get("/api/scene", params={"id": id}, headers=WITH).status_code == 404, id
        values = {"id": id, "digest": "x", "action": "drop"}
        assert web.post("/api/decide", json=values, headers=WITH).status_code == 404, id


def test_a_photo_is_a_small_jpeg_that_is_asked_for_once(photos):
    name = sorted(photos.images.iterdir())[0].name
    with Image.open(photos.images / name) as picture:
        picture.resize((2400, 1200)).save(photos.images / name)
    photos.run()
    desk = Desk(open_work(photos.work), "ann")
    with client(desk) as web:
        answer = web.get("/photo", params={"id": name}, headers=WITH)
        assert Image.open(io.BytesIO(answer.content)).size == (1600, 800)
        assert answer.headers["content-type"] == "image/jpeg"
        tag = {"if-none-match": answer.headers["etag"]}
        again = web.get("/photo", params={"id": name}, headers=WITH | tag)
        assert (again.status_code, again.content) == (304, b"")
        scene = web.get("/api/scene", params={"id": name}, headers=WITH).json()
        assert scene["photo"] in answer.headers["etag"]
        with Image.open(photos.images / name) as picture:
            picture.rotate(90).save(photos.images / name)
        gone = web.get("/photo", params={"id": name}, headers=WITH)
        assert gone.status_code == 410
        assert "has changed" in gone.json()["problems"][0]["what"]
    desk.close()


def test_photos_without_a_scene_are_listed_with_their_reason(photos):
    shutil.copy(next(photos.images.iterdir()), photos.images / "unknown.jpg")
    (photos.images / "broken.jpg").write_bytes(b"\xff\xd8 this is no photo")
    photos.configure(validate={"min_relations": 3})
    photos.run()
    shutil.rmtree(photos.work / "segment")
    (photos.work / "segment").mkdir()
    desk = Desk(open_work(photos.work), "ann")
    with client(desk) as web:
        found = web.get("/api/list", headers=WITH).json()
        rows = {
            id: (state, [found["reasons"][n] for n in why]) for id, state, *_, why in found["rows"]
        }
        assert rows["unknown.jpg"] == ("failed", ["caption: no_truth"])
        assert rows["broken.jpg"][0] == "unreadable"
        waiting = [id for id, (state, _) in rows.items() if state == "not done"]
        assert waiting
        assert all(rows[id][1] == ["segment: to do"] for id in waiting)
        for id in ("unknown.jpg", "broken.jpg", waiting[0]):
            told = web.get("/api/scene", params={"id": id}, headers=WITH).json()
            assert told["scene"] is None
            assert told["removed"][0][1]
            answer = web.post(
                "/api/decide", json={"id": id, "digest": "", "action": "keep"}, headers=WITH
            )
            assert answer.status_code == 409
    desk.close()


def test_rows_tell_what_is_filtered_by(web, desk):
    found = web.get("/api/list", headers=WITH).json()
    assert [row[0] for row in found["rows"]] == desk.catalog.ids
    for id, state, objects, relations, score, named, _ in found["rows"]:
        told = web.get("/api/scene", params={"id": id}, headers=WITH).json()
        scene = told["scene"]
        assert state == "scene"
        assert (objects, relations) == (len(scene["objects"]), len(scene["relations"]))
        assert score == min(thing["score"] for thing in scene["objects"])
        texts = {thing["name"] for thing in scene["objects"]}
        texts |= {each["predicate"] for each in scene["relations"]} | {scene["action"]}
        assert {found["labels"][number] for number in named} == texts


def test_decisions_change_rows_and_progress(web, desk):
    first, second = desk.catalog.ids[:2]
    since = web.get("/api/changes", headers=WITH).json()["version"]
    scene = web.get("/api/scene", params={"id": first}, headers=WITH).json()["scene"]
    values = sent(scene)
    values["objects"][0]["name"] = "zeppelin"
    answer = decide(web, first, "edit", scene=values, since=since).json()
    assert [row[0] for row in answer["rows"]] == [0]
    number, said, facts = answer["rows"][0]
    assert (number, said) == (0, [["ann", "edit"]])
    assert "zeppelin" in facts[4]
    assert answer["progress"]["decided"] == 1
    decide(web, second, "drop")
    told = web.get("/api/changes", params={"since": answer["version"]}, headers=WITH).json()
    assert [row[0] for row in told["rows"]] == [1]
    answer = decide(web, first, "undo", since=told["version"]).json()
    assert answer["rows"][0][1] == []
    assert "zeppelin" not in answer["rows"][0][2][4]
    assert answer["progress"]["decided"] == 1


def test_what_is_wrong_with_an_edit_is_told_by_its_place(web, desk):
    id = desk.catalog.ids[0]
    values = sent(web.get("/api/scene", params={"id": id}, headers=WITH).json()["scene"])
    values["objects"][0] |= {"name": "", "box": [0, 0, 10_000, 9]}
    answer = decide(web, id, "edit", scene=values)
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["problems"]] == [
        "objects/0/name",
        "objects/0/box",
    ]
    assert desk.changes(0)["progress"]["decided"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id": 7}', b'{"since": "x"}', b"\xff"])
def test_broken_requests_are_refused(web, body):
    headers = WITH | {"content-type": "application/json"}
    answer = web.post("/api/decide", content=body, headers=headers)
    assert answer.status_code in (400, 404, 422)
    large = web.post("/api/decide", content=b" " * (3 << 20), headers=headers)
    assert large.status_code == 413


def test_a_decision_that_is_not_on_the_disk_is_not_acknowledged(web, desk, done, monkeypatch):
    import os

    def full(file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = decide(web, desk.catalog.ids[0], "drop")
    assert answer.status_code == 507
    assert "not saved" in answer.json()["problems"][0]["what"]
    assert "No space left" in answer.json()["problems"][0]["what"]
    assert (done.work / "review/ann.jsonl").read_bytes() == b""
    assert decide(web, desk.catalog.ids[0], "drop").status_code == 200


def test_two_reviewers_see_each_other(web, desk, done):
    ben = Desk(open_work(done.work), "ben")
    with client(ben) as other:
        first, second = desk.catalog.ids[:2]
        decide(web, first, "keep")
        decide(other, first, "keep")
        decide(web, second, "drop")
        decide(other, second, "keep")
        progress = web.get("/api/changes", headers=WITH).json()["progress"]
        assert progress["reviewers"] == {"ann": 2, "ben": 2}
        assert (progress["shared"], progress["alike"]) == (2, 1)
        assert progress["decided"] == 2
        told = web.get("/api/scene", params={"id": second}, headers=WITH).json()
        assert [[d["reviewer"], d["action"]] for d in told["decisions"]] == [
            ["ben", "keep"],
            ["ann", "drop"],
        ]
    ben.close()


def test_who_keeps_the_edit_of_another_agrees_with_it(web, desk, done):
    ben = Desk(open_work(done.work), "ben")
    with client(ben) as other:
        id = desk.catalog.ids[0]
        scene = web.get("/api/scene", params={"id": id}, headers=WITH).json()["scene"]
        values = sent(scene)
        values["objects"][0]["box"] = [1, 2, 30, 40]
        decide(web, id, "edit", scene=values)
        told = other.get("/api/scene", params={"id": id}, headers=WITH).json()["decisions"][0]
        decide(other, id, "edit", scene=sent(told["scene"]), base=told["same"])
        progress = other.get("/api/changes", headers=WITH).json()["progress"]
        assert (progress["shared"], progress["alike"]) == (1, 1)
        decide(web, id, "undo")
        answer = decide(web, id, "edit", scene=sent(told["scene"]), base="0" * 24)
        assert answer.status_code == 409
        assert "was taken back" in answer.json()["problems"][0]["what"]
    ben.close()
