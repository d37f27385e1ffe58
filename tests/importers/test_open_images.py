"""Open Images: every trap of its CSV files and narratives."""

import csv
import json

import pytest
from PIL import Image

from tests.importers import made

MAN, DOG, WOOD, GRASS = "/m/04yx4", "/m/0bt9lr", "/m/083vt", "/m/08t9c_"
BOX = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
BOX += "IsDepiction,IsInside"
RELATION = "ImageID,LabelName1,LabelName2,XMin1,XMax1,YMin1,YMax1,XMin2,XMax2,YMin2,YMax2,"
RELATION += "RelationshipLabel"


def fractions(box):
    """XMin, XMax, YMin, YMax, with six digits, as in the files."""
    width, height = made.SIZE
    return [f"{v:.6f}" for v in (box[0] / width, box[2] / width, box[1] / height, box[3] / height)]


def box_row(id, label, box, group=0, depiction=0):
    return [id, "xclick", label, 1, *fractions(box), 0, 0, group, depiction, 0]


def relation_row(id, subject, predicate, object):
    """Each end is a label and a box."""
    return [id, subject[0], object[0], *fractions(subject[1]), *fractions(object[1]), predicate]


def write_csv(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


@pytest.fixture
def names(tmp_path):
    return [
        # V4's list has no header, later ones have.
        write_csv(tmp_path / "class-descriptions-boxable.csv", "", [[MAN, "Man"], [DOG, "Dog"]]),
        write_csv(tmp_path / "more.csv", "LabelName,DisplayName", [[GRASS, "Sports, lawn"]]),
        write_csv(
            tmp_path / "attributes.csv", "id,name", [[WOOD, "(made of)Leather"], ["/m/1", "Sit"]]
        ),
        write_csv(tmp_path / "relations.csv", "", [["holds", "holds"], ["inside_of", "inside_of"]]),
    ]


def everything(tmp_path):
    """Rows that aren't sorted, of three photos."""
    man, dog = made.box("man"), made.box("dog")
    boxes = write_csv(
        tmp_path / "oidv6-train-annotations-bbox.csv",
        BOX,
        [
            box_row("b1", MAN, man),
            box_row("a0", DOG, dog),
            box_row("a0", MAN, man, depiction=1),
            box_row("a0", DOG, [200, 10, 380, 110], group=1),
            box_row("a0", "/m/none", man),
            box_row("a0", MAN, [10, 10, 10, 20]),
            box_row("absent", MAN, man),
        ],
    )
    near = [man[0] + 0.1, man[1], man[2] - 0.1, man[3]]  # rounded otherwise
    relations = write_csv(
        tmp_path / "oidv6-train-annotations-vrd.csv",
        RELATION,
        [
            relation_row("a0", (MAN, near), "holds", (DOG, dog)),
            relation_row("a0", (MAN, man), "is", (WOOD, man)),
            relation_row("a0", (MAN, man), "is", ("/m/1", man)),
            relation_row("a0", (MAN, man), "is", ("/m/unknown", man)),
            # An object that isn't among the boxes.
            relation_row("a0", (DOG, dog), "inside_of", (GRASS, made.box("grass"))),
            relation_row("a0", (MAN, man), "at", (DOG, [200, 10, 380, 110])),  # a group
            relation_row("a0", (DOG, [200, 10, 380, 110]), "is", (WOOD, [200, 10, 380, 110])),
            relation_row("a0", (MAN, man), "holds", (DOG, dog)),
            relation_row("a0", (MAN, man), "interacts_with", (DOG, dog)),
        ],
    )
    narratives = tmp_path / "open_images_train_v6_captions.jsonl"
    lines = [
        {
            "dataset_id": "OpenImages",
            "image_id": "a0",
            "annotator_id": 1,
            "caption": "In this image a man.",
        },
        {
            "dataset_id": "open_images_train",
            "image_id": "a0",
            "annotator_id": 2,
            "caption": "A dog.",
        },
        {"dataset_id": "mscoco_train2017", "image_id": "a0", "caption": "Another photo."},
        {
            "dataset_id": "OpenImages",
            "image_id": "c2",
            "caption": "Only a text.",
            "traces": [[{"x": 0}]],
        },
    ]
    narratives.write_text("\n".join(map(json.dumps, lines)) + "\n")
    info = write_csv(
        tmp_path / "train-images-boxable-with-rotation.csv",
        "ImageID,Subset,Rotation",
        [["a0", "train", "90.0"], ["b1", "train", "0.0"], ["c2", "train", ""]],
    )
    return [
        "--boxes",
        boxes,
        "--relationships",
        relations,
        "--narratives",
        narratives,
        "--image-info",
        info,
    ]


REASONS = {
    "depiction": 1,
    "group_of_objects": 1,
    "unknown_label": 2,
    "empty_box": 1,
    "participant_left_out": 2,
    "repeated_relation": 1,
    "other_data_set": 1,
    "rotated_photo": 1,
}


def test_every_trap_with_photos(tmp_path, names):
    """The photo is smaller than that which was annotated, as the 1024 pixel version is."""
    images = tmp_path / "images"
    photo = made.photo(images / "train/a0.jpg", (200, 120))
    made.photo(images / "train/b1.jpg")
    made.photo(images / "c2.jpg")
    found = made.run(
        *("open-images", tmp_path / "out", *everything(tmp_path), "--names", *names),
        f"--images={images}",
    )
    record = found.records["oi-a0"]
    assert (record["width"], record["height"]) == (200, 120)
    assert (record["image_path"], record["split"]) == ("train/a0.jpg", "train")
    assert made.names(record) == ["dog", "man", "sports, lawn"]
    made.assert_boxes_fit(
        record, photo, {"man": "man", "dog": "dog", "sports, lawn": "grass"}, tolerance=1
    )
    assert record["objects"][1]["attributes"] == ["made of leather", "sit"]
    assert "attributes" not in record["objects"][0]
    assert made.relations(record) == [
        ("man", "holds", "dog"),
        ("dog", "inside of", "sports, lawn"),
        ("man", "interacts with", "dog"),
    ]
    assert record["captions"] == ["In this image a man.", "A dog."]
    assert found.records["oi-c2"]["captions"] == ["Only a text."]
    assert found.reasons() == REASONS | {"photo_not_found": 1}
    assert found.summary["build_flags"] == []


def test_without_photos_boxes_stay_fractions(tmp_path, names, capsys):
    found = made.run("open-images", tmp_path / "out", *everything(tmp_path), "--names", *names)
    record = found.records["oi-a0"]
    assert record["objects"][1]["box"] == [0.1, 0.125, 0.3, 0.833333]
    assert "width" not in record
    assert set(found.records) == {"oi-a0", "oi-b1", "oi-c2", "oi-absent"}
    assert found.reasons() == REASONS
    assert "--box-units=unit" in capsys.readouterr().out


def test_photos_that_viewers_turn_or_that_are_broken(tmp_path, names):
    images = tmp_path / "images"
    exif = Image.Exif()
    exif[0x0112] = 6
    images.mkdir()
    Image.new("RGB", made.SIZE).save(images / "a0.jpg", exif=exif)
    (images / "b1.jpg").write_bytes(b"no photo")
    found = made.run(
        *("open-images", tmp_path / "out", *everything(tmp_path), "--names", *names),
        f"--images={images}",
    )
    record = found.one()
    assert (record["width"], record["height"]) == made.SIZE[::-1]
    assert found.reasons()["exif_turned"] == 1
    assert found.reasons()["unreadable_photo"] == 1


def test_v4_calls_the_column_otherwise(tmp_path, names):
    row = relation_row("a0", (MAN, made.box("man")), "holds", (DOG, made.box("dog")))
    path = write_csv(
        tmp_path / "challenge-2018-train-vrd.csv",
        RELATION.replace("RelationshipLabel", "RelationLabel"),
        [row],
    )
    found = made.run("open-images", tmp_path / "out", "--relationships", path, "--names", *names)
    assert made.relations(found.one()) == [("man", "holds", "dog")]


def test_a_row_that_is_cut_short(tmp_path, names):
    path = write_csv(tmp_path / "b.csv", BOX, [box_row("a", MAN, made.box("man"))])
    path.write_text(path.read_text() + "a,xclick,/m/04yx4,1,0.1,0.")
    found = made.run("open-images", tmp_path / "out", "--boxes", path, "--names", *names)
    assert len(found.one()["objects"]) == 1
    assert found.reasons() == {"broken_box": 1}


def test_wrong_files(tmp_path, capsys, names):
    out, boxes = (
        tmp_path / "out",
        write_csv(tmp_path / "b.csv", BOX, [box_row("a", MAN, [0, 0, 9, 9])]),
    )
    error = made.fails(capsys, "open-images", out, "--relationships", boxes, "--names", *names)
    assert "has no column LabelName1, " in error
    assert "give this one with another flag" in error
    assert "name what to import" in made.fails(capsys, "open-images", out, "--names", *names)
    other = made.write_json(tmp_path / "x.jsonl", {"a": 1})
    error = made.fails(capsys, "open-images", out, "--narratives", other, "--names", *names)
    assert "line 1 has no image_id and caption" in error
