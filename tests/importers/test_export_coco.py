"""COCO to metadata and back keeps boxes, masks, categories and captions."""

import json

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from pycocotools import mask as pycoco

from scenarioclip_jax.importers import command
from tests.importers import made
from tests.importers.test_coco import CATEGORIES, annotation, captions, image, instances

WIDTH, HEIGHT = made.SIZE


@st.composite
def coco_objects(draw):
    """A box with two decimals, as COCO's are, and a mask that fits it, or none."""
    x, y = draw(st.integers(0, WIDTH - 3)), draw(st.integers(0, HEIGHT - 3))
    width = draw(st.integers(2, WIDTH - x - 1))
    height = draw(st.integers(2, HEIGHT - y - 1))
    category = draw(st.sampled_from([c["id"] for c in CATEGORIES]))
    fields = {}
    if draw(st.booleans()):
        pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        pixels[y : y + height, x : x + width] = 1
        pixels[y + height // 2, x + width // 2] = draw(st.integers(0, 1))
        counts = pycoco.encode(pixels)["counts"].decode()
        fields["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": counts}
        box = [x, y, width, height]
    else:
        parts = st.integers(0, 99).map(lambda n: n / 100)
        box = [x + draw(parts), y + draw(parts), width - 1 + draw(parts), height - 1 + draw(parts)]
    return category, box, fields


texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
photos = st.lists(
    st.tuples(
        st.lists(coco_objects(), min_size=1, max_size=4), st.lists(texts, max_size=3, unique=True)
    ),
    min_size=1,
    max_size=4,
)


def export(folder, output, *flags) -> int:
    return command.main(
        ["export-coco", f"--metadata={folder}", f"--output={output}", *map(str, flags)]
    )


def content(path):
    """What a COCO file says, by photo and in order, without the ids that tools give anew."""
    read = json.loads(path.read_text())
    names = {category["id"]: category["name"] for category in read.get("categories", [])}
    found = {i["id"]: (i["file_name"], i["width"], i["height"], []) for i in read["images"]}
    for each in read["annotations"]:
        if "caption" in each:
            found[each["image_id"]][3].append(each["caption"])
        else:
            box = [round(value, 2) for value in each["bbox"]]
            mask = each.get("segmentation") or None
            found[each["image_id"]][3].append(
                (names[each["category_id"]], each["category_id"], box, mask)
            )
    return found


@given(photos)
def test_a_round_trip_changes_nothing(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("coco")
    images = [image(7 + 3 * number) for number in range(len(drawn))]
    boxes = instances(
        folder / "instances_val2017.json",
        [
            annotation(each["id"], category, box, **fields)
            for each, (objects, _) in zip(images, drawn, strict=True)
            for category, box, fields in objects
        ],
        images,
    )
    told = [
        (each["id"], text)
        for each, (_, captioned) in zip(images, drawn, strict=True)
        for text in captioned
    ]
    flags = ["--instances", boxes]
    if told:
        flags += ["--captions", captions(folder / "captions_val2017.json", told, images)]
    made.run("coco", folder / "out", *flags)
    back, spoken = folder / "back.json", folder / "spoken.json"
    assert export(folder / "out", back, f"--categories={boxes}", f"--captions={spoken}") == 0
    assert content(back) == content(boxes)
    before = content(folder / "captions_val2017.json") if told else {}
    # NFC is what texts are read in.
    assert {id: each[3] for id, each in content(spoken).items() if each[3]} == {
        id: [made.composed(text) for text in each[3]] for id, each in before.items() if each[3]
    }


def test_metadata_as_published(tmp_path, capsys):
    """[name, box], relations that name no object, no sizes, and ids without a number."""
    made.photo(tmp_path / "images/a.png", (800, 480))
    record = {
        "id": "a",
        "image_path": "images/a.png",
        "dense_caption": "A man.",
        "objects": [["man", [10, 20, 30, 60]], ["cup", [1, 2, 3, 4]]],
        "relations": [["", ["man", "holds", "cup"], []]],
    }
    made.write_json(tmp_path / "metadata.json", {"data": [record]})
    output, spoken = tmp_path / "coco.json", tmp_path / "captions.json"
    assert export(tmp_path, output) == 1
    assert "record a has no width and height" in capsys.readouterr().err
    assert not output.exists()
    assert export(tmp_path, output, f"--images={tmp_path}", f"--captions={spoken}") == 0
    assert "1 relations left out" in capsys.readouterr().out
    assert content(output) == {
        1: (
            "images/a.png",
            800,
            480,
            [("man", 1, [10, 20, 20, 40], None), ("cup", 2, [1, 2, 2, 2], None)],
        )
    }
    assert content(spoken)[1][3] == ["A man."]
    assert export(tmp_path, output) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_scores_and_attributes_go_along(tmp_path):
    """COCO's own files have none, those of tools do; CVAT's attributes are no list."""
    rows = [
        annotation(1, 1, [1, 1, 5, 5], score=0.25, attributes=["tall", "tall", 3]),
        annotation(1, 1, [1, 1, 5, 5], attributes={"occluded": False}),
    ]
    path = instances(tmp_path / "train.json", rows, [image(1)])
    found = made.run("coco", tmp_path / "out", "--instances", path)
    first, second = found.one()["objects"]
    assert (first["score"], first["attributes"]) == (0.25, ["tall"])
    assert "attributes" not in second
    assert export(tmp_path / "out", tmp_path / "back.json") == 0
    back = json.loads((tmp_path / "back.json").read_text())["annotations"]
    assert (back[0]["score"], back[0]["attributes"]) == (0.25, ["tall"])


def test_one_split(tmp_path):
    rows = [
        {"id": f"x-{n}", "image_path": f"{n}.jpg", "width": 9, "height": 9, "split": split}
        for n, split in enumerate(["train", "val", "test", None])
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for split, expected in (("validation", [1]), ("train", [0]), (None, [0, 1, 2, 3])):
        flags = [f"--split={split}"] if split else []
        assert export(tmp_path, tmp_path / "o.json", "--overwrite", *flags) == 0
        assert list(content(tmp_path / "o.json")) == expected


def test_what_cannot_be_exported(tmp_path, capsys):
    assert export(tmp_path, tmp_path / "o.json") == 1
    assert "holds no metadata*.json" in capsys.readouterr().err
    (tmp_path / "metadata.jsonl").write_text('{"id": 1}\n')
    assert export(tmp_path, tmp_path / "o.json") == 1
    assert "metadata.jsonl line 1 isn't a record" in capsys.readouterr().err
    for field, value in (
        ("objects", True),
        ("objects", [["man", [1, 2, 3, "x"]]]),
        ("captions", 3),
        ("relations", [{"subject": 0, "predicate": "on", "object": 1}]),
    ):
        record = {"id": 1, "image_path": "a.jpg", "width": 9, "height": 9, field: value}
        (tmp_path / "metadata.jsonl").write_text(json.dumps(record))
        assert export(tmp_path, tmp_path / "o.json") == 1
        assert "line 1 isn't a record that can be exported" in capsys.readouterr().err
        assert not (tmp_path / "o.json").exists()
    (tmp_path / "metadata.jsonl").write_text('{"id": 1')
    assert export(tmp_path, tmp_path / "o.json") == 1
    assert "line 1 isn't JSON" in capsys.readouterr().err
