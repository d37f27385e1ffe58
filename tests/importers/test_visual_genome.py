"""Visual Genome: every trap of its files, in versions 1.2 and 1.4."""

import pytest

from tests.importers import made

URL = "https://cs.stanford.edu/people/rak248/{}/{}.jpg"


def photo(id, folder="VG_100K", **fields):
    size = {"width": made.SIZE[0], "height": made.SIZE[1]}
    return (
        {"image_id": id, "url": URL.format(folder, id), "coco_id": None, "flickr_id": 1}
        | size
        | fields
    )


def thing(id, name, box, **fields):
    """Counted from 1, as their annotations are."""
    x, y, w, h = box
    return {"object_id": id, "names": [name], "x": x + 1, "y": y + 1, "w": w, "h": h} | fields


def end(id, name, box, **fields):
    """As participants of relationships are: `name`, not `names`."""
    made = thing(id, name, box)
    del made["names"]
    return made | {"name": name, "synsets": []} | fields


def relation(id, subject, predicate, object):
    return {"relationship_id": id, "subject": subject, "predicate": predicate, "object": object}


def write(folder, photos, aliases=True, **kinds):
    """Writes the files; `kinds` holds, for each, a dict from image ids to lists."""
    names = {"regions": "region_descriptions.json"}
    made.write_json(folder / "image_data.json", photos)
    for kind, entries in kinds.items():
        key = "id" if kind == "regions" else "image_id"
        content = [{key: id, kind: values} for id, values in entries.items()]
        made.write_json(folder / names.get(kind, f"{kind}.json"), content)
    if aliases:
        (folder / "object_alias.txt").write_text("man,gentleman,guy\r\ndog,doggy\n\nguy,fellow\n")
        (folder / "relationship_alias.txt").write_text("walking,is walking,walks\n")
    return folder


def test_every_trap(tmp_path):
    images = tmp_path / "vg"
    drawn = made.photo(images / "VG_100K_2/7.jpg")
    man, dog, grass = (made.xywh(name) for name in made.THINGS)
    near = [man[0] + 3, *man[1:]]  # IoU .93
    objects = [
        thing(1, "Man", man, synsets=["man.n.01"]),
        thing(2, "guy", man),  # an alias, the same box
        thing(3, "dog ", dog, merged_object_ids=[33]),
        thing(4, "gr\u200bass.", grass),  # odd characters; no synsets
        # IoU over .6, same name
        thing(5, "grass", [grass[0] - 5, grass[1], grass[2] - 20, grass[3]]),
        thing(6, "leash", [-14, -7, 40, 30]),  # negative
        thing(7, "sky", [9000, 10, 50, 50]),  # far out
        thing(8, "sign", [10, 10, 0, 5]),
        thing(9, "", [10, 10, 5, 5]),
        thing(10, "shirt", [46, 60, 60, 60]),  # inside of the man
        thing(11, "person", near),  # IoU over .9, another name
    ]
    relations = [
        relation(1, end(1, "man", man), "Is walking", end(33, "dog", dog)),  # an id that was merged
        relation(2, end(2, "guy", man), "walks ", end(3, "dog", dog)),  # the same after merging
        # One object after merging
        relation(3, end(1, "man", man), "near", end(11, "person", near)),
        relation(4, end(3, "dog", dog), "on", end(20, "lawn", [270, 5, 40, 40])),  # only named here
        relation(5, end(3, "dog", dog), "under", end(7, "sky", [9000, 10, 50, 50])),
        relation(6, end(3, "dog", dog), " ", end(1, "man", man)),
        # As version 1.0 and parts of 1.2 have it.
        relation(7, thing(10, "shirt", [46, 60, 60, 60]), "on", thing(1, "man", man)),
    ]
    attributes = [
        {**thing(1, "man", man), "attributes": ["tall", "Tall", None, ""]},
        {**thing(2, "guy", man), "attributes": ["young"]},
        thing(3, "dog", dog),  # none
    ]
    regions = [
        {"region_id": 1, "phrase": "a man", "x": 40, "y": 30, "width": 80, "height": 170},
        {
            "region_id": 2,
            "phrase": "A man walks\this dog.",
            "x": 0,
            "y": 0,
            "width": 400,
            "height": 200,
        },
        {"region_id": 3, "phrase": "the whole scene", "x": -5, "y": 0, "width": 900, "height": 900},
    ]
    folder = write(
        tmp_path / "annotations",
        [photo(7, "VG_100K_2"), photo(8, coco_id=391895), photo(9)],
        # In another order than the photos.
        objects={8: [thing(1, "cat", [0, 0, 5, 5])], 7: objects, 99: []},
        attributes={7: attributes},
        relationships={8: [], 7: relations},
        regions={7: regions},
    )
    captions = made.write_json(
        tmp_path / "captions.json", {"annotations": [{"image_id": 391895, "caption": "A cat."}]}
    )
    found = made.run(
        *("visual-genome", tmp_path / "out", f"--annotations={folder}", f"--images={images}"),
        *("--coco-captions", captions),
    )
    record = found.records["vg-7"]
    assert record["image_path"] == "VG_100K_2/7.jpg"
    assert record["captions"] == ["the whole scene", "A man walks his dog."]
    assert made.names(record) == ["man", "dog", "grass", "leash", "shirt", "lawn"]
    by_name = dict(zip(made.names(record), record["objects"], strict=True))
    assert by_name["man"]["attributes"] == ["tall", "young"]
    assert by_name["leash"]["box"] == [0, 0, 26, 23]
    # The mean of three boxes: two of the man, one 3 pixels off.
    assert by_name["man"]["box"] == [41, 30, 121, 200]
    made.assert_boxes_fit(record, drawn, {"man": "man", "dog": "dog"}, tolerance=1)
    assert made.relations(record) == [
        ("man", "walking", "dog"),
        ("dog", "on", "lawn"),
        ("shirt", "on", "man"),
    ]
    assert found.records["vg-8"]["captions"] == ["A cat."]
    assert found.reasons() == {
        "box_sticks_out": 1,
        "box_outside": 1,
        "empty_box": 1,
        "no_name": 1,
        "merged_boxes": 2,
        "merged_names": 1,
        "repeated_relation": 1,
        "subject_is_object": 1,
        "participant_left_out": 1,
        "no_predicate": 1,
        "small_region": 1,
        "unknown_photo": 1,
        "nothing_annotated": 1,
        "photo_not_found": 2,
    }


