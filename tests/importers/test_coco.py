"""COCO: every trap of its files, and what a wrong file is called."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco

from scenarioclip_jax.importers import masks
from tests.importers import made

CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 18, "name": "dog"},
    {"id": 90, "name": "toothbrush"},
]
PERSON, DOG = 1, 18


def image(id, name=None, **fields):
    size = {"width": made.SIZE[0], "height": made.SIZE[1]}
    return {"id": id, "file_name": name or f"{id:012}.jpg"} | size | fields


def annotation(image_id, category, box, **fields):
    return {"image_id": image_id, "category_id": category, "bbox": box, "iscrowd": 0} | fields


def polygon(name):
    x0, y0, x1, y1 = made.box(name)
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def instances(path, annotations, images, categories=CATEGORIES):
    """The order of COCO's own files: categories come last."""
    for number, each in enumerate(annotations):
        each.setdefault("id", 1000 + number)
    return made.write_json(
        path, {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    )


def captions(path, texts, images):
    annotations = [{"image_id": id, "id": n, "caption": text} for n, (id, text) in enumerate(texts)]
    return made.write_json(path, {"images": images, "annotations": annotations})


def test_every_trap(tmp_path):
    photo = made.photo(tmp_path / "coco/train2017/000000000009.jpg")
    made.photo(tmp_path / "coco/val2017/000000000025.jpg")
    uncompressed = masks.coco.encode(np.asfortranarray(made.mask("dog"), np.uint8))
    runs = [int(made.mask("dog").ravel("F").argmax())]
    flat = made.mask("dog").ravel("F")
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    train = instances(
        tmp_path / "coco/annotations/instances_train2017.json",
        # Sorted neither by photo nor by category.
        [
            annotation(9, DOG, made.xywh("dog"), segmentation={"size": [240, 400], "counts": runs}),
            annotation(30, DOG, [1, 2, 3.5, 4.25]),
            annotation(9, PERSON, made.xywh("man"), segmentation=polygon("man")),
            annotation(9, PERSON, [10, 10, 50, 0]),  # no area
            annotation(9, PERSON, [10, 10, 0, 50]),
            annotation(
                9,
                PERSON,
                [0, 0, 300, 200],
                iscrowd=1,
                segmentation={"size": [240, 400], "counts": []},
            ),
            annotation(9, 7, [10, 10, 20, 20]),  # no such category
            annotation(9, PERSON, [500, 10, 20, 20]),  # outside
            annotation(9, PERSON, [380, 200, 40, 20]),  # half outside
            annotation(9, PERSON, [10, 10, None, 20]),
            annotation(9, DOG, [20, 20, 20, 20], segmentation=[[1, 2, 3, 4]]),  # a line
            annotation(9, DOG, [50, 20, 20, 20], segmentation={"size": [10, 10], "counts": [100]}),
            annotation(77, DOG, [20, 20, 20, 20]),  # of no photo
        ],
        [image(9), image(30), image(31)],
    )
    val = instances(
        tmp_path / "coco/annotations/instances_val2017.json",
        [annotation(25, 90, [1, 1, 10, 10])],
        [image(25)],
    )
    texts = captions(
        tmp_path / "coco/annotations/captions_train2017.json",
        [
            (9, "A man and a dog."),
            (30, "A dog."),
            (9, " A dog, \n watched. "),
            (9, "A man and a dog."),
            (9, " "),
        ],
        [image(9), image(30), image(31)],
    )
    found = made.run(
        *("coco", tmp_path / "out", "--instances", train, val, "--captions", texts),
        f"--images={tmp_path / 'coco'}",
    )
    first = found.records["coco-9"]
    assert first["image_path"] == "train2017/000000000009.jpg"
    assert (first["width"], first["height"], first["split"]) == (400, 240, "train")
    assert first["source"] == "COCO instances_train2017.json"
    assert first["captions"] == ["A man and a dog.", "A dog, watched."]
    assert made.names(first) == ["dog", "person", "person", "dog", "dog"]
    assert first["objects"][2]["box"] == [380, 200, 400, 220]
    dog, man = first["objects"][:2]
    made.assert_boxes_fit({"objects": [dog, man]}, photo, {"dog": "dog", "person": "man"})
    assert dog["mask"]["counts"] == uncompressed["counts"].decode()
    assert np.array_equal(masks.to_array(man["mask"]), made.mask("man"))
    assert [("mask" in thing) for thing in first["objects"]] == [True, True, False, False, False]
    assert found.records["coco-30"]["objects"] == [{"name": "dog", "box": [1, 2, 4.5, 6.25]}]
    assert found.records["coco-25"]["split"] == "validation"
    assert found.records["coco-25"]["objects"][0]["name"] == "toothbrush"
    assert found.reasons() == {
        "empty_box": 2,
        "crowd_region": 1,
        "unknown_category": 1,
        "box_outside": 1,
        "box_sticks_out": 1,
        "broken_box": 1,
        "empty_mask": 1,
        "broken_mask": 1,
        "unknown_photo": 1,
        "nothing_annotated": 1,
        "photo_not_found": 2,  # 30 and 31
    }
    assert found.summary["counts"] == {
        **{"photos": 3, "objects": 7, "relations": 0, "captions": 3, "masks": 2, "attributes": 0}
    }
    problem = next(p for p in found.problems if p["reason"] == "crowd_region")
    assert problem["id"] == "coco-9"
    assert "instances_train2017.json annotations[5]" in problem["where"]


def test_captions_alone_and_gzip(tmp_path):
    text = "Ein Mann für 1 € 🐕"
    path = captions(tmp_path / "captions_val2014.json", [(1, text)], [image(1)])
    packed = tmp_path / "captions_val2014.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        record = made.run("coco", tmp_path / f"out {file.suffix}", "--captions", file).one()
        assert record["captions"] == [text]
        assert record["image_path"] == "000000000001.jpg"
        assert record["split"] == "validation"


def test_the_same_ids_in_two_splits(tmp_path):
    """As in data sets that are made with a tool: each file counts its photos from 1."""
    files = [
        instances(
            tmp_path / f"{split}.json",
            [annotation(1, DOG, [1, 1, 5, 5])],
            [image(1, f"{split}/1.jpg")],
        )
        for split in ("train", "val")
    ]
    found = made.run("coco", tmp_path / "out", "--instances", *files)
    assert {id: r["image_path"] for id, r in found.records.items()} == {
        "coco-train-1": "train/1.jpg",
        "coco-validation-1": "val/1.jpg",
    }


def test_two_files_that_call_different_photos_the_same(tmp_path, capsys):
    files = [
        instances(
            tmp_path / f"{n}.json", [annotation(1, DOG, [1, 1, 5, 5])], [image(1, f"{n}.jpg")]
        )
        for n in ("a", "b")
    ]
    error = made.fails(capsys, "coco", tmp_path / "out", "--instances", *files)
    assert (
        "image_id 1 is a.jpg in a.json and b.jpg in b.json; import these files one by one" in error
    )


def panoptic(tmp_path, split="val2017"):
    """The grass has an id that needs all three bytes of a color."""
    ids = {"man": 7, "dog": 263, "grass": 3_277_063}
    pixels = np.zeros((*made.SIZE[::-1], 3), np.uint8)
    for name, id in ids.items():
        pixels[made.mask(name)] = (id % 256, id // 256 % 256, id // 65_536)
    folder = tmp_path / f"panoptic_{split}"
    folder.mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "000000000001.png")
    segments = [
        {"id": id, "category_id": category, "bbox": made.xywh(name), "iscrowd": 0, "area": 1}
        for (name, id), category in zip(ids.items(), (PERSON, DOG, 193), strict=True)
    ]
    segments.append({"id": 5, "category_id": PERSON, "bbox": [1, 1, 9, 9], "iscrowd": 1})
    segments.append({"id": 6, "category_id": 193, "bbox": [1, 1, 9, 9], "iscrowd": 0})
    categories = [{**each, "isthing": 1} for each in CATEGORIES]
    categories.append({"id": 193, "name": "grass-merged", "isthing": 0})
    return made.write_json(
        tmp_path / f"panoptic_{split}.json",
        {
            "images": [image(1)],
            "annotations": [
                {"image_id": 1, "file_name": "000000000001.png", "segments_info": segments}
            ],
            "categories": categories,
        },
    )


def test_panoptic_masks(tmp_path):
    path = panoptic(tmp_path)
    photo = made.photo(tmp_path / "000000000001.jpg")
    found = made.run("coco", tmp_path / "out", "--panoptic", path, f"--images={tmp_path}")
    record = found.one()
    expected = {"person": "man", "dog": "dog", "grass": "grass"}
    assert made.names(record) == [*expected, "grass"]
    for thing in record["objects"][:3]:
        assert np.array_equal(masks.to_array(thing["mask"]), made.mask(expected[thing["name"]]))
    made.assert_boxes_fit({"objects": record["objects"][:3]}, photo, expected)
    assert found.reasons() == {"crowd_region": 1, "segment_not_in_png": 1}


def test_panoptic_beside_instances_gives_stuff_only(tmp_path):
    path = panoptic(tmp_path)
    boxes = instances(
        tmp_path / "instances_val2017.json", [annotation(1, DOG, made.xywh("dog"))], [image(1)]
    )
    flags = ("--panoptic", path, "--instances", boxes, "--without-masks")
    record = made.run("coco", tmp_path / "out", *flags).one()
    assert made.names(record) == ["dog", "grass", "grass"]
    assert not any("mask" in thing for thing in record["objects"])


def test_png_files_that_are_missing_or_of_another_size(tmp_path):
    path = panoptic(tmp_path)
    found = made.run(
        "coco", tmp_path / "a", "--panoptic", path, f"--panoptic-masks={tmp_path / 'x'}"
    )
    assert found.reasons()["missing_png"] == 1
    assert len(found.one()["objects"]) == 4
    (tmp_path / "small").mkdir()
    Image.new("RGB", (10, 10)).save(tmp_path / "small/000000000001.png")
    found = made.run(
        "coco", tmp_path / "b", "--panoptic", path, f"--panoptic-masks={tmp_path / 'small'}"
    )
    assert found.reasons()["png_of_other_size"] == 1


WRONG = {
    "captions as instances": (
        "--instances",
        {"annotations": [{"caption": "a"}]},
        "give it as --captions",
    ),
    "instances as captions": (
        "--captions",
        {"annotations": [{"bbox": []}]},
        "give it as --instances",
    ),
    "panoptic as instances": (
        *("--instances", {"annotations": [{"segments_info": []}]}),
        "is a panoptic file",
    ),
    "results": ("--instances", [{"bbox": []}], "results of a detector"),
    "PSG": ("--panoptic", {"data": [], "predicate_classes": []}, "read by `psg`"),
    "nothing": ("--instances", {"images": [], "annotations": []}, "has no annotations"),
    "no categories": (
        *("--instances", {"images": [], "annotations": [{"bbox": [], "category_id": 1}]}),
        "has no `categories`",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_called_by_what_it_is(tmp_path, capsys, case):
    flag, content, message = WRONG[case]
    path = made.write_json(tmp_path / "file.json", content)
    error = made.fails(capsys, "coco", tmp_path / "out", flag, path)
    assert str(path) in error
    assert message in error


def test_a_file_that_cannot_be_read(tmp_path, capsys):
    whole = instances(
        tmp_path / "instances_val2017.json",
        [annotation(1, DOG, [1, 1, 5, 5]) for _ in range(20)],
        [image(1)],
    ).read_bytes()
    cut, out = tmp_path / "cut.json", tmp_path / "out"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "cut.json is cut short; download it again" in made.fails(
        capsys, "coco", out, "--instances", cut
    )
    cut.write_bytes(gzip.compress(whole)[:-20])
    assert "damaged or cut short" in made.fails(capsys, "coco", out, "--instances", cut)
    cut.write_bytes(b"PK\x03\x04....")
    assert "a ZIP archive; unpack it" in made.fails(capsys, "coco", out, "--instances", cut)
    cut.write_bytes(whole.replace(b'"bbox": [', b'"bbox": [,', 1))
    assert "cut.json isn't JSON" in made.fails(capsys, "coco", out, "--instances", cut)
    missing = made.fails(capsys, "coco", out, "--instances", tmp_path / "none.json")
    assert "there is no such file" in missing
    assert "cut.json" in missing
    assert "name what to import: --instances" in made.fails(capsys, "coco", out)


def test_masks_are_what_pycocotools_reads(tmp_path):
    path = instances(
        tmp_path / "train.json",
        [annotation(1, DOG, made.xywh("dog"), segmentation=polygon("dog"))],
        [image(1)],
    )
    mask = made.run("coco", tmp_path / "out", "--instances", path).one()["objects"][0]["mask"]
    json.dumps(mask)
    assert np.array_equal(pycoco.decode(mask).astype(bool), made.mask("dog"))
