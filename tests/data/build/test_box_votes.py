"""The convention of a data set's boxes is recognized over all of it; right boxes never raise an alarm."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.box_formats import FORMATS, UNITS, BoxReading, to_pixels
from scenarioclip_jax.data.build.box_votes import BoxFlags
from scenarioclip_jax.data.build.dataset import build
from scenarioclip_jax.data.build.problems import AnnotationError, Problems
from scenarioclip_jax.data.stored import shards
from tests.data.box_data import LARGER, as_written, decided, dragged, stored, write

SEEDS = range(4)


def reach(rng, box, size):
    return [value + int(rng.integers(-5, 6)) for value in box]


RIGHT = {
    "any": {},
    "square": {"size": (80, 80)},
    "small boxes": {"largest": 0.1},
    "small boxes in large photos": {"largest": 0.06, "size": (640, 480)},
    "one box": {"objects": 1},
    "at the edge": {"edge": 1.0},
    "sticking out": {"change": reach},
    "dragged": {"change": dragged},
    "with focused regions": {"focus": True},
    "of rotated photos": {"orientation": list(range(1, 9))},
    "of rotated photos, with focused regions": {"orientation": list(range(1, 9)), "focus": True},
}


@pytest.mark.parametrize("photos", [1, 3, 12])
@pytest.mark.parametrize("kind", RIGHT)
def test_right_boxes_raise_no_alarm(kind, photos, tmp_path):
    for seed in SEEDS:
        write(tmp_path / str(seed), seed, photos, **RIGHT[kind])
        decision, problems = decided(tmp_path / str(seed))
        assert decision.reading == BoxReading()
        # (Corners in any order are doubtful where there are few.)
        assert problems == [] or (kind, photos) == ("dragged", 1)


OTHERS = [(format, "pixels") for format in FORMATS if format != "xyxy"]
OTHERS += [("xyxy", "unit"), ("xywh", "unit"), ("cxcywh", "unit"), ("xyxy", "thousand")]
OTHERS += [("xywh", "percent"), ("xyxy", "percent")]


@pytest.mark.parametrize(("format", "units"), OTHERS)
@pytest.mark.parametrize("photos", [8, 25])
def test_other_conventions_stop_the_build_and_name_the_flag(format, units, photos, tmp_path):
    for seed in SEEDS:
        root = tmp_path / str(seed)
        truth = write(root, seed, photos, format=format, units=units)
        with pytest.raises(AnnotationError) as error:
            decided(root)
        text = str(error.value)
        flags = dict(
            re.findall(
                r"--(boxes|box-units)=(\w+)",
                text.partition("If so, add ")[2].partition(" (or")[0].partition("; if they")[0],
            )
        )
        assert flags == {
            **({"boxes": format} if format != "xyxy" else {}),
            **({"box-units": units} if units != "pixels" else {}),
        }
        assert (
            re.search(r"metadata.json data\[\d+\] \(id \d+\), 'thing \d': \[.*\d+%", text)
            or "%" in text
        )
        # With the flags it reads what was meant.
        decision, problems = decided(root, BoxFlags(format, units))
        assert problems == []
        for record, boxes in zip(read_records(root, Problems()), truth, strict=True):
            scene = assemble(record, root, Problems(), Counter(), boxes=decision)
            np.testing.assert_allclose(scene.object_boxes, boxes, atol=0.2)


def test_a_stopped_build_writes_nothing_and_a_flag_says_it_is_right(tmp_path):
    write(tmp_path / "root", 0, 10, format="xywh")
    options = {"fractions": (1, 0, 0), "progress": False}
    with pytest.raises(AnnotationError, match=r"\[x, y, width, height\].*--boxes=xywh"):
        build(tmp_path / "root", tmp_path / "out", **options)
    assert not (tmp_path / "out" / shards.NAME).exists()
    summary = build(tmp_path / "root", tmp_path / "out", boxes="xywh", **options)
    assert summary["boxes"] == {
        "format": "xywh",
        "units": "pixels",
        "orientation": "upright",
        "canvas": "photo",
    }
    as_they_are = {"boxes": "xyxy", "box_units": "pixels"}
    assert build(tmp_path / "root", tmp_path / "out2", **as_they_are, **options)
    with pytest.raises(ValueError, match="boxes must be one of xyxy"):
        build(tmp_path / "root", tmp_path / "out3", boxes="coco", **options)


def test_focused_regions_tell_where_boxes_alone_cannot(tmp_path):
    write(tmp_path, 0, 12, format="yxyx", size=(80, 80), focus=True)
    with pytest.raises(AnnotationError, match=r"--boxes=yxyx.*"):
        decided(tmp_path)


def test_boxes_of_another_size_of_the_photos_stop_the_build(tmp_path):
    write(tmp_path, 0, 20, change=lambda rng, box, size: [2 * value for value in box])
    with pytest.raises(AnnotationError, match="photos of another size"):
        decided(tmp_path)
    assert decided(tmp_path, BoxFlags("xyxy", "pixels"))[1] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mixed_data_set_is_listed_as_ambiguous(seed, tmp_path):
    def some(rng, box, size):
        return as_written(box, size, "xywh") if rng.random() < 0.7 else box

    write(tmp_path, seed, 40, change=some)
    decision, problems = decided(tmp_path)
    assert decision.reading == BoxReading()
    assert problems == ["boxes_ambiguous"]


@pytest.mark.parametrize(
    ("format", "units", "said"),
    [("xywh", "pixels", "[x, y, width, height]"), ("xyxy", "unit", "in shares of the photo")],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_merged_minority_stops_the_build_with_its_records(format, units, said, seed, tmp_path):
    """As where two tools wrote a part each: a box that happens to fit both ways says nothing by itself."""
    write(tmp_path, seed, 40)
    file = tmp_path / "metadata.json"
    data = json.loads(file.read_text())
    for record in data["data"][::5]:
        with Image.open(tmp_path / record["image_path"]) as picture:
            for each in record["objects"]:
                each[1] = as_written(each[1], picture.size, format, units)
    file.write_text(json.dumps(data))
    with pytest.raises(AnnotationError, match=re.escape(said)) as error:
        decided(tmp_path)
    assert re.search(r"records: metadata.json data\[\d+\], ", str(error.value))
    flags = BoxFlags("xyxy", "pixels")
    assert decided(tmp_path, flags)[0].reading == BoxReading()


@pytest.mark.parametrize("format", ["xyxy", "xywh"])
def test_shares_that_stay_in_a_part_of_the_photos_are_shares(format, tmp_path):
    def left(rng, box, size):
        return [0.45 * box[0], box[1], 0.45 * box[2], box[3]]

    write(tmp_path, 0, 12, format=format, units="unit", change=left)
    with pytest.raises(AnnotationError, match=r"shares of the photo.*--box-units=unit"):
        decided(tmp_path)


def flags_in(text: str) -> list[dict[str, str]]:
    """The sets of flags that a message names, in order."""
    runs = re.findall(r"(?:--(?:boxes|box-units|box-canvas)=\w+ ?)+", text)
    return [dict(re.findall(r"--([\w-]+)=(\w+)", run)) for run in runs]


@pytest.mark.parametrize("share", [0.2, 0.35, 0.6])
@pytest.mark.parametrize("seed", SEEDS)
def test_records_with_y_first_among_others_stop_the_build(seed, share, tmp_path):
    """A quarter of such boxes can't be meant; the others would be read as boxes of something else, silently."""
    truth = write(tmp_path, seed, 40, **LARGER)
    file = tmp_path / "metadata.json"
    data = json.loads(file.read_text())
    for record, boxes in list(zip(data["data"], truth, strict=True))[: round(40 * share)]:
        for each, (x0, y0, x1, y1) in zip(record["objects"], boxes, strict=True):
            each[1] = [y0, x0, y1, x1]
    file.write_text(json.dumps(data))
    with pytest.raises(AnnotationError, match=r"\[y0, x0, y1, x1\]") as error:
        decided(tmp_path)
    assert flags_in(str(error.value))[0] == {"boxes": "yxyx"}
    named = [int(index) for index in re.findall(r"data\[(\d+)\]", str(error.value))]
    assert named
    assert share > 0.5 or max(named) < 40 * share
    # Whoever has looked isn't asked again.
    assert decided(tmp_path, BoxFlags("xyxy", "pixels"))[1] == []


