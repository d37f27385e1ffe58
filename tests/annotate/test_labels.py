"""The table of labels: what is edited there holds in the data set, and stays when the table is written anew."""

import csv
import re
from collections import Counter

import pytest

from scenarioclip_jax.annotate.labels import DROP, Labels, counted, read_labels, write_table
from scenarioclip_jax.annotate.line_files import WorkError

SCENE = {
    "action": "walking",
    "objects": [
        {"name": "dogs", "box": [0, 0, 4, 4]},
        {"name": "man", "box": [4, 0, 9, 9]},
        {"name": "tree", "box": [5, 0, 9, 9]},
    ],
    "relations": [
        {
            "subject": 0,
            "predicate": "beside",
            "object": 1,
            "negatives": [
                ["dog", "beside", "tree", "object"],
                ["man", "next to", "dogs", "other"],
                ["puppy", "beside", "man", "subject"],
            ],
            "paraphrases": [["man", "next to", "dogs"], "a man and his dogs"],
        },
        {"subject": 1, "predicate": "under", "object": 2},
    ],
}


def test_labels_are_renamed_merged_and_dropped():
    becomes = {
        ("object", "dogs"): "dog",
        ("predicate", "beside"): "next to",
        ("object", "tree"): DROP,
    }
    scene, dropped = Labels(becomes).apply(SCENE)
    assert [thing["name"] for thing in scene["objects"]] == ["dog", "man"]
    (relation,) = scene["relations"]
    assert (relation["subject"], relation["predicate"], relation["object"]) == (0, "next to", 1)
    # With "tree" its negative goes; the others take the new names.
    assert relation["negatives"] == [
        ["man", "next to", "dog", "other"],
        ["puppy", "next to", "man", "subject"],
    ]
    assert relation["paraphrases"] == [["man", "next to", "dog"], "a man and his dogs"]
    assert dropped == [
        ["label_dropped", "object tree"],
        ["label_dropped", "relation man under tree"],
    ]


def test_a_negative_that_merging_makes_true_goes():
    scene, _ = Labels({("object", "puppy"): "dogs"}).apply(SCENE)
    kept = scene["relations"][0]["negatives"]
    assert ["dogs", "beside", "man", "subject"] not in kept
    assert len(kept) == 2


def test_positions_follow_the_objects_that_stay():
    scene, _ = Labels({("object", "dogs"): DROP}).apply(SCENE)
    (relation,) = scene["relations"]
    names = [scene["objects"][relation[end]]["name"] for end in ("subject", "object")]
    assert names == ["man", "tree"]


def test_a_scene_is_not_changed_in_place():
    before = repr(SCENE)
    Labels({("object", "dogs"): "dog", ("action", "walking"): DROP}).apply(SCENE)
    assert repr(SCENE) == before


def test_the_table_suggests_and_keeps_what_was_edited(tmp_path):
    counts = {
        "action": Counter({"walking": 5, "walkin": 1}),
        "object": Counter({"dog": 9, "dogs": 2, "person 2": 1, "person": 4}),
        "predicate": Counter({"next to": 7, "beside": 1}),
    }
    file = write_table(tmp_path, counts)
    rows = {(r["kind"], r["label"]): r for r in csv.DictReader(file.open())}
    suggested = {
        label: (r["suggestion"], r["why"]) for (_, label), r in rows.items() if r["suggestion"]
    }
    assert suggested["dogs"] == ("dog", "plural")
    assert suggested["person 2"][0] == "person"
    assert suggested["beside"] == ("next to", "same meaning")
    assert suggested["walkin"][0] == "walking"
    assert set(suggested) == {"dogs", "person 2", "beside", "walkin"}

    text = file.read_text().replace("object,dogs,2,,", "object,dogs,2,dog,")
    text = text.replace("action,walkin,1,,", "action,walkin,1,-,")
    file.write_text(text)
    scene, dropped = read_labels(tmp_path).apply(SCENE)
    assert scene["objects"][0]["name"] == "dog"
    del counts["object"]["dogs"]  # no scene has it now; the edit stays for when one has it again
    assert write_table(tmp_path, counts) == file
    assert "object,dogs,0,dog," in file.read_text()
    assert read_labels(tmp_path).apply(SCENE) == (scene, dropped)


def test_labels_are_counted():
    counts = counted([SCENE, {"objects": [{"name": "Man"}], "relations": []}])
    assert counts["object"] == {"dogs": 1, "man": 2, "tree": 1}
    assert counts["predicate"] == {"beside": 1, "under": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind,label,becomes\nobject,a,b\nobject,b,c\n", "'a' becomes 'b', which becomes 'c'"),
        ("label,becomes\na,b\n", "line 2: needs the columns"),
        ("kind,label,becomes\nthing,a,b\n", "line 2: needs the columns"),
        ("kind,label,count,Becomes\nobject,a,1,b\n", "no column `becomes`"),
        (
            "kind,label,becomes\nobject,a,-\n\nobject,a,b\n",
            "line 4: object 'a' becomes 'b', and '-'",
        ),
        ('kind,label,becomes\nobject,"a,b\nobject,c,d\n', "isn't a table"),
        ("kind,label,becomes\nobject,a,big, red b\n", "line 2: has more cells than the first"),
        ("kind,label,becomes\n\n\nobject,,b\n", "line 4: needs the columns"),
        ("kind,label,becomes\nobject,a,\u200b\n", "line 2: 'a' can't become"),
    ],
)
def test_tables_that_make_no_sense_are_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(WorkError, match=re.escape(message)):
        read_labels(tmp_path)


def test_tables_of_spreadsheets_are_read(tmp_path):
    text = "\ufeffkind;label;count;becomes\r\nobject;dogs;2;dog\r\n"
    (tmp_path / "labels.csv").write_bytes(text.encode())
    assert read_labels(tmp_path).apply(SCENE)[0]["objects"][0]["name"] == "dog"
    (tmp_path / "labels.csv").write_bytes(
        "kind,label,becomes\nobject,caf\xe9,b\n".encode("latin-1")
    )
    with pytest.raises(WorkError, match="UTF-8"):
        read_labels(tmp_path)


def test_empty_lines_of_a_table_say_nothing(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "kind,label,count,becomes\n,,,\n\nobject,dogs,2,dog\n,,,\n"
    )
    assert read_labels(tmp_path).apply(SCENE)[0]["objects"][0]["name"] == "dog"
    (tmp_path / "labels.csv").write_text("")
    assert read_labels(tmp_path).apply(SCENE) == (SCENE, [])


def test_two_rows_that_agree_are_no_contradiction(tmp_path):
    (tmp_path / "labels.csv").write_text("kind,label,becomes\nobject,dogs,dog\nobject,DOGS,Dog\n")
    assert read_labels(tmp_path).apply(SCENE)[0]["objects"][0]["name"] == "dog"


def test_a_table_whose_edits_cannot_be_read_is_not_written_over(tmp_path):
    text = "kind,label,count,Becomes\nobject,dogs,2,dog\n"
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(WorkError):
        write_table(tmp_path, counted([SCENE]))
    assert (tmp_path / "labels.csv").read_text() == text
