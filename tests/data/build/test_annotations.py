"""Every kind of bad input: repaired or left out, never a crash, always listed; an error with strict."""

import io
import json
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from scenarioclip_jax import faults
from scenarioclip_jax.data.build import annotations
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from scenarioclip_jax.faults import InputUnavailableError
from tests.data.builder_inputs import CAT, DOG, HEIGHT, WIDTH, focus_of, photo, record, write_root


def load(root, strict=False):
    """Returns the scenes of a data root by id, and [(reason, effect, what)] of its problems."""
    problems = Problems(strict)
    records = annotations.read_records(root, problems)
    scenes = [assemble(r, root, problems, Counter()) for r in records]
    found = [(p.reason, p.effect, p.what) for p in problems.found]
    assert all(p.where and p.detail for p in problems.found)
    return {scene.id: scene for scene in scenes if scene}, found


def test_a_good_record_is_read_as_it_is(tmp_path):
    scenes, problems = load(write_root(tmp_path, record()))
    assert problems == []
    scene = scenes["a"]
    assert scene.photo == (tmp_path / "images/a.jpg").read_bytes()
    assert (scene.width, scene.height) == (WIDTH, HEIGHT)
    assert scene.action == "playing in the yard"
    assert scene.captions == ["A cat plays with a dog."]
    assert scene.object_names == ["cat", "dog"]
    np.testing.assert_array_equal(scene.object_boxes, [CAT, DOG])
    (relation,) = scene.relations
    assert relation.triplet == ("cat", "playing with", "dog")
    assert relation.negatives == [("dog", "eating", "cat")]
    np.testing.assert_array_equal(relation.boxes, [CAT, DOG])
    assert (relation.mask, relation.image) == (b"", b"")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Red  Bus\n", "red bus"),
        ("cafe\u0301", "caf\u00e9"),  # a letter and a combining accent
        ("\u00c9COLE", "\u00e9cole"),
        ("a\u00a0b", "a b"),  # no-break space
        ("", ""),
    ],
)
def test_labels_have_one_form(text, normal):
    assert annotations.normalize_label(text) == normal
    assert annotations.normalize_label(normal) == normal


def test_classes_and_labels_are_normalized_alike(tmp_path):
    root = write_root(
        tmp_path,
        record(),
        actions=["Playing in the  yard", "Cafe\u0301"],
        objects=["CAT", "cat", "Dog"],
        relations=["cat playing  With dog"],
    )
    classes = annotations.read_classes(root, Problems())
    assert classes == {
        "actions": ["caf\u00e9", "playing in the yard"],
        "objects": ["cat", "dog"],
        "relations": ["cat playing with dog"],
    }