@pytest.mark.parametrize("units", ["unit", "thousand"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_photos_tell_whether_x_or_y_comes_first(seed, units, tmp_path):
    """In shares of the photo every box fits both ways."""
    for format in ("xyxy", "yxyx"):
        root = tmp_path / format
        write(root, seed, 20, format=format, units=units, drawn=True, **LARGER)
        with pytest.raises(AnnotationError) as error:
            decided(root)
        expected = {"box-units": units} | ({"boxes": format} if format != "xyxy" else {})
        assert flags_in(str(error.value))[0] == expected
        assert "comes first" not in str(error.value)


@pytest.mark.parametrize("format", ["xyxy", "yxyx"])
def test_it_is_said_where_nothing_tells_whether_x_or_y_comes_first(format, tmp_path):
    write(tmp_path, 0, 20, format=format, units="thousand", **LARGER)
    with pytest.raises(
        AnnotationError, match="if y comes first, which nothing here tells"
    ) as error:
        decided(tmp_path)
    assert flags_in(str(error.value))[:2] == [
        {"box-units": "thousand"},
        {"boxes": "yxyx", "box-units": "thousand"},
    ]


def test_square_photos_show_that_y_comes_first(tmp_path):
    write(tmp_path / "y", 0, 20, format="yxyx", size=(160, 160), drawn=True)
    with pytest.raises(AnnotationError, match="--boxes=yxyx"):
        decided(tmp_path / "y")
    write(tmp_path / "x", 0, 20, size=(160, 160), drawn=True)
    assert decided(tmp_path / "x")[1] == []


PADDED = [("xyxy", "pixels", "middle"), ("xywh", "pixels", "middle"), ("xyxy", "unit", "middle")]
PADDED += [("xyxy", "thousand", "middle"), ("cxcywh", "unit", "middle"), ("xyxy", "unit", "corner")]


@pytest.mark.parametrize(("format", "units", "padded"), PADDED)
@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_in_padded_photos_stop_the_build_and_name_the_flag(
    seed, format, units, padded, tmp_path
):
    options = {"format": format, "units": units, "padded": padded}
    truth = write(tmp_path, seed, 25, **LARGER, **options)
    with pytest.raises(AnnotationError, match="padded to a square") as error:
        decided(tmp_path)
    canvas = {"middle": "padded", "corner": "padded_corner"}[padded]
    found = {"boxes": "xyxy", "box-units": "pixels"} | flags_in(str(error.value))[0]
    assert found == {"boxes": format, "box-units": units, "box-canvas": canvas}
    decision, problems = decided(tmp_path, BoxFlags(format, units, canvas=canvas))
    assert problems == []
    for record, boxes in zip(read_records(tmp_path, Problems()), truth, strict=True):
        scene = assemble(record, tmp_path, Problems(), Counter(), boxes=decision)
        np.testing.assert_allclose(scene.object_boxes, boxes, atol=0.3)


@pytest.mark.parametrize("units", ["pixels", "unit"])
def test_boxes_in_the_middle_of_the_photos_are_not_padded(units, tmp_path):
    """Only if they reach the margins' edge, and never further, were the photos padded."""

    def middle(rng, box, size):
        return [0.3 * n + 0.4 * value for value, n in zip(box, [*size, *size], strict=True)]

    write(tmp_path, 0, 20, units=units, change=middle, **LARGER)
    if units == "pixels":
        assert "padded" not in str(decided(tmp_path))
    else:
        with pytest.raises(AnnotationError) as error:
            decided(tmp_path)
        assert flags_in(str(error.value))[0] == {"box-units": "unit"}


def test_a_build_takes_boxes_of_padded_photos(tmp_path):
    write(tmp_path / "root", 0, 12, units="unit", padded="middle", **LARGER)
    options = {"fractions": (1, 0, 0), "progress": False}
    flags = {"box_units": "unit", "box_canvas": "padded"}
    summary = build(tmp_path / "root", tmp_path / "out", **flags, **options)
    assert summary["boxes"]["canvas"] == "padded"
    with pytest.raises(ValueError, match="box_canvas must be one of photo, padded"):
        build(tmp_path / "root", tmp_path / "out2", box_canvas="square", **options)


TURNED = (2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("orientation", [[1, 6], [6, 8], [5, 7], [1, 6, 3, 2]])
@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_stored_pixels_stop_the_build(seed, orientation, tmp_path):
    truth = write(tmp_path, seed, 30, orientation=orientation, as_stored=True, size=(96, 64))
    with pytest.raises(AnnotationError, match="--box-orientation=stored"):
        decided(tmp_path)
    decision, problems = decided(tmp_path, BoxFlags(orientation="stored"))
    assert problems == []
    for record, boxes in zip(read_records(tmp_path, Problems()), truth, strict=True):
        problems = Problems()
        scene = assemble(record, tmp_path, problems, Counter(), boxes=decision)
        np.testing.assert_array_equal(scene.object_boxes, boxes)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_focused_regions_tell_that_boxes_are_stored_pixels(orientation, tmp_path):
    """A photo upside down or mirrored is as wide as when upright: its boxes fit both ways."""
    write(tmp_path, 1, 8, orientation=orientation, as_stored=True, focus=True)
    with pytest.raises(AnnotationError, match="--box-orientation=stored"):
        decided(tmp_path)


def test_rotated_photos_that_say_nothing_are_listed(tmp_path):
    write(tmp_path, 0, 6, orientation=6, as_stored=True, size=(80, 80))
    decision, _ = decided(tmp_path)
    assert decision.doubtful
    for flags, expected in ((BoxFlags(), 6), (BoxFlags(orientation="upright"), 0)):
        problems = Problems(strict=True)  # it isn't a fault of the data
        decision, _ = decided(tmp_path, flags)
        for record in read_records(tmp_path, problems):
            assemble(record, tmp_path, problems, Counter(), boxes=decision)
        assert [p.reason for p in problems.found].count("boxes_ambiguous") == expected


def test_upright_boxes_of_some_rotated_photos_settle_the_others(tmp_path):
    write(tmp_path, 0, 30, orientation=[6, 8, 3], size=(96, 64))
    decision, problems = decided(tmp_path)
    assert (decision.each, decision.doubtful, problems) == (False, False, [])


def test_one_photo_with_boxes_as_stored_and_a_focused_region(tmp_path):
    """Boxes and focused region of a tool that ignores EXIF, which fit both ways: the region shows it."""
    truth = write(
        tmp_path, 3, 1, orientation=6, as_stored=True, focus=True, objects=2, size=(80, 80)
    )
    problems = Problems()
    (record,) = read_records(tmp_path, problems)
    decision, _ = decided(tmp_path)
    scene = assemble(record, tmp_path, problems, Counter(), boxes=decision)
    np.testing.assert_array_equal(scene.object_boxes, truth[0])
    assert "boxes_turned" in [p.reason for p in problems.found]


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_convention_reads_what_it_wrote(format, units):
    size, box = (100, 40), [10, 4, 60, 34]
    for orientation in range(1, 9):
        where = stored(box, size, orientation)
        canvas = size[::-1] if orientation >= 5 else size
        written = as_written(where, canvas, format, units)
        read = to_pixels([written], BoxReading(format, units, "stored"), [size], [orientation])
        np.testing.assert_allclose(read, [box], atol=0.06)


def test_photos_that_cannot_be_opened_do_not_vote(tmp_path):
    write(tmp_path, 0, 6)
    for index in range(6):
        (tmp_path / f"images/{index}.jpg").write_bytes(b"")
    assert decided(tmp_path)[0].reading == BoxReading()


def test_boxes_of_smaller_photos_and_pixels_counted_from_one_are_listed(tmp_path):
    write(tmp_path / "half", 0, 20, change=lambda rng, box, size: [value // 2 for value in box])
    assert decided(tmp_path / "half")[1] == ["boxes_ambiguous"]
    write(tmp_path / "one", 0, 20, change=lambda rng, box, size: [value + 1 for value in box])
    assert decided(tmp_path / "one")[1] == ["boxes_from_one"]


def test_boxes_that_fit_nothing_stop_the_build(tmp_path):
    """Placeholders: not one of them can be meant, and none lies far outside."""
    write(tmp_path, 0, 12, change=lambda rng, box, size: [0, 0, 0, 0], **LARGER)
    with pytest.raises(AnnotationError, match=r"a pixel or less.*no other convention fits better"):
        decided(tmp_path)


@pytest.mark.parametrize("format", ["xywh", "cxcywh", "yxyx"])
@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_the_records_in_another_format_are_no_dragging(seed, format, tmp_path):
    truth = write(tmp_path, seed, 30, **LARGER)
    file = tmp_path / "metadata.json"
    data = json.loads(file.read_text())
    for record, boxes in list(zip(data["data"], truth, strict=True))[15:]:
        for each, box in zip(record["objects"], boxes, strict=True):
            each[1] = as_written(box, None, format)
    file.write_text(json.dumps(data))
    with pytest.raises(AnnotationError, match="Were two data sets merged") as error:
        decided(tmp_path)
    assert {"boxes": format} in flags_in(str(error.value))
    named = [int(index) for index in re.findall(r"data\[(\d+)\]", str(error.value))]
    assert named
    assert min(named) >= 15


@pytest.mark.parametrize("orientation", [[2], [3], [1, 2, 3, 4], [6]])
def test_the_photos_tell_whether_boxes_are_in_stored_pixels(orientation, tmp_path):
    """Upside down, mirrored or square: the boxes fit both ways."""
    sizes = {"size": (200, 200)} if 6 in orientation else LARGER
    options = {"orientation": orientation, "drawn": True, **sizes}
    write(tmp_path / "stored", 0, 16, as_stored=True, **options)
    with pytest.raises(AnnotationError, match="--box-orientation=stored"):
        decided(tmp_path / "stored")
    write(tmp_path / "upright", 0, 16, **options)
    decision, problems = decided(tmp_path / "upright")
    assert (decision.each, decision.doubtful, problems) == (False, False, [])


@pytest.mark.parametrize("orientation", [1, 3, 4])
def test_faint_things_beside_what_is_restless_are_where_their_boxes_are(orientation, tmp_path):
    """Birds in the sky: the grass below has more contrast anywhere than they have around them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    records = []
    for index in range(24):
        width, height = 240, 240
        pixels = np.full((height, width, 3), (150, 190, 235), np.float64)
        grass = rng.normal(0, 55, (height * 9 // 20 // 4, width // 4)).repeat(4, 0).repeat(4, 1)
        pixels[height - len(grass) :] = (70, 110, 50) + grass[..., None]
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        objects = []
        for number in range(3):
            w, h = (int(rng.integers(24, 50)) for _ in range(2))
            x, y = int(rng.integers(2, width - w)), int(rng.integers(2, height // 2 - h))
            darker = int(rng.integers(25, 70))
            bird = tuple(level - darker for level in (150, 190, 235))
            ImageDraw.Draw(picture).ellipse((x, y, x + w - 1, y + h - 1), fill=bird)
            objects.append([f"bird {number}", [x, y, x + w, y + h]])
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = picture.transpose(images.TURNS[orientation]) if orientation != 1 else picture
        turned.save(tmp_path / f"images/{index}.jpg", exif=exif, quality=95)
        photo = {"id": str(index), "image_path": f"images/{index}.jpg", "action": "flying"}
        records.append(photo | {"objects": objects, "relations": []})
    (tmp_path / "metadata.json").write_text(json.dumps({"data": records}))
    decision, problems = decided(tmp_path)
    assert problems == []
    assert decision.reading == BoxReading()


def test_one_place_in_the_photos_of_a_fixed_camera_is_one_witness(tmp_path):
    """A loose box around a door, always the same, and below a bench that ends where the box would, mirrored."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    records = []
    for index in range(30):
        pixels = np.full((240, 320, 3), 120.0)
        pixels[60:100, 60:100] = 100  # the door
        pixels[130:220, 30:140] = 40  # the bench
        pixels += rng.normal(0, 4, pixels.shape)
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        picture.save(tmp_path / f"images/{index}.jpg", quality=95)
        photo = {"id": str(index), "image_path": f"images/{index}.jpg", "action": "entering"}
        box = [30 + int(rng.integers(-1, 2)), 20, 140, 110]
        objects = [["door", box], ["room", [0, 0, 320, 240]]]
        records.append(photo | {"objects": objects, "relations": []})
    (tmp_path / "metadata.json").write_text(json.dumps({"data": records}))
    assert decided(tmp_path)[1] == []
