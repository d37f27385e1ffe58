"""The grown format: every optional field is read and kept, and agrees with the JSON schema that ships."""

import copy
import gzip
import json
import re
from collections import Counter
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scenarioclip_jax.data.build import annotations, metadata_files
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.assign_splits import assign_splits
from scenarioclip_jax.data.build.coco_masks import decode
from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.build.index import Row
from scenarioclip_jax.data.build.photo_sizes import annotated_size
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from scenarioclip_jax.data.build.records import MaskRecord
from scenarioclip_jax.data.stored import masks, shards
from scenarioclip_jax.data.stored.splits import FRACTIONS, SPLITS, split_of
from scenarioclip_jax.data.tokens import Tokenizer
from tests.data.build.test_annotations import load
from tests.data.builder_inputs import CAT, DOG, HEIGHT, WIDTH, photo, record, write_root

SCHEMA = json.loads(Path(annotations.__file__).with_name("record.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def runs(mask: np.ndarray) -> dict:
    """A mask as COCO writes it without compression."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


def ellipse(box, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    x0, y0, x1, y1 = box
    across, down = (2 * x - x0 - x1) / (x1 - x0), (2 * y - y0 - y1) / (y1 - y0)
    return across**2 + down**2 <= 1


def grown(id: str = "a", /, **changes) -> dict:
    """A record with everything that the format has."""
    return {
        "id": id,
        "image_path": f"images/{id}.jpg",
        "width": WIDTH,
        "height": HEIGHT,
        "captions": ["A cat and a dog.", "Two pets"],
        "objects": [
            {"name": "cat", "box": CAT, "score": 0.5, "attributes": ["Black", "small"]},
            {"name": "dog", "box": DOG, "mask": runs(ellipse(DOG))},
        ],
        "relations": [
            {
                "subject": 0,
                "predicate": "chased by",
                "object": 1,
                "negatives": [["dog", "chased by", "cat", "swapped"], ["cat", "eats", "dog"]],
                "paraphrases": ["dog chases cat", ["cat", "flees from", "dog"]],
            }
        ],
        "split": "val",
        "group": "video 1",
        "source": "drawn",
        **changes,
    }


def test_everything_is_read_and_kept(tmp_path):
    scenes, problems = load(write_root(tmp_path, grown()))
    assert problems == []
    scene = scenes["a"]
    assert (scene.action, scene.captions) == ("", ["A cat and a dog.", "Two pets"])
    assert scene.object_names == ["cat", "dog"]
    assert scene.object_scores[0] == 0.5
    assert np.isnan(scene.object_scores[1])
    assert scene.object_attributes == [("black", "small"), ()]
    assert scene.object_masks[0] == b""
    np.testing.assert_array_equal(masks.decode(scene.object_masks[1]), ellipse(DOG))
    assert scene.source == "drawn"
    (relation,) = scene.relations
    assert relation.triplet == ("cat", "chased by", "dog")
    assert relation.pair == (0, 1)
    assert relation.negatives == [("dog", "chased by", "cat"), ("cat", "eats", "dog")]
    assert relation.paraphrases == ("dog chases cat", "cat flees from dog")
    assert relation.mask == b""  # only one of the participants has a mask


def test_a_data_set_keeps_everything(tmp_path):
    records = [grown("a"), grown("b", split="test", group=None), record("c", split="train")]
    root = write_root(tmp_path / "in", *records)
    for darker, id in enumerate("cba"):  # three photos, so that each may have its own split
        changed = Image.eval(photo(), lambda value, darker=darker: value - darker)
        changed.save(root / "images" / f"{id}.jpg", quality=95, subsampling=0)
    summary = build(root, tmp_path / "out", progress=False)
    assert summary["splits"] == {"train": 1, "validation": 1, "test": 1}
    assert summary["texts"] == {"action": 1, "captions": 3, "neither": 0}
    assert (summary["captions"], summary["object_masks"]) == (5, 2)
    for split, given_record in zip(("validation", "test", "train"), records, strict=True):
        (stored,) = shards.open_split(tmp_path / "out", split)
        problems = Problems()
        (read,) = [
            each
            for each in annotations.read_records(tmp_path / "in", problems)
            if each.id == given_record["id"]
        ]
        scene = assemble(read, tmp_path / "in", problems, Counter())
        assert stored.id == scene.id
        assert stored.source == scene.source
        assert (stored.action, list(stored.captions)) == (scene.action, list(scene.captions))
        assert list(map(list, stored.object_attributes)) == list(map(list, scene.object_attributes))
        np.testing.assert_array_equal(stored.object_scores, scene.object_scores)
        assert list(stored.object_masks) == list(scene.object_masks)
        for a, b in zip(stored.relations, scene.relations, strict=True):
            assert (a.pair, list(a.paraphrases)) == (b.pair, list(b.paraphrases))
            assert (a.triplet, a.negatives) == (b.triplet, b.negatives)


def test_a_data_set_of_version_2_0_0_is_still_read():
    """`golden/data-2.0.0` was written by the builder of that version."""
    (scene,) = shards.open_split(Path(__file__).parents[2] / "golden" / "data-2.0.0", "train")
    assert (scene.id, scene.action) == ("a", "playing in the yard")
    assert scene.captions == ["A cat plays with a dog."]
    (relation,) = scene.relations
    assert relation.triplet == ("cat", "playing with", "dog")
    assert relation.negatives == [("dog", "eating", "cat")]
    assert relation.pair is None
    assert not relation.paraphrases
    assert not scene.object_masks
    assert not len(scene.object_scores)
    assert not scene.object_attributes


# --- the schema ---


def test_examples_fit_the_schema():
    guide = (Path(__file__).parents[3] / "docs/guides/format.md").read_text(encoding="utf-8")
    examples = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    assert len(examples) == 2
    for example in [*map(json.loads, examples), record(), grown()]:
        VALIDATOR.validate(example)
    fields = SCHEMA["properties"].keys() - {"dense_caption", "captions"}
    assert all(f"`{field}`" in guide for field in fields)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", " ", "dog", "cat", "val", "test", "swapped", "a b"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "box", "mask", "size", "counts", "subject", "triplet"]), inner
        )
    ),
    max_leaves=5,
)


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@given(st.sampled_from([record("b"), grown("b")]), st.data())
def test_what_the_schema_allows_is_read_and_everything_else_is_listed(example, data):
    changed = copy.deepcopy(example)
    place = data.draw(st.sampled_from([path for path in places(example) if path]))
    target = changed
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = data.draw(VALUES)
    problems = Problems()
    found = annotations._Reader(problems).record(changed, "here")
    listed = {p.reason for p in problems.found} - {"label_spelling"}
    if VALIDATOR.is_valid(changed):
        # What a schema can't say: indices and names that don't belong together, or nothing to learn.
        listed -= {"malformed_indices", "nothing_to_learn", "negative_kind"}
        if place[0] == "relations" or place[0] == "objects":
            listed -= {"malformed_relation", "missing_participant"}
        if "mask" in place:
            listed -= {"malformed_mask"}  # counts are checked when the mask is decoded
        assert not listed
    assert found or any(p.what == "scene" for p in problems.found)


# --- masks ---


@pytest.mark.parametrize(
    ("counts", "rows"),
    [
        ([1, 2, 1, 1, 1], ["011", "100"]),  # by columns
        ([0, 4], ["11", "11"]),
        ([4], ["00", "00"]),
        # As pycocotools 2.0.11 encodes it.
        (
            "2120O21100001N90G0000",
            [
                *("0011100000", "0111110001", "1111110011"),
                *("0111100110", "0000000100", "1000000000"),
            ],
        ),
    ],
)
def test_run_lengths_of_coco(counts, rows):
    counts = counts if isinstance(counts, str) else tuple(counts)
    expected = np.array([[cell == "1" for cell in row] for row in rows])
    np.testing.assert_array_equal(decode(MaskRecord(len(rows[0]), len(rows), counts)), expected)


def test_long_run_lengths_of_coco():
    counts = "c<R1600000000000000000000000000000000000000_Oa0000000000000000000000000000U6"
    expected = np.zeros((40, 50), bool)
    expected[3:37, 10:45] = True
    expected[20:, 30:] = False
    np.testing.assert_array_equal(decode(MaskRecord(50, 40, counts)), expected)


@given(st.integers(1, 40), st.integers(1, 40), st.text("0123456789:;<=>?@ABMNOabo", max_size=30))
def test_damaged_run_lengths_are_refused_or_fill_the_mask(width, height, text):
    try:
        shape = decode(MaskRecord(width, height, text)).shape
    except ValueError:
        return
    assert shape == (height, width)


def test_a_relation_without_image_shows_the_masks_of_its_participants(tmp_path):
    entry = grown()
    entry["objects"][0]["mask"] = runs(ellipse(CAT))
    scenes, problems = load(write_root(tmp_path, entry))
    assert problems == []
    (relation,) = scenes["a"].relations
    np.testing.assert_array_equal(masks.decode(relation.mask), ellipse(CAT) | ellipse(DOG))


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (runs(np.zeros((HEIGHT, WIDTH), bool)), "empty"),
        (runs(ellipse(CAT)), "isn't the box"),
        (runs(ellipse(DOG).T), "shape"),
        ({"size": [HEIGHT, WIDTH], "counts": [3]}, "sum to 3"),
        ({"size": [HEIGHT, WIDTH], "counts": "~"}, "no run length"),
    ],
)
def test_masks_that_cannot_be_right_are_left_out_and_listed(tmp_path, mask, said):
    entry = grown()
    entry["objects"][1]["mask"] = mask
    root = write_root(tmp_path, entry)
    scenes, problems = load(root)
    assert problems == [("mask_unusable", "dropped", "mask")]
    assert not scenes["a"].object_masks
    assert len(scenes["a"].relations) == 1
    listed = Problems()
    (read,) = annotations.read_records(root, listed)
    assemble(read, root, listed, Counter())
    assert said in listed.found[0].detail
    assert "objects[1].mask" in listed.found[0].where


# --- what a fresh look found ---


def test_a_named_participant_that_was_left_out_is_nobody_else(tmp_path):
    entry = grown()
    outside = {"name": "cat", "box": [WIDTH + 9, 5, WIDTH + 40, 30]}
    entry["objects"].insert(0, outside)  # the cat that is meant; another is in the photo
    entry["relations"][0]["object"] = 2
    listed = [*entry["relations"], ["", ["cat", "chased by", "dog"], [], [0, 2]]]
    for relation in listed:
        scenes, problems = load(write_root(tmp_path, entry | {"relations": [relation]}))
        assert scenes["a"].relations == []
        assert ("missing_focus", "dropped", "relation") in problems
    focus = grown(
        objects=entry["objects"],
        relations=[["focus/a_0.jpg", ["cat", "chased by", "dog"], [], [0, 2]]],
    )
    scenes, _ = load(write_root(tmp_path, focus))
    (relation,) = scenes["a"].relations
    assert relation.pair is None
    assert relation.boxes[0].tolist() != CAT
    np.testing.assert_array_equal(relation.boxes[1], DOG)


@pytest.mark.parametrize(("value", "kept"), [(17, True), (17.0, True), (17.5, False), ([1], False)])
def test_groups_are_texts_or_whole_numbers(value, kept):
    problems = Problems()
    found = annotations._Reader(problems).record(grown(group=value), "here")
    assert (found is not None) == kept
    if found:
        assert found.group == "17"
        assert annotations._Reader(problems).record(grown(17.0), "here").id == "17"
    else:
        assert [(p.reason, p.effect, p.where) for p in problems.found] == [
            ("malformed_field", "dropped", "here.group")
        ]


@pytest.mark.parametrize(("split", "kept"), [("", ""), ("Val", "validation"), (" test ", "test")])
def test_splits_are_read_in_any_case(split, kept):
    found = annotations._Reader(Problems()).record(grown(split=split), "here")
    assert found is not None
    assert found.split == kept


@pytest.mark.parametrize("name", ["metadata.json", "metadata.jsonl"])
@pytest.mark.parametrize("value", [[], [1, 2]])
def test_a_record_may_have_a_field_called_data(name, value, tmp_path):
    root = write_root(tmp_path, grown("a"))
    (root / "metadata.json").unlink()
    (root / name).write_text(json.dumps(grown("a", data=value)))
    problems = Problems()
    assert [each.id for each in annotations.read_records(root, problems)] == ["a"]
    assert problems.found == []


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list_in_a_file_of_lines_is_read(indent, tmp_path):
    root = write_root(tmp_path, grown("a"))
    records = [grown("b"), grown("c")]
    (root / "metadata_2.jsonl").write_text(json.dumps(records, indent=indent))
    (root / "metadata_3.jsonl").write_text(json.dumps({"data": [grown("d")]}, indent=indent))
    found = annotations.read_records(root, Problems(strict=True))
    assert [each.id for each in found] == ["a", "b", "c", "d"]


def test_contradictions_within_a_part_are_listed():
    problems = Problems()
    reader = annotations._Reader(problems)
    entry = grown()
    entry["relations"][0] |= {"triplet": ["cat", "near", "dog"], "negatives": []}
    assert reader.record(entry, "here").relations[0].triplet == ("cat", "near", "dog")
    assert [p.reason for p in problems.found] == ["unknown_entry"]
    text = json.dumps(grown()).replace('"name": "cat"', '"name": "fox", "name": "cat"')
    assert reader.record(metadata_files.parse(text), "here").objects[0].name == "cat"
    assert problems.found[-1].reason == "duplicate_key"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"focus": 5}, "relations[0].focus"),
        ({"negatives": [5]}, "relations[0].negatives[0]"),
        ({"subject": 9, "triplet": ["cat", "near", "dog"], "predicate": None}, "relations[0]"),
    ],
)
def test_problems_of_a_relation_with_named_fields_name_these(changes, where):
    problems = Problems()
    entry = grown()
    entry["relations"][0] |= {"negatives": []} | changes
    annotations._Reader(problems).record(entry, "here")
    assert [p.where for p in problems.found] == [f"here.{where}"]


def test_what_is_ignored_is_not_used():
    problems = Problems()
    entry = grown()
    entry["relations"] = [{"triplet": ["cat", "near", "dog"], "pair": [0, 1]}]
    found = annotations._Reader(problems).record(entry, "here")
    assert found.relations[0].pair is None
    assert "'pair' is ignored" in problems.found[0].detail


def test_files_of_several_gzip_members_and_packed_twice(tmp_path):
    lines = [json.dumps(grown(id)) + "\n" for id in "abc"]
    members = [gzip.compress(b"\xef\xbb\xbf" + line.encode()) for line in lines]
    path = tmp_path / "metadata.jsonl.gz"
    path.write_bytes(b"".join(members))
    found = annotations.read_records(tmp_path, Problems(strict=True))
    assert [each.id for each in found] == ["a", "b", "c"]
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(AnnotationError, match="gzipped twice"):
        annotations.read_records(tmp_path, Problems())


# --- sizes ---


def test_boxes_and_masks_of_another_size_are_scaled(tmp_path):
    entry = grown(width=WIDTH * 2, height=HEIGHT * 2)
    for each, box in zip(entry["objects"], (CAT, DOG), strict=True):
        each["box"] = [2 * value for value in box]
    entry["objects"][1]["mask"] = runs(np.kron(ellipse(DOG), np.ones((2, 2))).astype(bool))
    scenes, problems = load(write_root(tmp_path, entry))
    assert problems == [("boxes_scaled", "noted", "scene")]
    np.testing.assert_array_equal(scenes["a"].object_boxes, [CAT, DOG])
    np.testing.assert_array_equal(masks.decode(scenes["a"].object_masks[1]), ellipse(DOG))


def test_another_shape_is_another_photo(tmp_path):
    root = write_root(tmp_path, grown("a", width=HEIGHT, height=WIDTH), grown("b"))
    scenes, problems = load(root)
    assert problems == [("other_shape", "dropped", "scene")]
    assert list(scenes) == ["b"]


@pytest.mark.parametrize(
    ("given_size", "orientation", "expected"),
    [
        (None, 6, ((480, 640), None)),
        ((480, 640), 1, ((480, 640), None)),
        ((240, 320), 1, ((240, 320), None)),
        ((359, 480), 1, ((359, 480), None)),  # 360 rounded by a careless tool
        ((320, 240), 1, None),
        ((480, 600), 1, None),
        ((3, 4), 1, None),  # a placeholder
        ((480, 640), 6, ((480, 640), False)),
        ((640, 480), 6, ((480, 640), True)),  # in pixels of the photo as stored
        ((1280, 960), 8, ((960, 1280), True)),
    ],
)
def test_sizes_of_turned_and_scaled_photos(given_size, orientation, expected):
    found = annotated_size(given_size, (480, 640), orientation)
    assert (found and tuple(found)) == expected


def test_the_size_says_that_boxes_are_in_stored_pixels(tmp_path):
    turned = photo().transpose(Image.Transpose.ROTATE_90)  # upright: HEIGHT x WIDTH
    entry = grown()
    root = write_root(tmp_path, entry)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo().save(root / "images/a.jpg", quality=95, subsampling=0, exif=exif)
    scenes, problems = load(root)
    assert ("boxes_turned", "fixed", "scene") not in problems
    scene = scenes["a"]
    assert (scene.width, scene.height) == turned.size
    x0, y0, x1, y1 = DOG
    np.testing.assert_array_equal(scene.object_boxes[1], [HEIGHT - y1, x0, HEIGHT - y0, x1])
    np.testing.assert_array_equal(
        masks.decode(scene.object_masks[1]), np.rot90(ellipse(DOG), axes=(1, 0))
    )


# --- splits ---


def row(id: str, named: str = "", group: str = "", pixels: str = "") -> Row:
    return Row(0, id, f"at {id}", named, group, pixels)


@given(st.data())
def test_groups_and_photos_are_never_in_two_splits(data):
    rows = [
        row(
            str(number),
            data.draw(st.sampled_from(["", "", *SPLITS])),
            data.draw(st.sampled_from(["", "", "x", "y"])),
            data.draw(st.sampled_from(["", "", "p", "q"])),
        )
        for number in range(12)
    ]
    problems = Problems()
    of = assign_splits(lambda: rows, FRACTIONS, problems)
    found = {each.id: of(each) for each in rows}
    for a in rows:
        for b in rows:
            if (a.group and a.group == b.group) or (a.pixels and a.pixels == b.pixels):
                assert found[a.id] == found[b.id]
    moved = {p.id for p in problems.found}
    for each in rows:
        if each.named:
            assert (found[each.id] != each.named) == (each.id in moved)
            assert SPLITS.index(found[each.id]) >= SPLITS.index(each.named)
    other = assign_splits(lambda: rows[::-1], FRACTIONS, Problems())
    assert found == {each.id: other(each) for each in rows}


@given(st.lists(st.sampled_from(SPLITS), min_size=40, max_size=40), st.integers(0, 10**6))
def test_a_share_of_the_training_split_becomes_validation(named, seed):
    rows = [
        row(f"{seed}-{i}", split, group=f"g{seed}-{i // 4}" if i < 8 else "")
        for i, split in enumerate(named)
    ]
    plain = assign_splits(lambda: rows, FRACTIONS, Problems())
    held = assign_splits(lambda: rows, FRACTIONS, Problems(), held_out=0.5)
    for each in rows:
        assert (
            held(each) in ("train", "validation")
            if plain(each) == "train"
            else (held(each) == plain(each))
        )
    for group in (rows[:4], rows[4:8]):
        assert len({held(each) for each in group}) == 1


def test_the_share_that_becomes_validation():
    rows = [row(str(i), "train") for i in range(2000)]
    held = assign_splits(lambda: rows, FRACTIONS, Problems(), held_out=0.1)
    assert sum(held(each) == "validation" for each in rows) == pytest.approx(200, abs=45)


def test_what_decides_a_split():
    alone, photo, group = row("17"), row("17", pixels="p"), row("17", group="g")
    rows = [alone, photo, group, row("18", group="g", pixels="z")]
    of = assign_splits(lambda: rows, FRACTIONS, Problems())
    # By the id as ever; shared photos by their pixels as ever; groups by their name.
    assert of(alone) == split_of("17")
    assert of(photo) == split_of("p")
    assert of(group) == of(rows[-1]) == split_of("g")
    assert len({split_of(key) for key in ("17", "p", "g")}) > 1


def test_the_tokenizer_knows_captions_that_stand_in_for_actions(tmp_path):
    def tokens_of(name, **changes):
        entries = [
            record(f"{i}", split="train", dense_caption="zebra", **changes) for i in range(4)
        ]
        build(write_root(tmp_path / name, *entries), tmp_path / f"{name}-out", progress=False)
        tokenizer = Tokenizer.load(shards.dataset_dir(tmp_path / f"{name}-out") / shards.TOKENIZER)
        return len(tokenizer.encode_ragged(["zebra"], 20)[0][0])

    assert tokens_of("captions", action=None) == 3  # with bos and eos
    assert tokens_of("actions") > 3  # as it was before there were captions: class texts only
