"""ARO's order tasks: a caption against its shuffles, with accuracies worked out by hand."""

import numpy as np
import pytest

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.score.result import Result
from scenarioclip_jax.evaluation.settings import Settings
from scenarioclip_jax.evaluation.suites import aro_order
from tests.evaluation.fakes import FakeEncoder, files, write_images, write_json
from tests.evaluation.suites.test_captions_against_negatives import angles, at

# The caption is at 0 degrees. A picture at 10 finds it, and one at 80 prefers the last shuffle.
TEXTS = {"a dog runs": at(0), "dog a runs": at(60), "runs dog a": at(-60), "runs a dog": at(90)}
OPTIONS = list(TEXTS)


def record(image, *options):
    return {"image": image, "caption_options": list(options)}


def evaluate(tmp_path, records, **pictures):
    write_images(tmp_path / "val2014", *(f"{name}.jpg" for name in pictures))
    write_json(tmp_path / "coco_order.json", records)
    return aro_order.evaluate(FakeEncoder(angles(**pictures), TEXTS), files(tmp_path), Settings())


def test_the_caption_has_to_beat_all_four(tmp_path):
    records = [record(f"val2014/{name}.jpg", *OPTIONS, OPTIONS[1]) for name in ("good", "bad")]
    result = evaluate(tmp_path, records, good=10, bad=80)
    assert result.values() == {"COCO/accuracy": 0.5}
    assert result.metrics["COCO/accuracy"].chance == pytest.approx(1 / 4)  # one stands twice
    beaten = result.bars["COCO: the caption beats the shuffle"]
    assert beaten["nouns and adjectives"] == (0.5, 2)
    assert beaten["all but nouns and adjectives"] == (1.0, 2)
    (failure,) = result.examples["COCO: surest failures"]
    assert failure.caption == "a dog runs, not runs a dog"
    assert result.notes[0].startswith("COCO: 2 of the published 25,010 records")
    assert result.notes[1] == "Flickr30k: not scored, its file isn't there"


def test_a_shuffle_that_changed_nothing_is_no_foil(tmp_path):
    same = ["A  dog runs"] * 2
    records = [
        record("val2014/good.jpg", "a dog runs", *same, "dog a runs", "runs a dog"),
        record("val2014/bad.jpg", "a dog runs", *same, *same),
    ]
    result = evaluate(tmp_path, records, good=10, bad=80)
    # The authors' code takes the first of equals, which is the caption.
    assert result.values()["COCO/accuracy"] == 1.0
    assert result.metrics["COCO/accuracy"].chance == pytest.approx((1 / 3 + 1) / 2)
    assert result.counts["COCO shuffles that are the caption itself"] == 6
    assert result.counts["COCO records without any other"] == 1
    assert result.ties["COCO"] == 0


def test_other_ties_are_wrong_and_counted(tmp_path):
    result = evaluate(tmp_path, [record("val2014/tie.jpg", *OPTIONS, OPTIONS[1])], tie=30)
    assert result.values()["COCO/accuracy"] == 0.0
    assert result.ties["COCO"] == 1


def test_scores_that_are_no_numbers_are_wrong():
    scores = np.array([[np.nan, 0, 0, 0, 0], [0.5, 0, 0, np.nan, 0]])
    same = np.zeros((2, 5), bool)
    same[:, 0] = True
    assert not aro_order.score(scores, same).any()


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (
            record("1.jpg", *OPTIONS),
            r"coco_order\.json \[1\]: 4 caption_options, expected the caption",
        ),
        ({"image": "1.jpg", "caption": ["a", "b"]}, r"\[1\]: a list of captions.*own code"),
        (record("1.jpg", *OPTIONS, ""), r"\[1\]: 'caption_options' is ''"),
        (record(7, *OPTIONS, "a"), r"\[1\]: 'image' is 7"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, bad, told):
    write_images(tmp_path, "1.jpg")
    good = record("1.jpg", *OPTIONS, OPTIONS[1])
    write_json(tmp_path / "coco_order.json", [good, bad])
    with pytest.raises(SuiteError, match=told):
        aro_order.read(files(tmp_path), Result({}, {}, "", ""))
