"""Boxes of another size of their photos are called so."""

import re

import numpy as np
import pytest

from scenarioclip_jax.data.build.annotations import read_records
from scenarioclip_jax.data.build.box_resized import find_resized
from scenarioclip_jax.data.build.box_sample import Sample
from scenarioclip_jax.data.build.box_votes import BoxFlags, decide
from scenarioclip_jax.data.build.photo_folders import Folders
from scenarioclip_jax.data.build.problems import GUESSED, AnnotationError, Problems
from tests.data.box_data import LARGER, decided, write

SEEDS = range(4)


def resized(x, y=None, side=None):
    def change(rng, box, size):
        if side:
            return [value * x / side(size) for value in box]
        return [
            v * (s / n if y else x) for v, n, s in zip(box, [*size, *size], (x, y) * 2, strict=True)
        ]

    return change


@pytest.mark.parametrize(
    ("change", "what", "stops"),
    [
        (resized(2), "of photos 2 times as large .*divide them by 2", True),
        (resized(640, 640), r"resized to 640 x 640 .*multiply x by the photo's width / 640", True),
        (resized(512, side=max), "resized to a longer side of 512 .*longer side / 512", True),
        (resized(800, side=min), "resized to a shorter side of 800.*shorter side / 800", True),
        (resized(0.7), "of photos 0.7 times as large", False),
        (resized(224, 224), "resized to 224 x 224", False),
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_resized_photos_are_called_so(seed, change, what, stops, tmp_path):
    """They also fit in thousandths, or the photos themselves; but their ends pile up at another edge."""
    sizes = ((320, 240), (240, 320), (400, 300), (300, 300), (260, 390))
    write(tmp_path, seed, 60, change=change, sizes=sizes, edge=0.4)
    problems = Problems()
    arguments = read_records(tmp_path, problems), Folders(tmp_path).find, BoxFlags(), problems
    if stops:
        with pytest.raises(AnnotationError, match=what):
            decide(*arguments)
    else:
        decide(*arguments)
        (problem,) = problems.found
        assert re.search(what, problem.detail)
        assert problem.effect == GUESSED


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_photos_resized_to_a_square_are_not_called_another_format(seed, tmp_path):
    """With y first, a few more of them would fit."""
    sizes = ((320, 240), (240, 320), (180, 320))
    write(tmp_path, seed, 60, change=resized(280, 280), sizes=sizes, edge=0.4)
    with pytest.raises(AnnotationError, match="resized to 280 x 280"):
        decided(tmp_path)


def test_thousandths_that_reach_no_further_may_be_pixels_of_larger_photos(tmp_path):
    write(tmp_path / "few", 0, 6, change=resized(640, 640), **LARGER)
    with pytest.raises(
        AnnotationError, match=r"none exceeds \d+, they are pixels of larger photos"
    ):
        decided(tmp_path / "few")
    write(tmp_path / "true", 0, 25, units="thousand", **LARGER)
    with pytest.raises(AnnotationError) as error:
        decided(tmp_path / "true")
    assert "larger photos" not in str(error.value)


def test_a_few_boxes_at_the_edges_of_their_own_photos_say_nothing_of_another_size():
    """Three end at the right of photos 320 wide, three at the bottom of ones 300 high; none are 320 x 300."""
    ends = [((320, 90), (320, 240))] * 3 + [((90, 300), (300, 300))] * 3
    ends += [((234, 90), (240, 320))] * 3 + [((90, 234), (320, 240))] * 3
    ends += [((90 + i, 100 + i), (240, 320)) for i in range(28)]
    boxes = np.array([[2 * i, 1.7 * i, *end] for i, (end, _) in enumerate(ends)])
    sizes = np.array([size for _, size in ends], float)
    index, upright = np.arange(len(boxes)), np.ones(len(boxes), int)
    assert find_resized(Sample([None] * len(boxes), boxes, index, index, sizes, upright)) is None


SMALL = ((96, 64), (64, 96), (80, 80), (120, 72))
MIDDLE = ((320, 240), (240, 320), (400, 300), (300, 300))


@pytest.mark.parametrize(
    ("sizes", "change", "size"),
    [
        (SMALL, resized(800, side=min), "shorter side of 800"),
        (SMALL, resized(512, side=max), "longer side of 51"),
        (MIDDLE, resized(800, side=min), "shorter side of 800"),
        (MIDDLE, resized(3), "photos 3 times as large"),
    ],
)
@pytest.mark.parametrize("edge", [0.05, 0.2])
@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_thirty_resized_photos_are_not_called_another_format_only(
    seed, edge, sizes, change, size, tmp_path
):
    """Some end at no edge, or too few do, to tell the size: then it's said that it may be another."""
    write(tmp_path, seed, 30, change=change, sizes=sizes, edge=edge)
    with pytest.raises(AnnotationError) as error:
        decided(tmp_path)
    text = str(error.value)
    assert re.search(f"{size}|larger photos|another size", text), text


@pytest.mark.parametrize("sizes", [SMALL, MIDDLE])
@pytest.mark.parametrize("seed", SEEDS)
def test_true_thousandths_are_not_called_pixels_of_larger_photos(seed, sizes, tmp_path):
    write(tmp_path, seed, 30, units="thousand", sizes=sizes, edge=0.3)
    with pytest.raises(AnnotationError) as error:
        decided(tmp_path)
    text = str(error.value)
    assert "--box-units=thousand" in text
    assert "larger photos" not in text
    assert "resized" not in text
