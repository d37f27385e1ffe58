"""Phrases and the boxes that they mean, with accuracies worked out by hand."""

import dataclasses
import pickle

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import Files, SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import refcoco
from tests.evaluation.fakes import write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import at
from tests.evaluation.suites.test_detection import ByBox

# Boxes are known to the encoder by their left edge, and phrases are at these angles.
TEXTS = {"left man": at(0), "dog": at(90), "man": at(45)}
MAN, DOG = [1, 1, 10, 10], [20, 5, 8, 20]


def ref(number, annotation, split, *sentences, **changes):
    told = [{"sent": each, "raw": f"{each}!", "tokens": each.split()} for each in sentences]
    one = {"ref_id": number, "ann_id": annotation, "image_id": 7, "split": split}
    return one | {"sentences": told, "sent_ids": [], "category_id": 1} | changes


def given(tmp_path, refs, annotations=None, part="refcoco"):
    folder = tmp_path / part
    folder.mkdir()
    write_images(tmp_path / "train2014", "7.jpg")
    (folder / refcoco.PARTS[part]).write_bytes(pickle.dumps(refs, 2))
    if annotations is None:
        annotations = [{"id": 1, "bbox": MAN}, {"id": 2, "bbox": DOG}]
    content = {
        "images": [{"id": 7, "file_name": "7.jpg"}],
        "annotations": [{"image_id": 7, "category_id": 1} | each for each in annotations],
    }
    write_json(folder / "instances.json", content)
    return Files(tmp_path, (tmp_path / "train2014",))


def evaluate(files, angles):
    encoder = ByBox({edge: at(angle) for edge, angle in angles.items()}, TEXTS)
    return refcoco.evaluate(encoder, files, Settings())


def test_each_phrase_chooses_a_box(tmp_path):
    refs = [
        ref(0, 1, "testA", "Left  man", "man"),
        ref(1, 2, "testB", "dog"),
        ref(2, 2, "train", "left man"),
        ref(3, 1, "val", "dog"),
    ]
    # The man's box is at 5 degrees and the dog's at 50: "man", at 45, is taken for the dog.
    result = evaluate(given(tmp_path, refs), {1: 5, 20: 50})
    assert result.values() == {"refcoco/val": 0.0, "refcoco/testA": 0.5, "refcoco/testB": 1.0}
    assert result.metrics["refcoco/testA"].chance == 0.5
    assert result.counts == {
        "refcoco/val phrases": 1,
        "refcoco/testA phrases": 2,
        "refcoco/testB phrases": 1,
        "photos": 1,
        "boxes": 2,
    }
    (failure,) = result.examples["refcoco/testA: failures"]
    assert failure.caption == "taken for: man"
    assert failure.picture.keep == ((20, 5, 28, 25),)
    assert "refcoco+: not scored, its files aren't there" in result.notes


def test_a_box_that_overlaps_by_half_is_right(tmp_path):
    """The chosen box is another annotation of the same man: 5 of 10 columns wide, then 4."""
    for number, (width, right) in enumerate(((5, 1.0), (4.9, 0.0))):
        annotations = [{"id": 1, "bbox": MAN}, {"id": 2, "bbox": [2, 1, width, 10]}]
        folder = tmp_path / str(number)
        folder.mkdir()
        files = given(folder, [ref(0, 1, "testA", "left man")], annotations)
        assert evaluate(files, {1: 60, 2: 10}).values()["refcoco/testA"] == right


def test_a_tie_with_a_wrong_box_is_wrong(tmp_path):
    result = evaluate(given(tmp_path, [ref(0, 1, "val", "man")]), {1: 45, 20: 45})
    assert result.values()["refcoco/val"] == 0.0
    assert result.ties["refcoco/val"] == 1


