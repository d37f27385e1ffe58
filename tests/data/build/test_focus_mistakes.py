"""Focused-region images that are turned, or have red and blue swapped, are recognized and mended."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scenarioclip_jax.data import images
from scenarioclip_jax.data.build import focus_mistakes
from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.assemble import assemble
from scenarioclip_jax.data.build.problems import Problems
from tests.data.box_data import decided
from tests.data.builder_inputs import focus_of, record, write_root
from tests.data.test_focus_checks import CAT, DOG, _saved, _treated, scene

AROUND = ("black", "gray", "white", "blurred", "dimmed")


def focused(photo, around):
    return _saved(Image.composite(photo, _treated(photo, around), drawn(photo.size, (CAT, DOG))))


def drawn(size, boxes):
    mask = Image.new("L", size)
    for box in boxes:
        mask.paste(255, box)
    return mask


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("light", ["day", "white", "night"])
@pytest.mark.parametrize("seed", range(3))
def test_right_images_are_left_alone(seed, light, around):
    photo = scene(seed, light)
    focus = focused(photo, around)
    found, said = focus_mistakes.undo(photo, focus)
    assert (found, said) == (focus, "")


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("turned", [2, 3, 4, 6])
def test_turned_images_are_turned_back(turned, around):
    photo = scene(1)
    focus = focused(photo, around)
    found, said = focus_mistakes.undo(photo, focus.transpose(images.TURNS[turned]))
    assert said.startswith(("turned", "mirrored"))
    np.testing.assert_array_equal(np.asarray(found), np.asarray(focus))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("seed", range(3))
def test_swapped_colors_are_swapped_back(seed, around):
    photo = scene(seed)
    focus = focused(photo, around)
    found, said = focus_mistakes.undo(photo, focus_mistakes.swapped(focus))
    assert said == "with red and blue swapped"
    np.testing.assert_array_equal(np.asarray(found), np.asarray(focus))


def test_gray_photos_have_no_colors_to_swap():
    photo = scene(0).convert("L").convert("RGB")
    assert focus_mistakes.undo(photo, focused(photo, "black"))[1] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (focus_mistakes.swapped, "with red and blue swapped"),
        (lambda focus: focus.transpose(Image.Transpose.ROTATE_180), "turned by 180 degrees"),
    ],
)
def test_the_builder_mends_and_lists_it(change, said, tmp_path):
    photo = scene(2)
    entry = record("a", objects=[["cat", CAT], ["dog", DOG]])
    write_root(tmp_path, entry)
    photo.save(tmp_path / "images/a.jpg", quality=95)
    change(focus_of(photo, (CAT, DOG))).save(tmp_path / "focus/a_0.jpg", quality=92)
    problems = Problems()
    kinds = Counter()
    assemble(read_records(tmp_path, problems)[0], tmp_path, problems, kinds)
    assert [(p.reason, p.effect) for p in problems.found] == [("focus_altered", "fixed")]
    assert said in problems.found[0].detail
    assert kinds == {"boxes": 1}


@pytest.mark.parametrize("seed", range(3))
def test_images_turned_by_180_degrees_dont_speak_for_boxes_with_y_first(seed, tmp_path):
    """Things that lie from the lower left to the upper right are, turned, where x and y are swapped."""
    rng = np.random.default_rng(seed)
    for folder in ("images", "focus"):
        (tmp_path / folder).mkdir()
    records = []
    for index in range(12):
        coarse = Image.fromarray(rng.integers(30, 225, (6, 8, 3), np.uint8))
        photo = coarse.resize((240, 240), Image.Resampling.BICUBIC)
        boxes = []
        for _ in range(2):
            center, half = rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.15)
            ends = center - half, 1 - center - half, center + half, 1 - center + half
            boxes.append(np.clip(240 * np.array(ends), 0, 240).astype(int).tolist())
            ImageDraw.Draw(photo).ellipse(boxes[-1], fill=tuple(rng.integers(0, 256, 3).tolist()))
        photo.save(tmp_path / f"images/{index}.jpg", quality=92)
        turned = focus_of(photo, boxes).transpose(Image.Transpose.ROTATE_180)
        turned.save(tmp_path / f"focus/{index}.jpg", quality=92)
        records.append(
            {
                "id": str(index),
                "image_path": f"images/{index}.jpg",
                "action": "standing",
                "objects": [["a", boxes[0]], ["b", boxes[1]]],
                "relations": [[f"focus/{index}.jpg", ["a", "near", "b"]]],
            }
        )
    (tmp_path / "metadata.json").write_text(json.dumps({"data": records}))
    decision, reasons = decided(tmp_path)
    assert decision.reading.format == "xyxy"
    assert reasons == []
