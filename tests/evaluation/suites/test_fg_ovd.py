"""FG-OVD: captions of boxes, with ranks and precisions worked out by hand."""

import dataclasses

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import fg_ovd
from tests.evaluation.fakes import write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import at
from tests.evaluation.suites.test_detection import ByBox

# transparency.json asks for two negatives. A clear cup is 1, a clear jar 4.
NAMES = {1: "A clear cup", 2: "a red cup", 3: "a blue cup", 4: "a clear jar", 5: "a red jar"}
NAMES |= {6: "a blue jar"}
TEXTS = {"a clear cup": at(0), "a red cup": at(40), "a blue cup": at(80)}
TEXTS |= {"a clear jar": at(120), "a red jar": at(160), "a blue jar": at(200)}
CUP, JAR = [1, 1, 10, 10], [20, 5, 8, 20]
FALSE = {1: [2, 3], 4: [5, 6]}


def annotation(number, box, caption, **changes):
    one = {"id": number, "image_id": 7, "bbox": box, "category_id": caption}
    return one | {"area": 1.0, "neg_category_ids": FALSE.get(caption, [])} | changes


def given(tmp_path, *annotations, **changes):
    write_images(tmp_path / "val2017", "7.jpg")
    content = {
        "images": [{"id": 7, "file_name": "val2017/7.jpg", "neg_category_ids": [2, 3]}],
        "categories": [{"id": each, "name": name} for each, name in NAMES.items()],
        "annotations": list(annotations),
    }
    write_json(tmp_path / "transparency.json", content | changes)
    return Files(tmp_path, (tmp_path,))


def evaluate(files, angles):
    encoder = ByBox({edge: at(angle) for edge, angle in angles.items()}, TEXTS)
    return fg_ovd.evaluate(encoder, files, Settings())


def test_captions_are_ranked_by_box(tmp_path):
    files = given(tmp_path, annotation(1, CUP, 1), annotation(2, JAR, 4), annotation(3, JAR, 1))
    # The cup is seen as clear. The jar at 145 is nearer to red (160) than to clear (120); blue is far.
    # As a cup it is nearest to blue (80), then red, then clear.
    result = evaluate(files, {1: 10, 20: 145})
    values = result.values()
    assert values["transparency/accuracy"] == pytest.approx(1 / 3)
    assert values["transparency/median_rank"] == 2
    assert result.metrics["transparency/accuracy"].chance == pytest.approx(1 / 3)
    assert result.counts == {"transparency boxes": 3, "transparency captions": 2}
    first = result.examples["transparency: failures"][0]
    assert (first.caption, first.picture.keep) == ("a clear jar, not a red jar", ((20, 5, 28, 25),))
    assert "hard: not scored, its file isn't there" in result.notes


def test_precision_searches_each_caption_with_its_negatives(tmp_path):
    files = given(tmp_path, annotation(1, CUP, 1), annotation(2, JAR, 4))
    # The jar at 15 is nearest to "a clear cup" among cups, too, and surer than the cup at 18: that is second of
    # two. Among jars, both boxes are nearest to the clear one, and the cup is the surer: the jar is second.
    values = evaluate(files, {1: 18, 20: 15}).values()
    assert values["transparency/AP"] == pytest.approx(1 / 2)
    # At 30 the jar is a red cup, so it's no longer a false clear one. It's now also the surer jar.
    values = evaluate(files, {1: 18, 20: 30}).values()
    assert values["transparency/AP"] == pytest.approx(1.0)


@pytest.mark.parametrize("number", [0, 10**400])
def test_any_id_of_an_annotation_will_do(tmp_path, number):
    """COCO's code takes an annotation 0 for none."""
    values = evaluate(given(tmp_path, annotation(number, CUP, 1)), {1: 18}).values()
    assert values["transparency/AP"] == pytest.approx(1.0)


def test_the_surer_of_overlapping_boxes_remains(tmp_path):
    files = given(tmp_path, annotation(1, CUP, 1))
    records = [
        {"image_id": 7, "bbox": CUP, "score": 0.5},
        {"image_id": 7, "bbox": [2, 1, 10, 10], "score": 0.9},  # overlaps by 9 of 11
    ]
    path = write_json(tmp_path / "proposals.json", records)
    files = dataclasses.replace(files, proposals=path)
    # The second box is a red cup, and surer of it than the first of being clear, so the cup isn't found.
    result = evaluate(files, {1: 15, 2: 45})
    assert "transparency/AP" not in result.metrics
    assert "transparency: no AP, because no box was taken" in result.notes[-1]
    assert result.values()["transparency/accuracy"] == 1.0, "of the annotated box"
    result = evaluate(files, {1: 15, 2: 58})
    assert result.values()["transparency/AP"] == pytest.approx(1.0)


def test_proposals_of_other_photos_are_named(tmp_path):
    files = given(tmp_path, annotation(1, CUP, 1))
    path = write_json(tmp_path / "dets.json", [{"image_id": "7", "bbox": CUP, "score": 1.0}])
    with pytest.raises(SuiteError, match=r"dets\.json: no proposal is in an image"):
        fg_ovd.read(dataclasses.replace(files, proposals=path), Result({}, {}, "", ""))


def test_a_tie_is_wrong(tmp_path):
    result = evaluate(given(tmp_path, annotation(1, CUP, 1)), {1: 20})
    assert result.values()["transparency/accuracy"] == 0.0
    assert result.ties["transparency"] == 1
    assert fg_ovd.rank(np.array([np.nan, 0.1])) == fg_ovd.rank(np.array([0.1, np.nan])) == 2


def test_the_first_negatives_count(tmp_path):
    more = annotation(1, CUP, 1, neg_category_ids=[4, 5, 2])
    few = annotation(2, JAR, 4, neg_category_ids=[5])
    result = evaluate(given(tmp_path, more, few), {1: 25})
    assert result.values()["transparency/accuracy"] == 1.0, "the red cup is the third"
    assert result.skips.summary()["box with fewer than 2 negatives"]["count"] == 1


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            annotation(1, CUP, 9, neg_category_ids=[2, 3]),
            r"annotations\[0\]: caption 9 isn't among",
        ),
        (annotation(1, CUP, 1, neg_category_ids=[2, 9]), "caption 9 isn't among"),
        (annotation(1, CUP, 1, neg_category_ids=[[2]]), r"caption \[2\] isn't among"),
        (annotation(1, CUP, 1, neg_category_ids=[2, 1]), "among its neg_category_ids, too"),
        (annotation(1, CUP[:3], 1), "expected 4 numbers"),
        (annotation(1, CUP, 1, image_id=8), "none of its images has a box with 2 negatives"),
        (annotation(1, [1, 1, 0, 4], 1), "none of its images has a box with 2 negatives"),
        ({"id": 1, "category_id": 1}, "no field 'neg_category_ids'"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, bad, told):
    with pytest.raises(SuiteError, match=told):
        fg_ovd.read(given(tmp_path, bad), Result({}, {}, "", ""))


def test_annotations_of_a_caption_have_the_same_negatives(tmp_path):
    two = annotation(1, CUP, 1), annotation(2, JAR, 1, neg_category_ids=[3, 2])
    with pytest.raises(SuiteError, match=r"annotations\[1\]: its neg_category_ids aren't those"):
        fg_ovd.read(given(tmp_path, *two), Result({}, {}, "", ""))
    with pytest.raises(SuiteError, match=r"its id 1 is also that of"):
        fg_ovd.read(given(tmp_path, two[0], two[0]), Result({}, {}, "", ""))
