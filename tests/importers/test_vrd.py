"""VRD: every trap of its JSON files."""

import pytest

from tests.importers import made


def end(category, box):
    """y0, y1, x0, x1."""
    x0, y0, x1, y1 = box
    return {"category": category, "bbox": [y0, y1, x0, x1]}


def row(subject, predicate, object):
    return {"subject": subject, "predicate": predicate, "object": object}


@pytest.fixture
def folder(tmp_path):
    made.write_json(tmp_path / "vrd/objects.json", ["person", "dog", "grass"])
    made.write_json(tmp_path / "vrd/predicates.json", ["on", "walk", "sleep next to"])
    return tmp_path / "vrd"


def test_every_trap(tmp_path, folder):
    photo = made.photo(tmp_path / "sg/sg_dataset/sg_train_images/a.jpg")
    made.photo(tmp_path / "sg/sg_dataset/sg_train_images/b.png")
    man, dog = end(0, made.box("man")), end(1, made.box("dog"))
    near = end(1, [dog["bbox"][2] + 1, *made.box("dog")[1:]])
    rows = [
        row(man, 1, dog),
        row(man, 1, dog),  # twice
        row(man, 1, near),  # the same dog, a pixel off
        row(dog, 0, end(2, made.box("grass"))),
        row(dog, 2, near),
        row(end(1, made.box("man")), 0, dog),  # the man's box, called a dog
        row(man, 9, dog),
        row(end(7, [1, 1, 9, 9]), 0, dog),
        row(man, 0, end(2, [5, 5, 5, 9])),
        row(man, 0, end(2, [380, 200, 420, 230])),
    ]
    made.write_json(
        folder / "annotations_train.json", {"a.jpg": rows, "b.gif": [row(man, 1, dog)], "c.jpg": []}
    )
    made.write_json(folder / "annotations_test.json", {"d.jpg": [row(man, 1, dog)]})
    found = made.run(
        *("vrd", tmp_path / "out", f"--annotations={folder}", f"--images={tmp_path / 'sg'}")
    )
    record = found.records["vrd-a"]
    assert (record["image_path"], record["split"]) == ("sg_dataset/sg_train_images/a.jpg", "train")
    assert (record["width"], record["height"]) == made.SIZE
    assert made.names(record) == ["person", "dog", "grass", "dog", "grass"]
    shown = {"objects": record["objects"][:3]}
    made.assert_boxes_fit(
        shown, photo, {"person": "man", "dog": "dog", "grass": "grass"}, tolerance=1
    )
    assert record["objects"][4]["box"] == [380, 200, 400, 230]
    assert made.relations(record) == [
        ("person", "walk", "dog"),
        ("dog", "on", "grass"),
        ("dog", "on", "dog"),
        ("person", "on", "grass"),
    ]
    assert found.records["vrd-b"]["image_path"] == "sg_dataset/sg_train_images/b.png"
    assert found.records["vrd-d"]["split"] == "test"
    assert "width" not in found.records["vrd-d"]
    assert found.reasons() == {
        "repeated_relation": 2,
        "merged_boxes": 1,
        "subject_is_object": 1,
        "unknown_predicate": 1,
        "unknown_category": 1,
        "empty_box": 1,
        "box_sticks_out": 1,
        "participant_left_out": 2,
        "nothing_annotated": 1,
        "photo_not_found": 2,
    }


def test_wrong_files(tmp_path, capsys, folder):
    out = tmp_path / "out"
    error = made.fails(capsys, "vrd", out, f"--annotations={folder}")
    assert "has no annotations_train.json or annotations_test.json" in error
    made.write_json(folder / "objects.json", [{"image_id": 1}])
    error = made.fails(capsys, "vrd", out, f"--annotations={folder}")
    assert "objects.json isn't a list of names" in error