@pytest.mark.parametrize(
    ("scores", "right", "told"),
    [
        ([0.5, 0.5, 0.1], [True, True, False], (True, False, 0)),  # both are right
        ([0.5, 0.5, 0.1], [True, False, False], (False, True, 1)),
        ([np.nan, 0.5, 0.1], [True, False, False], (False, False, 1)),
        ([0.5, np.nan, 0.1], [True, False, False], (False, False, 1)),
        ([0.5, 0.6], [False, False], (False, False, 1)),
    ],
)
def test_choices(scores, right, told):
    assert refcoco.choose(np.array(scores), np.array(right)) == told


def test_proposals_replace_the_annotated_boxes(tmp_path):
    files = given(tmp_path, [ref(0, 1, "testA", "left man"), ref(1, 2, "testB", "dog")])
    near = [2, 1, 10, 10]
    path = write_json(tmp_path / "dets.json", [{"image_id": 7, "bbox": near, "score": 0.9}])
    files = dataclasses.replace(files, proposals=path)
    result = evaluate(files, {2: 5})
    assert result.values() == {"refcoco/testA": 1.0, "refcoco/testB": 0.0}
    write_json(path, [{"image_id": "7", "bbox": near, "score": 0.9}])
    with pytest.raises(SuiteError, match=r"dets\.json: no proposal is in a photo"):
        evaluate(files, {0: 5})


def test_a_photo_without_proposals_is_its_own(tmp_path):
    content = [ref(0, 1, "testA", "left man"), ref(1, 3, "testB", "dog", image_id=8)]
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in (7, 8)]
    annotations = [(1, 7, MAN), (3, 8, [0, 0, 40, 15])]
    files = given(tmp_path, content)
    write_images(tmp_path / "train2014", "8.jpg")
    write_json(
        tmp_path / "refcoco" / "instances.json",
        {
            "images": images,
            "annotations": [{"id": i, "image_id": n, "bbox": box} for i, n, box in annotations],
        },
    )
    path = write_json(tmp_path / "dets.json", [{"image_id": 7, "bbox": MAN, "score": 0.9}])
    result = evaluate(dataclasses.replace(files, proposals=path), {1: 5, 0: 90})
    # The second box is half of its photo.
    assert result.values() == {"refcoco/testA": 1.0, "refcoco/testB": 1.0}
    assert result.skips.summary()["photo has no proposal, so it is the only one"]["count"] == 1


def test_refcocog_has_other_splits(tmp_path):
    files = given(tmp_path, [ref(0, 1, "test", "left man")], part="refcocog")
    assert evaluate(files, {1: 5, 20: 80}).values() == {"refcocog/test": 1.0}
    one = dataclasses.replace(files, path=tmp_path / "refcocog")
    assert evaluate(one, {1: 5, 20: 80}).values() == {"refcocog/test": 1.0}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (ref(0, 9, "val", "man"), r"refs\(unc\)\.p \[0\]: ann_id 9 is no annotation"),
        (ref(0, 1, "val", "man", image_id=8), r"\[0\]: image_id 8 isn't among"),
        (ref(0, 1, "val"), r"\[0\] sentences: expected a list"),
        (ref(0, 1, "val", ""), r"\[0\] sentences\[0\]: 'sent' is ''"),
        (ref(0, 1, "train", "man"), "no record of the splits val"),
        (ref("0", 1, "val", "man"), "'ref_id' is '0'"),
        ([], r"\[0\]: \[\], expected an object"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, bad, told):
    with pytest.raises(SuiteError, match=told):
        refcoco.read(given(tmp_path, [bad]), Result({}, {}, "", ""))


def test_references_stand_once(tmp_path):
    files = given(tmp_path, [ref(0, 1, "val", "man")] * 2)
    with pytest.raises(SuiteError, match=r"\[1\]: its ref_id 0 is also that of"):
        refcoco.read(files, Result({}, {}, "", ""))


def test_another_folder_is_told_from_the_benchmark(tmp_path):
    with pytest.raises(SuiteError, match=r"neither refcoco nor refcoco\+ nor refcocog is there"):
        refcoco.read(Files(tmp_path, (tmp_path,)), Result({}, {}, "", ""))
