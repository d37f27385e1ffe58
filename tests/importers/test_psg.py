"""PSG: every trap of psg.json."""

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import faults
from scenarioclip_jax.importers import masks
from scenarioclip_jax.importers.photos import Photos
from tests.importers import made

IDS = {"man": 7, "dog": 263, "grass": 3_277_063}
CLASSES = {
    "thing_classes": ["person", "dog"],
    "stuff_classes": ["banner", "grass-merged", "wall-other-merged"],
    "predicate_classes": ["over", "walking", "wearing", "standing on"],
}


def entry(image_id, name="train2017/000000000009.jpg", extra=(), relations=()):
    """Things and stuff in one list of classes; boxes are x0, y0, x1, y1."""
    rows = [
        (IDS["man"], 0, made.box("man"), 0, {"bbox_mode": 0}),
        (IDS["dog"], 1, made.xywh("dog"), 0, {"bbox_mode": 1}),
        (IDS["grass"], 3, made.box("grass"), 0, {"bbox_mode": 0}),
        *extra,
    ]
    return {
        "file_name": name,
        "image_id": image_id,
        "coco_image_id": "9",
        "width": made.SIZE[0],
        "height": made.SIZE[1],
        "pan_seg_file_name": "panoptic_train2017/000000000009.png",
        "segments_info": [
            {"id": id, "category_id": c, "iscrowd": crowd, "isthing": int(c < 2), "area": 1}
            for id, c, _, crowd, _ in rows
        ],
        "annotations": [{"bbox": box, "category_id": c, **mode} for _, c, box, _, mode in rows],
        "relations": list(relations),
    }


def psg(path, entries, **fields):
    return made.write_json(path, {"data": entries} | CLASSES | {"test_image_ids": ["11"]} | fields)


