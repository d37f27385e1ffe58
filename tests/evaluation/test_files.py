"""The suites' files: what is read, what is found, and that everything else is an error that names the place."""

import csv
import io
import json
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from scenarioclip_jax.evaluation import image_files
from scenarioclip_jax.evaluation.files import Files, SuiteError, Wanted
from scenarioclip_jax.evaluation.image_files import Finder
from scenarioclip_jax.evaluation.records import csv_rows, json_rows, jsonl_rows, read_json
from scenarioclip_jax.evaluation.score.result import Result, Skips
from scenarioclip_jax.evaluation.suites import (
    aro,
    aro_order,
    captions,
    detection,
    fg_ovd,
    hoi_files,
    long_captions,
    minimal_pairs,
    predcls,
    sugarcrepe,
    svo,
    valse,
    vl_checklist,
    vsr,
    whatsup,
    winoground,
)
from tests.evaluation.fakes import write_images

quickly = settings(derandomize=True, max_examples=60, deadline=None)
# Some of them end a line for `str.splitlines`, none of them does inside of a text.
SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x00", "\r"]
texts = st.text(st.one_of(st.sampled_from(SEPARATORS), st.characters(codec="utf-8")), max_size=12)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), texts), min_size=1, max_size=4))
@quickly
@example([{"a": "one\u2028two\x85three"}])
def test_json_lines_end_at_line_feeds_only(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    for end, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\n", "utf-16")):
        path.write_bytes("".join(line + end for line in lines).encode(encoding))
        assert [row.values for row in jsonl_rows(path)] == records


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
@quickly
@example([("a\x0cb", "c\r\nd")])
def test_csv_is_read_as_the_library_writes_it(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerows([("one", "two"), *records])
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(stream.getvalue().encode(encoding))
        read = [tuple(row.values.values()) for row in csv_rows(path)]
        assert read == records


def test_long_fields_are_read_and_what_is_no_csv_names_the_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1," + "x" * 140_000 + "\n")
    assert len(csv_rows(path)[0].values["b"]) == 140_000
    for text, message in (
        ('a,b\n1,2\n3,"open\n5,6\n', r"x\.csv line 3: not valid CSV"),
        ('a,b\n1,2\n3,"4"5\n', r"x\.csv line 3: not valid CSV"),
        ("a,b\n1,2\n1,2,3\n", r"x\.csv line 3: its fields don't fit"),
        ("a,b\n", "no record in it"),
    ):
        path.write_text(text)
        with pytest.raises(SuiteError, match=message):
            csv_rows(path)
    assert csv.field_size_limit() == 131_072  # as it was


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"\n<!doctype html>\n<html></html>", "an HTML page"),
        (b"\x1f\x8b\x08\x00", "a gzip archive"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON Lines"),
        (b'[{"a": "\xff"}]', r"line 1 can't be read.*save the file as UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'[{"a": ' + b"9" * 5000 + b"}]", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_called_by_its_name(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(SuiteError, match=message) as raised:
        json_rows(path)
    assert str(path) in str(raised.value)
    path.unlink()
    with pytest.raises(SuiteError, match="No such file"):
        read_json(path)


def test_images_are_found_in_the_folders_that_people_name(tmp_path):
    write_images(tmp_path, "COCO/val2014/a.jpg", "COCO/train2014/b.jpg", "svo/0.JPG", "svo/1.gif")
    coco, svo_images = tmp_path / "COCO", tmp_path / "svo"
    for folder in (coco, coco / "val2014"):
        for name in (
            "val2014/a.jpg",
            "a.jpg",
            "a",
            "val2014\\a.jpg",
            "data/val2014/a.jpg",
            "A.JPG",
        ):
            assert Finder([folder]).find(name) == coco / "val2014" / "a.jpg", (folder, name)
    assert Finder([coco]).find("b.jpg") == coco / "train2014" / "b.jpg"
    assert Finder([svo_images]).find("0") == svo_images / "0.JPG"
    assert Finder([svo_images]).find("1") == svo_images / "1.gif"
    for name in ("c.jpg", "", "a\x00b", "x" * 5000, "2"):
        assert Finder([coco, svo_images, tmp_path / "gone"]).find(name) is None


def test_another_images_file_is_never_taken(tmp_path):
    write_images(tmp_path, "dog/1.png", "cat/2.png", "dog/2.png")
    names = ["cat/1.png", "dog/1.png", "cow/2.png"]
    finder = Finder([tmp_path], names)
    assert [finder.find(name) for name in names] == [None, tmp_path / "dog" / "1.png", None]
    assert finder.find("2.png") is None  # there are two
    longer = ["coco/dog/1.png", "flickr/dog/1.png"]
    assert [Finder([tmp_path], longer).find(name) for name in longer] == [None, None]
    assert Finder([tmp_path], longer[:1]).find(longer[0])
    assert Finder([tmp_path / "dog"], names).find("cat/1.png") is None
    assert Finder([tmp_path / "dog"], ["cat/1.png"]).find("cat/1.png")


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_what_the_system_refuses_is_no_unreadable_image(tmp_path, monkeypatch, error):
    write_images(tmp_path, "1.png")

    def refuse(content, name):
        raise OSError(f"{name}: can't") from error

    monkeypatch.setattr(image_files.images, "open_image", refuse)
    files, wanted = (
        Files(tmp_path / "x.json", (tmp_path,), skip_missing=True),
        [Wanted("[0]", ("1.png",))],
    )
    with pytest.raises(SuiteError, match="refused by the system"):
        files.locate(wanted, Skips())
    monkeypatch.undo()
    assert files.locate(wanted, Skips())


def test_all_that_is_wrong_with_images_is_told_at_once(tmp_path):
    write_images(tmp_path, "good.png")
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.jpg").write_bytes(b"")
    wanted = [Wanted(f"[{i}]", (n,)) for i, n in enumerate(("good.png", "page.jpg", "empty.jpg"))]
    wanted.append(Wanted("[3]", ("gone1", "gone2")))
    files = Files(tmp_path / "x.json", (tmp_path,), suite="svo")
    with pytest.raises(SuiteError, match=r"\[3\]: the image 'gone1'.*nor are 1 others") as raised:
        files.locate(wanted, Skips())
    assert "config.svo.images=DIR" in raised.value.remedy
    assert raised.value.listed[:2] == ["gone1", "gone2"]
    assert sorted(each.rsplit("/", 1)[1][:8] for each in raised.value.listed[2:]) == [
        "empty.jp",
        "page.jpg",
    ]
    skips = Skips()
    kept = Files(tmp_path / "x.json", (tmp_path,), skip_missing=True).locate(wanted, skips)
    assert [each.where for each in kept] == ["[0]"]
    # A record counts once, however many of its images are missing.
    counts = {reason: each["count"] for reason, each in skips.summary().items()}
    assert counts == {"image is missing": 1, "image can't be read": 2}
    with pytest.raises(SuiteError, match="no record is left: of 1, 1 lack an image in"):
        Files(tmp_path / "x", (tmp_path,), True).locate([Wanted("[0]", ("gone",))], Skips())


# Mutations of valid files: each is read, or refused with the file's name.
BOX = dict(bbox_x=1, bbox_y=1, bbox_w=5, bbox_h=5)
PAIR = dict(true_caption="a on b", false_caption="b on a")
CAPTION = {"filename": "1.png", "caption": "a", "negative_caption": "b"}
PSG = {
    "data": [
        {
            "image_id": "7",
            "file_name": "1.png",
            "annotations": [
                {"bbox": [0, 0, 9, 9], "bbox_mode": 0, "category_id": 0},
                {"bbox": [5, 5, 20, 20], "category_id": 1},
            ],
            "relations": [[0, 1, 0]],
        }
    ],
    "test_image_ids": ["7"],
    "predicate_classes": ["on", "by"],
    "thing_classes": ["dog"],
    "stuff_classes": ["grass"],
}
KARPATHY = {
    "images": [
        {"filename": "1.png", "filepath": "", "split": "test", "sentences": [{"raw": "a"}] * 5}
    ]
}
INSTANCES = {
    "images": [{"id": 1, "file_name": "1.png"}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
}
FG_OVD = {
    "images": [{"id": 1, "file_name": "1.png"}],
    "categories": [{"id": i, "name": name} for i, name in enumerate("abc")],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4], "neg_category_ids": [1, 2]}
    ],
}
HICO = [
    {
        "file_name": "1.png",
        "img_id": 1,
        "annotations": [
            {"bbox": [0, 0, 9, 9], "category_id": 1},
            {"bbox": [5, 5, 20, 20], "category_id": 2},
        ],
        "hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 77}],
    }
]
DOCCI = json.dumps({"image_file": "1.png", "split": "test", "description": "a b. c."})
FOIL = {"caption": "a", "foil": "b"}
SVO = "sentence,pos_image_id,neg_image_id,subj_neg,verb_neg,obj_neg\na dog runs,1,1,True,False,False\n"
VSR = json.dumps({"image": "1.png", "caption": "a", "label": 1})
WINOGROUND = json.dumps({"caption_0": "a", "caption_1": "b", "image_0": "1", "image_1": "1"})
SUITES = {
    "aro": (
        aro.read,
        {
            "visual_genome_relation.json": [
                {"image_path": "1.png", **BOX, **PAIR, "relation_name": "on"}
            ]
        },
    ),
    "attribution": (
        aro.read,
        {
            "visual_genome_attribution.json": [
                {"image_path": "1.png", **BOX, **PAIR, "attributes": ["red", "big"]}
            ]
        },
    ),
    "aro_order": (
        aro_order.read,
        {"coco_order.json": [{"image": "1.png", "caption_options": list("abcde")}]},
    ),
    "sugarcrepe": (sugarcrepe.read, {"swap_obj.json": {"0": CAPTION}}),
    "sugarcrepe_pp": (sugarcrepe.read_pp, {"swap_obj.json": [CAPTION | {"caption2": "c"}]}),
    "winoground": (winoground.read, {"examples.jsonl": WINOGROUND}),
    "cola": (
        minimal_pairs.read_cola,
        {"COLA_multiobjects_matching_benchmark.json": [["http://h/1.png", "a", "1.png", "b"]]},
    ),
    "colorswap": (
        minimal_pairs.read_colorswap,
        {
            "test.json": [
                {"caption_1": "a", "caption_2": "b", "image_1": "1.png", "image_2": "1.png"}
            ]
        },
    ),
    "eqben": (
        minimal_pairs.read_eqben,
        {
            "all_select.json": [
                {"caption0": "a", "caption1": "b", "image0": "1.png", "image1": "1.png"}
            ]
        },
    ),
    "valse": (
        valse.read,
        {
            "foil-it.json": {
                "k": {"image_file": "1.png", **FOIL, "mturk": {"caption": 2, "foil": 1}}
            }
        },
    ),
    "vl_checklist": (
        vl_checklist.read,
        {"Object/hake.json": [["1.png", {"POS": ["a"], "NEG": ["b"]}]]},
    ),
    "whatsup_qa": (whatsup.read, {"vg_qa_one_obj.json": [[1, "a", "b"]]}),
    "whatsup": (
        whatsup.read,
        {
            "controlled_clevr_dataset.json": [
                {"image_path": "mug_on_box.png", "caption_options": ["a", "b", "c", "d"]}
            ]
        },
    ),
    "vsr": (vsr.read, {"dev.jsonl": VSR, "test.jsonl": VSR}),
    "svo": (svo.read, {"svo.csv": SVO}),
    "captions": (captions.read, {"dataset_coco.json": KARPATHY}),
    "lavis": (
        captions.read,
        {"coco_karpathy_test.json": [{"image": "1.png", "caption": ["a"] * 5}]},
    ),
    "coco": (
        captions.read,
        {
            "captions_val2017.json": {
                "images": [{"id": 1, "file_name": "1.png"}],
                "annotations": [{"image_id": 1, "caption": "a"}],
            }
        },
    ),
    "docci": (long_captions.read_docci, {"docci_descriptions.jsonlines": DOCCI}),
    "predcls": (predcls.read, {"psg.json": PSG}),
    "detection": (detection.read, {"instances.json": INSTANCES}),
    "hico_det": (hoi_files.read_hico, {"test_hico.json": HICO, "trainval_hico.json": HICO}),
    "fg_ovd": (fg_ovd.read, {"transparency.json": FG_OVD}),
}
FOLDERS = ("aro", "aro_order", "attribution", "sugarcrepe", "sugarcrepe_pp", "vsr")
FOLDERS += ("fg_ovd", "hico_det", "whatsup", "whatsup_qa", "valse", "vl_checklist")
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([10**400, -1, 1e308, float("nan"), float("inf")]),
    st.sampled_from(
        ["", "../x", "/etc", "a\x00", "\ud83d", "1.png", "x" * 300, "a\u2028b", "True"]
    ),
    st.just([]),
    st.just({}),
    st.just([[None]]),
    st.just({"a": [1]}),
)


