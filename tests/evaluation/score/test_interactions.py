"""Average precision of pairs of boxes, by hand."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.score.interactions import Detections, average_precision

PERSON, BIKE = [0, 0, 10, 20], [10, 0, 30, 20]
PAIR = np.array([PERSON + BIKE], float)


def detections(*rows):
    photos, pairs, scores = zip(*rows, strict=True)
    return Detections(list(photos), np.array(pairs, float), np.array(scores, float))


def ap(truth, *rows, inclusive=False):
    return average_precision(truth, detections(*rows), inclusive=inclusive)


def test_precision_is_read_at_eleven_recalls():
    truth = {"a": PAIR, "b": PAIR}
    own = PERSON + BIKE
    assert ap(truth, ("a", own, 0.9), ("b", own, 0.8)) == pytest.approx(1.0)
    # Right, wrong, right: precision 1 up to a recall of 0.5 (six of eleven), and 2/3 above it.
    rows = ("a", own, 0.9), ("c", own, 0.8), ("b", own, 0.7)
    assert ap(truth, *rows) == pytest.approx((6 + 5 * 2 / 3) / 11)
    # One of two is found, so nothing is at recalls above 0.5.
    assert ap(truth, ("a", own, 0.9)) == pytest.approx(6 / 11)


def test_both_boxes_have_to_overlap():
    far = [40, 0, 60, 20]
    assert ap({"a": PAIR}, ("a", PERSON + far, 0.9)) == 0.0
    assert ap({"a": PAIR}, ("a", far + BIKE, 0.9)) == 0.0
    half = [0, 0, 10, 10]  # of the person
    assert ap({"a": PAIR}, ("a", half + BIKE, 0.9)) == pytest.approx(1.0)
    assert ap({"a": PAIR}, ("a", [0, 0, 10, 9.9, *BIKE], 0.9)) == 0.0


def test_last_pixels_may_belong_to_the_boxes():
    # 11 x 10.5 of 11 x 21 pixels; without the last ones, 10 x 9.5 of 10 x 20.
    rows = ("a", [0, 0, 10, 9.5, *BIKE], 0.9)
    assert ap({"a": PAIR}, rows) == 0.0
    assert ap({"a": PAIR}, rows, inclusive=True) == pytest.approx(1.0)


def test_a_pair_is_found_once():
    own, near = PERSON + BIKE, [0, 0, 10, 19, *BIKE]
    # The second detection of the pair is wrong, so the precision is 1/2 at the end, but 1 at all recalls.
    assert ap({"a": PAIR}, ("a", near, 0.9), ("a", own, 0.8)) == pytest.approx(1.0)
    two = {"a": PAIR, "b": PAIR}
    rows = ("a", near, 0.9), ("a", own, 0.8), ("b", own, 0.7)
    assert ap(two, *rows) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_a_detection_stands_for_the_pair_that_it_fits_best():
    other = np.array([[0, 0, 10, 14, *BIKE]], float)
    truth = {"a": np.concatenate([other, PAIR])}
    # The surer one fits both and has the second. The next one fits both, has the first.
    rows = ("a", [0, 0, 10, 19, *BIKE], 0.9), ("a", [0, 0, 10, 13, *BIKE], 0.8)
    assert ap(truth, *rows) == pytest.approx(1.0)
    # Both fit the second best, so the later one is a double.
    rows = ("a", [0, 0, 10, 19, *BIKE], 0.9), ("a", [0, 0, 10, 20, *BIKE], 0.8)
    assert ap(truth, *rows) == pytest.approx(6 / 11)


def test_nothing_found_is_nothing():
    nothing = Detections([], np.zeros((0, 8)), np.zeros(0))
    assert average_precision({"a": PAIR}, nothing, inclusive=True) == 0.0
