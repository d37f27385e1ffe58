"""The commands, with a model that wasn't trained."""

import json
import shutil
from html.parser import HTMLParser

import pytest

from scenarioclip_jax.lock import own
from scenarioclip_jax.search.command import main
from tests.annotate.models import tiny
from tests.evaluation import tiny_model
from tests.search.colors import paint


@pytest.fixture(scope="module")
def model(small_data, tmp_path_factory):
    return tiny_model.write_model(tmp_path_factory.mktemp("search") / "model", small_data)


@pytest.fixture(scope="module")
def album(model, tmp_path_factory):
    """An index of five photos, one of which has boxes and an awkward name."""
    folder = tmp_path_factory.mktemp("album")
    for number, color in enumerate(("red", "green", "blue", "gray")):
        paint(folder / "photos" / f"{number}.png", color, ("red", (number, 0, 20, 20)))
    paint(
        folder / "photos" / "<b>&.png", "red", ("blue", (5, 5, 30, 30)), ("gray", (40, 5, 55, 30))
    )
    boxes = {"<b>&.png": [[5, 5, 30, 30], [40, 5, 55, 30]], "gone.png": [[0, 0, 1, 1]]}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    index(folder, model, boxes=folder / "boxes.json")
    return folder


def run(*words, **flags):
    main([*words, *(f"--{key}={value}" for key, value in flags.items())])


def index(folder, model, output=None, **flags):
    """Indexes the photos of a folder, beside them or elsewhere."""
    run("index", model=model, photos=folder / "photos", output=output or folder / "album", **flags)


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words += [data.strip()] if data.strip() else []


def test_a_query_is_told_and_kept(album, tmp_path, capsys):
    page, kept = tmp_path / "found.html", tmp_path / "found.json"
    run("query", "--relation=red circle above blue square", "--without-action=marching in the snow",
        index=album / "album", page=page, json=kept)  # fmt: skip
    said = capsys.readouterr().out
    (hit,) = json.loads(kept.read_text())
    assert hit["paths"] == ["<b>&.png"]
    assert [match["level"] for match in hit["matches"]] == ["relation", "global"]
    assert "<b>&.png" in said
    shown = Page(page.read_text(encoding="utf-8"))
    assert "1. <b>&.png" in shown.words
    pictures = [attrs for tag, attrs in shown.tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["<b>&.png"]
    assert pictures[0]["src"].startswith("data:image/jpeg;base64,")
    places = [attrs for tag, attrs in shown.tags if tag == "rect" and "class" not in attrs]
    assert [(place["x"], place["width"]) for place in places] == [("5.0", "25.0"), ("40.0", "15.0")]
    assert not any(tag == "script" for tag, _ in shown.tags)


def test_all_photos_are_ranked_by_an_action(album, capsys):
    run("query", "marching in the snow", index=album / "album", count=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    scores = [float(line.split()[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)


def test_a_photo_finds_itself(album, capsys):
    run("query", index=album / "album", photo=album / "photos/2.png", count=1)
    assert "2.png" in capsys.readouterr().out.split("(")[0]


def test_an_index_says_what_it_did(album, model, capsys):
    (album / "photos/broken.jpg").write_bytes(b"no photo")
    (album / "album/.global.faiss.unfinished-1234").write_bytes(b"")
    flags = {"model": model, "photos": album / "photos", "output": album / "album"}
    run("index", **flags, boxes=album / "boxes.json")
    said = capsys.readouterr().out
    assert "6 photos, 1 of them new, 0 gone" in said
    assert "items: global 5, object 2, relation 1" in said
    assert "broken.jpg: " in said
    assert "that aren't there: 1, such as gone.png" in said
    assert "search query" in said
    assert not list((album / "album").glob(".*unfinished*"))
    assert len(list((album / "album").glob("*.faiss"))) == 3


def test_a_photo_that_is_gone_since_has_no_picture(album, tmp_path):
    hidden = album / "photos/0.png"
    content = hidden.read_bytes()
    hidden.unlink()
    page = tmp_path / "found.html"
    try:
        run("query", "sliding", index=album / "album", page=page)
    finally:
        hidden.write_bytes(content)
    assert "This photo isn't there any more." in Page(page.read_text(encoding="utf-8")).words


def test_another_model_is_refused(album, small_data, tmp_path):
    other = tiny_model.write_model(tmp_path / "other", small_data, seed=1)
    with pytest.raises(SystemExit, match="isn't the model that made"):
        run("query", "sliding", index=album / "album", model=other)
    with pytest.raises(SystemExit, match="isn't the model that made"):
        index(album, other)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "say what to find"),
        ({"object": " "}, "a text to find is empty"),
        ({"page": "/", "action": "sliding"}, "is a folder"),
        ({"count": 0, "action": "sliding"}, "--count=0: must be at least 1"),
        ({"box": "0,0,5,5", "action": "sliding"}, "--box is a place in a photo"),
        ({"photo": "nowhere.jpg"}, r"nowhere\.jpg"),
        ({"without-object": "red circle"}, "what the photos should show"),
    ],
)
def test_what_cannot_be_asked(album, flags, message):
    with pytest.raises(SystemExit, match=message):
        run("query", index=album / "album", **flags)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "can't be read as JSON"),
        ("[]", r"expected an object like"),
        ('{"a.png": [1, 2, 3, 4]}', r"a\.png: .*expected an object like"),
        ('{"a.png": [[1, 2, 3, true]]}', r"a\.png: "),
    ],
)
def test_files_of_boxes_that_cannot_be_read(album, model, tmp_path, content, message):
    (tmp_path / "boxes.json").write_text(content)
    with pytest.raises(SystemExit, match=message):
        index(album, model, tmp_path / "album", boxes=tmp_path / "boxes.json")


@pytest.mark.slow
def test_a_detector_of_the_command(album, model, small_data, tmp_path, capsys):
    dino = tiny.grounding_dino(tmp_path / "dino")
    to = tmp_path / "album"
    with pytest.raises(SystemExit, match="give --detector"):
        index(album, model, to, words=small_data)
    with pytest.raises(SystemExit, match="--detector needs --words"):
        index(album, model, to, detector=dino)
    index(album, model, to, detector=dino, words=small_data, threshold=0.9)
    assert "items: global" in capsys.readouterr().out


def test_an_index_keeps_its_folder_and_its_boxes(album, model, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(SystemExit, match=r"is the index of .*photos; give that folder"):
        index(tmp_path, model, album / "album")
    with pytest.raises(
        SystemExit, match="made with --boxes: give it again to keep them, or --forget-boxes"
    ):
        index(album, model)


def test_a_model_that_was_moved_is_asked_for(album, model, tmp_path, capsys):
    moved = shutil.copytree(model, tmp_path / "moved")
    index(album, moved, tmp_path / "album")
    shutil.rmtree(moved)
    with pytest.raises(SystemExit, match="If the model was moved, give --model"):
        run("query", "sliding", index=tmp_path / "album")
    run("query", "sliding", index=tmp_path / "album", model=model)
    assert "1  " in capsys.readouterr().out


def test_two_at_once_are_one_too_many(album, model):
    with own(album / "album"), pytest.raises(SystemExit, match="another process writes there"):
        index(album, model, boxes=album / "boxes.json")


def test_folders_that_are_not_there(model, tmp_path):
    with pytest.raises(SystemExit, match="no such folder"):
        index(tmp_path, model)
    with pytest.raises(SystemExit, match="no index of photos"):
        run("query", "sliding", index=tmp_path)