def places(value, path=()):
    """All places in a JSON value."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from places(each, (*path, key))


def changed(value, path, new, drop: bool):
    """A copy with another value at a place, or without it."""
    value = json.loads(json.dumps(value))
    if not path:
        return new
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("suites")
    write_images(root, "1.png", "1.jpg", "mug_on_box.png")
    return root


def read(folder, name: str, contents: dict[str, bytes]):
    below = folder / name
    below.mkdir(exist_ok=True)
    for file, content in contents.items():
        (below / file).parent.mkdir(exist_ok=True)
        (below / file).write_bytes(content)
    path = below if name in FOLDERS else below / next(iter(contents))
    files, refused = Files(path, (folder,), suite=name), None
    try:
        return SUITES[name][0](files, Result({}, {}, "", ""))
    except SuiteError as error:
        refused = str(error)
    assert str(below) in refused
    return None


def as_bytes(content) -> bytes:
    text = content if isinstance(content, str) else json.dumps(content)
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", SUITES)
def test_valid_files_are_read(folder, name):
    assert read(folder, name, {k: as_bytes(v) for k, v in SUITES[name][1].items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
@given(data=st.data())
@quickly
def test_a_changed_value_is_read_or_refused_by_name(folder, name, data):
    contents = {}
    for file, content in SUITES[name][1].items():
        is_json = file.endswith((".json", ".jsonl"))
        value = json.loads(content) if isinstance(content, str) and is_json else content
        if is_json:
            place = data.draw(st.sampled_from(list(places(value))))
            value = changed(value, place, data.draw(junk), data.draw(st.booleans()))
            contents[file] = json.dumps(value).encode("utf-8", "surrogatepass")
        else:
            old = data.draw(st.sampled_from(value.replace("\n", ",").split(",")))
            new = data.draw(st.text(string.printable + "\u2028\x00", max_size=5))
            contents[file] = as_bytes(value.replace(old, new) if old else value + new)
    read(folder, name, contents)


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
@given(data=st.data())
@quickly
def test_changed_bytes_are_read_or_refused_by_name(folder, name, data):
    contents = {k: bytearray(as_bytes(v)) for k, v in SUITES[name][1].items()}
    for content in contents.values():
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[at : at + data.draw(st.integers(1, 30))]
        else:
            content[at] = data.draw(st.integers(0, 255))
    read(folder, name, {k: bytes(v) for k, v in contents.items()})


def test_a_picture_that_changes_is_checked_again(tmp_path):
    path = tmp_path / "1.png"
    path.write_text("<html>")
    wanted = [Wanted("[0]", ("1.png",))]
    files = Files(tmp_path / "x.json", (tmp_path,))
    with pytest.raises(SuiteError, match="an HTML page"):
        files.locate(wanted, Skips())
    Image.new("RGB", (8, 8)).save(path)
    assert len(files.locate(wanted, Skips())) == 1


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("a.json", '[{"caption": "a", "caption": "b"}]', json_rows),
        ("a.json", '{"1": {"caption": "a"}, "1": {"caption": "b"}}', json_rows),
        ("a.jsonl", '{"caption": "a", "caption": "b"}\n', jsonl_rows),
        ("a.csv", "caption,caption\na,b\n", csv_rows),
    ],
)
def test_a_name_given_twice_is_refused(name, text, read, tmp_path):
    """Of two values only the last would count, in silence."""
    (tmp_path / name).write_text(text)
    with pytest.raises(SuiteError, match=rf"{name}.*'(caption|1)' twice.*write it once"):
        read(tmp_path / name)
