"""Label Studio in and out: every trap of its export, and a round trip."""

import json
from xml.etree import ElementTree

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from scenarioclip_jax.importers import command, masks
from tests.importers import made

WIDTH, HEIGHT = made.SIZE


def rectangle(id, name, box, rotation=0, **fields):
    x0, y0, x1, y1 = box
    value = {"x": x0 / WIDTH * 100, "y": y0 / HEIGHT * 100, "rotation": rotation}
    value |= {"width": (x1 - x0) / WIDTH * 100, "height": (y1 - y0) / HEIGHT * 100}
    labels = {"rectanglelabels": [name] if isinstance(name, str) else name}
    return region(id, "rectanglelabels", value | labels) | fields


def region(id, type, value, from_name="label"):
    return {
        **{"id": id, "type": type, "value": value, "from_name": from_name, "to_name": "image"},
        **{"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0},
    }


def relation(subject, object, labels, direction="right"):
    return {
        "type": "relation",
        "from_id": subject,
        "to_id": object,
        "direction": direction,
        "labels": labels,
    }


def task(id, image, result, **fields):
    annotations = (
        [{"id": 1, "was_cancelled": False, "result": result}] if result is not None else []
    )
    return {
        "id": id,
        "data": {"image": image},
        "annotations": annotations,
        "predictions": [],
    } | fields


def test_every_trap(tmp_path):
    photo = made.photo(tmp_path / "photos/street/a b.jpg")
    x0, y0, x1, y1 = made.box("grass")
    corners = [
        [x / WIDTH * 100, y / HEIGHT * 100] for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    ]
    result = [
        rectangle("m", "man", made.box("man")),
        rectangle("d", ["dog", "animal"], made.box("dog"), score=0.7),
        region("g", "polygonlabels", {"points": corners, "polygonlabels": ["grass"]}),
        # A quarter turn around its upper left corner: what was right of it is below.
        rectangle("r", "sign", [100, 100, 140, 120], rotation=90),
        rectangle("n", "", [1, 1, 9, 9]),
        rectangle("e", "cat", [1, 1, 1, 9]),
        region("b", "brushlabels", {"rle": [1, 2], "brushlabels": ["tree"]}),
        region("m", "choices", {"choices": ["tall", "happy"]}, "look"),
        region("c", "choices", {"choices": ["walking a dog"]}, "action"),
        region("t", "textarea", {"text": ["A walk.", "Two at once."]}, "captions"),
        region("w", "choices", {"choices": ["sunny"]}, "weather"),
        relation("m", "d", ["walking", "near"]),
        relation("m", "d", ["pulling"], "left"),
        relation("d", "g", ["beside"], "bi"),
        relation("m", "e", ["near"]),
        relation("m", "zz", ["near"]),
        relation("m", "d", []),
    ]
    tasks = [
        task(1, "/data/local-files/?d=street%2Fa%20b.jpg", result),
        task(
            2,
            "/data/upload/3/0123abcd-b.jpg",
            None,
            predictions=[{"result": [rectangle("p", "man", [1, 1, 9, 9])]}],
        ),
        task(3, "s3://bucket/street/c.jpg", [rectangle("p", "man", [1, 1, 9, 9])]),
        {"id": 4, "data": {"picture": "x.jpg"}, "annotations": []},
    ]
    cancelled = {"was_cancelled": True, "result": [rectangle("x", "wrong", [1, 1, 5, 5])]}
    tasks[2]["annotations"] = [cancelled, *tasks[2]["annotations"], {"result": []}]
    path = made.write_json(tmp_path / "export.json", tasks)
    flags = ("--tasks", path, f"--images={tmp_path / 'photos'}")
    found = made.run("label-studio", tmp_path / "out", *flags)
    record = found.records["ls-1"]
    assert (record["image_path"], record["action"]) == ("street/a b.jpg", "walking a dog")
    assert record["captions"] == ["A walk.", "Two at once."]
    assert made.names(record) == ["man", "dog", "grass", "sign"]
    made.assert_boxes_fit(record, photo, {n: n for n in made.THINGS}, tolerance=0.001)
    assert record["objects"][0]["attributes"] == ["tall", "happy"]
    assert (record["objects"][1]["score"], record["objects"][1]["attributes"]) == (0.7, ["animal"])
    assert np.array_equal(masks.to_array(record["objects"][2]["mask"]), made.mask("grass"))
    assert record["objects"][3]["box"] == [80, 100, 100, 140]
    assert made.relations(record) == [
        ("man", "walking", "dog"),
        ("man", "near", "dog"),
        ("dog", "pulling", "man"),
        ("dog", "beside", "grass"),
        ("grass", "beside", "dog"),
    ]
    assert made.names(found.records["ls-3"]) == ["man"]
    assert found.reasons() == {
        "rotated_box": 1,
        "no_name": 1,
        "empty_box": 1,
        "other_region": 1,
        "other_choice": 1,
        "participant_left_out": 1,
        "unknown_participant": 1,
        "no_predicate": 1,
        "several_annotations": 1,
        "predictions_only": 1,
        "nothing_annotated": 1,
        "no_photo": 1,
        "photo_not_found": 2,
    }
    found = made.run("label-studio", tmp_path / "out", *flags, "--overwrite", "--predictions")
    assert found.records["ls-2"]["image_path"] == "b.jpg"


def test_wrong_files(tmp_path, capsys):
    small = made.write_json(tmp_path / "min.json", [{"image": "a.jpg", "label": []}])
    error = made.fails(capsys, "label-studio", tmp_path / "out", "--tasks", small)
    assert "export as JSON, not as JSON-MIN" in error
    coco = made.write_json(tmp_path / "result.json", {"images": [], "categories": []})
    error = made.fails(capsys, "label-studio", tmp_path / "out", "--tasks", coco)
    assert "has images, categories; export the tasks as JSON" in error


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8).map(
    made.composed
)
words = words.filter(bool)