@pytest.fixture
def coco(tmp_path):
    """The photo and its panoptic PNG, where people have them."""
    made.photo(tmp_path / "coco/train2017/000000000009.jpg")
    pixels = np.zeros((*made.SIZE[::-1], 3), np.uint8)
    for name, id in IDS.items():
        pixels[made.mask(name)] = (id % 256, id // 256 % 256, id // 65_536)
    path = tmp_path / "coco/annotations/panoptic_train2017/000000000009.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(pixels).save(path)
    return tmp_path / "coco"


def test_every_trap(tmp_path, coco):
    extra = [
        (5, 0, [1, 1, 30, 30], 1, {"bbox_mode": 0}),  # 3: a crowd
        (6, 0, [50, 50, 50, 90], 0, {"bbox_mode": 0}),  # 4: no width
        (8, 9, [1, 1, 30, 30], 0, {"bbox_mode": 0}),  # 5: no such class
        (9, 0, [1, 1, 30, 30], 0, {"bbox_mode": 4}),  # 6: rotated
        (10, 0, [1, 1, 30, 30], 0, {}),  # 7: a second person, without pixels
    ]
    relations = [
        [0, 1, 1],
        [0, 2, 3],
        [0, 1, 1],  # twice
        [0, 1, 0],  # the same pair, another predicate
        [1, 0, 1],  # the other direction
        [3, 1, 0],
        [0, 4, 0],
        [0, 0, 0],
        [0, 7, 2],  # a person wearing a person
        [0, 7, 0],
        [0, 1, 9],
        [0, 99, 0],
        [0, 1],
    ]
    path = psg(
        tmp_path / "psg.json",
        [
            entry("9", extra=extra, relations=relations),
            entry(11, "val2017/000000000011.jpg"),
            {"image_id": "12"},
        ],
    )
    texts = made.write_json(
        tmp_path / "captions_train2017.json",
        {
            "annotations": [
                {"image_id": 9, "caption": "A walk."},
                {"image_id": 10, "caption": "No."},
            ]
        },
    )
    found = made.run(
        *("psg", tmp_path / "out", f"--psg={path}", "--coco-captions", texts),
        *(f"--panoptic-masks={coco / 'annotations'}", f"--images={coco}"),
    )
    record = found.records["psg-9"]
    assert (record["split"], record["image_path"]) == ("train", "train2017/000000000009.jpg")
    assert record["captions"] == ["A walk."]
    assert made.names(record) == ["person", "dog", "grass", "person"]
    expected = {"person": "man", "dog": "dog", "grass": "grass"}
    shown = {"objects": record["objects"][:3]}
    made.assert_boxes_fit(shown, coco / record["image_path"], expected)
    for thing in shown["objects"]:
        assert np.array_equal(masks.to_array(thing["mask"]), made.mask(expected[thing["name"]]))
    assert made.relations(record) == [
        ("person", "walking", "dog"),
        ("person", "standing on", "grass"),
        ("person", "over", "dog"),
        ("dog", "walking", "person"),
        ("person", "over", "person"),
    ]
    assert record["relations"][-1] == {"subject": 0, "predicate": "over", "object": 3}
    assert found.records["psg-11"]["split"] == "test"
    assert found.reasons() == {
        "crowd_region": 1,
        "empty_box": 1,
        "unknown_category": 1,
        "unknown_box_mode": 1,
        "segment_not_in_png": 5,
        "repeated_relation": 1,
        "participant_left_out": 2,
        "subject_is_object": 1,
        "implausible_relation": 1,
        "unknown_predicate": 1,
        "unknown_participant": 1,
        "broken_relation": 1,
        "broken_photo": 1,
        "photo_not_found": 1,
    }


def test_what_the_system_refuses_is_not_left_out(tmp_path, coco, monkeypatch, capsys):
    path = psg(tmp_path / "psg.json", [entry("10")])
    flags = (f"--psg={path}", f"--panoptic-masks={coco / 'annotations'}", f"--images={coco}")
    monkeypatch.setattr(faults, "PAUSES", ())
    real = Image.open

    def refused(file, *args, **kwargs):
        if "000000000009" in str(file):
            raise OSError(116, "Stale file handle")
        return real(file, *args, **kwargs)

    monkeypatch.setattr(Image, "open", refused)
    error = made.fails(capsys, "psg", tmp_path / "out", *flags)
    assert "000000000009.png: can't be read now" in error
    assert "mount the file system again" in error
    photos = Photos(coco / "train2017")
    with pytest.raises(faults.InputUnavailableError, match=r"000000000009\.jpg: can't be read now"):
        photos.size("000000000009.jpg")


def test_without_masks_and_captions(tmp_path):
    """Objects without relations are worth something, too."""
    path = psg(tmp_path / "psg.json", [entry("9")])
    record = made.run("psg", tmp_path / "out", f"--psg={path}").one()
    assert "relations" not in record
    assert not any("mask" in thing for thing in record["objects"])


def test_lists_that_do_not_fit_each_other(tmp_path, coco):
    row = entry("9")
    row["segments_info"].pop()
    path = psg(tmp_path / "psg.json", [row])
    flags = (f"--psg={path}", f"--panoptic-masks={coco / 'annotations'}")
    found = made.run("psg", tmp_path / "out", *flags)
    assert found.reasons() == {"unequal_lists": 1}
    assert len(found.one()["objects"]) == 3


def test_wrong_files(tmp_path, capsys):
    other = made.write_json(tmp_path / "instances.json", {"images": [], "annotations": []})
    error = made.fails(capsys, "psg", tmp_path / "out", f"--psg={other}")
    assert "has no thing_classes and no predicate_classes; name psg.json" in error
    path = psg(tmp_path / "psg.json", [entry("9")])
    error = made.fails(capsys, "psg", tmp_path / "out", f"--psg={path}", "--panoptic-masks=nowhere")
    assert "--panoptic-masks=nowhere isn't a folder" in error
    wrong = made.write_json(tmp_path / "x.json", {"annotations": [{"bbox": [], "image_id": 1}]})
    error = made.fails(capsys, "psg", tmp_path / "out", f"--psg={path}", "--coco-captions", wrong)
    assert "isn't a captions file" in error