# What is wrong -> changes to record "bad", the problem expected, and whether the scene remains.
BAD_RECORDS = {
    "not an object": (7, ("malformed_record", "dropped", "scene"), False),
    "broken unicode": (
        record("bad", action="\ud800"),
        ("malformed_record", "dropped", "scene"),
        False,
    ),
    "no id": (record("bad", id=None), ("malformed_field", "dropped", "scene"), False),
    "action is no text": (record("bad", action=5), ("malformed_field", "fixed", "scene"), True),
    "unknown split": (
        record("bad", split="train2017"),
        ("malformed_field", "dropped", "scene"),
        False,
    ),
    "nothing to learn": (
        {"id": "bad", "image_path": "images/bad.jpg", "action": " "},
        ("nothing_to_learn", "dropped", "scene"),
        False,
    ),
    "no path": (record("bad", image_path=None), ("malformed_field", "dropped", "scene"), False),
    "missing image": (
        record("bad", image_path="images/none.jpg"),
        ("missing_image", "dropped", "scene"),
        False,
    ),
    "image is a folder": (
        record("bad", image_path="images"),
        ("missing_image", "dropped", "scene"),
        False,
    ),
    "path with a NUL": (
        record("bad", image_path="images/\0.jpg"),
        ("missing_image", "dropped", "scene"),
        False,
    ),
    "path leaves root": (
        record("bad", image_path="../secret.jpg"),
        ("path_outside_root", "dropped", "scene"),
        False,
    ),
    "absolute path": (
        record("bad", image_path="/etc/passwd"),
        ("path_outside_root", "dropped", "scene"),
        False,
    ),
    "duplicate id": (record("good"), ("duplicate_id", "dropped", "scene"), False),
    "caption is no text": (
        record("bad", dense_caption=5),
        ("malformed_field", "fixed", "scene"),
        True,
    ),
    "objects is no list": (
        record("bad", objects="cat"),
        ("malformed_field", "fixed", "scene"),
        True,
    ),
    "object without box": (
        record("bad", objects=[["cat", CAT], ["dog", DOG], ["hat"]]),
        ("malformed_object", "dropped", "object"),
        True,
    ),
    "box with NaN": (
        record("bad", objects=[["cat", CAT], ["dog", DOG], ["hat", [0, 0, float("nan"), 9]]]),
        ("malformed_object", "dropped", "object"),
        True,
    ),
    "huge box": (
        record("bad", objects=[["cat", CAT], ["dog", DOG], ["hat", [0, 0, 10**400, 9]]]),
        ("malformed_object", "dropped", "object"),
        True,
    ),
    "box inverted": (
        record("bad", objects=[["cat", [50, 60, 10, 10]], ["dog", DOG]]),
        ("box_inverted", "fixed", "object"),
        True,
    ),
    "box outside": (
        record("bad", objects=[["cat", CAT], ["dog", DOG], ["sky", [-9, -9, 300, 20]]]),
        ("box_outside", "fixed", "object"),
        True,
    ),
    "nothing left of the box": (
        record("bad", objects=[["cat", CAT], ["dog", DOG], ["sky", [200, 0, 300, 20]]]),
        ("box_empty", "dropped", "object"),
        True,
    ),
    "relation without triplet": (
        record("bad", relations=[["focus/bad_0.jpg", ["cat", "dog"]]]),
        ("malformed_relation", "dropped", "relation"),
        True,
    ),
    "focus missing, boxes known": (
        record("bad", relations=[["focus/none.jpg", ["cat", "near", "dog"]]]),
        ("missing_focus", "fixed", "relation"),
        True,
    ),
    "focus leaves root, boxes known": (
        record("bad", relations=[["../focus.jpg", ["cat", "near", "dog"]]]),
        ("path_outside_root", "fixed", "relation"),
        True,
    ),
    "focus missing, boxes unknown": (
        record("bad", relations=[["focus/none.jpg", ["cat", "near", "tree"]]]),
        ("missing_focus", "dropped", "relation"),
        True,
    ),
    "negative is no triplet": (
        record("bad", relations=[["focus/bad_0.jpg", ["cat", "near", "dog"], [["x", "y"]]]]),
        ("malformed_negative", "dropped", "negative"),
        True,
    ),
    "negative is true": (
        record(
            "bad", relations=[["focus/bad_0.jpg", ["cat", "near", "dog"], [["Cat", "near", "dog"]]]]
        ),
        ("negative_is_true", "dropped", "negative"),
        True,
    ),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_bad_records(case, tmp_path):
    bad, problem, remains = BAD_RECORDS[case]
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.jpg")
    root = write_root(tmp_path / "root", record("good"), bad)
    scenes, problems = load(root)
    assert problem in problems
    assert ("bad" in scenes) == remains
    assert len(scenes["good"].relations) == 1
    with pytest.raises(AnnotationError, match=problem[0]) as error:
        load(root, strict=True)
    assert "metadata.json data[1]" in str(error.value)


def test_links_that_leave_the_root_are_refused(tmp_path):
    root = write_root(tmp_path / "root", record("good"), record("bad"))
    photo().save(tmp_path / "secret.jpg")
    (root / "images/bad.jpg").unlink()
    (root / "images/bad.jpg").symlink_to(tmp_path / "secret.jpg")
    scenes, problems = load(root)
    assert set(scenes) == {"good"}
    assert problems == [("path_outside_root", "dropped", "scene")]


def test_links_within_the_root_are_followed(tmp_path):
    root = write_root(tmp_path / "root", record("good"), record("bad"))
    (root / "images/bad.jpg").unlink()
    (root / "images/bad.jpg").symlink_to("good.jpg")
    assert set(load(root)[0]) == {"good", "bad"}


def test_link_loops_are_missing_images(tmp_path):
    root = write_root(tmp_path, record("good"), record("bad"))
    (root / "images/bad.jpg").unlink()
    (root / "images/bad.jpg").symlink_to("bad.jpg")
    scenes, problems = load(root)
    assert set(scenes) == {"good"}
    assert problems == [("missing_image", "dropped", "scene")]


def test_boxes_are_repaired_to_what_was_meant(tmp_path):
    objects = [["cat", [50, 60, 10, 10]], ["dog", [-5, 20, 130.5, 70]], ["hat", [0, 0, 120.4, 80]]]
    scenes, problems = load(write_root(tmp_path, record(objects=objects, relations=[])))
    expected = [[10, 10, 50, 60], [0, 20, 120, 70], [0, 0, 120, 80]]
    np.testing.assert_array_equal(scenes["a"].object_boxes, expected)
    assert [p[0] for p in problems] == ["box_inverted", "box_outside", "no_relations"]


def test_arrays_of_empty_scenes_have_their_shapes(tmp_path):
    scenes, _ = load(write_root(tmp_path, record(objects=[], relations=[])))
    assert scenes["a"].object_boxes.shape == (0, 4)
    assert scenes["a"].relations == []


def _with_photo(root, content: bytes):
    write_root(root, record("good"), record("bad"))
    (root / "images/bad.jpg").write_bytes(content)
    return root


def _encoded(picture: Image.Image, format: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"no picture", _encoded(photo())[:-300]])
def test_unreadable_photos_are_left_out(tmp_path, content):
    root = _with_photo(tmp_path, content)
    scenes, problems = load(root)
    assert set(scenes) == {"good"}
    assert problems == [("unreadable_image", "dropped", "scene")]
    with pytest.raises(AnnotationError, match=r"data\[1\].image_path \(id bad\): unreadable"):
        load(root, strict=True)


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "1", "I;16"])
def test_photos_of_other_modes_become_rgb(tmp_path, mode):
    if mode == "I;16":
        gray = np.asarray(photo().convert("L")).astype(np.uint16) * 257
        picture, expected = Image.fromarray(gray), photo().convert("L").convert("RGB")
    else:
        picture = photo().convert(mode)
        expected = picture.convert("RGB")
    content = _encoded(picture, "JPEG" if mode in ("CMYK", "L") else "PNG")
    root = _with_photo(tmp_path, content)
    scenes, problems = load(root)
    assert ("not_rgb", "noted", "scene") in problems
    stored = Image.open(io.BytesIO(scenes["bad"].photo))
    assert stored.mode == "RGB"
    difference = np.abs(np.asarray(stored, float) - np.asarray(expected, float))
    assert difference.mean() < 4
    write_root(tmp_path, record("good"), record("bad", relations=[]))
    (root / "images/bad.jpg").write_bytes(content)
    assert set(load(root, strict=True)[0]) == {"good", "bad"}


