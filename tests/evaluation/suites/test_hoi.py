"""Interactions of people with objects, with precisions worked out by hand."""

import dataclasses

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import hoi_files
from scenarioclip_jax.evaluation.suites.hico_names import VERBS
from scenarioclip_jax.evaluation.suites.registry import registered
from tests.evaluation.fakes import FakeEncoder, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import at

RIDE, WASH, NOTHING = VERBS.index("riding") + 1, VERBS.index("washing") + 1, VERBS.index("") + 1
BICYCLE, PERSON = 2, 1
TEXTS = {
    "a photo of a person riding a bicycle": at(0),
    "a photo of a person washing a bicycle": at(90),
    "a photo of a person and a bicycle": at(180),
}
RIDER, BIKE, OTHER = [1, 1, 11, 21], [12, 1, 32, 21], [30, 1, 39, 21]


class ByPair(FakeEncoder):
    """Looks a pair up by the left edges of its boxes and its photo."""

    def images(self, pictures, level):
        assert level == "relation"
        self.asked += pictures
        edges = [(p.path.stem, *(int(box[0]) for box in p.keep)) for p in pictures]
        return np.array([self._pictures[each] for each in edges], np.float32)


def photo(number, *verbs, boxes=((RIDER, PERSON), (BIKE, BICYCLE)), **changes):
    """A photo whose first box does something to the second."""
    one = {"file_name": f"{number}.jpg", "img_id": number}
    one["annotations"] = [{"bbox": box, "category_id": kind} for box, kind in boxes]
    done = [{"subject_id": 0, "object_id": 1, "category_id": verb} for verb in verbs]
    return one | {"hoi_annotation": done} | changes


def given(tmp_path, *photos, training=None):
    write_images(tmp_path / "test2015", "1.jpg", "2.jpg")
    write_json(tmp_path / "test_hico.json", list(photos))
    if training is not None:
        write_json(tmp_path / "trainval_hico.json", training)
    return Files(tmp_path, (tmp_path / "test2015",))


def evaluate(files, angles, suite="hico_det", texts=TEXTS):
    encoder = ByPair({edges: at(angle) for edges, angle in angles.items()}, texts)
    return registered()[suite].evaluate(encoder, files, Settings()), encoder


def test_interactions_are_ranked_over_photos(tmp_path):
    training = [photo(n, RIDE) for n in range(10)] + [photo(10, WASH, NOTHING)]
    files = given(tmp_path, photo(1, RIDE), photo(2, WASH), training=training)
    # Photo 1 is at 40 degrees, nearer to riding; photo 2 at 20, and surely a ride, too. For riding, the wrong
    # photo comes first. For washing, photo 1 is surer than photo 2.
    result, _ = evaluate(files, {("1", 1, 12): 40, ("2", 1, 12): 20})
    assert result.values() == pytest.approx(
        {"mAP": 1 / 2, "non-rare/mAP": 1 / 2, "rare/mAP": 1 / 2}
    )
    assert result.counts == {"interactions": 2, "true pairs": 2, "photos": 2, "pairs": 2}
    assert result.notes == ["1 interactions have no true pair and aren't in the means"]
    result, _ = evaluate(files, {("1", 1, 12): 20, ("2", 1, 12): 80})
    assert result.values()["mAP"] == pytest.approx(1.0)


def test_rare_interactions_need_the_training_file(tmp_path):
    result, _ = evaluate(given(tmp_path, photo(1, RIDE)), {("1", 1, 12): 10})
    assert result.values() == pytest.approx({"mAP": 1.0})
    assert "rare interactions aren't told apart" in result.notes[0]


def test_boxes_of_one_thing_count_once(tmp_path):
    """HICO-DET has a box for each interaction of a person."""
    again = [1, 1, 12, 21]
    boxes = ((again, PERSON), (BIKE, BICYCLE), (RIDER, PERSON))
    files = given(tmp_path, photo(1, RIDE, boxes=boxes))
    result, encoder = evaluate(files, {("1", 1, 12): 10})
    assert result.counts["pairs"] == 1
    regions = [each for each in encoder.asked if not isinstance(each, str)]
    assert regions[0].keep == ((1, 1, 12, 21), (12, 1, 32, 21))


