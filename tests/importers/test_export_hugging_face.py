"""Exported folders are loaded by the library `datasets`, with all photos, boxes, relations and splits."""

import json
import os

import datasets
import pytest
from PIL import Image

from scenarioclip_jax.importers import command

RECORDS = [
    {
        "id": "a",
        "image_path": "street/one.png",
        "action": "walking",
        "captions": ["A man walks.", "Someone is out."],
        "objects": [
            {"name": "man", "box": [1, 2, 20, 30], "score": 0.5},
            ["dog", [4, 4, 9.5, 9]],
        ],
        "relations": [{"subject": 0, "predicate": "leading", "object": 1}],
        "split": "train",
    },
    {"id": 2, "image_path": "two.png", "captions": ["Ein Baum, grün."], "split": "val", "group": 7},
    {"id": "c", "image_path": "three.png", "action": "standing", "objects": [], "split": "train"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    for number, record in enumerate(RECORDS):
        file = photos / record["image_path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 32), (number * 50, 100, 30)).save(file)
    (tmp_path / "meta").mkdir()
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
    (tmp_path / "meta/metadata.jsonl").write_text(lines)
    return tmp_path


def export(folder, *more):
    flags = ["--metadata", str(folder / "meta"), "--output", str(folder / "out")]
    return command.main(["export-hugging-face", *flags, *more])


def images(folder):
    return ["--images", str(folder / "photos")]


def test_it_is_loaded_with_everything_in_it(folder, tmp_path):
    assert export(folder, *images(folder)) == 0
    found = datasets.load_dataset(str(folder / "out"), cache_dir=str(tmp_path / "loaded"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 2, "validation": 1}
    first = found["train"][0]
    assert first["image"].size == (40, 32)
    assert first["action"] == "walking"
    assert first["captions"] == RECORDS[0]["captions"]
    assert [thing["name"] for thing in first["objects"]] == ["man", "dog"]
    assert first["objects"][1]["box"] == [4, 4, 9.5, 9]
    assert first["relations"] == [{"subject": 0, "predicate": "leading", "object": 1}]
    assert found["validation"][0]["captions"] == ["Ein Baum, grün."]
    assert found["train"][1]["image"].size == (42, 32)


def test_photos_are_upright_and_say_nothing_of_where_they_were_taken(folder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (40, 32)).save(folder / "photos/two.png", exif=exif)
    assert export(folder, *images(folder)) == 0
    found = datasets.load_dataset(str(folder / "out"), cache_dir=str(tmp_path / "loaded"))
    picture = found["validation"][0]["image"]
    assert picture.size == (32, 40)
    assert not picture.getexif()


def test_the_card_of_the_metadata_goes_along(folder):
    (folder / "meta/README.md").write_text("# My data\n")
    (folder / "meta/examples").mkdir()
    (folder / "meta/examples/0.png").write_bytes(b"a picture")
    assert export(folder, *images(folder)) == 0
    assert (folder / "out/examples/0.png").read_bytes() == b"a picture"
    assert (folder / "out/README.md").read_text() == "# My data\n"


def test_what_is_there_is_replaced_only_when_asked(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out/mine.txt").write_text("mine")
    assert export(folder, *images(folder)) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert os.listdir(folder / "out") == ["mine.txt"]
    assert export(folder, *images(folder), "--overwrite") == 0
    assert sorted(os.listdir(folder / "out")) == ["README.md", "data"]


def test_a_missing_photo_leaves_nothing_behind(folder, capsys):
    (folder / "photos/three.png").unlink()
    assert export(folder, *images(folder)) == 1
    assert "record c" in capsys.readouterr().err
    assert sorted(os.listdir(folder)) == ["meta", "photos"]
    assert export(folder) == 1
    assert "--images DIR" in capsys.readouterr().err