def test_without_a_folder_of_photos_paths_are_those_of_the_archives(tmp_path):
    folder = write(
        tmp_path,
        [photo(1), photo(2, "VG_100K_2")],
        objects={n: [thing(1, "a b", [0, 0, 5, 5])] for n in (1, 2)},
    )
    found = made.run("visual-genome", tmp_path / "out", f"--annotations={folder}")
    assert [r["image_path"] for r in found.records.values()] == ["VG_100K/1.jpg", "VG_100K_2/2.jpg"]
    assert found.reasons() == {"file_not_there": 3}


@pytest.mark.parametrize("folder", ["", "VG_100K", "VG_100K_all"])
def test_photos_in_one_folder(tmp_path, folder):
    made.photo(tmp_path / "images" / folder / "2.jpg")
    where = write(
        tmp_path / "a", [photo(2, "VG_100K_2")], objects={2: [thing(1, "a", [0, 0, 5, 5])]}
    )
    record = made.run(
        *(
            "visual-genome",
            tmp_path / "out",
            f"--annotations={where}",
            f"--images={tmp_path / 'images'}",
        )
    ).one()
    assert (tmp_path / "images" / record["image_path"]).is_file()


def test_merging_can_be_switched_off(tmp_path):
    box = [10, 10, 30, 30]
    folder = write(
        tmp_path / "a",
        [photo(1)],
        objects={1: [thing(n, name, box) for n, name in enumerate("aab")]},
    )
    for flags, expected in (
        ([], ["a"]),
        (["--merge-any-name-iou=2"], ["a", "b"]),
        (["--merge-any-name-iou=2", "--merge-same-name-iou=2"], ["a", "a", "b"]),
    ):
        found = made.run(
            *("visual-genome", tmp_path / "out", f"--annotations={folder}", "--overwrite", *flags)
        )
        assert made.names(found.one()) == expected


def test_missing_files(tmp_path, capsys):
    out = tmp_path / "out"
    assert "isn't a folder" in made.fails(capsys, "visual-genome", out, "--annotations=none")
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "image_data.json.zip").write_bytes(b"PK")
    error = made.fails(capsys, "visual-genome", out, f"--annotations={folder}")
    assert "has no image_data.json; unpack image_data.json.zip" in error
    write(folder, [photo(1)], attributes={1: []})
    error = made.fails(capsys, "visual-genome", out, f"--annotations={folder}")
    assert "has no objects.json or relationships.json" in error
