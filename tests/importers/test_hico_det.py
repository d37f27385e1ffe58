"""HICO-DET: every trap of anno_bbox.mat, which is written here as MATLAB has it."""

import numpy as np
import scipy.io

from tests.importers import made

ACTIONS = [
    {"nname": "bicycle", "vname": "ride", "vname_ing": "riding"},
    {"nname": "bicycle", "vname": "sit_on", "vname_ing": "sitting_on"},
    {"nname": "bicycle", "vname": "no_interaction", "vname_ing": "and"},
    {"nname": "person", "vname": "hug", "vname_ing": "hugging"},
    {"nname": "dining_table", "vname": "clean", "vname_ing": "cleaning"},
]


def structs(rows, fields):
    """A struct array, 1 x n, as MATLAB's files have it."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for position, row in enumerate(rows):
        for name in fields:
            array[name][0, position] = row[name]
    return array


def box(values):
    """Both ends belong to it, and the first pixel is 1, 1."""
    x0, y0, x1, y1 = values
    return {"x1": x0 + 1, "x2": x1, "y1": y0 + 1, "y2": y1}


def hoi(id, humans=(), objects=(), connection=(), invis=0):
    sides = ("x1", "x2", "y1", "y2")
    return {
        **{"id": id, "invis": invis, "connection": np.array(connection, float).reshape(-1, 2)},
        "bboxhuman": structs([box(b) for b in humans], sides),
        "bboxobject": structs([box(b) for b in objects], sides),
    }


def photo(name, hois):
    size = structs(
        [{"width": made.SIZE[0], "height": made.SIZE[1], "depth": 3}], ("width", "height", "depth")
    )
    fields = ("id", "bboxhuman", "bboxobject", "connection", "invis")
    return {"filename": name, "size": size, "hoi": structs(hois, fields)}


def write(path, train, test=(), actions=ACTIONS):
    fields = ("filename", "size", "hoi")
    content = {
        "bbox_train": structs(train, fields),
        "bbox_test": structs(list(test), fields),
        "list_action": structs(actions, ("nname", "vname", "vname_ing")).T,
    }
    scipy.io.savemat(path, content, do_compression=True)
    return path


def test_every_trap(tmp_path):
    drawn = made.photo(tmp_path / "hico/images/train2015/HICO_train2015_00000001.jpg")
    man, bike = made.box("man"), made.box("dog")
    again = [man[0] - 2, man[1] + 2, man[2] - 2, man[3] + 2]  # boxed anew for another verb
    beside = [man[0] + 30, man[1], man[2] + 30, man[3]]  # IoU .57 with the nearest: another person
    close = [man[0] + 8, man[1], man[2] + 8, man[3]]  # IoU .82, but of the same verb as the man
    path = write(
        tmp_path / "anno_bbox.mat",
        [
            photo(
                "HICO_train2015_00000001.jpg",
                [
                    hoi(1, [man, close], [bike], [[1, 1], [2, 1]]),
                    hoi(2, [again], [bike], [[1, 1]]),
                    hoi(3, [beside], [bike], [[1, 1]]),
                    hoi(4, [man], [again], [[1, 1]]),  # a person hugging herself, after merging
                    hoi(5, invis=1),
                    hoi(9, [man], [bike], [[1, 1]]),
                    hoi(1, [man], [[5, 5, 5, 5]], [[1, 1], [1, 7]]),
                ],
            ),
            photo("HICO_train2015_00000002.jpg", [hoi(5, [man], [[1, 1, 9, 9]], [[1, 1]])]),
        ],
        [photo("HICO_test2015_00000001.jpg", [hoi(1, [man], [bike], [[1, 1]])])],
    )
    found = made.run(
        *("hico-det", tmp_path / "out", f"--annotations={path}", f"--images={tmp_path / 'hico'}")
    )
    record = found.records["hico-HICO_train2015_00000001"]
    assert record["image_path"] == "images/train2015/HICO_train2015_00000001.jpg"
    assert record["action"] == "riding bicycle"
    assert made.names(record) == ["person", "person", "bicycle", "person"]
    made.assert_boxes_fit(
        {"objects": [record["objects"][0], record["objects"][2]]},
        drawn,
        {"person": "man", "bicycle": "dog"},
        tolerance=1,
    )
    assert [(r["subject"], r["predicate"], r["object"]) for r in record["relations"]] == [
        (0, "riding", 2),
        (1, "riding", 2),
        (0, "sitting on", 2),
    ]
    single = found.records["hico-HICO_train2015_00000002"]
    assert made.relations(single) == [("person", "cleaning", "dining table")]
    assert found.records["hico-HICO_test2015_00000001"]["split"] == "test"
    assert found.reasons() == {
        "no_interaction": 1,
        "subject_is_object": 1,
        "not_visible": 1,
        "unknown_action": 1,
        "empty_box": 1,
        "participant_left_out": 1,
        "unknown_participant": 1,
        "merged_boxes": 2,
        "photo_not_found": 2,
    }


def test_wrong_files(tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "anno.mat"
    scipy.io.savemat(other, {"list_action": [1], "anno_train": [1]})
    error = made.fails(capsys, "hico-det", out, f"--annotations={other}")
    assert "has no bbox_train, bbox_test, but list_action, anno_train" in error
    path = write(tmp_path / "anno_bbox.mat", [photo("a.jpg", [hoi(5, invis=1)])])
    cut = tmp_path / "cut.mat"
    cut.write_bytes(path.read_bytes()[:300])
    assert "is cut short" in made.fails(capsys, "hico-det", out, f"--annotations={cut}")
    missing = made.fails(capsys, "hico-det", out, f"--annotations={tmp_path / 'none.mat'}")
    assert "there is no such file" in missing