def test_transparent_photos_are_laid_on_white(tmp_path):
    picture = Image.new("RGBA", (WIDTH, HEIGHT), (200, 0, 0, 0))
    scenes, _ = load(_with_photo(tmp_path, _encoded(picture, "PNG")))
    stored = Image.open(io.BytesIO(scenes["bad"].photo))
    assert np.asarray(stored).min() == 255


def test_other_file_formats_are_encoded_again(tmp_path):
    scenes, problems = load(_with_photo(tmp_path, _encoded(photo(), "WEBP", lossless=True)))
    stored = Image.open(io.BytesIO(scenes["bad"].photo))
    assert stored.format == "JPEG"
    assert problems == []
    assert np.abs(np.asarray(stored, float) - np.asarray(photo(), float)).mean() < 3


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("boxes_as_stored", [False, True])
def test_exif_rotation(tmp_path, orientation, boxes_as_stored):
    """The photo is turned upright; boxes that only fit the stored picture turn with it."""
    if boxes_as_stored and orientation < 5:
        pytest.skip("a photo stored upside down or mirrored doesn't show which pixels boxes mean")
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    turns = annotations_turns()
    upright = photo()
    stored = upright.transpose(turns[back])
    exif = Image.Exif()
    exif[0x0112] = orientation
    box = [5, 12, 118, 40]  # of the upright photo; longer than its height, so either way fits once
    marked = Image.new("L", upright.size)
    marked.paste(255, box)
    as_stored = marked.transpose(turns[back]).getbbox()
    given = list(as_stored) if boxes_as_stored else box
    (tmp_path / "root").mkdir()
    root = write_root(tmp_path / "root", record("bad", objects=[["cat", given]], relations=[]))
    stored.save(root / "images/bad.jpg", exif=exif, quality=95, subsampling=0)
    scenes, problems = load(root)
    scene = scenes["bad"]
    assert ("exif_rotated", "noted", "scene") in problems
    assert (scene.width, scene.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(scene.object_boxes, [box])
    picture = Image.open(io.BytesIO(scene.photo))
    assert picture.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(picture, float) - np.asarray(upright, float)).mean() < 3


def annotations_turns():
    t = Image.Transpose
    return {
        2: t.FLIP_LEFT_RIGHT,
        3: t.ROTATE_180,
        4: t.FLIP_TOP_BOTTOM,
        5: t.TRANSPOSE,
        6: t.ROTATE_270,
        7: t.TRANSVERSE,
        8: t.ROTATE_90,
    }


