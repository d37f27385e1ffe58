"""Annotation files in any form that can be read; what can't is an error with a remedy, or listed if asked."""

import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarioclip_jax.data.build.annotations import iterate_records, read_records
from scenarioclip_jax.data.build.class_lists import compare_classes, read_classes
from scenarioclip_jax.data.build.index import Index
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from tests.data.builder_inputs import record

A, B = record("a", action="caf\u00e9"), record("b")
DATA = json.dumps({"data": [A, B]}, ensure_ascii=False)
LINES = "\n".join(json.dumps(each, ensure_ascii=False) for each in (A, B))


def ids(root, **options):
    problems = Problems()
    records = read_records(root, problems, **options)
    return [each.id for each in records], [p.reason for p in problems.found]


READ = {
    "metadata.json": [
        DATA.encode(),
        b"\xef\xbb\xbf" + DATA.encode(),
        LINES.encode(),
        gzip.compress(DATA.encode()),
    ],
    "metadata.jsonl": [
        LINES.encode(),
        (LINES + "\n\n").replace("\n", "\r\n").encode(),
        DATA.encode(),
    ],
    "metadata.json.gz": [gzip.compress(DATA.encode())],
    "metadata_train.jsonl.gz": [gzip.compress(LINES.encode())],
    "Metadata.JSON": [DATA.encode("utf-16"), DATA.encode("utf-16-be"), DATA.encode("utf-32")],
    "annotations.json": [DATA.encode(), json.dumps([A, B]).encode()],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for name, all in READ.items() for content in all]
)
def test_other_forms_are_read(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert ids(tmp_path) == (["a", "b"], [])


REFUSED = {
    "latin-1": (DATA.encode("latin-1"), r"line 1: byte 0xe9 isn't UTF-8.*iconv"),
    "cut": (DATA.encode()[:-9], "cut short"),
    "trailing comma": (DATA.replace("]}]}", "]},]}").encode(), "line 1, column .*no comma before"),
    "single quotes": (str({"data": [A]}).encode(), "double quotes only"),
    "empty": (b"", "it is empty"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zip": (b"PK\x03\x04", "ZIP"),
    "coco": (b'{"images": [], "annotations": [], "categories": []}', "COCO"),
    "by id": (json.dumps({"a": A}).encode(), r'expected \{"data"'),
    "twice": (b'{"data": [], "data": []}', "'data' twice"),
    "nested": (b"[" * 100_000, "can't be parsed"),
    "gzip, cut": (gzip.compress(DATA.encode())[:-20], "can't be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_cannot_be_parsed_stop_the_build(case, tmp_path):
    content, message = REFUSED[case]
    (tmp_path / "metadata.json").write_text(json.dumps({"data": [record("good")]}))
    (tmp_path / "metadata_2.json").write_bytes(content)
    with pytest.raises(AnnotationError, match=message) as error:
        ids(tmp_path)
    assert "metadata_2.json" in str(error.value)
    assert "--skip-broken" in str(error.value)
    found, reasons = ids(tmp_path, skip_broken=True)
    assert found[0] == "good"
    assert reasons[0] in ("malformed_json", "malformed_file")


def test_what_is_left_of_a_broken_file_is_read_if_asked(tmp_path):
    (tmp_path / "metadata.json").write_text(DATA.replace('"id": "a"', '"id": a') + "}")
    assert ids(tmp_path, skip_broken=True) == (["b"], ["malformed_json", "malformed_json"])


def test_a_broken_line_loses_that_line(tmp_path):
    (tmp_path / "metadata.jsonl").write_text(LINES + '\n{"id": \n[1]\n')
    assert ids(tmp_path) == (["a", "b"], ["malformed_json", "malformed_record"])


def test_numbers_of_any_length_lose_no_more_than_their_object(tmp_path):
    for number in ("9" * 5000, "NaN", "-Infinity", "1e999"):
        text = DATA.replace("[10, 10, 50, 60]", f"[10, 10, {number}, 60]", 1)
        (tmp_path / "metadata.json").write_text(text)
        assert ids(tmp_path) == (["a", "b"], ["malformed_object"])


def test_keys_given_twice_and_misspelled_fields_are_listed(tmp_path):
    text = DATA.replace('"id": "a"', '"id": "a", "action": "x"').replace('"objects"', '"Objects"')
    (tmp_path / "metadata.json").write_text(text)
    assert ids(tmp_path)[1] == ["duplicate_key", "unknown_field", "unknown_field"]


def test_copies_come_last_and_are_named(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"data": [record("a", action="new")]}))
    (tmp_path / "metadata (1).json").write_text(json.dumps({"data": [record("a", action="old")]}))
    problems = Problems()
    (found,) = read_records(tmp_path, problems)
    assert found.action == "new"
    assert [(p.reason, p.where) for p in problems.found] == [
        ("copied_file", "metadata (1).json"),
        ("duplicate_id", "metadata (1).json data[0]"),
    ]
    assert "differs" in problems.found[1].detail


def test_no_metadata_names_what_there_is(tmp_path):
    (tmp_path / "labels.json").write_text("{}")
    with pytest.raises(AnnotationError, match=r"holds no metadata.*labels.json"):
        ids(tmp_path)


def test_merged_spellings_are_listed(tmp_path):
    objects = [["dog\u200b", [1, 2, 3, 4]], ["Dog", [1, 2, 3, 4]]]
    relations = [["", ["dog", "near", "dog&nbsp;"]]]
    records = [record("a", objects=objects, relations=relations)]
    (tmp_path / "metadata.json").write_text(json.dumps({"data": records}))
    problems = Problems(strict=True)
    (found,) = read_records(tmp_path, problems)
    assert [name for name, *_ in found.objects] == ["dog", "dog"]
    assert found.relations[0].triplet == ("dog", "near", "dog")
    assert [p.detail for p in problems.found] == [
        "'dog&nbsp;' (1 x) is read as 'dog'",
        r"'dog\u200b' (1 x) is read as 'dog'",
    ]


def test_class_lists_in_other_forms(tmp_path):
    lists = {
        "actions": {"Playing": 0},
        "objects": {"0": "Cat"},
        "relations": [["cat", "on", "mat"]],
    }
    (tmp_path / "classes.json").write_text(json.dumps(lists))
    problems = Problems(strict=True)
    assert read_classes(tmp_path, problems) == {
        "actions": ["playing"],
        "objects": ["cat"],
        "relations": ["cat on mat"],
    }
    (tmp_path / "classes.json").write_text(json.dumps({"object": ["cat"]}))
    problems = Problems()
    read_classes(tmp_path, problems)
    assert "did you mean 'objects'" in problems.found[0].detail


def test_slips_in_class_lists_are_listed():
    problems = Problems()
    listed = {"actions": [], "objects": ["cta", "dog", "sun"], "relations": []}
    occurring = {"actions": ["x"], "objects": ["cat", "dog", "moon"], "relations": []}
    compare_classes(listed, occurring, problems)
    assert [(p.reason, p.effect) for p in problems.found] == [
        ("class_spelling", "kept"),
        ("class_unlisted", "noted"),
        ("class_unused", "noted"),
    ]
    listed["objects"] = ["fire hidrant", "dog"]
    problems = Problems()
    compare_classes(listed, {**occurring, "objects": ["fire hydrant", "dog"]}, problems)
    (found,) = problems.found
    assert found.reason == "class_spelling"
    assert "'fire hydrant' occurs but isn't listed; is it 'fire hidrant'" in found.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES = [
    *(("id",), ("image_path",), ("action",), ("dense_caption",), ("objects",), ("relations",)),
    *(("captions",), ("width",), ("split",), ("group",), ("source",)),
    *(("objects", 0), ("objects", 0, 0), ("objects", 0, 1), ("objects", 0, 1, 2)),
    *(("relations", 0), ("relations", 0, 0), ("relations", 0, 1), ("relations", 0, 1, 1)),
    *(("relations", 0, 2), ("relations", 0, 2, 0), ("relations", 0, 3), ("relations", 0, 4)),
]


def check_all_are_used_or_listed(root, number, **options):
    """Of so many records each is either used or listed as left out, under its place in the file."""
    problems = Problems()
    try:
        records = read_records(root, problems, **options)
    except AnnotationError:
        return
    places = {record.where for record in records}
    places |= {
        p.where.partition("].")[0].rstrip("]") + "]" for p in problems.found if p.what == "scene"
    }
    assert places >= {f"metadata.json data[{index}]" for index in range(number)}
    with tempfile.TemporaryDirectory() as folder:
        problems.write(Path(folder) / "problems.jsonl")
        lines = (Path(folder) / "problems.jsonl").read_text("utf-8").split("\n")[:-1]
        assert len([json.loads(line) for line in lines]) == len(problems.found)


@given(st.sampled_from(PLACES), JSON)
def test_any_value_at_any_place_is_used_or_listed(place, value):
    changed = json.loads(json.dumps(record("b")))
    changed["relations"][0] += [[0, 1], 0]
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps({"data": [record("a"), changed, record("c")]})
        (Path(folder) / "metadata.json").write_text(text)
        check_all_are_used_or_listed(Path(folder), 3)


@given(
    st.lists(
        st.tuples(st.integers(0, 2**16), st.binary(max_size=5), st.integers(0, 5)), max_size=4
    ),
    st.booleans(),
)
def test_damaged_files_are_refused_or_read(changes, skip_broken):
    content = DATA.encode()
    for place, inserted, removed in changes:
        place %= len(content)
        content = content[:place] + inserted + content[place + removed :]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "metadata.json").write_bytes(content)
        check_all_are_used_or_listed(Path(folder), 0, skip_broken=skip_broken)


def test_lines_are_read_as_a_stream(tmp_path):
    """What is cut off behind the reader isn't read: it has no more than a little of the file in memory."""
    path = tmp_path / "metadata.jsonl"
    negatives = [["dog", f"sees {number}", "cat"] for number in range(500)]
    lines = [
        json.dumps(record(str(i), relations=[["", ["cat", "sees", "dog"], negatives]])) + "\n"
        for i in range(60)
    ]
    path.write_text("".join(lines), encoding="utf-8")
    index = Index(tmp_path / "index")
    found = iterate_records(tmp_path, Problems(), index)
    next(found)
    os.truncate(path, sum(map(len, lines[:30])))
    assert sum(1 for _ in found) == 29
    index.close()
