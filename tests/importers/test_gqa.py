"""GQA: every trap of its scene graphs."""

from tests.importers import made


def thing(name, box, relations=(), attributes=()):
    x, y, w, h = box
    return {
        **{"name": name, "x": x + 1, "y": y + 1, "w": w, "h": h, "attributes": list(attributes)},
        "relations": [{"name": predicate, "object": object} for predicate, object in relations],
    }


def graph(objects):
    return {"width": made.SIZE[0], "height": made.SIZE[1], "location": "street", "objects": objects}


def test_every_trap(tmp_path):
    photo = made.photo(tmp_path / "gqa/images/2386621.jpg")
    man, dog = made.xywh("man"), made.xywh("dog")
    objects = {
        "681": thing(
            "man",
            man,
            [
                ("walking", "682"),
                ("to the left of", "682"),
                ("walking", "682"),
                ("near", "9"),
                ("near", "684"),
            ],
            ["tall", "happy", "tall"],
        ),
        "682": thing("dog", dog, [("to the right of", "681"), ("on", "685"), ("behind", "683")]),
        "683": thing("dog", [dog[0] + 1, *dog[1:]]),  # the same dog
        "684": thing("sky", [10, 10, 0, 0]),
        "685": thing("grass", [-20, 200, 600, 300]),
    }
    train = made.write_json(
        tmp_path / "train_sceneGraphs.json", {"2386621": graph(objects), "5": graph({})}
    )
    val = made.write_json(
        tmp_path / "val_sceneGraphs.json", {"7": graph({"1": thing("cat", [0, 0, 9, 9])})}
    )
    found = made.run(
        *("gqa", tmp_path / "out", "--scene-graphs", train, val), f"--images={tmp_path / 'gqa'}"
    )
    record = found.records["gqa-2386621"]
    assert (record["image_path"], record["split"]) == ("images/2386621.jpg", "train")
    assert made.names(record) == ["man", "dog", "grass"]
    made.assert_boxes_fit(record, photo, {"man": "man", "dog": "dog"}, tolerance=0.5)
    assert record["objects"][0]["attributes"] == ["tall", "happy"]
    assert record["objects"][2]["box"] == [0, 200, 400, 240]
    assert made.relations(record) == [("man", "walking", "dog"), ("dog", "on", "grass")]
    assert found.records["gqa-7"]["split"] == "validation"
    assert found.reasons() == {
        "empty_box": 1,
        "box_sticks_out": 1,
        "merged_boxes": 1,
        "made_of_boxes": 2,
        "repeated_relation": 1,
        "unknown_participant": 1,
        "participant_left_out": 1,
        "subject_is_object": 1,
        "nothing_annotated": 1,
        "photo_not_found": 2,
    }


def test_sides_can_be_kept(tmp_path):
    objects = {
        "1": thing("man", made.xywh("man"), [("to the left of", "2")]),
        "2": thing("dog", made.xywh("dog")),
    }
    path = made.write_json(tmp_path / "train_sceneGraphs.json", {"1": graph(objects)})
    found = made.run("gqa", tmp_path / "out", "--scene-graphs", path, "--keep-sides")
    assert made.relations(found.one()) == [("man", "to the left of", "dog")]


def test_another_file(tmp_path, capsys):
    path = made.write_json(tmp_path / "objects.json", [])
    error = made.fails(capsys, "gqa", tmp_path / "out", "--scene-graphs", path)
    assert "read by `visual-genome`" in error