def test_focus_of_a_rotated_photo_is_turned_with_it(tmp_path):
    """Photo, boxes and focused region all as stored, by a tool that ignores EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright, cat, dog = photo(), [5, 12, 45, 70], [70, 12, 118, 40]
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    as_stored = []
    for box in (cat, dog):
        marked = Image.new("L", upright.size)
        marked.paste(255, box)
        as_stored.append(list(marked.transpose(Image.Transpose.ROTATE_90).getbbox()))
    objects = [["cat", as_stored[0]], ["dog", as_stored[1]]]
    root = write_root(tmp_path, record("bad", objects=objects))
    stored.save(root / "images/bad.jpg", exif=exif, quality=95, subsampling=0)
    focus_of(stored, as_stored).save(root / "focus/bad_0.jpg", quality=95, subsampling=0)
    scenes, _ = load(root)
    (relation,) = scenes["bad"].relations
    assert (relation.mask, relation.image) == (b"", b"")
    np.testing.assert_array_equal(relation.boxes, [cat, dog])


def test_several_metadata_files_are_read(tmp_path):
    root = write_root(tmp_path, record("a"))
    write_root(root / "unused", record("b"))
    (root / "images/b.jpg").write_bytes((root / "images/a.jpg").read_bytes())
    (root / "focus/b_0.jpg").write_bytes((root / "focus/a_0.jpg").read_bytes())
    (root / "metadata_2.json").write_text(json.dumps({"data": [record("b")]}))
    scenes, problems = load(root)
    assert set(scenes) == {"a", "b"}
    assert problems == []


def test_what_is_usual_is_noted_and_strict_takes_it(tmp_path):
    """Neither focused regions nor relations nor objects are needed."""
    records = [
        record("bare", objects=[], relations=[]),
        record("boxes", relations=[]),
        record("unnamed", relations=[["", ["cat", "near", "dog"]], [None, ["dog", "near", "cat"]]]),
    ]
    scenes, problems = load(write_root(tmp_path, *records), strict=True)
    assert problems == [
        ("no_objects", "noted", "scene"),
        ("no_relations", "noted", "scene"),
        ("no_relations", "noted", "scene"),
    ]
    for relation, boxes in zip(scenes["unnamed"].relations, ([CAT, DOG], [DOG, CAT]), strict=True):
        np.testing.assert_array_equal(relation.boxes, boxes)


def test_nothing_usable_says_why(tmp_path):
    with pytest.raises(AnnotationError, match="isn't a folder"):
        load(tmp_path / "none")
    with pytest.raises(AnnotationError, match="holds no metadata"):
        load(tmp_path)
    (tmp_path / "metadata.json").write_text('{"data": [{"id": "x"}]}')
    with pytest.raises(AnnotationError, match=r"no usable record.*data\[0\].image_path"):
        load(tmp_path)


def test_whole_numbers_are_ids_too(tmp_path):
    root = write_root(tmp_path, record("7"))
    (root / "metadata.json").write_text(json.dumps({"data": [record("7", id=7)]}))
    assert set(load(root)[0]) == {"7"}


@pytest.mark.parametrize("content", ["[1]", "{", '{"actions": "running"}'])
def test_broken_class_lists_are_listed(tmp_path, content):
    root = write_root(tmp_path, record())
    (root / "classes.json").write_text(content)
    problems = Problems()
    assert annotations.read_classes(root, problems)["actions"] == []
    assert "classes.json" in problems.found[0].where


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_of_another_user_are_not_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "PAUSES", ())
    root = write_root(tmp_path, record("good"), record("bad"))
    (root / "images/bad.jpg").chmod(0)
    with pytest.raises(InputUnavailableError, match=r"bad\.jpg.*give this user the permission"):
        load(root)


def test_metadata_is_utf8_with_or_without_a_byte_order_mark(tmp_path):
    root = write_root(tmp_path, record())
    text = json.dumps({"data": [record(action="Caf\u00e9 visit")]}, ensure_ascii=False)
    (root / "metadata.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    scenes, problems = load(root)
    assert (scenes["a"].action, problems) == ("caf\u00e9 visit", [])


@pytest.mark.parametrize(
    "box",
    [["1", "2", "30", "40"], {"x": 1, "y": 2, "w": 3, "h": 4}, [[1, 2], [30, 40]], [1, 2, 3, 4, 5]],
)
def test_another_form_of_most_objects_stops_the_build(tmp_path, box):
    records = [record(f"r{i}", objects=[["cat", box], ["dog", box]]) for i in range(6)]
    with pytest.raises(AnnotationError, match=r"12 of 12 objects .* another form .*\[name, \[x0"):
        load(write_root(tmp_path, *records))
    # A few such objects are slips: they are left out and listed.
    records[1:] = [record(f"r{i}") for i in range(1, 6)]
    _, problems = load(write_root(tmp_path / "few", *records))
    assert problems.count(("malformed_object", "dropped", "object")) == 2
