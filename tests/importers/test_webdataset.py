"""WebDataset: every trap of its archives."""

import io
import json
import tarfile

import pytest

from tests.importers import made


def write(path, members):
    """Members in their order; what isn't bytes is written as text or JSON."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members:
            if isinstance(content, dict | list):
                content = json.dumps(content)
            if isinstance(content, str):
                content = content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def jpeg(tmp_path):
    return made.photo(tmp_path / "photo.jpg").read_bytes()


def test_every_trap(tmp_path, jpeg):
    ours = {
        **{
            "action": "walking",
            "width": made.SIZE[0],
            "height": made.SIZE[1],
            "caption": "From JSON.",
        },
        "objects": [
            ["man", made.box("man")],
            {"name": "dog", "box": made.box("dog"), "score": 0.5},
        ],
        "relations": [["", ["man", "walking", "dog"], [["dog", "walking", "man"]]]],
        **{"url": "x", "similarity": 0.3},
    }
    first = write(
        tmp_path / "train-000000.tar",
        [
            ("a.b/0001.JPG", jpeg),  # the key ends at the first dot of the last part
            ("a.b/0001.json", ours),
            ("a.b/0001.txt", "From text.\n"),
            ("a.b/0001.seg.png", b"not a photo"),
            ("0002.cls", "7"),
            ("0002.txt", "No photo."),
            ("0003.jpg", jpeg),
            ("0003.txt", "First."),
            ("0004.png", jpeg),
            ("0004.caption", "Ünïcode."),
            ("0003.json", {"caption": "Not beside the others."}),
            ("../0005.jpg", jpeg),
            ("../0005.txt", "Outside."),
            ("0006.jpg", jpeg),
            ("0006.json", [1]),
            ("0007.jpg", jpeg),
            ("0008.jpg", jpeg),
            ("0008.json", {"captions": ["One.", "Two.", None], "alt": "Three.", "objects": None}),
            (".hidden", "x"),
        ],
    )
    second = write(tmp_path / "train-000001.tar.gz", [("0003.jpg", jpeg), ("0003.txt", "Again.")])
    found = made.run("webdataset", tmp_path / "out", "--tars", first, second, "--caption-key=alt")
    record = found.records["a.b/0001"]
    assert record["image_path"] == "photos/a.b/0001.jpg"
    assert (record["split"], record["action"]) == ("train", "walking")
    assert record["captions"] == ["From text.", "From JSON."]
    assert made.relations(record) == [("man", "walking", "dog")]
    assert record["relations"][0]["negatives"] == [["dog", "walking", "man", "swapped"]]
    made.assert_boxes_fit(
        record, tmp_path / "out" / record["image_path"], {"man": "man", "dog": "dog"}
    )
    assert {id: r.get("captions") for id, r in found.records.items() if id != "a.b/0001"} == {
        "0003": ["First."],
        "0004": ["Ünïcode."],
        "0008": ["One.", "Two.", "Three."],
    }
    there = {
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out/photos").rglob("*.*g")
    }
    assert there == {record["image_path"] for record in found.records.values()}
    assert found.reasons() == {
        "member_left_out": 1,
        "fields_left_out": 1,
        "no_photo": 1,
        "repeated_key": 2,
        "unsafe_name": 1,
        "broken_entry": 1,
        "nothing_annotated": 1,
    }
    listed = [p["id"] for p in found.problems if p["reason"] == "repeated_key"]
    assert listed == ["0003", "0003"]
    assert not (tmp_path / "0005.jpg").exists()


def test_photos_of_an_older_import_go(tmp_path, capsys, jpeg):
    out = tmp_path / "out"
    made.run(
        "webdataset", out, "--tars", write(tmp_path / "a.tar", [("1.jpg", jpeg), ("1.txt", "a")])
    )
    other = write(tmp_path / "b.tar", [("2.jpg", jpeg), ("2.txt", "a")])
    made.run("webdataset", out, "--tars", other, "--overwrite")
    assert [path.name for path in (out / "photos").iterdir()] == ["2.jpg"]
    assert "PHOTOS" not in capsys.readouterr().out  # they are beside the metadata


def test_a_folder_of_photos_that_is_somebody_elses(tmp_path, capsys, jpeg):
    path = write(tmp_path / "a.tar", [("1.jpg", jpeg), ("1.txt", "a")])
    (tmp_path / "out/photos").mkdir(parents=True)
    error = made.fails(capsys, "webdataset", tmp_path / "out", "--tars", path, "--overwrite")
    assert "holds a folder photos that no import made" in error


def test_archives_that_cannot_be_read(tmp_path, capsys, jpeg):
    out = tmp_path / "out"
    whole = write(tmp_path / "a.tar", [(f"{n}.jpg", jpeg) for n in range(9)]).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "is cut short" in made.fails(capsys, "webdataset", out, "--tars", cut)
    cut.write_bytes(b"<html>")
    assert "isn't a tar archive" in made.fails(capsys, "webdataset", out, "--tars", cut)
    error = made.fails(capsys, "webdataset", out, "--tars", tmp_path / "none.tar")
    assert "there is no such file" in error
    (tmp_path / "empty").mkdir()
    error = made.fails(capsys, "webdataset", out, "--tars", tmp_path / "empty")
    assert "a folder without *.tar" in error
    error = made.fails(capsys, "webdataset", out, "--tars", cut, f"--images={tmp_path}")
    assert "--images means nothing here" in error
