"""Recognition of boxes in COCO's format, with precisions worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score import coco_ap
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import detection
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import at

CATEGORIES = [{"id": 3, "name": "Dog"}, {"id": 8, "name": "traffic_light"}]
TEXTS = {"dog": at(0), "traffic light": at(90)}
LEFT, RIGHT = [1, 1, 10, 10], [20, 5, 8, 20]


class ByBox(FakeEncoder):
    """Looks pictures up by the left edge of their box."""

    def images(self, pictures, level):
        self.asked += pictures
        return np.array([self._pictures[p.keep[0][0]] for p in pictures], np.float32)


def instances(tmp_path, *annotations, **changes):
    write_images(tmp_path / "val2017", "1.jpg")
    content = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "categories": CATEGORIES,
        "annotations": [
            {"image_id": 1, "bbox": box, "category_id": kind, "iscrowd": 0, **more}
            for box, kind, more in annotations
        ],
    }
    path = write_json(tmp_path / "instances.json", content | changes)
    return type(files(path))(path, (tmp_path / "val2017",))


def evaluate(given, angles, proposals=None):
    encoder = ByBox({edge: at(angle) for edge, angle in angles.items()}, TEXTS)
    given = dataclasses.replace(given, proposals=proposals)
    return detection.evaluate(encoder, given, Settings())


def test_a_wrong_class_may_still_be_ranked_right(tmp_path):
    given = instances(tmp_path, (LEFT, 3, {}), (RIGHT, 8, {}))
    # The second box is taken for a dog, but less surely than the dog is, and it is the best traffic light.
    values = evaluate(given, {1: 10, 20: 40}).values()
    assert values["top1"] == 0.5
    assert values["top5"] == 1.0
    assert values["macro_top1"] == 0.5
    assert values["AP"] == values["AP50"] == pytest.approx(1.0)


def test_what_is_ranked_second_has_half_the_precision(tmp_path):
    given = instances(tmp_path, (LEFT, 3, {}), (RIGHT, 8, {}))
    # For either class, the box of the other one comes first.
    values = evaluate(given, {1: 44, 20: 40}).values()
    assert values["AP"] == pytest.approx(0.5)
    assert values["top1"] == 0.5


def test_crowds_are_neither_boxes_nor_misses(tmp_path):
    crowd = ([0, 0, 39, 29], 8, {"iscrowd": 1})
    given = instances(tmp_path, (LEFT, 3, {}), (RIGHT, 8, {}), crowd)
    result = evaluate(given, {1: 10, 20: 80})
    assert result.counts["boxes"] == 2
    assert result.values()["AP"] == pytest.approx(1.0)


def test_a_tie_is_wrong(tmp_path):
    result = evaluate(instances(tmp_path, (LEFT, 3, {})), {1: 45})
    assert result.values()["top1"] == 0.0
    assert result.ties["boxes"] == 1


def proposed(tmp_path, *proposals):
    """A file of proposals: boxes with their scores."""
    records = [{"image_id": 1, "bbox": box, "score": score} for box, score in proposals]
    elsewhere = {**records[0], "image_id": 5}
    return write_json(tmp_path / "proposals.json", [*records, elsewhere])


def test_a_proposal_counts_as_much_as_it_is_trusted(tmp_path):
    given = instances(tmp_path, (LEFT, 3, {}), (RIGHT, 8, {}))
    path = proposed(tmp_path, ([3, 3, 2, 2], 0.1), (LEFT, 0.9), ([30, 0, 5, 5], 1.0))
    result = evaluate(given, {1: 40, 20: 80, 30: 80, 3: 5}, proposals=path)
    assert result.counts["proposals"] == 3
    # Nothing is where the surest dog would be. The traffic light was never proposed.
    assert result.values()["AP50"] == pytest.approx(0.5)
    assert result.values()["top1"] == 1.0, "recognition is of the true boxes"


def test_the_same_thing_is_found_once(tmp_path):
    given = instances(tmp_path, (LEFT, 3, {}), (RIGHT, 3, {}))
    path = proposed(tmp_path, (LEFT, 0.9), ([2, 1, 10, 10], 0.8), (RIGHT, 0.5))
    result = evaluate(given, {1: 40, 2: 40, 20: 40}, proposals=path)
    assert result.values()["AP50"] == pytest.approx(1.0)
    assert result.counts["detections"] == 4, "of each class, the shifted box loses"


def test_precisions_are_those_that_coco_prints(tmp_path):
    draw = np.random.default_rng(0)
    annotations, found = [], []
    for image in range(6):
        boxes = np.concatenate([draw.uniform(0, 50, (5, 2)), draw.uniform(5, 40, (5, 2))], 1)
        for box in boxes:
            kind = int(draw.integers(1, 5))
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": kind}
                | {"bbox": box.tolist(), "area": float(box[2] * box[3]), "iscrowd": 0}
            )
        near = boxes + draw.normal(0, 1.5, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        scores = coco_ap.probabilities(draw.uniform(0, 0.05, (5, 4)))
        found += coco_ap.detections(image, near, scores, [1, 2, 3, 4], suppress=False)
    truth = {
        "images": [{"id": image} for image in range(6)],
        "categories": [{"id": kind} for kind in (1, 2, 3, 4)],
        "annotations": annotations,
    }
    ours = coco_ap.average_precision(json.loads(json.dumps(truth)), found)
    gold = COCO()
    gold.dataset = truth
    gold.createIndex()
    official = COCOeval(gold, gold.loadRes(found), "bbox")
    official.evaluate()
    official.accumulate()
    official.summarize()
    expected = [np.nanmean(each) for each in ours]
    np.testing.assert_allclose(expected, official.stats[:3], atol=1e-12)
    assert 0.05 < expected[0] < 0.95, "the example tells nothing"


def test_scores_are_a_softmax_of_a_hundred_times_the_cosines():
    found = coco_ap.probabilities(np.array([[0.5, 0.4], [-0.9, -0.9]]))
    np.testing.assert_allclose(found, [[1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))], [0.5, 0.5]])


def test_the_hundred_best_detections_count():
    boxes = np.tile([0.0, 0, 5, 5], (30, 1)) + np.arange(30)[:, None] * [9, 0, 0, 0]
    scores = np.linspace(0, 1, 30 * 5).reshape(30, 5)
    found = coco_ap.detections(7, boxes, scores, [1, 2, 3, 4, 5], suppress=True)
    assert len(found) == 100
    assert [each["score"] for each in found] == sorted(
        (each["score"] for each in found), reverse=True
    )
    assert found[0] == {"image_id": 7, "category_id": 5, "bbox": boxes[-1].tolist(), "score": 1.0}


def lvis(tmp_path, negative=(), incomplete=(), boxes=((LEFT, 3),)):
    image = {"id": 1, "coco_url": "http://there.org/val2017/1.jpg"}
    image |= {"neg_category_ids": list(negative), "not_exhaustive_category_ids": list(incomplete)}
    kinds = [one | {"frequency": letter} for one, letter in zip(CATEGORIES, "rf", strict=True)]
    annotations = [(box, kind, {}) for box, kind in boxes]
    return instances(tmp_path, *annotations, images=[image], categories=kinds)


# A dog, and a box that is surer of being one. Both are also faint traffic lights.
SURER = {"proposals": [(LEFT, 0.5), ([20, 5, 8, 20], 0.5)], "angles": {1: 40, 20: 38}}


@pytest.mark.parametrize(
    ("negative", "incomplete", "expected"),
    [
        ((), (), {"AP": 0.5, "APr": 0.5}),  # nobody looked for traffic lights
        ((8,), (), {"AP": 0.5, "APr": 0.5}),  # there is none to find, so it has no precision
        ((), (3,), {"AP": 1.0, "APr": 1.0}),  # the surer box may be a dog, too
    ],
)
def test_lvis_asks_for_what_was_looked_for(tmp_path, negative, incomplete, expected):
    given = lvis(tmp_path, negative, incomplete)
    path = proposed(tmp_path, *SURER["proposals"])
    values = evaluate(given, SURER["angles"], proposals=path).values()
    assert {name: values[name] for name in expected} == pytest.approx(expected)
    assert "APf" not in values


def test_false_ones_count_where_lvis_looked_for_the_class(tmp_path):
    write_images(tmp_path / "val2017", "2.jpg")
    one = {"file_name": "1.jpg", "not_exhaustive_category_ids": []}
    for negative, expected in (((), 1.0), ((3,), 0.5)):
        images = [one | {"id": 1, "neg_category_ids": []}]
        images.append(
            images[0] | {"id": 2, "file_name": "2.jpg", "neg_category_ids": list(negative)}
        )
        given = instances(tmp_path, (LEFT, 3, {}), images=images)
        boxes = [(1, LEFT, 0.5), (2, RIGHT, 1.0)]
        records = [{"image_id": n, "bbox": box, "score": score} for n, box, score in boxes]
        path = write_json(tmp_path / "proposals.json", records)
        values = evaluate(given, {1: 10, 20: 5}, proposals=path).values()
        assert values["AP"] == pytest.approx(expected)


def test_nothing_found_of_what_lvis_looked_for_is_nothing(tmp_path):
    one = {"image_id": 1, "category_id": 8, "bbox": LEFT, "score": 0.5}
    truth = {
        "images": [{"id": 1}],
        "categories": CATEGORIES,
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": LEFT, "area": 1, "iscrowd": 0}],
    }
    found = coco_ap.lvis_precision(truth, [one], {3: {1}}, [])
    np.testing.assert_array_equal(found.ap, [0, np.nan])


def test_three_hundred_detections_of_lvis_count(tmp_path):
    found = coco_ap.detections(
        7,
        np.tile([0.0, 0, 5, 5], (80, 1)),
        np.linspace(0, 1, 400).reshape(80, 5),
        [1, 2, 3, 4, 5],
        suppress=False,
        most=coco_ap.MOST_OF_LVIS,
    )
    assert len(found) == 300


def test_what_lvis_lacks_is_named(tmp_path):
    with pytest.raises(SuiteError, match=r"'neg_category_ids' is \['x'\], expected ids"):
        evaluate(lvis(tmp_path, negative=["x"]), {1: 10})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"annotations": [{"image_id": 1, "bbox": LEFT, "category_id": 4}]}, "category_id 4 isn't"),
        (
            {"annotations": [{"image_id": 1, "bbox": LEFT[:3], "category_id": 3}]},
            "expected 4 numbers",
        ),
        ({"annotations": [{"image_id": 9, "bbox": LEFT, "category_id": 3}]}, "none of its images"),
        ({"categories": CATEGORIES[:1]}, "1 category; there is nothing to tell apart"),
        ({"images": []}, "images: expected a list of records, not empty"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, changes, told):
    given = instances(tmp_path, (LEFT, 3, {}), **changes)
    with pytest.raises(SuiteError, match=told):
        detection.read(given, Result({}, {}, "", ""))


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"image_id": 1, "bbox": LEFT, "score": 2.0}, r"score 2\.0, expected 0 to 1"),
        ({"image_id": 4, "bbox": LEFT, "score": 1.0}, "no proposal is in an image"),
        ({"image_id": 1, "bbox": LEFT}, "no field 'score'"),
    ],
)
def test_proposals_that_cannot_be_used_are_named(tmp_path, record, told):
    given = instances(tmp_path, (LEFT, 3, {}))
    path = write_json(tmp_path / "proposals.json", [record])
    with pytest.raises(SuiteError, match=told):
        detection.read(dataclasses.replace(given, proposals=path), Result({}, {}, "", ""))


def test_boxes_without_an_area_are_left_out_and_counted(tmp_path):
    given = instances(tmp_path, (LEFT, 3, {}), ([5, 5, 0, 4], 3, {}))
    result = evaluate(given, {1: 10})
    assert result.counts["boxes"] == 1
    assert result.skips.summary()["box without an area"]["count"] == 1


def test_proposals_in_images_without_truth_are_false_ones(tmp_path):
    write_images(tmp_path / "val2017", "2.jpg")
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2)]
    given = instances(tmp_path, (LEFT, 3, {}), images=images)
    boxes = [(1, LEFT, 0.5), (2, LEFT, 1.0)]
    records = [{"image_id": n, "bbox": box, "score": score} for n, box, score in boxes]
    path = write_json(tmp_path / "proposals.json", records)
    result = evaluate(given, {1: 10}, proposals=path)
    # The one in the empty photo is surer, so the true dog is the second of two.
    assert result.values()["AP"] == pytest.approx(0.5)
    assert result.counts["images"] == 1
    assert result.counts["proposals"] == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"images": [{"id": 1, "file_name": "1.jpg"}] * 2}, "its id 1 is also that of"),
        ({"images": [{"id": n, "file_name": "1.jpg"} for n in (1, "x")]}, "unlike that of"),
        ({"categories": [*CATEGORIES, CATEGORIES[0]]}, "its id 3 is also that of"),
    ],
)
def test_ids_have_to_tell_records_apart(tmp_path, changes, why):
    with pytest.raises(SuiteError, match=why):
        evaluate(instances(tmp_path, (LEFT, 3, {}), **changes), {1: 10})


@pytest.mark.parametrize("area", ["12", None])
def test_an_area_is_a_number(tmp_path, area):
    with pytest.raises(SuiteError, match="'area' is"):
        evaluate(instances(tmp_path, (LEFT, 3, {"area": area})), {1: 10})


def test_boxes_too_large_for_the_benchmark_get_no_precision(tmp_path):
    result = evaluate(instances(tmp_path, ([1, 1, 9e8, 9e8], 3, {})), {1: 10})
    assert "AP" not in result.metrics
    assert result.notes[0].startswith("no AP: every box is larger")


def test_classes_of_one_name_are_told(tmp_path):
    categories = [*CATEGORIES, {"id": 9, "name": "dog"}]
    result = evaluate(instances(tmp_path, (LEFT, 3, {}), categories=categories), {1: 10})
    assert result.values()["top1"] == 0.0
    assert "'dog'" in result.notes[0]