@st.composite
def records(draw, number):
    objects = []
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(0, WIDTH - 2)), draw(st.integers(0, HEIGHT - 2))
        box = [x, y, draw(st.integers(x + 1, WIDTH)), draw(st.integers(y + 1, HEIGHT))]
        thing = {"name": draw(words), "box": box}
        if draw(st.booleans()):
            thing["attributes"] = draw(st.lists(words, min_size=1, max_size=2, unique=True))
        if draw(st.booleans()):
            thing["score"] = draw(st.integers(0, 100)) / 100
        objects.append(thing)
    ends = st.tuples(st.integers(0, len(objects) - 1), words, st.integers(0, len(objects) - 1))
    pairs = draw(st.lists(ends.filter(lambda e: e[0] != e[2]), max_size=3, unique=True))
    record = {
        "id": f"x {number}",
        "image_path": f"a b/{draw(st.integers(0, 9))}ü?.jpg",
        "width": WIDTH,
    }
    record |= {"height": HEIGHT, "objects": objects, "source": "Label Studio"}
    if pairs:
        record["relations"] = [{"subject": s, "predicate": p, "object": o} for s, p, o in pairs]
    if draw(st.booleans()):
        record["captions"] = draw(st.lists(words, min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        record |= {"action": draw(words), "split": draw(st.sampled_from(["train", "test"]))}
    return record


@given(st.integers(1, 3).flatmap(lambda n: st.tuples(*(records(i) for i in range(n)))))
def test_a_round_trip_changes_nothing(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("label-studio")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(record) + "\n" for record in drawn))
    tasks = folder / "tasks.json"
    flags = [f"--metadata={folder}", f"--output={tasks}", f"--config={folder / 'interface.xml'}"]
    assert command.main(["export-label-studio", *flags]) == 0
    found = made.run("label-studio", folder / "out", "--tasks", tasks)
    assert found.records == {record["id"]: record for record in drawn}
    interface = ElementTree.parse(folder / "interface.xml")
    labels = {label.get("value") for label in interface.iter("Label")}
    assert labels == {thing["name"] for record in drawn for thing in record["objects"]}


def test_what_is_left_out_is_told(tmp_path, capsys):
    mask = masks.from_array(made.mask("man"))
    record = {
        **{"id": 1, "image_path": "a.jpg", "width": WIDTH, "height": HEIGHT},
        "objects": [{"name": "man", "box": made.box("man"), "mask": mask}],
        "relations": [["", ["man", "near", "dog"], []]],
    }
    made.write_json(tmp_path / "metadata.json", {"data": [record]})
    flags = [f"--metadata={tmp_path}", f"--output={tmp_path / 'o.json'}"]
    assert command.main(["export-label-studio", *flags]) == 0
    shown = capsys.readouterr().out
    assert "1 masks left out" in shown
    assert "1 relations left out" in shown