def test_proposals_have_classes_and_scores(tmp_path):
    files = given(tmp_path, photo(1, RIDE), photo(2, WASH))

    def box(image, corners, score, kind):
        x0, y0, x1, y1 = corners
        bbox = [x0, y0, x1 - x0, y1 - y0]
        return {"image_id": image, "bbox": bbox, "score": score, "category_id": kind}

    people = [box(1, RIDER, 0.9, PERSON), box(2, RIDER, 0.8, PERSON)]
    things = [box(1, BIKE, 0.9, BICYCLE), box(2, BIKE, 0.5, BICYCLE), box(2, OTHER, 1.0, 77)]
    path = write_json(tmp_path / "dets.json", people + things)
    files = dataclasses.replace(files, proposals=path)
    # Equally sure of riding in both photos, but of the boxes only in the first.
    result, _ = evaluate(files, {("1", 1, 12): 10, ("2", 1, 12): 10})
    values = result.values()
    assert values["mAP"] == pytest.approx((1 + 1 / 2) / 2)
    assert values["known_mAP"] == values["mAP"], "both photos have a bicycle"
    # With something else in the second photo, known objects leave it out.
    cat = photo(2, 10, boxes=((RIDER, PERSON), (BIKE, 17)))
    files = dataclasses.replace(given(tmp_path, photo(1, RIDE), cat), proposals=path)
    write_json(path, [box(1, RIDER, 0.1, PERSON), *people[1:], *things])
    texts = TEXTS | {"a photo of a person catching a cat": at(0)}
    result, _ = evaluate(files, {("1", 1, 12): 10, ("2", 1, 12): 10}, texts=texts)
    # Riding: the false one of photo 2 comes first, but not among photos with bicycles. Nobody catches a cat.
    assert result.values()["mAP"] == pytest.approx((1 / 2 + 0) / 2)
    assert result.values()["known_mAP"] == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (photo(1, 118), "verb 118 with object 2"),
        (photo(1, RIDE, boxes=((RIDER, 1), (BIKE, 12))), "with object 12"),
        (photo(1, RIDE, boxes=((RIDER, 1), (BIKE[:3], 2))), r"annotations\[1\]: 'bbox' is"),
        (photo(1, RIDE, boxes=((RIDER, 1), (BIKE, "x"))), "'category_id' is 'x', expected a whole"),
        (photo(1, RIDE, boxes=((RIDER, 1), (BIKE, 10**400))), "expected a whole number"),
        (photo(1), "no photo has an interaction"),
        (photo(1, RIDE, boxes=((RIDER, 1),)), "no photo has an interaction"),
        (photo(1, RIDE, hoi_annotation=[3]), r"hoi_annotation\[0\]: 3, expected an object"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, bad, told):
    with pytest.raises(SuiteError, match=told):
        hoi_files.read_hico(given(tmp_path, bad), Result({}, {}, "", ""))


def test_photos_stand_once(tmp_path):
    with pytest.raises(SuiteError, match=r"\[1\]: its img_id 1 is also that of"):
        hoi_files.read_hico(given(tmp_path, photo(1, RIDE), photo(1, RIDE)), Result({}, {}, "", ""))


def test_interactions_of_boxes_that_are_not_there_are_counted(tmp_path):
    gone = {"subject_id": 0, "object_id": 7, "category_id": RIDE}
    one = photo(1, RIDE)
    one["hoi_annotation"].append(gone)
    result, _ = evaluate(given(tmp_path, one), {("1", 1, 12): 10})
    assert result.skips.summary()["interaction of a box that isn't there"]["count"] == 1


NAMES = """
# Lists only; what is beside them isn't run.
raise_if_run = open("/nowhere/at/all")
SWIG_CATEGORIES = [{"id": 0, "name": "person"}, {"id": 4, "name": "oar"}]
SWIG_ACTIONS = [{"id": 0, "name": "rowing"}, {"id": 1, "name": "carrying"}]
SWIG_INTERACTIONS = [
    {"id": 0, "action_id": 0, "object_id": 4, "frequency": 2, "evaluation": 1},
    {"id": 1, "action_id": 1, "object_id": 4, "frequency": 0, "evaluation": 1},
    {"id": 2, "action_id": 1, "object_id": 0, "frequency": 1, "evaluation": 0},
]
"""


def swig(tmp_path, names=NAMES):
    write_images(tmp_path / "images_512", "1.jpg", "2.jpg")
    boxes = [{"bbox": RIDER, "category_id": 0}, {"bbox": BIKE, "category_id": 4}]
    records = [
        {
            "file_name": f"{number}.jpg",
            "img_id": number,
            "box_annotations": [box | {"aux_category_id": []} for box in boxes],
            "hoi_annotations": [{"subject_id": 0, "object_id": 1, "action_id": verb}],
        }
        for number, verb in ((1, 0), (2, 1))
    ]
    write_json(tmp_path / "swig_test_1000.json", records)
    if names is not None:
        (tmp_path / "swig_v1_categories.py").write_text(names)
    return Files(tmp_path, (tmp_path / "images_512",))


def test_swig_has_unseen_interactions(tmp_path):
    texts = {
        "a photo of a person rowing an oar": at(0),
        "a photo of a person carrying an oar": at(90),
    }
    # Photo 2 is surer of rowing, and photo 1 of carrying.
    angles = {("1", 1, 12): 44, ("2", 1, 12): 40}
    result, _ = evaluate(swig(tmp_path), angles, "swig_hoi", texts)
    values = result.values()
    assert values == pytest.approx({"mAP": 1 / 2, "frequent/mAP": 1 / 2, "unseen/mAP": 1 / 2})


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (None, "put SWiG-HOI's file of names beside"),
        ("x = (", "isn't a readable file of names"),
        ("SWIG_CATEGORIES = open('x')", "isn't a readable file of names"),
        ("SWIG_CATEGORIES = []", "no list SWIG_ACTIONS"),
        (
            NAMES.replace('"evaluation": 1', '"evaluation": 0'),
            "none of SWIG_INTERACTIONS is marked",
        ),
        (
            NAMES.replace('"frequency": 0', '"frequency": 3'),
            r"SWIG_INTERACTIONS\[1\]: .*expected ids",
        ),
    ],
)
def test_names_that_cannot_be_used_are_told(tmp_path, names, told):
    with pytest.raises(SuiteError, match=told):
        hoi_files.read_swig(swig(tmp_path, names), Result({}, {}, "", ""))
